"""Scenarios from models in closed form: what is planted is in the rates and counts, and in the tables of truth."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import stats

from genesim import rng
from genesim.config.base import parse
from genesim.config.scenario import Scenario
from genesim.data.genotypes import Genotypes, write_vcf
from genesim.errors import ConfigError, JoinError
from genesim.estimators.effect_donor_variance import donor_sd
from genesim.metrics.donor_variance import donor_variance
from genesim.pipeline.cohort_trans import log2_factor
from genesim.pipeline.simulate import Models, simulate, simulate_genotypes
from genesim.simulate import ascertain
from genesim.simulate.cells import batch_fold_changes
from genesim.simulate.dataset import SimulatedDataset
from genesim.simulate.dictionary import COLUMNS, meaning

RANDOM = {"random": {"share_of_genes": 0.5, "window": 200_000, "min_maf": 0.1}}
AGE = {"law": "uniform", "low": 20, "high": 80}


def scenario(n_donors: int = 40, n_cells: int = 1200, **blocks: Any) -> Scenario:
    cells = {"n_cells": n_cells, "cells_per_donor_cv": 0, **blocks.pop("cells", {})}
    people = {"n_donors": n_donors, **blocks.pop("population", {})}
    return parse(Scenario, {"population": people, "cells": cells, "effects": RANDOM, **blocks})


def rates(data: SimulatedDataset) -> np.ndarray:
    assert data.true_rates is not None
    return np.concatenate(list(data.true_rates()))


def base(data: SimulatedDataset, world: Models) -> np.ndarray:
    """Rates without anything planted."""
    return world.expression.draw_rates(data.cells.obs, 0, 0)[0]


def estimate(x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """Slope of `y` on `x` through the origin, both centred by the caller, and its standard error (rows: clusters)."""
    power = float((x**2).sum())
    slope = float((x * y).sum()) / power
    scores = (x * (y - slope * x)).sum(axis=1)
    return slope, float(np.sqrt((scores**2).sum())) / power


def donor_log2(data: SimulatedDataset, world: Models) -> np.ndarray:
    """log2 of observed over expected counts [donor, gene]."""
    code = data.donors.index.get_indexer(pd.Index(data.cells.obs["donor"].astype(str)))
    expected = 3000 * base(data, world)
    sums = [np.zeros((len(data.donors), expected.shape[1])) for _ in (0, 1)]
    np.add.at(sums[0], code, data.cells.X.toarray())
    np.add.at(sums[1], code, expected)
    return np.log2((sums[0] + 0.5) / (sums[1] + 0.5))


def test_a_plain_scenario_is_drawn_as_ever(world: Models) -> None:
    """The oracle is the formula as it was: learned rates x 2^(batch + genotype), nothing else."""
    data = simulate(scenario(cells={"batches": {"n": 2, "sd_log2": 0.3}}), world, 5)
    cells = world.expression
    wide = data.expression.pivot(index=["donor", "cell_type"], columns="gene", values="log2_fold")
    obs = data.cells.obs
    fold = wide.loc[list(zip(obs["donor"], obs["cell_type"]))].to_numpy(np.float32)
    change = np.exp2(batch_fold_changes(data.scenario.cells.batches, 60, 5)[(obs["batch"] == "batch2").astype(int)])
    change[:, cells.genes.get_indexer(wide.columns)] *= np.exp2(fold)
    seed = rng.seed(5, "simulate", "cells")
    drawn, library = cells.draw_rates(obs, seed, 0)
    assert (cells.draw_counts(drawn, library, obs, seed, 0, change) != data.cells.X).nnz == 0
    assert {"effects", "donors"} & set(data.more_truth) == set()
    assert set(data.more_truth) == {"composition"}
    assert data.streamed_truth == {}
    assert (data.effects["log2_afc_slope"] == 0).all()


def test_new_blocks_leave_the_old_draws_alone(world: Models) -> None:
    plain = simulate(scenario(), world, 5)
    rich = simulate(
        scenario(
            population={"age": AGE},
            donor_effects={"donor_sd_log2": 0.3, "sex": {}, "age": {}},
            disease={"prevalence": 0.3},
            truth={"rates": True},
            cells={"state": {}},
        ),
        world,
        5,
    )
    np.testing.assert_array_equal(plain.genotypes.alleles, rich.genotypes.alleles)
    pd.testing.assert_frame_equal(plain.effects, rich.effects)
    pd.testing.assert_frame_equal(plain.cells.obs, rich.cells.obs[plain.cells.obs.columns])
    pd.testing.assert_frame_equal(plain.expression, rich.expression)


def test_true_rates_are_the_sum_of_all_that_is_planted(world: Models) -> None:
    asked = scenario(
        population={"age": AGE},
        donor_effects={"donor_sd_log2": 0.3, "type_correlation": 0.4, "age": {}, "sex": {}},
        disease={"prevalence": 0.3, "expression": {"share_of_genes": 0.5}},
        cells={"state": {"expression": {}}},
        truth={"rates": True},
    )
    data = simulate(asked, world, 2)
    obs, genes = data.cells.obs, data.genes
    donors = data.donors.loc[obs["donor"].astype(str)]
    deviation = pd.concat(data.streamed_truth["donor_deviation"]())
    total = np.zeros(data.cells.shape)
    for table, value in (
        (deviation, "log2_deviation"),
        (data.expression, "log2_fold"),
        (data.more_truth["disease_effects"].assign(donor="*"), "log2_fold"),
    ):
        wide = table.pivot(index=["donor", "cell_type"], columns="gene", values=value)
        wide = wide.reindex(columns=genes.index, fill_value=0.0).fillna(0.0)
        alike = "*" in wide.index.get_level_values(0)
        keys = [("*" if alike else d, t) for d, t in zip(obs["donor"], obs["cell_type"])]
        part = wide.reindex(keys).fillna(0.0).to_numpy()
        total += part * (donors["case"].to_numpy()[:, None] if alike else 1)
    z = (donors["age"].to_numpy() - 50) / (60 / np.sqrt(12))
    total += np.outer(z, genes["log2_per_sd_age"])
    total += np.outer(np.where(donors["sex"] == "male", 0.5, -0.5), genes["log2_male_over_female"])
    total += np.outer(obs["state"].to_numpy() - 0.5, genes["log2_along_state"])
    np.testing.assert_allclose(rates(data), base(data, world) * 2**total, rtol=1e-4)


def test_h2_is_recovered_from_counts_and_a_wrong_one_rejected(world: Models) -> None:
    """Slope of donor-level log2 counts on the true genetic value is 1, and its share of variance is h2."""
    h2, sd = 0.4, 0.35
    law = {**RANDOM["random"], "h2": h2, "shared": 1.0, "share_of_genes": 1.0}
    asked = scenario(250, 5000, effects={"random": law}, donor_effects={"donor_sd_log2": sd})
    data = simulate(asked, world, 1)
    wide = data.expression[data.expression["cell_type"] == "B"].pivot(index="donor", columns="gene", values="log2_fold")
    wide = wide.reindex(index=data.donors.index)
    y = donor_log2(data, world)[:, world.expression.genes.get_indexer(wide.columns)]
    x = (wide - wide.mean()).to_numpy()
    y = y - y.mean(axis=0)
    slope, error = estimate(x, y)
    assert abs(slope - 1) < 4 * error
    depth = donor_log2(simulate(scenario(250, 5000, effects={}), world, 1), world)
    noise = depth.var(axis=0).mean()  # of counting alone
    shares = (x**2).mean(axis=0) / ((y**2).mean(axis=0) - noise)
    mean, spread = shares.mean(), shares.std() / np.sqrt(len(shares))
    assert spread < 0.015
    assert abs(mean - h2) < 4 * spread + 0.01
    assert abs(mean - 0.5) > 4 * spread + 0.01
    table = data.genes.loc[data.genes["has_effect"]]
    np.testing.assert_allclose(table["h2"], h2, atol=1e-6)
    # Donors of the simulated cohort come near to it: linkage is none here, frequencies are those of training.
    realised = table["genetic_variance_donors"] / table["genetic_variance"]
    assert realised.mean() == pytest.approx(1, abs=0.08)


def test_age_and_sex_slopes_are_recovered_from_counts(world: Models) -> None:
    asked = scenario(
        150,
        4500,
        population={"age": AGE},
        effects={},
        donor_effects={"age": {"share_of_genes": 0.5}, "sex": {"share_of_genes": 0.5}},
    )
    data = simulate(asked, world, 3)
    y = donor_log2(data, world)
    z = (data.donors["age"].to_numpy() - 50) / (60 / np.sqrt(12))
    male = np.where(data.donors["sex"] == "male", 0.5, -0.5)
    design = np.column_stack([np.ones(150), z, male])
    found, rest, *_ = np.linalg.lstsq(design, y, rcond=None)
    error = np.sqrt(np.diag(np.linalg.inv(design.T @ design))[:, None] * rest / 147)
    for row, column in ((1, "log2_per_sd_age"), (2, "log2_male_over_female")):
        truth = data.genes[column].to_numpy()
        z_scores = (found[row] - truth) / error[row]
        assert (z_scores**2).sum() < stats.chi2.isf(1e-4, len(truth))
        for wrong in (-truth, np.roll(truth, 1), 1.5 * truth):
            assert (((found[row] - wrong) / error[row]) ** 2).sum() > 10 * stats.chi2.isf(1e-4, len(truth))


def test_dynamic_slopes_are_recovered_from_counts(world: Models) -> None:
    name = world.haplotypes[0].variants["frequency"].sub(0.5).abs().idxmin()
    genes = ["g00", "g02", "g04"]
    declared = [
        {"gene": g, "variant": name, "log2_afc": 0.3, "log2_afc_slope": s} for g, s in zip(genes, (1.5, -1.5, 0.0))
    ]
    asked = scenario(60, 4000, effects={"declared": declared}, cells={"state": {"name": "pseudotime"}})
    data = simulate(asked, world, 4)
    t = data.cells.obs["pseudotime"].to_numpy()
    dosage = pd.Series(data.genotypes.subset(variants=[name]).dosage()[0], index=data.genotypes.donors)
    d = dosage.loc[data.cells.obs["donor"].astype(str)].to_numpy()
    counts, expected = data.cells.X.toarray(), 3000 * base(data, world)
    for gene, slope in zip(genes, (1.5, -1.5, 0.0)):
        column = world.expression.genes.get_loc(gene)
        folds = []
        for low, high in ((0.0, 0.2), (0.8, 1.0)):
            inside = (t >= low) & (t < high)
            both = [counts[inside & (d == k), column].sum() for k in (0, 2)]
            per = [expected[inside & (d == k), column].sum() for k in (0, 2)]
            folds.append((np.log2((both[1] / per[1]) / (both[0] / per[0])), sum(1 / b for b in both)))
        change = folds[1][0] - folds[0][0]
        error = np.sqrt(folds[0][1] + folds[1][1]) / np.log(2)
        # The middles of the two bins are 0.8 apart.
        assert abs(change - 0.8 * slope) < 4 * error + 0.05
        for wrong in {1.5, 0.0, -1.5} - {slope}:
            assert abs(change - 0.8 * wrong) > 4 * error + 0.05
    assert data.more_truth["states"]["cell"].tolist() == list(data.cells.obs_names)


def test_pseudo_trans_happens_on_request_only(world: Models) -> None:
    effects = {"random": {**RANDOM["random"], "sd_log2_afc": 2.0}}
    without = simulate(scenario(effects=effects, truth={"rates": True}), world, 0)
    asked = scenario(effects=effects, truth={"rates": True}, cells={"pseudo_trans": True})
    scaled = simulate(asked, world, 0)
    untouched = ~without.genes["has_effect"].to_numpy()
    np.testing.assert_allclose(rates(without)[:, untouched], base(without, world)[:, untouched], rtol=1e-5)
    np.testing.assert_allclose(rates(scaled).sum(axis=1), 1, rtol=1e-4)
    assert abs(rates(scaled)[:, untouched] / base(scaled, world)[:, untouched] - 1).max() > 0.05
    sums = rates(without).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(rates(scaled), rates(without) / sums, rtol=1e-4)


DISEASE = {"prevalence": 0.05, "h2_liability": 0.5, "age": 0.3, "n_causal": 12}


@pytest.mark.parametrize(
    "more",
    [
        {"disease": {**DISEASE, "n_cases": 15}},
        {"disease": {**DISEASE, "case_share": 0.5}, "population": {"ancestry": {"X": 1, "Y": 3}}},
        {"disease": DISEASE},
        pytest.param(
            {
                "disease": {**DISEASE, "prevalence": 0.3, "n_cases": 15},
                "population": {"admixture": {"pulses": [{"generations": 9, "ancestry": {"X": 0.5, "Y": 0.5}}]}},
            },
            marks=pytest.mark.slow,  # admixed candidates take their time
        ),
    ],
    ids=["cases", "share", "as they come", "admixed"],
)
def test_parts_are_the_whole_and_cases_are_counted(
    world: Models, tmp_path: Path, more: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    if "admixture" in more.get("population", {}):  # whose candidates take longer
        monkeypatch.setattr(ascertain, "BLOCK", 32)
    population = {"age": AGE, **more.get("population", {})}
    asked = scenario(30, 300, disease=more["disease"], population=population)
    parts = []
    for number, model in enumerate(world.haplotypes):
        parts.append(tmp_path / str(number))
        simulate_genotypes(asked, model, out=parts[-1], seed=6, models=world.haplotypes)
    data = simulate(asked, world, 6, parts=parts, out=tmp_path / "sim")
    whole = simulate(asked, world, 6)
    np.testing.assert_array_equal(data.genotypes.alleles, whole.genotypes.alleles)
    assert (data.cells.X != whole.cells.X).nnz == 0
    pd.testing.assert_frame_equal(data.donors, whole.donors)
    if asked.disease is not None and asked.disease.is_sampled:
        assert int(data.donors["case"].sum()) == 15
        assert data.donors["candidate"].is_unique
    truth = pd.read_parquet(tmp_path / "sim" / "truth" / "donors.parquet").set_index("donor")
    weights = data.more_truth["disease_variants"].set_index("variant")
    dosage = data.genotypes.subset(variants=list(weights.index)).dosage()
    risk = weights["weight"].to_numpy() @ (dosage - 2 * weights["training_frequency"].to_numpy()[:, None])
    np.testing.assert_allclose(truth["risk"], risk)
    threshold = data.more_truth["disease"]["threshold"][0]
    assert ((truth["liability"] > threshold) == truth["case"]).all()
    assert set(data.cells.obs["case_status"].unique()) <= {"case", "control"}
    assert "liability" not in data.cells.obs


def test_one_contig_alone_cannot_tell_who_is_taken(world: Models, tmp_path: Path) -> None:
    asked = scenario(30, 300, disease={**DISEASE, "age": 0, "n_cases": 15})
    with pytest.raises(ConfigError, match="depends on all contigs"):
        simulate_genotypes(asked, world.haplotypes[0], out=tmp_path / "p", seed=6)
    assert not (tmp_path / "p").exists()


def test_cases_have_more_risk_and_what_the_disease_does(world: Models) -> None:
    asked = scenario(
        200,
        6000,
        effects={},
        disease={"prevalence": 0.05, "h2_liability": 0.6, "n_cases": 100, "expression": {"share_of_genes": 0.5}},
        composition_effects=[{"cell_type": "NK", "of": "disease", "log_odds": 0.8}],
        cells={"composition_concentration": 300},
    )
    data = simulate(asked, world, 8)
    case = data.donors["case"].to_numpy()
    # E[risk | case] = h2 * density(threshold) / prevalence under the normal model; of controls -h2 * density / (1 - K).
    height = stats.norm.pdf(stats.norm.isf(0.05))
    risk = data.donors["risk"].to_numpy()
    for group, expected in ((case, 0.6 * height / 0.05), (~case, -0.6 * height / 0.95)):
        error = risk[group].std() / 10
        assert abs(risk[group].mean() - expected) < 4 * error
        assert abs(risk[group].mean() - (0.6 - expected)) > 4 * error
    counts = data.more_truth["composition"].pivot(index="donor", columns="cell_type", values="n_cells")
    counts = counts.loc[data.donors.index]
    log_odds = np.log((counts["NK"] + 0.5) / (counts["B"] + counts["T"] + 0.5)).to_numpy()
    found = log_odds[case].mean() - log_odds[~case].mean()
    error = np.sqrt(log_odds[case].var() / 100 + log_odds[~case].var() / 100)
    assert abs(found - 0.8) < 4 * error
    assert found > 4 * error
    assert abs(found - 1.6) > 4 * error
    effects = data.more_truth["disease_effects"]
    rows = effects[effects["cell_type"] == "T"].set_index("gene")["log2_fold"]
    full = rows.reindex(data.genes.index, fill_value=0.0).to_numpy()
    is_t = (data.cells.obs["cell_type"] == "T").to_numpy()
    status = (data.cells.obs["case_status"] == "case").to_numpy()
    sums = [np.asarray(data.cells.X[is_t & (status == s)].sum(axis=0)).ravel() for s in (True, False)]
    n = [(is_t & (status == s)).sum() for s in (True, False)]
    change = np.log2(sums[0] / n[0] / (sums[1] / n[1]))
    spread = np.sqrt(1 / sums[0] + 1 / sums[1]) / np.log(2)
    assert (((change - full) / spread) ** 2).sum() < stats.chi2.isf(1e-4, 60)
    assert (((change + full) / spread) ** 2).sum() > 10 * stats.chi2.isf(1e-4, 60)


def test_every_column_of_truth_is_in_the_dictionary(world: Models, tmp_path: Path) -> None:
    asked = scenario(
        20,
        200,
        population={"age": AGE, "admixture": {"pulses": [{"generations": 9, "ancestry": {"X": 0.5, "Y": 0.5}}]}},
        donor_effects={"donor_sd_log2": 0.3, "age": {}, "sex": {}},
        disease={"prevalence": 0.3, "expression": {}},
        composition_effects=[{"cell_type": "NK", "of": "genotype", "log_odds": 0.8}],
        cells={"state": {"expression": {}}, "batches": {"n": 3, "sd_log2": 0.1}},
        truth={"rates": True},
        new_variants={"de_novo": {"rate": 1e-6}},
    )
    data = simulate(asked, world, 8, out=tmp_path / "sim")
    folder = tmp_path / "sim" / "truth"
    listed = pd.read_csv(folder / "columns.csv").set_index(["table", "column"])["meaning"]
    tables = {path.stem: pd.read_parquet(path) for path in folder.glob("*.parquet")}
    assert set(tables) >= {"donor_deviation", "composition", "states", "disease", "disease_effects", "disease_variants"}
    assert set(tables) <= set(COLUMNS)
    for name, table in tables.items():
        for column in table.columns:
            assert listed[name, column] == meaning(name, column)
        for key, known in (("donor", data.donors.index), ("gene", data.genes.index)):
            if key in table and name != "new_variants":
                assert set(table[key]) <= set(known)
    there = ad.read_h5ad(folder / "rates.h5ad", backed="r")
    assert list(there.obs_names) == list(data.cells.obs_names)
    np.testing.assert_array_equal(there[3:9].to_memory().X, rates(data)[3:9])


def test_loss_of_function_lowers_its_carriers_counts(world: Models, tmp_path: Path) -> None:
    gtf = tmp_path / "a.gtf"
    about = 'gene_id "g00"; transcript_id "t"; gene_name "X";'
    lines = [f"21\tx\tCDS\t{a}\t{a + 2999}\t.\t+\t0\t{about}" for a in (1_100_000, 1_200_000, 1_200_000 + 5_000)]
    gtf.write_text("\n".join(lines) + "\n")
    beyond = {"annotation": str(gtf), "loss_of_function": {"genes": {"X": 0.5}, "nmd_efficiency": 0.9}}
    data = simulate(scenario(80, 2400, effects={}, new_variants=beyond), world, 3)
    planted = data.effects
    assert set(planted["source"]) == {"loss_of_function"}
    np.testing.assert_allclose(planted["log2_afc"], np.log2(0.1))
    assert set(planted["variant"]) <= set(data.more_truth["new_variants"]["variant"])
    y = 2 ** donor_log2(data, world)[:, 0]
    hit = (data.genotypes.subset(variants=planted["variant"].tolist()).alleles == 1).any(axis=0).sum(axis=1)
    for copies, left in ((0, 1.0), (1, 0.55), (2, 0.1)):
        group = y[hit == copies]
        assert len(group) > 2
        assert group.mean() == pytest.approx(left, abs=0.05)


def test_trans_effects_are_the_perturbation_model_s(world: Models, tmp_path: Path) -> None:
    gtf = tmp_path / "a.gtf"
    about = 'gene_id "g00"; transcript_id "t";'
    lines = [f"21\tx\tCDS\t{a}\t{a + 2999}\t.\t+\t0\t{about}" for a in (1_100_000, 1_200_000, 1_205_000)]
    gtf.write_text("\n".join(lines) + "\n")
    beyond = {"annotation": str(gtf), "loss_of_function": {"genes": {"g00": 0.2}}}
    asked = scenario(40, 800, effects={"trans": True}, new_variants=beyond, truth={"rates": True})
    with pytest.raises(ConfigError, match="need a perturbation model"):
        simulate(asked, world, 3)
    genes = pd.Index(["g00", "g01", "elsewhere", "g02"], dtype=object)

    def effect(amounts: dict[str, float], context: str | None) -> SimpleNamespace:
        assert context is None
        return SimpleNamespace(delta=amounts["g00"] * np.array([-1.0, 0.5, 0.3, -0.4]), support="supported")

    learned = SimpleNamespace(contexts=[""], reference_library=3000.0)
    model = SimpleNamespace(genes=genes, learned=learned, effect=effect)
    data = simulate(asked, Models(world.expression, world.haplotypes, world.effects, model), 3)  # type: ignore[arg-type]
    truth = data.more_truth["trans"]
    assert set(truth["source"]) == {"model-derived"}
    assert set(truth["gene"]) == {"g01", "g02"}  # the gene itself is lost in cis
    cis = data.expression.set_index(["donor", "gene", "cell_type"])["log2_fold"]
    carrier = truth["donor"].iloc[0]
    lost = 1 - 2 ** cis[carrier, "g00", "T"]
    expected = 3000 * world.expression.rates[2, 1]  # type: ignore[attr-defined]
    shift = log2_factor(np.array([0.5 * lost]), np.array([expected]))[0]
    row = truth[(truth["donor"] == carrier) & (truth["gene"] == "g01") & (truth["cell_type"] == "T")].iloc[0]
    assert row["log2_fold"] == pytest.approx(shift, rel=1e-4)
    here = ((data.cells.obs["donor"] == carrier) & (data.cells.obs["cell_type"] == "T")).to_numpy()
    ratio = rates(data)[here, 1] / base(data, world)[here, 1]
    np.testing.assert_allclose(np.log2(ratio), shift, rtol=1e-3)
    none = ~data.cells.obs["donor"].isin(truth["donor"]).to_numpy()
    np.testing.assert_allclose(rates(data)[none][:, [1, 2]], base(data, world)[none][:, [1, 2]], rtol=1e-5)
    # At many counts log(1 + m x) - log(1 + x) is log m.
    assert log2_factor(np.array([0.7]), np.array([1e6]))[0] == pytest.approx(0.7 / np.log(2), rel=1e-4)


def test_a_cohort_of_a_vcf(world: Models, tmp_path: Path) -> None:
    drawn = simulate(scenario(30, 300), world, 1).genotypes
    # Another name of the contig, one variant less, one the other way round, one that no model knows.
    table = drawn.variants.copy()
    table["contig"] = "chr" + table["contig"]
    table.iloc[5, table.columns.get_indexer(["ref", "alt"])] = ["C", "A"]
    table.iloc[6, table.columns.get_loc("alt")] = "T"
    keep = np.arange(len(table)) != 7
    lengths = {f"chr{name}": length for name, length in drawn.contig_lengths.items()}
    geno = Genotypes(drawn.alleles[keep], drawn.phased[keep], table[keep], drawn.donors, lengths)
    path = tmp_path / "cohort.vcf.gz"
    write_vcf(geno, path)
    people = pd.DataFrame({"donor": [f"P{i}" for i in range(20)], "genotype_id": drawn.donors[:20]})
    people["sex"] = np.where(np.arange(20) % 2, "male", "female")
    people["age"] = np.arange(20) + 40
    people.to_csv(tmp_path / "donors.tsv", sep="\t", index=False)
    blocks: dict[str, Any] = {
        "population": {"vcf": str(path), "donor_table": str(tmp_path / "donors.tsv"), "age": AGE},
        "cells": {"n_cells": 200},
        "effects": RANDOM,
        "donor_effects": {"sex": {}, "age": {}},
    }
    data = simulate(parse(Scenario, blocks), world, 1, out=tmp_path / "sim")
    assert list(data.donors.index) == [f"P{i}" for i in range(20)]
    assert data.donors["age"].tolist() == people["age"].tolist()
    report = data.provenance.config["vcf_report"]
    assert report["known_variants"] == 240 - 3
    assert report["other_variants"] == 2
    assert report["swapped_variants"] == 1
    assert report["absent_variants"] == 2
    np.testing.assert_array_equal(data.genotypes.alleles, geno.subset(donors=np.arange(20)).alleles)
    assert set(data.effects["variant"]) <= set(data.genotypes.variants.index)
    assert not set(world.haplotypes[0].variants.index[5:8]) & set(data.genotypes.variants.index)
    # Three of them, and case/control sampling among them.
    few = parse(Scenario, {**blocks, "population": {**blocks["population"], "n_donors": 3}})
    assert len(simulate(few, world, 1).donors) == 3
    ten = {**blocks, "population": {**blocks["population"], "n_donors": 10}}
    sampled = {**ten, "disease": {"prevalence": 0.5, "n_cases": 4}}
    assert int(simulate(parse(Scenario, sampled), world, 1).donors["case"].sum()) == 4
    with pytest.raises(ConfigError, match="are asked for"):
        simulate(parse(Scenario, {**sampled, "disease": {"prevalence": 0.01, "n_cases": 9}}), world, 1)
    with pytest.raises(ConfigError, match="21, and there are 20"):
        simulate(parse(Scenario, {**blocks, "population": {**blocks["population"], "n_donors": 21}}), world, 1)
    with pytest.raises(ConfigError, match="nothing to draw"):
        simulate_genotypes(few, world.haplotypes[0], out=tmp_path / "p")
    # No haplotype model is needed: the effect model knows the variants.
    alone = SimpleNamespace(genes=world.effects.genes, variants=world.variants)  # type: ignore[union-attr]
    bare = simulate(parse(Scenario, blocks), Models(world.expression, (), alone), 1)  # type: ignore[arg-type]
    pd.testing.assert_frame_equal(bare.effects, data.effects)


def test_a_vcf_of_elsewhere_is_refused(world: Models, tmp_path: Path) -> None:
    drawn = simulate(scenario(5, 50), world, 1).genotypes
    moved = drawn.variants.assign(start=drawn.variants["start"] + 3)
    write_vcf(replace(drawn, variants=moved), tmp_path / "a.vcf.gz")
    blocks = {"population": {"vcf": str(tmp_path / "a.vcf.gz")}, "effects": RANDOM}
    with pytest.raises(JoinError, match="none of the models' 240 variants"):
        simulate(parse(Scenario, blocks), world, 1, out=tmp_path / "sim")
    assert not (tmp_path / "sim").exists()
    (tmp_path / "d.tsv").write_text("donor\tsex\nnobody\tmale\n")
    write_vcf(drawn, tmp_path / "b.vcf.gz")
    people = {"population": {"vcf": str(tmp_path / "b.vcf.gz"), "donor_table": str(tmp_path / "d.tsv")}}
    with pytest.raises(JoinError, match="nobody"):
        simulate(parse(Scenario, {**people, "effects": RANDOM}), world, 1)


def test_donors_deviate_as_the_effect_model_learned_and_its_own_fit_sees_it(world: Models) -> None:
    genes, types = world.expression.genes, list(world.expression.cell_types)
    total = pd.DataFrame(0.5, index=genes[:40], columns=["all", "B", "T"])
    total["B"] = 0.9
    learned = replace(world, effects=SimpleNamespace(genes=world.effects.genes, donor_sd=total))  # type: ignore[union-attr, arg-type]
    asked = scenario(150, 9000, donor_effects={"donor_sd_log2": "learned", "type_correlation": 0.5})
    data = simulate(asked, learned, 4)
    table = pd.concat(data.streamed_truth["donor_deviation"]())
    deviation = table.pivot_table(index="donor", columns=["cell_type", "gene"], values="log2_deviation")
    plain = [gene for gene in genes[:40] if not data.genes["has_effect"][gene]]
    for name, sd in (("B", 0.9), ("T", 0.5), ("NK", 0.5)):
        assert deviation[name][plain].to_numpy().std() == pytest.approx(sd, rel=0.05)
    assert (deviation["T"][genes[40:]] == 0).all(axis=None)
    everywhere = set(data.effects.loc[data.effects["cell_type"] == "*", "gene"])
    for gene in sorted(everywhere & set(genes[:40])):
        left = 0.25 - data.genes["genetic_variance"][gene]
        assert deviation["T"][gene].std() == pytest.approx(np.sqrt(max(left, 0.0)), rel=0.2)
    again = donor_sd(
        data.cells, data.cells.obs["donor"].astype(str), {t: data.cells.obs["cell_type"] == t for t in types}
    )
    seen = again.loc[plain]
    assert seen["B"].mean() == pytest.approx(0.9, rel=0.1)
    assert seen["T"].mean() == pytest.approx(0.5, rel=0.1)
    bare = replace(world, effects=SimpleNamespace(genes=world.effects.genes, donor_sd=total[[]]))  # type: ignore[union-attr, arg-type]
    with pytest.raises(ConfigError, match="how much donors differ"):
        simulate(asked, bare, 4)


def test_learned_deviations_are_taken_out_of_the_noise_of_cells_that_holds_them_too(world: Models) -> None:
    """The model's theta is that of many donors' cells: with donors that deviate, cells vary as they did in training."""
    cells: Any = type(world.expression)(theta=2.0)  # type: ignore[call-arg]
    sd = pd.DataFrame(0.5, index=cells.genes, columns=["all"])
    learned = Models(cells, world.haplotypes, SimpleNamespace(genes=world.effects.genes, donor_sd=sd))  # type: ignore[union-attr, arg-type]
    none = {"effects": {"random": None}}

    def spread(law: dict[str, object], seed: int) -> tuple[float, float]:
        """Between donors, and in all, means over genes; of one cell type."""
        data = simulate(scenario(200, 6000, donor_effects=law, **none), learned, seed)
        rows = np.flatnonzero(data.cells.obs["cell_type"] == "T")
        donor = pd.factorize(data.cells.obs["donor"].iloc[rows])[0]
        found = donor_variance(data.cells.X[rows], np.full(len(rows), cells.library), donor)
        return float(found.donor.mean()), float(found.total.mean())

    wanted = np.expm1((np.log(2) * 0.5) ** 2)
    between, total = spread({"donor_sd_log2": "learned"}, 1)
    assert between == pytest.approx(wanted, rel=0.1)
    assert total == pytest.approx(0.5, rel=0.05)
    # On top of the noise, as a declared deviation is, the same donors' cells vary by more.
    between, total = spread({"donor_sd_log2": 0.5}, 1)
    assert between == pytest.approx(wanted, rel=0.1)
    assert total == pytest.approx(1.5 * (1 + wanted) - 1, rel=0.05)
