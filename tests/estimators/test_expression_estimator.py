"""ExpressionModel: one path from AnnData to new cells, whatever the form of the input."""

from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from flax import nnx
from scipy import sparse

from genesim.config.model import ExpressionConfig, TrainPlan
from genesim.errors import ArtefactError, ConditionError, ConfigError, GenesimError, H5adError
from genesim.estimators.expression import UNLABELLED, ExpressionModel
from genesim.estimators.expression_fit import fit_vae, gene_statistics, held_out, refit_dispersion
from genesim.models.expression.vae import GeneStatistics, NbVae
from genesim.types import Condition

SMALL = ExpressionConfig(
    method="vae",
    n_latent=4,
    n_hidden=32,
    n_layers=1,
    n_flow_layers=1,
    n_flow_steps=8,
    vae=TrainPlan(n_steps=150, minibatch_size=64, learning_rate=5e-3, steps_per_call=50, patience=5, validate_every=50),
    flow=TrainPlan(n_steps=150, minibatch_size=64, learning_rate=5e-3, ema_decay=0.95, steps_per_call=50),
)
N_GENES = 30


def cells(n: int = 300, seed: int = 0) -> ad.AnnData:
    """Two cell types of opposite gene profiles and depth, two batches."""
    random = np.random.default_rng(seed)
    kind = random.integers(0, 2, n)
    batch = random.integers(0, 2, n)
    profile = np.exp(np.array([np.linspace(-1.5, 1.5, N_GENES), np.linspace(1.5, -1.5, N_GENES)]))
    profile /= profile.sum(axis=1, keepdims=True)
    library = np.exp(random.normal(np.where(kind == 0, 4.5, 5.5), 0.2))
    mean = library[:, None] * profile[kind] * random.gamma(5.0, 0.2, (n, N_GENES))
    obs = pd.DataFrame(
        {"kind": np.array(["B", "T"])[kind], "run": np.array(["r1", "r2"])[batch], "age": 30.0 + batch},
        index=[f"c{i}" for i in range(n)],
    )
    var = pd.DataFrame(index=[f"ENSG{i:03d}" for i in range(N_GENES)])
    return ad.AnnData(sparse.csr_matrix(random.poisson(mean).astype("f")), obs=obs, var=var)


@pytest.fixture(scope="module")
def model() -> ExpressionModel:
    return ExpressionModel.fit(
        cells(), labels_key="kind", batch_key="run", continuous_covariate_keys=["age"], config=SMALL, seed=1
    )


def test_sampled_cells_are_counts_with_names_labels_and_a_mark(model: ExpressionModel) -> None:
    drawn = model.sample(400, seed=3)
    assert sparse.issparse(drawn.X)
    assert drawn.X.dtype == np.int32
    assert list(drawn.var_names) == list(cells().var_names)
    assert drawn.uns["genesim"]["synthetic"]
    assert set(drawn.obs.columns) == {"kind", "run", "age"}
    share = (drawn.obs["kind"] == "T").mean()
    assert share == pytest.approx(model.composition["T"], abs=0.1)
    np.testing.assert_allclose(drawn.obs["age"], 30 + (drawn.obs["run"] == "r2"), rtol=1e-5)


def test_each_type_keeps_its_profile_and_depth(model: ExpressionModel) -> None:
    real = cells(600, seed=5)
    profiles, depth = {}, {}
    for name, data in (
        ("real", real),
        *((k, model.sample(300, obs={"kind": k}, seed=2)) for k in ("B", "T")),
    ):
        for kind in ("B", "T"):
            rows = (data.obs["kind"] == kind).to_numpy()
            if rows.any():
                total = np.asarray(data.X[rows].sum(axis=0)).ravel()
                profiles[name, kind] = np.log(total / total.sum())
                depth[name, kind] = np.median(np.asarray(data.X[rows].sum(axis=1)))
    for kind, other in (("B", "T"), ("T", "B")):
        assert np.corrcoef(profiles[kind, kind], profiles["real", kind])[0, 1] > 0.97
        assert np.corrcoef(profiles[kind, kind], profiles["real", other])[0, 1] < 0
        assert depth[kind, kind] == pytest.approx(depth["real", kind], rel=0.15)


def test_same_seed_same_cells_and_a_longer_draw_begins_like_a_shorter_one(model: ExpressionModel) -> None:
    a, b, other = model.sample(5, seed=4), model.sample(9, seed=4), model.sample(5, seed=5)
    np.testing.assert_array_equal(a.X.toarray(), b.X[:5].toarray())
    assert list(a.obs["kind"]) == list(b.obs["kind"][:5])
    assert (a.X != other.X).nnz > 0


def test_rates_then_counts_equal_sample(model: ExpressionModel) -> None:
    obs = pd.DataFrame({"kind": ["B", "T"] * 4, "note": range(8)})
    drawn = model.sample(8, obs=obs, seed=6)
    rates, library = model.draw_rates(obs.iloc[4:], seed=6, first=4)
    np.testing.assert_allclose(rates.sum(axis=1), 1.0, rtol=1e-5)
    counts = model.draw_counts(rates, library, obs.iloc[4:], seed=6, first=4)
    np.testing.assert_array_equal(counts.toarray(), drawn.X[4:].toarray())
    assert list(drawn.obs["note"]) == list(range(8))
    empty = model.empty_cells(drawn.obs)
    assert empty.shape == drawn.shape
    assert empty.X.nnz == 0


def test_noise_gives_way_to_variance_over_donors_at_the_same_means(model: ExpressionModel) -> None:
    obs = pd.DataFrame({"kind": ["B", "T"] * 300})
    rates, library = model.draw_rates(obs, seed=6)
    between = np.full(rates.shape, 0.4)
    whole, within = (model.draw_counts(rates, library, obs, seed=6, between=b).toarray() for b in (None, between))
    assert within.mean() == pytest.approx(whole.mean(), rel=0.03)
    excess = [float((x.var(axis=0) - x.mean(axis=0)).clip(0).sum()) for x in (whole, within)]
    assert excess[1] < 0.9 * excess[0]


def test_a_given_library_size_is_honoured(model: ExpressionModel) -> None:
    obs = pd.DataFrame({"library_size": [1000.0] * 150 + [np.nan] * 150})
    total = np.asarray(model.sample(300, obs=obs, seed=0).X.sum(axis=1)).ravel()
    assert total[:150].mean() == pytest.approx(1000, rel=0.1)
    assert total[150:].mean() < 500
    with pytest.raises(ConditionError, match="positive"):
        model.sample(2, obs={"library_size": 0})
    with pytest.raises(ConditionError, match="positive"):
        model.sample(2, obs={"library_size": 1e12})


def test_unknown_levels_and_columns_are_refused(model: ExpressionModel) -> None:
    with pytest.raises(ConditionError, match=r"'NK' of 'kind'.*B, T"):
        model.sample(3, obs={"kind": "NK"})
    with pytest.raises(ConditionError, match="no covariate 'kin'"):
        model.sample(3, obs={"kin": "B"})
    with pytest.raises(ConditionError, match="at least one"):
        model.sample(0)


def test_every_form_of_input_gives_the_same_model_and_is_not_changed(tmp_path: Path) -> None:
    config = ExpressionConfig(method="independent")
    memory = cells(80)
    memory.layers["counts"] = memory.X.copy()
    memory.X = np.log1p(memory.X.toarray())
    before = memory.copy()
    path = tmp_path / "cells.h5ad"
    memory.write_h5ad(path)
    backed = ad.read_h5ad(path, backed="r")
    view = ad.concat([memory, cells(7, seed=3)], join="outer")[:80]
    drawn = [
        ExpressionModel.fit(data, labels_key="kind", layer="counts", config=config, seed=0).sample(20).X.toarray()
        for data in (memory, path, backed, view)
    ]
    for other in drawn[1:]:
        np.testing.assert_array_equal(other, drawn[0])
    np.testing.assert_array_equal(memory.X, before.X)
    assert list(memory.obs.columns) == list(before.obs.columns)
    with pytest.raises(H5adError, match="counts"):
        ExpressionModel.fit(memory, labels_key="kind", config=config)


def test_embedding_separates_types_and_needs_no_covariates(model: ExpressionModel) -> None:
    real = cells(100, seed=8)
    z = model.embed(ad.AnnData(real.X, obs=pd.DataFrame(index=real.obs_names), var=real.var))
    assert z.shape == (100, 4)
    is_t = (real.obs["kind"] == "T").to_numpy()
    gap = np.abs(z[is_t].mean(axis=0) - z[~is_t].mean(axis=0)) / z.std(axis=0)
    assert gap.max() > 1


def test_denoising_comes_nearer_to_the_truth_than_the_counts(model: ExpressionModel) -> None:
    real = cells(100, seed=9)
    profile = np.exp(np.array([np.linspace(-1.5, 1.5, N_GENES), np.linspace(1.5, -1.5, N_GENES)]))
    truth = 1e4 * (profile / profile.sum(axis=1, keepdims=True))[(real.obs["kind"] == "T").to_numpy().astype(int)]
    counts = real.X.toarray()
    raw = 1e4 * counts / counts.sum(axis=1, keepdims=True)
    for own_counts, share in ((False, 0.5), (True, 0.8)):  # own counts come back with some of their noise
        denoised = model.denoise(real, own_counts=own_counts)
        np.testing.assert_allclose(denoised.X.sum(axis=1), 1e4, rtol=1e-3)
        assert np.mean((denoised.X - truth) ** 2) < share * np.mean((raw - truth) ** 2)


@pytest.mark.parametrize("varied", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_own_counts_predict_unseen_molecules_where_cells_vary_beyond_the_latent(varied: bool) -> None:
    """Molecular cross-validation: the gain is there where genes vary cell by cell, and no loss where they do not."""
    random = np.random.default_rng(21)
    seen = cells(500, seed=21)
    profile = np.exp(np.array([np.linspace(-1.5, 1.5, N_GENES), np.linspace(1.5, -1.5, N_GENES)]))
    profile /= profile.sum(axis=1, keepdims=True)
    share = profile[(seen.obs["kind"] == "T").to_numpy().astype(int)]
    share = share * (random.gamma(2.0, 0.5, share.shape) if varied else 1.0)
    seen.X = sparse.csr_matrix(random.poisson(150 * share).astype("f"))
    hidden = random.poisson(150 * share)
    size = np.asarray(seen.X.sum(axis=1))
    fitted = ExpressionModel.fit(seen, labels_key="kind", config=SMALL, seed=2)

    def error(own_counts: bool) -> float:
        """Poisson deviance a cell, but for a constant."""
        mean = fitted.denoise(seen, library_size=1.0, own_counts=own_counts).X * size
        return float(2 * (mean - hidden * np.log(mean)).sum(axis=1).mean())

    gain = error(False) - error(True)
    assert (gain > 3.0) if varied else (abs(gain) < 1.0)


def test_a_cell_is_denoised_alike_in_any_company(model: ExpressionModel) -> None:
    real = cells(60, seed=9)
    some = np.array([41, 7, 20])
    np.testing.assert_allclose(model.denoise(real[some].copy()).X, model.denoise(real).X[some], rtol=1e-4)
    np.testing.assert_array_equal(model.denoise(real).X, model.denoise(real).X)


def test_scores_prefer_real_cells_to_shuffled_ones(model: ExpressionModel) -> None:
    real = cells(60, seed=10)
    shuffled = real.copy()
    shuffled.X = real.X[:, np.random.default_rng(0).permutation(N_GENES)]
    a, b = model.score_cells(real), model.score_cells(shuffled)
    assert list(a.index) == list(real.obs_names)
    assert (a.to_numpy() > b.to_numpy()).mean() > 0.9


def test_genes_are_matched_by_name(model: ExpressionModel) -> None:
    real = cells(30, seed=11)
    np.testing.assert_allclose(model.embed(real[:, ::-1].copy()), model.embed(real), atol=1e-5)
    with pytest.raises(H5adError, match="1 of the model's 30 genes"):
        model.embed(real[:, 1:].copy())


def test_a_stored_model_draws_the_same_cells(model: ExpressionModel, tmp_path: Path) -> None:
    model.save(tmp_path / "model")
    loaded = ExpressionModel.load(tmp_path / "model")
    np.testing.assert_array_equal(loaded.sample(12, seed=3).X.toarray(), model.sample(12, seed=3).X.toarray())
    real = cells(20, seed=12)
    np.testing.assert_allclose(loaded.embed(real), model.embed(real), atol=1e-6)
    pd.testing.assert_series_equal(loaded.score_cells(real), model.score_cells(real))
    assert loaded.config == model.config
    assert loaded.history.keys() == model.history.keys()
    description = tmp_path / "model" / "model.json"
    description.write_text(description.read_text().replace('"r1"', '"r9"'))
    with pytest.raises(ArtefactError):
        ExpressionModel.load(tmp_path / "model")


@pytest.mark.parametrize("method", ["independent", "copula"])
def test_baselines_share_the_interface(method: str, tmp_path: Path) -> None:
    config = ExpressionConfig(method=method)
    baseline = ExpressionModel.fit(cells(200), labels_key="kind", config=config)
    drawn = baseline.sample(50, obs={"kind": "T"}, seed=1)
    baseline.save(tmp_path / "m")
    again = ExpressionModel.load(tmp_path / "m").sample(50, obs={"kind": "T"}, seed=1)
    np.testing.assert_array_equal(again.X.toarray(), drawn.X.toarray())
    real = cells(500, seed=4)
    real_t = np.asarray(real.X[(real.obs["kind"] == "T").to_numpy()].mean(axis=0)).ravel()
    assert np.corrcoef(np.asarray(drawn.X.mean(axis=0)).ravel(), real_t)[0, 1] > 0.95
    with pytest.raises(ConfigError, match=r"no draw_rates.*method='vae'"):
        baseline.draw_rates(drawn.obs, 0)


def test_without_labels_there_is_one_type() -> None:
    baseline = ExpressionModel.fit(cells(60), config=ExpressionConfig(method="independent"))
    assert baseline.cell_types == (UNLABELLED,)
    assert baseline.composition == {UNLABELLED: 1.0}
    assert baseline.sample(3).shape == (3, N_GENES)


@pytest.mark.slow
def test_a_killed_training_goes_on_to_the_same_model(tmp_path: Path, model: ExpressionModel) -> None:
    """Only the VAE's last checkpoint is kept: the rest of the run is repeated exactly."""
    data = cells(100)
    config = SMALL.model_copy(
        update={
            "vae": SMALL.vae.model_copy(update={"n_steps": 20, "checkpoint_every": 10, "patience": None}),
            "flow": SMALL.flow.model_copy(update={"n_steps": 20, "checkpoint_every": 10}),
        }
    )
    whole = ExpressionModel.fit(data, labels_key="kind", config=config, checkpoint_dir=tmp_path / "c")
    for folder in ("vae", "flow"):
        newest = max((tmp_path / "c" / folder).iterdir(), key=lambda p: p.stat().st_mtime)
        for file in sorted(newest.rglob("*"), reverse=True):
            file.unlink() if file.is_file() else file.rmdir()
        newest.rmdir()
    again = ExpressionModel.fit(data, labels_key="kind", config=config, checkpoint_dir=tmp_path / "c")
    np.testing.assert_array_equal(whole.sample(10).X.toarray(), again.sample(10).X.toarray())


def test_missing_keys_are_errors() -> None:
    with pytest.raises(GenesimError, match="celltype"):
        ExpressionModel.fit(cells(20), labels_key="celltype", config=SMALL)


def test_dispersions_move_half_way_to_their_maximum_likelihood() -> None:
    n_cells, n_genes, theta = 2000, 6, 2.0
    random = np.random.default_rng(0)
    frequency = np.full(n_genes, 1 / n_genes)
    counts = random.poisson(random.gamma(theta, 60.0 * frequency / theta, (n_cells, n_genes)))
    start = np.log(0.2)
    statistics = GeneStatistics(frequency, frequency, np.log(frequency), np.full(n_genes, start), n_cells)
    vae = NbVae(statistics, (), [], 0, SMALL, rngs=nnx.Rngs(0))
    vae.to_genes.kernel[...] = 0.0 * vae.to_genes.kernel[...]
    condition = Condition(
        np.zeros((n_cells, 0), np.int32), np.zeros((n_cells, 0), "f"), np.full(n_cells, np.log(60.0), "f")
    )
    posterior = np.ones((n_cells, 2 * SMALL.n_latent), np.float32)
    refit_dispersion(vae, sparse.csr_matrix(counts), condition, posterior, seed=0)
    np.testing.assert_allclose(vae.log_theta[...], (start + np.log(theta)) / 2, atol=0.08)


@pytest.mark.slow
def test_the_loading_penalty_weighs_most_where_cells_are_few() -> None:
    plan = TrainPlan(n_steps=60, minibatch_size=64, learning_rate=3e-3)
    data, sizes = cells(300), {}
    kind = pd.factorize(data.obs["kind"])[0][:, None].astype(np.int32)
    log_library = np.log(data.X.sum(axis=1).A1).astype("f")
    for n in (60, 300):
        for penalty in (0.0, 3.0):
            config = SMALL.model_copy(update={"loading_penalty": penalty, "vae": plan})
            condition = Condition(kind[:n], np.zeros((n, 0), "f"), log_library[:n])
            fitted = fit_vae(data.X[:n], condition, (2,), [np.full(2, 0.5)], config, 0).model
            sizes[n, penalty] = float(np.square(fitted.to_genes.kernel[...]).sum())
    assert sizes[60, 3.0] / sizes[60, 0.0] < sizes[300, 3.0] / sizes[300, 0.0] < 1


def test_drawn_means_are_calibrated_in_every_level() -> None:
    """Heavy penalties flatten every fold change; the calibration gives them back."""
    data = cells(200)
    plan = TrainPlan(n_steps=40, minibatch_size=64, learning_rate=3e-3)
    config = SMALL.model_copy(update={"offset_penalty": 1e4, "loading_penalty": 1e4, "vae": plan, "flow": plan})
    fitted = ExpressionModel.fit(data, labels_key="kind", config=config)
    drawn = fitted.sample(4000, seed=3)
    for kind in fitted.cell_types:
        real, found = (x[x.obs["kind"] == kind].X.toarray() for x in (data, drawn))
        share = real.sum(axis=0) / real.sum()
        assert np.abs(np.log2((found.sum(axis=0) / found.sum() + 1e-3) / (share + 1e-3))).max() < 0.25


def test_held_out_cells_are_disjoint_and_given_up_where_too_few() -> None:
    train, validation = held_out(400, 0.1, 0)
    assert len(validation) == 40
    assert sorted([*train, *validation]) == list(range(400))
    assert len(held_out(100, 0.1, 0)[1]) == 0


def test_gene_statistics_are_those_of_the_dense_counts() -> None:
    counts = cells(200).X.tocsr()
    found = gene_statistics(counts)
    dense = counts.toarray().astype(float)
    scaled = np.log1p(1e4 * dense / dense.sum(axis=1, keepdims=True))
    np.testing.assert_allclose(found.mean, scaled.mean(axis=0))
    np.testing.assert_allclose(found.sd, np.maximum(scaled.std(axis=0), 0.05))
    frequency = (dense.sum(axis=0) + 0.25) / (dense.sum() + 0.25 * N_GENES)
    np.testing.assert_allclose(found.log_frequency, np.log(frequency))
    mean = dense.sum(axis=1, keepdims=True) * frequency
    theta = (mean**2).sum(axis=0) / ((dense - mean) ** 2 - mean).sum(axis=0)
    np.testing.assert_allclose(found.log_theta, np.clip(np.log(np.maximum(theta, 1e-8)), -2, 3), rtol=1e-6)


def test_text_columns_of_var_travel_and_measurements_do_not(tmp_path: Path) -> None:
    data = cells(60)
    data.var["gene_ids"] = [f"ENSG{i:011d}" for i in range(N_GENES)]
    data.var["feature_types"] = pd.Categorical(["Gene Expression"] * N_GENES)
    data.var["name"] = [None, "B", *["x"] * (N_GENES - 2)]
    data.var["n_cells"] = 7
    data.var["highly_variable"] = True
    model = ExpressionModel.fit(data, labels_key="kind", config=ExpressionConfig(method="independent"))
    model.save(tmp_path / "model")
    for made in (model.sample(5), ExpressionModel.load(tmp_path / "model").sample(5)):
        assert list(made.var.columns) == ["gene_ids", "feature_types", "name"]
        assert list(made.var["gene_ids"]) == list(data.var["gene_ids"])
        assert made.var["name"].iloc[0] is None
        made.var["name"] = "changed"
    assert list(model.sample(5).var["name"])[:2] == [None, "B"]
    made = model.sample(5)
    made.write_h5ad(tmp_path / "made.h5ad")
    assert list(ad.read_h5ad(tmp_path / "made.h5ad").var["gene_ids"]) == list(data.var["gene_ids"])
