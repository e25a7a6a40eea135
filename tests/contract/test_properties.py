"""What holds whatever is asked: as many rows as asked for, identifiers kept, counts that are counts."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pandas as pd
import pytest
from contract_case import Case, compilations
from contract_table import CASES
from effect_cases import genotypes as effect_genotypes
from haplotype_cases import genotypes
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from perturbation_cases import cells as perturbed_cells
from perturbation_cases import controls

from genesim.models.catalog import methods, spec

few = settings(
    max_examples=8,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
"""Draws follow from the test alone: a failure is found again."""

name = st.text(st.characters(categories=["L", "N"], include_characters="-_. "), min_size=1, max_size=8)
# Few sizes: each new one is compiled.
sizes = st.sampled_from([1, 3, 12])
names = sizes.flatmap(lambda n: st.lists(name, min_size=n, max_size=n, unique=True))
seeds = st.integers(0, 2**31 - 1)


def of(modality: Any) -> pytest.MarkDecorator:
    """All methods of a modality that draw from a model of their own."""
    rows = [spec(modality, name) for name in methods(modality)]
    return pytest.mark.parametrize("case", rows, ids=lambda row: row.id, indirect=True, scope="session")


@of("expression")
@few
@given(ids=names, seed=seeds, data=st.data())
def test_cells_are_the_asked_ones_and_their_counts_are_counts(case: Case, ids: list[str], seed: int, data: Any) -> None:
    n = len(ids)

    def column(values: Any) -> list[Any]:
        return data.draw(st.lists(values, min_size=n, max_size=n))

    kind = column(st.sampled_from(["B", "T", "lone", None]))
    library = column(st.one_of(st.none(), st.floats(1e-3, 1e9)))
    obs = pd.DataFrame({"kind": kind, "library_size": library, "note": range(n)}, index=pd.Index(ids, dtype=object))
    before = obs.copy()
    drawn = case.model.sample(n, obs=obs, seed=seed)
    assert list(drawn.obs_names) == ids
    assert list(drawn.var_names) == list(case.model.genes)
    assert drawn.X.dtype == np.int32
    assert drawn.X.shape == (n, len(case.model.genes))
    assert drawn.X.min() >= 0
    assert list(drawn.obs["note"]) == list(range(n))
    assert [None if pd.isna(level) else level for level in drawn.obs["kind"]] == kind  # None asks for no level
    pd.testing.assert_frame_equal(obs, before)


@of("expression")
@few
@given(n=sizes, seed=seeds)
def test_as_many_cells_as_asked_for(case: Case, n: int, seed: int) -> None:
    drawn = case.model.sample(n, seed=seed)
    assert drawn.n_obs == n
    assert drawn.obs_names.is_unique


@of("expression")
def test_another_number_of_cells_compiles_nothing(case: Case) -> None:
    case.model.sample(3, seed=0)
    with compilations() as compiled:
        for n in (1, 5, 11, 16):
            case.model.sample(n, seed=0)
    assert compiled == []


@of("haplotypes")
@few
@given(ids=names, seed=seeds, data=st.data())
def test_donors_are_the_asked_ones_and_their_alleles_are_alleles(
    case: Case, ids: list[str], seed: int, data: Any
) -> None:
    labels = data.draw(st.lists(st.sampled_from(case.model.ancestries), min_size=len(ids), max_size=len(ids)))
    drawn = case.model.sample_for(labels, ids, seed=seed)
    assert list(drawn.donors) == ids
    assert list(drawn.variants.index) == list(genotypes().variants.index)
    assert drawn.alleles.shape == (genotypes().n_variants, len(ids), 2)
    assert set(np.unique(drawn.alleles)) <= {0, 1}
    assert drawn.phased.all()


@of("haplotypes")
@few
@given(share=st.floats(0, 1), seed=st.integers(0, 99))
def test_imputation_fills_what_is_missing_and_keeps_the_rest(case: Case, share: float, seed: int) -> None:
    whole = genotypes()
    hidden = np.random.default_rng(seed).random(whole.alleles.shape) < share
    asked = dataclasses.replace(whole, alleles=np.where(hidden & (whole.alleles >= 0), -1, whole.alleles))
    filled = case.model.impute(asked, case.inputs()["ancestry"])
    seen = asked.alleles != -1
    np.testing.assert_array_equal(filled.alleles[seen], asked.alleles[seen])
    assert set(np.unique(filled.alleles[~seen])) <= {0, 1}


@few
@given(ids=names, data=st.data())
def test_effects_are_predicted_for_every_donor_and_gene(ids: list[str], data: Any) -> None:
    model = CASES["effects", "susie"](spec("effects", "susie")).model
    source = effect_genotypes()
    random = np.random.default_rng(data.draw(seeds))
    alleles = random.integers(-1, 2, (source.n_variants, len(ids), 2))
    alleles[random.random(alleles.shape[:2]) < 0.2, 1] = -2
    kept = data.draw(st.lists(st.integers(0, source.n_variants - 1), min_size=1, unique=True))
    asked = dataclasses.replace(
        source,
        alleles=alleles.astype(np.int8),
        phased=np.ones(alleles.shape[:2], bool),
        donors=pd.Index(ids, dtype=object),
    ).subset(variants=sorted(kept))
    found = model.predict(asked)
    for frame in (found.mean, found.low, found.high):
        assert list(frame.index) == ids
        assert list(frame.columns) == list(model.genes.index)
        assert np.isfinite(frame.to_numpy()).all()
    assert (found.low <= found.mean).all(None)
    assert (found.mean <= found.high).all(None)


@few
@given(
    n=st.one_of(st.none(), st.integers(1, 30)),
    amounts=st.dictionaries(st.sampled_from(["g1", "g2", "g3", "g9", "nobody"]), st.floats(0, 3), min_size=1),
    seed=seeds,
)
def test_perturbed_cells_are_counts_of_known_controls(n: int | None, amounts: dict[str, float], seed: int) -> None:
    model = CASES["perturbation", "stack"](spec("perturbation", "stack")).model
    given_cells = controls(perturbed_cells())
    made = model.predict(given_cells, amounts, n_cells=n, seed=seed)
    assert made.n_obs == (given_cells.n_obs if n is None else n)
    assert list(made.var_names) == list(given_cells.var_names)
    assert made.X.dtype == np.int32
    assert made.X.min() >= 0
    source = made.obs["control_cell"].astype(str)
    assert set(source) <= set(given_cells.obs_names)
    assert list(made.obs["line"]) == list(given_cells.obs.loc[source, "line"])
