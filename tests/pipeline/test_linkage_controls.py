"""The linkage attack on a run: a copier is caught, strangers are not; weak effects or few donors say nothing."""

from __future__ import annotations

from types import SimpleNamespace
from typing import cast

import numpy as np
import pandas as pd
from linked_donors import GENES, cohort_of, expression_for, genotypes_of

import genesim as gs
from genesim.data.cohort import Cohort
from genesim.data.genotypes import Genotypes
from genesim.pipeline.linkage_controls import linkage_of_run


class Map:
    """What the attack asks of an `EffectModel`: the true genetic value of each gene."""

    genes = GENES

    def predict(self, genotypes: Genotypes) -> SimpleNamespace:
        fold = (2.0**genotypes.alleles).mean(axis=2).T
        return SimpleNamespace(mean=pd.DataFrame(np.log2(fold), index=genotypes.donors, columns=GENES.index))


OUTSIDE = cast(gs.EffectModel, Map())


def test_a_copier_is_caught_and_strangers_are_not() -> None:
    cohort = cohort_of(80)
    scores, record = linkage_of_run(cohort, cohort.cells_of("train"), OUTSIDE, 0)
    assert record["invalid"] == []
    assert record["conclusion"] == "training donors are recognised"
    assert scores[0].value > 0.95
    assert scores[0].verdict == "training donors are recognised"
    found = []
    for seed in range(10, 16):
        scores, record = linkage_of_run(cohort, expression_for(genotypes_of(30, seed, "x"), seed + 50), OUTSIDE, 0)
        assert record["invalid"] == []
        # 40 donors a side show no small leak: never a pass.
        assert scores[0].verdict == "inconclusive: too few donors"
        assert record["conclusion"].startswith("inconclusive")
        found.append(scores[0].value)
    assert abs(np.mean(found) - 0.5) < 0.06


def test_without_effects_the_planted_copier_is_missed_and_nothing_is_said() -> None:
    cohort = cohort_of(80)
    draw = np.random.default_rng(5)
    shuffled = cohort.cells.copy()
    names = dict(zip(cohort.donors.index, draw.permutation(cohort.donors.index), strict=True))
    shuffled.obs["donor"] = [names[d] for d in shuffled.obs["donor"]]
    unlinked = Cohort(shuffled, cohort.genotypes, cohort.donors, cohort.genes)
    made = expression_for(genotypes_of(30, 9, "x"), 4)
    scores, record = linkage_of_run(unlinked, made, OUTSIDE, 0)
    assert "has to exceed 0.95" in record["invalid"][0]
    assert record["conclusion"] == "says nothing: a planted control failed"
    assert scores[0].verdict == "says nothing: a planted control failed"
    assert scores[0].level == "unknown"


def test_few_donors_give_no_figure() -> None:
    cohort = cohort_of(4)
    scores, record = linkage_of_run(cohort, cohort.cells_of("train"), OUTSIDE, 0)
    assert scores == []
    assert record == {"conclusion": "not made", "reason": "too few donors have cells and genotypes"}
