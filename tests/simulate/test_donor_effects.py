"""Donor deviations, effects on genes, ages, composition shifts: laws and wrong alternatives."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from genesim.config.effects import CompositionEffect, DonorEffects, GeneEffects, TypedGeneEffects
from genesim.config.population import AgeLaw
from genesim.config.scenario import CellsScenario
from genesim.data.genotypes import Genotypes
from genesim.errors import ConditionError, ConfigError
from genesim.simulate.composition import composition_shift, plant_composition
from genesim.simulate.donor_effects import (
    deviation_tables,
    donor_deviation,
    draw_ages,
    gene_effects,
    sex_codes,
    typed_gene_effects,
    typed_table,
)
from genesim.simulate.dosage import centred_dosage
from genesim.simulate.population import draw_cells_of_donors

GENES = pd.Index([f"g{i}" for i in range(500)], dtype=object)


@pytest.mark.parametrize("correlation", [0.0, 0.5, 1.0])
def test_deviations_have_the_declared_sd_and_correlation(correlation: float) -> None:
    law = DonorEffects(donor_sd_log2=0.4, type_correlation=correlation)
    drawn = np.stack([donor_deviation(law, f"d{i}", 3, 500, 0) for i in range(20)])
    assert drawn.shape == (20, 1 if correlation == 1 else 3, 500)
    assert stats.kstest(drawn[:, 0].ravel() / 0.4, "norm").pvalue > 1e-3
    assert stats.kstest(drawn[:, 0].ravel() / 0.5, "norm").pvalue < 1e-6
    if correlation < 1:
        assert np.corrcoef(drawn[:, 0].ravel(), drawn[:, 2].ravel())[0, 1] == pytest.approx(correlation, abs=0.04)
    assert abs(np.corrcoef(drawn[0, 0], drawn[1, 0])[0, 1]) < 0.2  # donors are independent


def test_the_truth_of_deviations_is_what_is_planted() -> None:
    law = DonorEffects(donor_sd_log2=0.4, type_correlation=0.5)
    tables = list(deviation_tables(law, ["a", "b"], ["B", "T"], GENES[:4], 3))
    assert [len(table) for table in tables] == [8, 8]
    b = tables[1].pivot(index="cell_type", columns="gene", values="log2_deviation")
    np.testing.assert_array_equal(b.loc[["B", "T"], GENES[:4]], donor_deviation(law, "b", 2, 4, 3))


def test_gene_effects_follow_their_law() -> None:
    genes = pd.Index([f"g{i}" for i in range(5000)], dtype=object)
    drawn = gene_effects(GeneEffects(share_of_genes=0.4, sd_log2=0.7), genes, 0, "age")
    assert (drawn != 0).sum() == 2000
    assert stats.kstest(drawn[drawn != 0] / 0.7, "norm").pvalue > 1e-3
    assert stats.kstest(drawn[drawn != 0] / 0.9, "norm").pvalue < 1e-6
    assert not gene_effects(None, genes, 0, "age").any()
    assert (gene_effects(GeneEffects(), genes, 0, "sex") != gene_effects(GeneEffects(), genes, 0, "age")).any()


def test_changed_genes_change_alike_or_in_one_type() -> None:
    genes = pd.Index([f"g{i}" for i in range(3000)], dtype=object)
    drawn = typed_gene_effects(TypedGeneEffects(share_of_genes=1, shared=0.3), genes, 3, 0, "disease")
    n_types = (drawn != 0).sum(axis=0)
    assert set(n_types) == {1, 3}
    assert stats.binomtest(int((n_types == 3).sum()), 3000, 0.3).pvalue > 1e-3
    assert stats.binomtest(int((n_types == 3).sum()), 3000, 0.5).pvalue < 1e-6
    alike = drawn[:, n_types == 3]
    assert (alike == alike[0]).all()
    table = typed_table(drawn, genes, ["B", "NK", "T"])
    assert len(table) == n_types.sum()
    row = table.iloc[17]
    assert row["log2_fold"] == drawn[["B", "NK", "T"].index(row["cell_type"]), genes.get_loc(row["gene"])]


def test_ages_follow_their_law() -> None:
    stream = np.random.default_rng(0)
    uniform = draw_ages(AgeLaw(low=30, high=40), 4000, stream)
    assert stats.kstest(uniform, "uniform", (30, 10)).pvalue > 1e-3
    assert stats.kstest(uniform, "norm", (35, 10 / np.sqrt(12))).pvalue < 1e-6
    normal = draw_ages(AgeLaw(law="normal", mean=60, sd=10), 4000, stream)
    assert stats.kstest(normal, "norm", (60, 10)).pvalue > 1e-3
    assert (draw_ages(AgeLaw(law="normal", mean=1, sd=10), 100, stream) >= 0).all()
    assert set(draw_ages(AgeLaw(law="list", values=(1, 9)), 100, stream)) == {1.0, 9.0}


def test_a_sex_that_effects_cannot_use_is_told() -> None:
    sex = pd.Series(["female", "unknown"], index=["a", "b"])
    np.testing.assert_array_equal(sex_codes(sex, needed=False), [-0.5, 0])
    with pytest.raises(ConfigError, match="'b' has the sex 'unknown'"):
        sex_codes(sex, needed=True)


@pytest.fixture
def genotypes() -> Genotypes:
    stream = np.random.default_rng(0)
    alleles = (stream.random((3, 300, 2)) < 0.4).astype(np.int8)
    alleles[1, :2, 1] = -2  # haploid
    alleles[1, 2, 0] = -1
    variants = pd.DataFrame({"contig": "1", "start": [1, 2, 3], "ref": "A", "alt": "C", "frequency": 0.4})
    variants.index = pd.Index(["v0", "v1", "v2"], dtype=object)
    donors = pd.Index([f"d{i}" for i in range(300)], dtype=object)
    return Genotypes(alleles, np.ones((3, 300), bool), variants, donors, {})


def test_a_lone_copy_counts_for_both_and_a_missing_one_as_expected(genotypes: Genotypes) -> None:
    dosage = centred_dosage(genotypes, ["v1"], np.array([0.4]))[0] + 0.8
    alleles = genotypes.alleles[1]
    np.testing.assert_allclose(dosage[:2], 2 * alleles[:2, 0])
    assert dosage[2] == pytest.approx(0.4 + alleles[2, 1])
    np.testing.assert_allclose(dosage[3:], alleles[3:].sum(axis=1))


def test_composition_shifts_by_the_declared_odds(genotypes: Genotypes) -> None:
    types = ["B", "NK", "T"]
    effects = (
        CompositionEffect(cell_type="NK", of="genotype", log_odds=0.7, variant="v2"),
        CompositionEffect(cell_type="NK", of="disease", log_odds=-0.5),
    )
    truth = plant_composition(effects, genotypes.variants, types, 0)
    case = (np.arange(300) % 2).astype(float)
    shift = composition_shift(truth, types, genotypes, {"disease": case})
    donors = pd.DataFrame({"batch": "batch1"}, index=genotypes.donors)
    cells = CellsScenario(n_cells=300 * 200, composition_concentration=200)
    table, shares = draw_cells_of_donors(donors, cells, {"B": 0.3, "NK": 0.2, "T": 0.5}, 0, shift)
    np.testing.assert_allclose(shares.sum(axis=1), 1)
    counts = pd.crosstab(table["donor"], table["cell_type"]).reindex(genotypes.donors)
    log_odds = np.log((counts["NK"] + 0.5) / (counts["B"] + counts["T"] + 0.5)).to_numpy()
    dosage = genotypes.alleles[2].sum(axis=1)
    design = np.column_stack([np.ones(300), dosage, case])
    found, rest, *_ = np.linalg.lstsq(design, log_odds, rcond=None)
    error = np.sqrt(np.diag(np.linalg.inv(design.T @ design)) * rest[0] / 297)
    for at, right, wrong in ((1, 0.7, 0.4), (2, -0.5, 0.0)):
        assert abs(found[at] - right) < 4 * error[at]
        assert abs(found[at] - wrong) > 4 * error[at]
    # The others keep their proportion, and on average the composition is the declared one but for the cases' shift.
    ratio = counts["B"].sum() / counts["T"].sum()
    assert ratio == pytest.approx(0.6, rel=0.05)


def test_no_shift_draws_what_was_always_drawn(genotypes: Genotypes) -> None:
    donors = pd.DataFrame({"batch": "batch1"}, index=genotypes.donors)
    mix = {"B": 0.3, "NK": 0.2, "T": 0.5}
    plain, _ = draw_cells_of_donors(donors, CellsScenario(n_cells=2000), mix, 0)
    zero, _ = draw_cells_of_donors(donors, CellsScenario(n_cells=2000), mix, 0, np.zeros((300, 3)))
    pd.testing.assert_frame_equal(plain, zero)


def test_unknown_types_and_variants_of_composition_are_told(genotypes: Genotypes) -> None:
    for effect, message in (
        (CompositionEffect(cell_type="nope", of="sex", log_odds=1), "cell type 'nope'"),
        (CompositionEffect(cell_type="B", of="genotype", log_odds=1, variant="rs0"), "variant 'rs0'"),
    ):
        with pytest.raises(ConditionError, match=message):
            plant_composition((effect,), genotypes.variants, ["B"], 0)
    drawn = plant_composition(
        (CompositionEffect(cell_type="B", of="genotype", log_odds=1),), genotypes.variants, ["B"], 0
    )
    assert drawn["variant"][0] in genotypes.variants.index
    rare = genotypes.variants.assign(frequency=0.01)
    with pytest.raises(ConfigError, match="no variant has a MAF"):
        plant_composition((CompositionEffect(cell_type="B", of="genotype", log_odds=1),), rare, ["B"], 0)
