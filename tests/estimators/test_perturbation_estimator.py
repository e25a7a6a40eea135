"""`PerturbationModel` from labelled cells to predicted cells, flags, scores and files; real data (slow)."""

from __future__ import annotations

from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from genesim.data.gene_dosage import GeneDosage
from genesim.errors import ArtefactError, ConditionError, H5adError, JoinError, TrainingError
from genesim.estimators.perturbation import PerturbationModel
from genesim.metrics.distribution import pooled_pca
from genesim.metrics.perturbation import energy_distance
from genesim.models.perturbation.candidates import RELEVANT

N_GENES = 60
LABELS = ["control", "g1", "g2", "g3", "g1+g2", "g1+g3"]


def world(seed: int = 0, n: int = 120) -> ad.AnnData:
    """Three genes perturbed alone and in pairs, additive on the log scale; g2 was not tried in context Y."""
    rng = np.random.default_rng(seed)
    moved = {g: np.random.default_rng(i).random(N_GENES) < 0.3 for i, g in enumerate(("g1", "g2", "g3"))}
    effects = {g: np.where(at, 1.0, 0.0) for g, at in moved.items()}
    effects["g2"] = -effects["g2"]
    base = np.random.default_rng(9).uniform(0.5, 20, N_GENES)
    counts, label, context = [], [], []
    for c in ("X", "Y"):
        for name in LABELS:
            if c == "Y" and "g2" in name:
                continue
            shift = sum((effects[p] for p in name.split("+") if p in effects), np.zeros(N_GENES))
            rate = base * np.exp(0.8 * shift) * (1.3 if c == "Y" else 1.0)
            counts.append(rng.poisson(rate * rng.gamma(5, 0.2, (n, 1))))
            label += [name] * n
            context += [c] * n
    obs = pd.DataFrame({"condition": label, "line": context}, index=[f"c{i}" for i in range(len(label))])
    # A common library size: the panel's total would hide part of each effect.
    obs["library"] = 1000.0
    var = pd.DataFrame(index=[f"g{i}" for i in range(N_GENES)])
    return ad.AnnData(sparse.csr_matrix(np.vstack(counts).astype(np.float32)), obs=obs, var=var)


@pytest.fixture(scope="module")
def cells() -> ad.AnnData:
    return world()


@pytest.fixture(scope="module")
def model(cells: ad.AnnData) -> PerturbationModel:
    return PerturbationModel.fit(cells, "condition", covariate_keys=["line"], library_key="library")


def controls(cells: ad.AnnData, line: str | None = None) -> ad.AnnData:
    return cells[(cells.obs["condition"] == "control") & (cells.obs["line"] == (line or cells.obs["line"]))]


def truth(cells: ad.AnnData, label: str, line: str) -> np.ndarray:
    def mean(which: str) -> np.ndarray:
        rows = (cells.obs["condition"] == which) & (cells.obs["line"] == line)
        return np.log1p(cells.X[rows.to_numpy()].toarray()).mean(0)

    return mean(label) - mean("control")


def donor_dosage(**dosages: float) -> GeneDosage:
    table = pd.DataFrame({"donor": "d1", "gene": list(dosages), "dosage": list(dosages.values())})
    return GeneDosage(table, {}, ("d1",))


def test_a_donor_s_dosage_is_the_knock_down_of_the_genes_that_are_known(model: PerturbationModel) -> None:
    asked = donor_dosage(g1=0.4, g2=1.5, unheard=0.0)
    np.testing.assert_array_equal(model.effect(asked, "X").delta, model.effect({"g1": 0.6}, "X").delta)
    assert np.abs(model.effect(asked, "X").delta).max() > 0.1
    assert not model.effect(donor_dosage(g2=1.5, unheard=0.0), "X").delta.any()


def test_cells_are_predicted_from_a_donor_s_dosage(cells: ad.AnnData, model: PerturbationModel) -> None:
    made = [model.predict(controls(cells, "X"), asked).X for asked in (donor_dosage(g1=0.0), {"g1": 1.0}, {"g1": 0.1})]
    assert (made[0] != made[1]).nnz == 0
    assert (made[0] != made[2]).nnz > 0


def test_regimes_and_flags(model: PerturbationModel) -> None:
    expected = {
        ("g1", "X"): ("seen", "supported"),
        ("g2", "Y"): ("new_context", "extrapolated"),
        ("g2+g3", "X"): ("combination", "extrapolated"),
        ("g2", "Z"): ("new_context", "extrapolated"),
        ("g40", "X"): ("new_perturbation", "unsupported"),
        ("nobody", "X"): ("new_perturbation", "unsupported"),
    }
    for (label, context), answer in expected.items():
        estimate = model.effect(label, context)
        assert (estimate.regime, estimate.support) == answer
        assert estimate.delta.shape == (N_GENES,)
        assert np.isfinite(estimate.delta).all()
    half = model.effect({"g1": 0.5}, "X")
    assert half.support == "extrapolated"
    np.testing.assert_allclose(half.delta, model.effect("g1", "X").delta / 2)
    assert not model.effect({"g1": 0.0}, "X").delta.any()


def test_an_amount_of_zero_leaves_the_controls_as_they_are(cells: ad.AnnData, model: PerturbationModel) -> None:
    made = model.predict(controls(cells), {"g1": 0.0})
    np.testing.assert_array_equal(made.X.toarray(), controls(cells).X.toarray())
    assert set(made.obs["perturbation"]) == {"control"}


def test_cells_that_do_not_vary_teach_nothing_and_are_no_crash() -> None:
    """Without variance no effect has a standard error, and no condition can be held out."""
    label = np.repeat(["control", "g1", "g2"], 8)
    counts = np.array([[5, 5, 5], [1, 7, 7], [7, 1, 7]], np.float32)[np.repeat([0, 1, 2], 8)]
    obs = pd.DataFrame({"condition": label}, index=[f"c{i}" for i in range(24)])
    data = ad.AnnData(sparse.csr_matrix(counts), obs=obs, var=pd.DataFrame(index=["g1", "g2", "g3"]))
    model = PerturbationModel.fit(data, "condition")
    assert len(model.scores) == 0
    estimate = model.effect("g1+g2")
    assert np.isfinite(estimate.delta).all()
    assert np.isnan(estimate.low).all()


def test_effects_of_unmeasured_conditions_are_right(cells: ad.AnnData, model: PerturbationModel) -> None:
    fresh = world(seed=5, n=600)
    assert np.corrcoef(model.effect("g1", "X").delta, truth(fresh, "g1", "X"))[0, 1] > 0.98
    without = cells[~((cells.obs["condition"] == "g1+g2") & (cells.obs["line"] == "X"))]
    other = PerturbationModel.fit(without, "condition", covariate_keys=["line"], library_key="library")
    both = other.effect("g1+g2", "X")
    assert both.regime == "combination"
    expected = truth(fresh, "g1+g2", "X")
    assert np.corrcoef(both.delta, expected)[0, 1] > 0.97
    nothing = np.abs(expected).mean()
    assert np.abs(both.delta - expected).mean() < 0.3 * nothing
    seen = model.effect("g1+g2", "X")
    assert ((seen.low - 0.06 <= expected) & (expected <= seen.high + 0.06)).mean() > 0.9


def test_scores_hold_every_baseline(model: PerturbationModel) -> None:
    table = model.scores.set_index(["regime", "method"])
    methods = {"model", "no_change", "stack", "mean_effect", "other_contexts", "additive", "bilinear"}
    for regime in ("new_context", "combination", "new_perturbation"):
        assert methods <= set(table.loc[regime].index)
        assert set(table.loc[regime].index) - methods <= set(RELEVANT[regime])
    assert table.loc[("combination", "additive"), "mae"] < table.loc[("combination", "no_change"), "mae"]
    assert table.loc[("new_context", "model"), "pearson_delta"] > 0.9


def test_predicted_cells_are_counts_that_hit_the_effect(cells: ad.AnnData, model: PerturbationModel) -> None:
    control = controls(cells, "Y")
    before = control.X.copy()
    out = model.predict(control, {"g2": 1.0}, n_cells=400, seed=3)
    assert out.shape == (400, N_GENES)
    assert out.X.dtype.kind == "i"
    assert (before != control.X).nnz == 0
    assert set(out.obs["support"]) == {"extrapolated"}
    assert set(out.obs["perturbation"]) == {"g2"}
    assert set(out.obs["control_cell"]) <= set(control.obs_names)
    assert out.uns["genesim"]["synthetic"] is True
    assert list(out.varm["delta"].columns) == ["Y"]
    assert (out.varm["delta_low"] <= out.varm["delta"]).all(None)
    chosen = control[out.obs["control_cell"].to_numpy()].X.toarray()
    moved = np.log1p(out.X.toarray()).mean(0) - np.log1p(chosen).mean(0)
    np.testing.assert_allclose(moved, out.varm["delta"]["Y"], atol=0.03)
    assert np.corrcoef(moved, truth(world(5, 600), "g2", "X"))[0, 1] > 0.95
    again = model.predict(control, "g2", n_cells=400, seed=3)
    assert (out.X != again.X).nnz == 0
    pd.testing.assert_frame_equal(out.obs, again.obs)
    assert (out.X != model.predict(control, "g2", n_cells=400, seed=4).X).nnz > 0


def test_several_contexts_keep_their_cells_apart(cells: ad.AnnData, model: PerturbationModel) -> None:
    control = controls(cells)
    out = model.predict(control, "g2")
    assert out.obs["control_cell"].tolist() == control.obs_names.tolist()
    assert (out.obs["context"].to_numpy() == control.obs["line"].to_numpy()).all()
    assert set(zip(out.obs["context"], out.obs["regime"])) == {("X", "seen"), ("Y", "new_context")}
    down = out.varm["delta"]["X"].to_numpy() < -0.1
    assert (out.X[:, down].toarray() <= control.X[:, down].toarray()).all()


def test_written_and_read_back(cells: ad.AnnData, model: PerturbationModel, tmp_path: Path) -> None:
    model.save(tmp_path / "m")
    back = PerturbationModel.load(tmp_path / "m")
    pd.testing.assert_frame_equal(back.scores, model.scores)
    control = controls(cells)
    one, two = (m.predict(control, {"g2": 1.0, "g3": 0.5}, seed=1) for m in (model, back))
    assert (one.X != two.X).nnz == 0
    np.testing.assert_array_equal(one.varm["delta_high"], two.varm["delta_high"])
    one.write_h5ad(tmp_path / "out.h5ad")
    assert ad.read_h5ad(tmp_path / "out.h5ad").shape == one.shape
    (tmp_path / "m" / "model.json").write_text("{}")
    with pytest.raises(ArtefactError):
        PerturbationModel.load(tmp_path / "m")


def test_doses_are_read(cells: ad.AnnData) -> None:
    some = cells[cells.obs["line"] == "X"].copy()
    some = some[some.obs["condition"].isin(["control", "g1", "g1+g2"])].copy()
    some.obs["dose"] = some.obs["condition"].map({"control": "0", "g1": "10", "g1+g2": "10+5"}).astype(str)
    model = PerturbationModel.fit(some, "condition", dose_key="dose", library_key="library")
    assert model.learned.library.dose.tolist() == [[10.0, 0.0], [10.0, 5.0]]
    full = model.effect({"g1": 10.0})
    assert full.support == "supported"
    np.testing.assert_allclose(model.effect({"g1": 5.0}).delta, full.delta / 2)
    some.obs["dose"] = some.obs["dose"].replace("10", "much")
    with pytest.raises(H5adError, match="much"):
        PerturbationModel.fit(some, "condition", dose_key="dose")


def test_bad_questions_say_what_to_do(cells: ad.AnnData, model: PerturbationModel) -> None:
    with pytest.raises(ConditionError, match="not 'control'"):
        model.predict(cells, "g1")
    with pytest.raises(ConditionError, match="g1"):
        model.effect({"g1": -1.0}, "X")
    with pytest.raises(ConditionError, match="names no perturbation"):
        model.effect("control", "X")
    with pytest.raises(ConditionError, match="context"):
        model.effect("g1")
    with pytest.raises(JoinError, match="g59"):
        model.predict(controls(cells)[:, :59], "g1")
    with pytest.raises(TrainingError, match="control="):
        PerturbationModel.fit(cells, "condition", control="nothing")


def _normalised(adata: ad.AnnData, reference: float) -> np.ndarray:
    return np.log1p(adata.X.toarray() / (np.asarray(adata.X.sum(1)) / reference))


@pytest.mark.slow
def test_interferon_response_of_an_unseen_cell_type(shared_data: Path) -> None:
    """Kang 2018, each cell type left out: better than no change on effects and on cells."""
    adata = ad.read_h5ad(shared_data / "perturbation" / "kang_ifnb.h5ad")
    correlation, predicted, unchanged, covered = [], [], [], []
    for kind in sorted(adata.obs["cell_type"].unique()):
        treated = (adata.obs["condition"] == "stimulated") & (adata.obs["cell_type"] == kind)
        model = PerturbationModel.fit(adata[~treated], "condition", covariate_keys=["cell_type"])
        control = adata[(adata.obs["condition"] == "control") & (adata.obs["cell_type"] == kind)]
        out = model.predict(control, "stimulated", n_cells=int(treated.sum()))
        sets = [_normalised(a, model.learned.reference_library) for a in (control, adata[treated], out)]
        delta = sets[1].mean(0) - sets[0].mean(0)
        estimate = model.effect("stimulated", kind)
        correlation.append(np.corrcoef(delta, estimate.delta)[0, 1])
        scores = pooled_pca(sets, 50)
        unchanged.append(energy_distance(scores[0], scores[1]))
        predicted.append(energy_distance(scores[2], scores[1]))
        noise = 1.96 * np.sqrt(sets[0].var(0) / len(sets[0]) + sets[1].var(0) / len(sets[1]))
        moved = np.abs(delta) > 0.3
        half = np.sqrt((estimate.high - estimate.delta) ** 2 + noise**2)
        covered.append((np.abs(delta - estimate.delta) <= half)[moved].mean())
    assert np.mean(correlation) > 0.75
    assert np.mean(predicted) < 0.8 * np.mean(unchanged)
    assert np.mean(covered) > 0.5


@pytest.mark.slow
def test_knock_outs_carry_over_between_replicates(shared_data: Path) -> None:
    """Papalexi 2021: a knock-out left out of one replicate is told from the others; a new one is not."""
    adata = ad.read_h5ad(shared_data / "perturbation" / "papalexi_thp1.h5ad")
    model = PerturbationModel.fit(adata, "target", "non-targeting", covariate_keys=["bio_rep"])
    table = model.scores.set_index(["regime", "method"])
    assert table.loc[("new_context", "model"), "pds"] > 0.6
    assert table.loc[("new_context", "model"), "mae"] < table.loc[("new_context", "no_change"), "mae"]
    assert table.loc[("new_context", "mean_effect"), "pds"] < 0.6


@pytest.mark.slow
def test_double_activations_are_additive(shared_data: Path) -> None:
    """Norman 2019: additive wins for pairs whose parts were seen, and the gate keeps it."""
    adata = ad.read_h5ad(shared_data / "perturbation" / "norman_mcfaline.h5ad")
    model = PerturbationModel.fit(adata, "condition", covariate_keys=["cell_type"], library_key="ncounts")
    table = model.scores.loc[model.scores["regime"] == "combination"].set_index("method")
    assert table.loc["model", "mae"] < 0.7 * table.loc["no_change", "mae"]
    assert table.loc["model", "centred_pearson_delta"] > 0.8
    assert table.loc["model", "mae"] <= table["mae"].min() * 1.05
