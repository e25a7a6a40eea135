"""Benchmarks are whole, repeatable and solvable: plain methods score well on them, wrong ones badly."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import sparse, stats

import genesim as gs
from genesim.config.model import EffectConfig
from genesim.data.genotypes import read_genotypes
from genesim.errors import ArtefactError, ConfigError, InputError
from genesim.estimators.effects import EffectModel
from genesim.evaluate.benchmark_format import SUITES
from genesim.provenance.manifest import verify_manifest
from genesim.simulate.benchmarks import MAKERS
from genesim.simulate.benchmarks.builtin import builtin_world
from genesim.simulate.benchmarks.world import Design, World

pytest.importorskip("msprime", reason="the built-in example's donors need msprime")


@cache
def world() -> World:
    return builtin_world()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("benchmarks")
    for name in SUITES:
        gs.make_benchmark(name, folder / name, difficulty="easy", seed=3)
    return folder


def values(scores: pd.DataFrame) -> pd.Series:
    return scores.set_index("metric")["value"]


@pytest.mark.parametrize("name", SUITES)
def test_a_benchmark_is_whole_and_its_card_says_how_to_answer(made: Path, name: str) -> None:
    folder = made / name
    verify_manifest(folder)
    card, text = json.loads((folder / "card.json").read_text()), (folder / "card.md").read_text()
    assert set(card["answer"]) >= {*SUITES[name].keys, *SUITES[name].values}
    for word in (*card["answer"], *SUITES[name].metrics, "PBMC 68k", "CC BY 4.0", "synthetic"):
        assert word in text
    cells = ad.read_h5ad(folder / "data.h5ad")
    assert cells.uns["genesim"]["synthetic"]
    assert cells.X.dtype == np.int32
    assert (folder / "genotypes.vcf.gz").is_file() == name.startswith("eqtl")
    shown = {*cells.obs, *cells.var}
    assert not shown & {"is_rare", "is_doublet", "is_case", "log2_fold_change"}
    if name in ("rare_type", "batch", "doublets"):
        assert "cell_type" not in shown


@pytest.mark.parametrize("name", SUITES)
def test_the_same_seed_gives_the_data_and_the_truth_again(made: Path, name: str) -> None:
    again = MAKERS[name](world(), Design(difficulty="easy", seed=3))
    assert (ad.read_h5ad(made / name / "data.h5ad").X != again.cells.X).nnz == 0
    assert {p.stem for p in (made / name / "truth").glob("*.parquet")} == set(again.truth)
    for table, truth in again.truth.items():
        written = pd.read_parquet(made / name / "truth" / f"{table}.parquet")
        pd.testing.assert_frame_equal(written, truth, check_dtype=False)


def test_another_seed_plants_something_else() -> None:
    for name, table in (("de", "de"), ("rare_type", "cells")):
        first, other = (MAKERS[name](world(), Design(seed=seed)).truth[table] for seed in (1, 2))
        assert not first.equals(other)


def pseudobulk(folder: Path) -> dict[str, tuple[pd.DataFrame, np.ndarray]]:
    """log2 normalised counts [donor, gene] of each cell type, and which donors are cases.

    Depth is the median of ratios to the geometric mean (Anders & Huber 2010): totals move with the changed genes.
    """
    cells = ad.read_h5ad(folder / "data.h5ad")
    found = {}
    for name in cells.obs["cell_type"].unique():
        part = cells[cells.obs["cell_type"] == name]
        sums = pd.DataFrame(part.X.toarray(), columns=cells.var_names).groupby(part.obs["donor"].astype(str).to_numpy())
        table = sums.sum()
        group = part.obs.groupby(part.obs["donor"].astype(str))["group"].first()
        log_ratio = np.log(table.loc[:, (table > 0).all()])
        depth = np.exp((log_ratio - log_ratio.mean()).median(axis=1))
        log = np.log2(table.div(depth, axis=0) + 1)
        found[str(name)] = log, (group.reindex(table.index) == "case").to_numpy()
    return found


def t_tests(groups: dict[str, tuple[pd.DataFrame, np.ndarray]]) -> pd.DataFrame:
    parts = []
    for name, (log, case) in groups.items():
        seen = log.loc[:, (log > 0).mean() > 0.1]  # unseen genes cannot be tested
        test = stats.ttest_ind(seen[case], seen[~case])
        change = (seen[case].mean() - seen[~case].mean()).to_numpy()
        parts.append(
            pd.DataFrame({"gene": seen.columns, "cell_type": name, "p_value": test.pvalue, "log2_fold_change": change})
        )
    return pd.concat(parts)


def test_de_is_solved_by_pseudobulk_and_not_by_cells_as_replicates(made: Path, tmp_path: Path) -> None:
    folder = made / "de"
    answer = t_tests(pseudobulk(folder))
    answer.to_csv(tmp_path / "answer.csv", index=False)
    scores = gs.score_benchmark(folder, tmp_path / "answer.csv", "de")
    good = values(scores)
    assert good["auprc"] > 0.6
    assert good["power"] > 0.5
    assert good["false_discovery_rate"] < 0.15
    assert good["log2_fold_change_correlation"] > 0.9
    null = scores.set_index("metric")["null"]
    assert null["auprc"] < 0.1
    assert null["false_discovery_rate"] > 0.8

    cells = ad.read_h5ad(folder / "data.h5ad")
    log = np.log2(cells.X.toarray() / np.asarray(cells.X.sum(axis=1)) * 1e4 + 1)
    naive = {}
    for name in cells.obs["cell_type"].unique():
        rows = (cells.obs["cell_type"] == name).to_numpy()
        naive[str(name)] = (
            pd.DataFrame(log[rows], columns=cells.var_names),
            (cells.obs["group"] == "case").to_numpy()[rows],
        )
    wrong = values(gs.score_benchmark(folder, t_tests(naive)))
    assert wrong["false_discovery_rate"] > 2 * max(good["false_discovery_rate"], 0.05)


def effects_of(folder: Path, shuffled: bool = False) -> pd.DataFrame:
    cells = ad.read_h5ad(folder / "data.h5ad")
    cells = cells[:, cells.var["tested"]].copy()
    genotypes = read_genotypes(folder / "genotypes.vcf.gz")
    if shuffled:
        order = np.random.default_rng(0).permutation(genotypes.n_donors)
        donors = pd.Series(genotypes.donors[order], index=genotypes.donors)
        cells.obs["donor"] = donors[cells.obs["donor"].astype(str)].to_numpy()
    config = EffectConfig(window=250_000, n_factors=0, n_effects=1)
    model = EffectModel.fit(cells, genotypes, cells.var[["contig", "tss"]], config=config)
    calls = model.egenes().rename(columns={"top_variant": "variant"})[["gene", "variant", "q_value"]]
    table = model.table()[["gene", "variant", "pip", "log2_afc"]]
    answer = table.merge(calls, on=["gene", "variant"], how="outer")
    return answer.fillna({"q_value": 1.0, "pip": 0.0, "log2_afc": 0.0})


@pytest.mark.slow
def test_eqtl_is_solved_by_the_effect_model_and_not_with_donors_shuffled(made: Path) -> None:
    good = values(gs.score_benchmark(made / "eqtl", effects_of(made / "eqtl")))
    wrong = values(gs.score_benchmark(made / "eqtl", effects_of(made / "eqtl", shuffled=True)))
    assert good["power"] > 0.6
    assert good["false_discovery_rate"] < 0.2
    assert good["pip_calibration_error"] < 0.1
    assert 0.3 < good["effect_slope"] < 1.3
    assert wrong["power"] < 0.2
    assert abs(wrong["effect_slope"]) < 0.2


def dynamic_tests(folder: Path, of_slope: bool) -> pd.DataFrame:
    """Each donor's pseudobulk in five bins of the state, regressed on the state; its slope (or level) on dosage.

    The donor is the replicate, so that donors' own changes along the state are the noise of the test.
    """
    cells, genotypes = ad.read_h5ad(folder / "data.h5ad"), read_genotypes(folder / "genotypes.vcf.gz")
    n, n_bins, state = genotypes.n_donors, 5, cells.obs["state"].to_numpy()
    donor = pd.Index(genotypes.donors.astype(str)).get_indexer(pd.Index(cells.obs["donor"].astype(str)))
    at = np.digitize(state, np.quantile(state, np.arange(1, n_bins) / n_bins))
    ones = sparse.csr_matrix((np.ones(len(at)), (donor * n_bins + at, np.arange(len(at)))), (n * n_bins, len(at)))
    sums = (ones @ cells.X).toarray()
    depth = sums.sum(axis=1)
    level = np.log2((sums + 0.5) / (depth[:, None] + 1)).reshape(n, n_bins, -1)
    weight = depth.reshape(n, n_bins) / depth.reshape(n, n_bins).sum(axis=1, keepdims=True)
    t = np.array([state[at == k].mean() for k in range(n_bins)])
    away = t - (weight * t).sum(axis=1, keepdims=True)
    slope = np.einsum("db,dbg->dg", weight * away, level) / (weight * away**2).sum(axis=1)[:, None]
    response = slope if of_slope else np.einsum("db,dbg->dg", weight, level)
    dosage = genotypes.alleles.sum(axis=2).astype(float)
    common = np.minimum(dosage.mean(axis=1), 2 - dosage.mean(axis=1)) >= 0.1
    contig, start = genotypes.variants["contig"].astype(str).to_numpy(), genotypes.variants["start"].to_numpy()
    parts = []
    for g in np.flatnonzero(cells.var["tested"]):
        place = cells.var.iloc[g]
        near = np.flatnonzero(common & (contig == str(place["contig"])) & (abs(start - place["tss"]) <= 250_000))
        x, y = (v - v.mean(axis=-1, keepdims=True) for v in (dosage[near], response[:, g]))
        r = x @ y / np.sqrt((x**2).sum(axis=1) * (y**2).sum())
        p = 2 * stats.t.sf(np.abs(r) * np.sqrt((n - 2) / (1 - r**2)), n - 2)
        part = pd.DataFrame({"variant": genotypes.variants.index[near], "p_value": p})
        parts.append(part.assign(gene=cells.var_names[g], log2_afc_slope=x @ y / (x**2).sum(axis=1)))
    return pd.concat(parts)


def test_dynamic_eqtls_are_solved_by_slopes_of_donors_and_not_by_static_calls(made: Path) -> None:
    folder = made / "eqtl_dynamic"
    scores = gs.score_benchmark(folder, dynamic_tests(folder, of_slope=True)).set_index("metric")
    good, null = scores["value"], scores["null"]
    wrong = values(gs.score_benchmark(folder, dynamic_tests(folder, of_slope=False)))
    assert good["power"] > 0.5
    assert good["false_discovery_rate"] < 0.2
    assert good["slope_correlation"] > 0.8
    assert null["power"] < 0.4
    assert null["false_discovery_rate"] > 0.4
    assert abs(null["slope_correlation"]) < 0.4
    assert wrong["false_discovery_rate"] > 0.4  # static effects are as many


@pytest.mark.slow
def test_specific_eqtls_are_solved_by_the_joint_fit_and_not_by_calls_without_types(made: Path) -> None:
    folder = made / "eqtl_specific"
    cells, genotypes = ad.read_h5ad(folder / "data.h5ad"), read_genotypes(folder / "genotypes.vcf.gz")
    cells = cells[:, cells.var["tested"]].copy()
    config = EffectConfig(window=250_000, n_factors=0, n_effects=1, n_permutations=50)
    model = EffectModel.fit(cells, genotypes, cells.var[["contig", "tss"]], labels_key="cell_type", config=config)
    calls = model.egenes()
    calls = calls.assign(variant=calls["top_variant"])
    own = calls[calls["cell_type"] != "all"]
    good = values(gs.score_benchmark(folder, own[["gene", "variant", "cell_type", "q_value"]]))
    # Calls on all cells, presented as calls in each of the types.
    types = pd.DataFrame({"cell_type": own["cell_type"].unique()})
    pooled = calls.loc[calls["cell_type"] == "all", ["gene", "variant", "q_value"]].merge(types, how="cross")
    wrong = values(gs.score_benchmark(folder, pooled))
    assert good["power"] > 0.5
    assert good["false_discovery_rate"] < 0.2
    assert wrong["false_discovery_rate"] > 0.5


def test_batches_are_integrated_by_combat_and_not_by_components_alone(tmp_path: Path) -> None:
    import scanpy as sc

    # Easy batches differ so little that components alone keep the types apart.
    folder = gs.make_benchmark("batch", tmp_path / "batch", difficulty="hard", seed=3)
    cells = ad.read_h5ad(folder / "data.h5ad")
    sc.pp.normalize_total(cells, target_sum=1e3)
    sc.pp.log1p(cells)
    found = {}
    for method in ("components", "combat"):
        if method == "combat":
            cells.X = cells.X.toarray()
            sc.pp.combat(cells, key="batch")
        sc.pp.pca(cells, n_comps=15, random_state=0)
        table = pd.DataFrame(cells.obsm["X_pca"], columns=[f"dim_{i + 1}" for i in range(15)])
        found[method] = values(gs.score_benchmark(folder, table.assign(cell=cells.obs_names)))
    assert found["combat"]["type_ari"] > found["components"]["type_ari"]
    assert found["combat"]["type_ari"] > 0.9
    assert found["combat"]["batch_mixing"] > 0.8
    assert found["components"]["batch_mixing"] < 0.6


def test_de_is_solved_by_pydeseq2(made: Path) -> None:
    pytest.importorskip("pydeseq2", reason="pydeseq2 is in the dev group; install it to solve DE by a public tool")
    from pydeseq2.dds import DeseqDataSet
    from pydeseq2.ds import DeseqStats

    cells = ad.read_h5ad(made / "de" / "data.h5ad")
    parts = []
    for name in cells.obs["cell_type"].unique():
        part = cells[cells.obs["cell_type"] == name]
        counts = pd.DataFrame(part.X.toarray(), columns=cells.var_names)
        counts = counts.groupby(part.obs["donor"].astype(str).to_numpy()).sum()
        counts = counts.loc[:, counts.sum() >= 20]
        group = part.obs.groupby(part.obs["donor"].astype(str))["group"].first().astype(str)
        sheet = pd.DataFrame({"group": group.reindex(counts.index)})
        fit = DeseqDataSet(counts=counts, metadata=sheet, design="~group", n_cpus=1, quiet=True)
        fit.deseq2()
        test = DeseqStats(fit, contrast=["group", "case", "control"], n_cpus=1, quiet=True)
        test.summary()
        found = test.results_df[["pvalue", "log2FoldChange"]].dropna()
        found.columns = ["p_value", "log2_fold_change"]
        parts.append(found.rename_axis("gene").reset_index().assign(cell_type=str(name)))
    good = values(gs.score_benchmark(made / "de", pd.concat(parts)))
    assert good["auprc"] > 0.6
    assert good["power"] > 0.5
    assert good["false_discovery_rate"] < 0.15
    assert good["log2_fold_change_correlation"] > 0.9


def test_the_counts_of_doublets_rare_cells_and_networks_carry_the_truth(made: Path) -> None:
    doublets = ad.read_h5ad(made / "doublets" / "data.h5ad")
    depth = np.asarray(doublets.X.sum(axis=1)).ravel().astype(float)
    found = values(gs.score_benchmark(made / "doublets", pd.DataFrame({"cell": doublets.obs_names, "score": depth})))
    assert found["auroc"] > 0.8  # easy keeps all molecules of both cells

    cells = ad.read_h5ad(made / "grn" / "data.h5ad")
    log = np.log2(cells.X.toarray() / np.asarray(cells.X.sum(axis=1)) * 1e4 + 1)
    knocked = cells.obs["knocked_out"].astype(str).to_numpy()
    control = log[knocked == "none"]
    parts = []
    for regulator in set(knocked) - {"none"}:
        score = np.nan_to_num(np.abs(stats.ttest_ind(log[knocked == regulator], control).statistic))
        part = pd.DataFrame({"regulator": regulator, "target": cells.var_names, "score": score})
        parts.append(part[part["target"] != regulator])
    scores = gs.score_benchmark(made / "grn", pd.concat(parts)).set_index("metric")
    assert (scores["value"] > 0.3).all()
    assert (scores["null"] < 0.05).all()


def test_donors_are_told_by_the_known_ones(made: Path) -> None:
    folder = made / "donors"
    cells = ad.read_h5ad(folder / "data.h5ad")
    changed = pd.read_parquet(folder / "truth" / "changes.parquet").query("log2_fold_change != 0")
    rows = (cells.obs["cell_type"] == changed["cell_type"].iloc[0]).to_numpy()
    part = cells[rows]
    sums = (
        pd.DataFrame(part.X.toarray(), columns=cells.var_names).groupby(part.obs["donor"].astype(str).to_numpy()).sum()
    )
    log = np.log2(sums.div(sums.sum(axis=1), axis=0) * 1e4 + 1)
    group = cells.obs.groupby(cells.obs["donor"].astype(str))["group"].first().reindex(log.index)
    case, control = log[group == "case"], log[group == "control"]
    weight = (case.mean() - control.mean()) / (case.var() + control.var() + 0.1)
    hidden = log[group == "unknown"]
    answer = pd.DataFrame({"donor": hidden.index, "score": hidden.to_numpy() @ weight.to_numpy()})
    scores = gs.score_benchmark(folder, answer).set_index("metric")
    assert scores.loc["auroc", "value"] > 0.8
    assert abs(scores.loc["auroc", "null"] - 0.5) < 0.15


def test_a_wrong_request_is_a_typed_error(made: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="unknown benchmark 'magic'"):
        gs.make_benchmark("magic", tmp_path / "x")
    with pytest.raises(ConfigError, match="unknown difficulty"):
        gs.make_benchmark("de", tmp_path / "x", difficulty="brutal")
    with pytest.raises(ArtefactError, match="is the benchmark 'de'"):
        gs.score_benchmark(made / "de", pd.DataFrame(), "grn")
    answer = pd.DataFrame({"gene": ["CD74"], "cell_type": ["CD19+ B"], "p_value": [2.0]})
    with pytest.raises(InputError, match="column 'p_value'"):
        gs.score_benchmark(made / "de", answer)
    (tmp_path / "answer.csv").write_text("cell\nx\n")
    with pytest.raises(InputError, match="column 'score' is absent"):
        gs.score_benchmark(made / "doublets", tmp_path / "answer.csv")
