"""Conditions of ExpressionModel against planted truth: unseen combinations, ages between, batches, depth, rare
types, and the tables that explain them.

Log rates are sums of planted terms: cell type, stimulation (genes 0-19), run (20-39) and age (40-59). T cells were
never seen stimulated, nobody was 50, and 20 cells are of a rare type with markers of its own (60-64).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from genesim.config.model import ExpressionConfig, TrainPlan
from genesim.errors import ConditionError, ConfigError
from genesim.estimators.covariates import Covariates
from genesim.estimators.expression import ExpressionModel

N_GENES = 80
_RANDOM = np.random.default_rng(7)
BASE = _RANDOM.normal(0.0, 1.0, N_GENES)
TYPES = {name: _RANDOM.normal(0.0, 0.8, N_GENES) for name in ("B", "T", "rare")}
MARKERS = slice(60, 65)
TYPES["rare"][MARKERS] += 3.0
_SIGN = np.where(np.arange(20) % 2, 1.0, -1.0)
STIMULATED, RUN, DECADE = np.zeros((3, N_GENES))
STIMULATED[:20], RUN[20:40], DECADE[40:60] = _SIGN, 0.8 * _SIGN, 0.3 * _SIGN
T_CELL = {"kind": "T", "treated": "no", "run": "r1", "age": 50.0}
B_CELL = T_CELL | {"kind": "B"}
PLAN = TrainPlan(n_steps=2000, minibatch_size=128, learning_rate=3e-3, steps_per_call=200)
CONFIG = ExpressionConfig(
    method="vae",  # one network: `auto` would choose among equals here, by the noise of its trials
    n_latent=6,
    n_hidden=48,
    n_layers=1,
    n_flow_layers=2,
    n_flow_steps=10,
    vae=PLAN,
    flow=PLAN.model_copy(update={"ema_decay": 0.98}),
)


def true_rates(obs: pd.DataFrame) -> np.ndarray:
    """Planted share of counts [cell, gene]."""
    logits = BASE + np.stack([TYPES[name] for name in obs["kind"]])
    logits = logits + (obs["treated"] == "yes").to_numpy()[:, None] * STIMULATED
    logits = logits + (obs["run"] == "r2").to_numpy()[:, None] * RUN
    rates = np.exp(logits + (obs["age"].to_numpy(float)[:, None] - 50) / 10 * DECADE)
    return rates / rates.sum(axis=1, keepdims=True)


def cells(n: int = 1500, seed: int = 0) -> ad.AnnData:
    random = np.random.default_rng(seed)
    kind = np.array(["B", "T"], object)[random.integers(0, 2, n)]
    kind[:20] = "rare"
    treated = np.array(["no", "yes"], object)[random.integers(0, 2, n)]
    treated[kind == "T"] = "no"
    run, age = np.array(["r1", "r2"], object)[random.integers(0, 2, n)], random.choice([30.0, 40.0, 60.0, 70.0], n)
    obs = pd.DataFrame(
        {"kind": kind, "treated": treated, "run": run, "age": age, "weight": random.normal(70, 9, n)},
        index=[f"c{i}" for i in range(n)],
    )
    library = np.exp(random.normal(np.where(kind == "B", 6.2, 6.8), 0.25))
    counts = random.poisson(library[:, None] * true_rates(obs) * random.gamma(5, 0.2, (n, N_GENES)))
    var = pd.DataFrame({"symbol": [f"G{i}" for i in range(N_GENES)]}, index=[f"ENSG{i:03d}" for i in range(N_GENES)])
    return ad.AnnData(sparse.csr_matrix(counts.astype("f")), obs=obs, var=var)


def fitted(data: ad.AnnData, config: ExpressionConfig) -> ExpressionModel:
    return ExpressionModel.fit(
        data,
        labels_key="kind",
        batch_key="run",
        categorical_covariate_keys=["treated"],
        continuous_covariate_keys=["age", "weight"],
        config=config,
    )


@pytest.fixture(scope="module")
def model() -> ExpressionModel:
    return fitted(cells(), CONFIG)


def log_profile(model: ExpressionModel, obs: Mapping[str, Any], seed: int = 1) -> np.ndarray:
    """Log share of counts of 2,000 drawn cells."""
    total = np.asarray(model.sample(2000, obs=obs, seed=seed).X.sum(axis=0)).ravel()
    return np.log((total + 0.5) / total.sum())


def true_change(before: Mapping[str, Any], after: Mapping[str, Any]) -> np.ndarray:
    """Planted log fold change."""
    return np.diff(np.log(true_rates(pd.DataFrame([before, after]))), axis=0)[0]


def slope(found: np.ndarray, planted: np.ndarray) -> float:
    """Of `found` on `planted`, through the origin: 1 is right, 0 no effect."""
    return float(found @ planted / (planted @ planted))


def drawn_slope(model: ExpressionModel, before: Mapping[str, Any], after: Mapping[str, Any]) -> float:
    return slope(log_profile(model, after) - log_profile(model, before), true_change(before, after))


def test_an_unseen_combination_is_the_sum_of_its_parts(model: ExpressionModel) -> None:
    stimulated = T_CELL | {"treated": "yes"}
    assert drawn_slope(model, T_CELL, stimulated) == pytest.approx(1.0, abs=0.15)
    # Where types share nothing, an unseen combination looks like the seen one.
    apart = fitted(cells(), ExpressionConfig(method="independent"))
    assert abs(drawn_slope(apart, T_CELL, stimulated)) < 0.3


def test_the_margins_of_a_label_are_left_out_where_its_levels_were_never_seen_together(model: ExpressionModel) -> None:
    """They are of T cells without treatment, and would draw treated ones back to these."""
    bare = replace(model, generator=replace(model.generator, margins=None))
    for asked, unseen in ((T_CELL | {"treated": "yes"}, True), (T_CELL, False), (B_CELL | {"treated": "yes"}, False)):
        drawn, plain = (m.sample(300, obs=asked, seed=2).X for m in (model, bare))
        assert ((drawn != plain).nnz == 0) == unseen


def test_analogies_are_exact_where_effects_add() -> None:
    """Whatever is a sum over levels comes out as at the unseen combination itself."""
    random = np.random.default_rng(0)
    names = ["a", "b", "c"]
    codes = np.array([[i, j, k] for i in range(4) for j in range(3) for k in range(2)])
    unseen = codes[[3, 10, 17]]
    seen = np.repeat(codes[[c not in unseen.tolist() for c in codes.tolist()]], random.integers(1, 9, 21), axis=0)
    known = Covariates.fit(pd.DataFrame(seen, columns=names).astype(str), names, [])
    effect = [random.normal(size=n) for n in known.n_levels]

    def total(rows: np.ndarray) -> np.ndarray:
        return sum(effect[i][rows[:, i]] for i in range(3))

    wanted = np.vstack([unseen, seen[:2]]).astype(np.int32)
    terms = known.analogies(wanted)
    assert len(terms) > 3
    np.testing.assert_allclose(sum(weight * total(rows) for weight, rows in terms), total(wanted), atol=1e-5)
    np.testing.assert_allclose(sum(weight for weight, _ in terms), 1.0, atol=1e-6)
    used = {tuple(row) for weight, rows in terms for w, row in zip(weight, rows) if w}
    assert used <= {tuple(row) for row in seen}
    (_, rows), *rest = known.analogies(np.array([[0, 0, -1], [1, 1, 1]], np.int32))
    assert not rest
    np.testing.assert_array_equal(rows, [[0, 0, -1], [1, 1, 1]])
    # A level that was seen in one combination alone has no analogy where nothing is shared.
    lone = Covariates.fit(pd.DataFrame({"a": ["x", "y"], "b": ["u", "v"]}), ["a", "b"], [])
    np.testing.assert_array_equal(lone.analogies(np.array([[0, 1]]))[0][1], [[0, 1]])


def test_ages_between_those_seen_lie_between(model: ExpressionModel) -> None:
    """The nearest age seen would give 0.5 or 1.5."""
    assert drawn_slope(model, T_CELL | {"age": 30.0}, T_CELL) == pytest.approx(1.0, abs=0.1)
    assert drawn_slope(model, T_CELL | {"age": 30.0}, T_CELL | {"age": 45.0}) == pytest.approx(1.0, abs=0.1)


def test_a_type_of_20_cells_keeps_its_markers(model: ExpressionModel) -> None:
    rare = B_CELL | {"kind": "rare"}
    found = np.exp(log_profile(model, rare)[MARKERS] - np.log(true_rates(pd.DataFrame([rare]))[0, MARKERS]))
    np.testing.assert_allclose(found, 1.0, atol=0.35)
    others = np.exp(log_profile(model, B_CELL)[MARKERS] - log_profile(model, rare)[MARKERS])
    assert others.max() < 0.25


@pytest.mark.parametrize("library_size", [100.0, 2000.0, 50_000.0])
def test_a_depth_that_is_asked_for_scales_counts_and_nothing_else(model: ExpressionModel, library_size: float) -> None:
    """Also far from any depth seen: the flow's own extrapolation would change the cells."""
    cell = T_CELL | {"library_size": library_size}
    total = np.asarray(model.sample(3000, obs=cell, seed=2).X.sum(axis=1)).ravel()
    assert total.mean() == pytest.approx(library_size, rel=0.02)
    change = log_profile(model, cell) - log_profile(model, T_CELL)
    common = true_rates(pd.DataFrame([T_CELL]))[0] > 0.003  # of 2,000 cells, the drawn counts say enough
    assert np.abs(change[common]).max() < 0.15
    states = [model.draw_rates(pd.DataFrame([c] * 5), seed=3)[0] for c in (cell, T_CELL)]
    np.testing.assert_array_equal(*states)


def test_depth_belongs_to_the_group(model: ExpressionModel) -> None:
    median = [np.median(np.asarray(model.sample(800, obs=cell).X.sum(axis=1))) for cell in (B_CELL, T_CELL)]
    np.testing.assert_allclose(median, np.exp([6.2, 6.8]), rtol=0.1)


def test_a_batch_is_kept_transferred_or_removed_in_new_cells(model: ExpressionModel) -> None:
    other = T_CELL | {"run": "r2"}
    planted = true_change(T_CELL, other)
    first, second, removed = (log_profile(model, cell) for cell in (T_CELL, other, T_CELL | {"run": None}))
    assert slope(second - first, planted) == pytest.approx(1.0, abs=0.1)
    assert slope(removed - first, planted) == pytest.approx(0.5, abs=0.1)
    drawn = model.sample(3, obs={"run": None, "age": None, "kind": "B"})
    assert drawn.obs["run"].isna().all()
    assert drawn.obs["age"].isna().all()
    mean = float(cells().obs["age"].mean())
    asked = {"kind": "B", "run": "r1", "treated": "no", "weight": 70.0}
    np.testing.assert_array_equal(
        model.sample(3, obs=asked | {"age": None}).X.toarray(), model.sample(3, obs=asked | {"age": mean}).X.toarray()
    )


@pytest.mark.slow
def test_removal_reaches_what_the_latent_holds_of_a_batch() -> None:
    """Offsets penalised away leave the batch to the latent; telling the decoder another batch then changes little."""
    data = cells(800, seed=4)
    data = data[(data.obs["kind"] != "rare").to_numpy()].copy()
    plan = {name: getattr(CONFIG, name).model_copy(update={"n_steps": 1000}) for name in ("vae", "flow")}
    held = fitted(data, CONFIG.model_copy(update={"offset_penalty": 1e4, "loading_penalty": 0.0, **plan}))
    second = (data.obs["run"] == "r2").to_numpy()
    truth = np.log(true_rates(data.obs.assign(run="r1")))

    def left(denoised: ad.AnnData) -> float:
        """What is left of the batch, 1 all and 0 none, beside what the two runs' cells differ in otherwise."""
        difference = np.log(denoised.X) - truth
        return slope(difference[second].mean(axis=0) - difference[~second].mean(axis=0), RUN)

    assert left(held.denoise(data)) > 0.7
    told = data.copy()
    told.obs["run"] = "r1"
    assert left(held.denoise(told)) > 0.3
    moved, removed = held.denoise(data, obs={"run": "r1"}), held.denoise(data, obs={"run": None})
    assert abs(left(moved)) < 0.12
    assert abs(left(removed)) < 0.12
    assert (moved.obs["run"] == "r1").all()
    assert removed.obs["run"].isna().all()
    assert list(removed.obs_names) == list(data.obs_names)
    assert list(removed.obs["age"]) == list(data.obs["age"])
    np.testing.assert_allclose(removed.X.sum(axis=1), 1e4, rtol=1e-3)
    # Cells of the wanted batch stay as they are.
    np.testing.assert_allclose(moved.X[~second], held.denoise(data).X[~second], rtol=1e-4)


def test_denoising_refuses_what_is_no_covariate(model: ExpressionModel) -> None:
    data = cells(20)
    with pytest.raises(ConditionError, match="no covariate 'batch'"):
        model.denoise(data, obs={"batch": "r1"})
    with pytest.raises(ConditionError, match="'r9' of 'run'"):
        model.denoise(data, obs={"run": "r9"})
    with pytest.raises(ConditionError, match="library_size"):
        model.denoise(data, obs={"library_size": 5.0})


def test_identifiers_of_genes_are_kept(model: ExpressionModel) -> None:
    data = cells(20)
    for made in (model.sample(3), model.denoise(data, obs={"run": None})):
        assert list(made.var_names) == list(data.var_names)
        assert list(made.var["symbol"]) == list(data.var["symbol"])


def terms(table: pd.DataFrame) -> pd.DataFrame:
    return table.drop(columns=["log2_fold_change", "per_10k_reference", "per_10k"])


def test_terms_add_up_to_the_fold_change_of_drawn_rates(model: ExpressionModel) -> None:
    table = model.explain({"kind": "T", "run": "r2"}, seed=4)
    names = [*model.covariates.names, "library_size"]
    assert list(terms(table).columns) == [f"{n}: latent" for n in names] + [f"{n}: direct" for n in names[:-1]]
    np.testing.assert_allclose(terms(table).sum(axis=1), table["log2_fold_change"], atol=1e-9)
    np.testing.assert_allclose(
        np.log2(table["per_10k"] / table["per_10k_reference"]), table["log2_fold_change"], atol=1e-9
    )
    size = table["log2_fold_change"].abs().to_numpy()
    assert (np.diff(size) <= 0).all()
    mean = []
    for group in (None, {"kind": "T", "run": "r2"}):
        obs = model.covariates.complete(model.covariates.table(3000, group), 9)
        mean.append(pd.Series(model.draw_rates(obs, seed=9)[0].mean(axis=0), index=model.genes))
    drawn = np.log2(mean[1] / mean[0])
    assert np.abs(drawn - table["log2_fold_change"].reindex(drawn.index)).max() < 0.2


def test_each_term_is_its_own_covariate(model: ExpressionModel) -> None:
    changed = T_CELL | {"run": "r2", "age": 30.0, "weight": 70.0}
    table = terms(model.explain(changed, T_CELL | {"weight": 70.0})).reindex(model.genes)
    for name in ("kind", "treated", "weight"):
        assert (table[[f"{name}: latent", f"{name}: direct"]] == 0).all(axis=None)
    for name, planted in (("run", RUN), ("age", -2 * DECADE)):
        whole = (table[f"{name}: latent"] + table[f"{name}: direct"]).to_numpy() * np.log(2)
        assert slope(whole, planted) == pytest.approx(1.0, abs=0.15)
        assert slope(table[f"{name}: direct"].to_numpy() * np.log(2), planted) > 0.7
    # The other way round would mistake one covariate's genes for the other's.
    assert abs(slope(table["run: direct"].to_numpy(), DECADE)) < 0.1
    assert abs(slope(table["age: direct"].to_numpy(), RUN)) < 0.1
    nothing = model.explain(T_CELL, T_CELL)
    assert np.abs(terms(nothing).drop(columns=["weight: latent", "weight: direct"])).max(axis=None) < 1e-6


def test_programs_rank_genes_and_score_cells(model: ExpressionModel) -> None:
    data = cells(600, seed=6)
    found = model.programs(n_programs=3, n_top=8)
    assert found.loadings.shape == (N_GENES, 3)
    assert list(found.loadings.index) == list(model.genes)
    assert 0.5 < found.r_squared <= 1
    assert found.table["share"].is_monotonic_decreasing
    assert found.table["share"].sum() <= found.r_squared + 1e-9
    listed = [name for cell in found.table.loc["program1", ["up", "down"]] for name in cell.split(", ") if name]
    assert set(listed) == set(found.loadings["program1"].abs().nlargest(8).index)
    assert (found.loadings.loc[found.table.loc["program1", "up"].split(", "), "program1"] > 0).all()
    scores = model.program_scores(data, found)
    assert list(scores.index) == list(data.obs_names)
    # The largest program is what tells the two types apart, along the genes that do.
    groups = scores["program1"].groupby(data.obs["kind"].astype(str))
    assert abs(groups.mean()["T"] - groups.mean()["B"]) > 1.5
    direction = np.sign(groups.mean()["T"] - groups.mean()["B"])
    difference = TYPES["T"] - TYPES["B"]
    assert np.corrcoef(direction * found.loadings["program1"], difference)[0, 1] > 0.8
    pd.testing.assert_frame_equal(model.program_scores(data[:5].copy(), found), scores[:5], rtol=1e-4, atol=1e-4)


def test_baselines_have_nothing_to_explain() -> None:
    baseline = ExpressionModel.fit(cells(60), labels_key="kind", config=ExpressionConfig(method="independent"))
    for ask in (lambda: baseline.programs(), lambda: baseline.explain({"kind": "T"})):
        with pytest.raises(ConfigError, match=r"no (programs|explain)"):
            ask()
