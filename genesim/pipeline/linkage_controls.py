"""The linkage attack on a run, beside planted generators that decide whether it says anything.

The attacker knows genotypes of training and held-out donors and the run's own map of effects, which was learned from
the training donors' expression: more than an attacker from outside has. Planted beside the simulation: a generator
that hands out the training donors' cells, and one that hands out the cells of held-out donors who are then no
candidates. The first has to be exposed (AUC above .95), the second not.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import anndata as ad
import numpy as np
import pandas as pd

from genesim import rng
from genesim.data.cohort import Cohort
from genesim.data.genotypes import Genotypes
from genesim.errors import InputError, JoinError
from genesim.estimators.effects import EffectModel
from genesim.evaluate.donor_privacy import EXPOSED, TOLERANCE
from genesim.evaluate.donor_records import verdict_of
from genesim.evaluate.score import Score, scored
from genesim.metrics.interval import Interval
from genesim.metrics.membership import smallest_detectable_auc
from genesim.pipeline.linkage import LEAST, audit_linkage

METRIC = "donor_linkage"


def _donors(cohort: Cohort, split: str, with_cells: bool) -> list[str]:
    real = cohort.donors
    kept = (real["split"] == split) & real["has_genotypes"].astype(bool)
    return [str(d) for d in real.index[kept & real["has_cells"].astype(bool) if with_cells else kept]]


def _at_effects(cohort: Cohort, effects: EffectModel) -> Genotypes:
    """All donors' genotypes; of those on disk, only where the map of effects has variants, for nothing else is used."""
    real = cohort.genotypes
    if isinstance(real, Genotypes):
        return real
    mapped, present = (pd.MultiIndex.from_frame(v[["contig", "start"]]) for v in (effects.variants, real.variants))
    return real.subset(variants=present.isin(mapped))


def _attack(
    cells: ad.AnnData, known: Genotypes, effects: EffectModel, train: Sequence[str], holdout: Sequence[str], seed: int
) -> Interval:
    found = audit_linkage(cells, known, effects, train=train, holdout=holdout, seed=seed)
    return cast(Interval, found.membership_auc)  # both sides are given


def linkage_of_run(
    cohort: Cohort, cells: ad.AnnData, effects: EffectModel, seed: int
) -> tuple[list[Score], dict[str, Any]]:
    """The attack's AUC between the planted generators' (floor and null), and its record for JSON.

    Args:
        cohort: Real donors with genotypes; those with cells, too, are what the controls are made of.
        cells: Simulated cells with `obs["donor"]`.
        effects: Map of effects, on variants of the cohort.
        seed: Of the draws.
    """
    train, holdout = _donors(cohort, "train", True), _donors(cohort, "test", False)
    spare = rng.generator(seed, "linkage", "spare").permutation(np.array(_donors(cohort, "test", True), object))
    spare = spare[: len(spare) // 2]
    if min(len(train), len(holdout) - len(spare), len(spare)) < 2:
        return [], {"conclusion": "not made", "reason": "too few donors have cells and genotypes"}
    judged = [d for d in holdout if d not in set(spare)]

    def own(part: ad.AnnData, names: Sequence[str] | np.ndarray) -> ad.AnnData:
        kept = part[part.obs["donor"].astype(str).isin(list(names)).to_numpy()]
        obs = pd.DataFrame({"donor": kept.obs["donor"].astype(str).to_numpy(object)}, index=kept.obs_names)
        return ad.AnnData(kept.X.copy(), obs=obs, var=pd.DataFrame(index=kept.var_names))

    members = own(cohort.cells_of("train"), train)
    others = own(cohort.cells_of("test"), spare)
    known = _at_effects(cohort, effects)
    try:
        value = _attack(cells, known, effects, train, holdout, seed)
        memoriser = _attack(members, known, effects, train, holdout, seed)
        honest = _attack(others, known, effects, train, judged, seed)
    except (InputError, JoinError) as error:
        # Nothing that varies, or no gene in common, is a finding; the other scores stand.
        return [], {"conclusion": "not made", "reason": str(error)}
    n = len(train), len(holdout)
    invalid = []
    if memoriser.value <= EXPOSED:
        invalid.append(
            f"a planted generator that hands out the training donors' cells is linked to them with an AUC of only "
            f"{memoriser.value:.2f}; it has to exceed {EXPOSED:g}: the effects are too weak, or too few, for the attack"
        )
    chance = smallest_detectable_auc(len(train), len(judged)) - 0.5
    if abs(honest.value - 0.5) > max(TOLERANCE, chance) and not honest.low <= 0.5 <= honest.high:
        invalid.append(
            f"a planted generator that never saw a training donor reaches an AUC of {honest.value:.2f}: the map of "
            "effects fits training donors better than others"
        )
    words, level = verdict_of(value, 0.5, smallest_detectable_auc(*n), n, not invalid, LEAST)
    ends = (max(honest.value, 0.5), memoriser.value) if not invalid else (np.nan, np.nan)
    record = {
        "conclusion": words,
        "level": level,
        "invalid": invalid,
        "auc": value._asdict(),
        "controls": {"memoriser": memoriser._asdict(), "honest": honest._asdict()},
        "n_train": n[0] if n[0] >= 5 else "<5",
        "n_holdout": n[1] if n[1] >= 5 else "<5",
    }
    return [scored("donors", METRIC, value, *ends, 2 * min(n))], record
