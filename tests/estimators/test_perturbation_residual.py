"""The residual in `PerturbationModel`: found in counts, shown wherever a user looks, stored, and refused by default."""

from __future__ import annotations

from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from genesim.config.model import PerturbationConfig
from genesim.estimators.perturbation import PerturbationModel

N_GENES, N_CELLS, N_PARTS = 40, 40, 8
NAMES = [f"p{i}" for i in range(N_PARTS)]
HELD_OUT = ("p0+p1", "p2+p3")
# The first four act on one tenth of the genes, the others on the next; two of the first move a tenth that none does.
UP, TOGETHER = np.arange(N_GENES) < 4, np.arange(N_GENES) >= 36


def shift(parts: list[str]) -> np.ndarray:
    """Change of log rates."""
    number = [int(part[1:]) for part in parts]
    own = sum((0.4 * np.roll(UP, 4 * (1 + i // 4)) for i in number), np.zeros(N_GENES))
    return own + (1.5 * TOGETHER if len(number) == 2 and max(number) < 4 else 0)


def screen() -> ad.AnnData:
    draw = np.random.default_rng(0)
    base = draw.uniform(2, 6, N_GENES)
    labels = ["control", *NAMES, *(f"{a}+{b}" for i, a in enumerate(NAMES) for b in NAMES[i + 1 :])]
    n = [200 if label == "control" else N_CELLS for label in labels]
    rates = [base * np.exp(shift([] if label == "control" else label.split("+"))) for label in labels]
    counts = np.vstack([draw.poisson(rate, (k, N_GENES)) for rate, k in zip(rates, n, strict=True)])
    obs = pd.DataFrame({"condition": np.repeat(labels, n), "total": 150.0})
    obs.index = [f"c{i}" for i in range(len(obs))]
    var = pd.DataFrame(index=[f"g{i}" for i in range(N_GENES)])
    return ad.AnnData(sparse.csr_matrix(counts.astype(np.float32)), obs=obs, var=var)


def fitted(cells: ad.AnnData, how: str) -> PerturbationModel:
    config = PerturbationConfig(residual=how, residual_steps=200, coexpression=False)
    return PerturbationModel.fit(cells, "condition", library_key="total", config=config)


@pytest.fixture(scope="module")
def models() -> tuple[ad.AnnData, PerturbationModel, PerturbationModel]:
    """All cells, and models without two doubles: with a residual and without."""
    cells = screen()
    known = cells[~cells.obs["condition"].isin(HELD_OUT)].copy()
    return cells, fitted(known, "gated"), fitted(known, "off")


def error(cells: ad.AnnData, model: PerturbationModel, label: str) -> float:
    logged = np.log1p(cells.X.toarray() * model.learned.reference_library / 150.0)
    condition = cells.obs["condition"].to_numpy()
    truth = logged[condition == label].mean(0) - logged[condition == "control"].mean(0)
    return float(((model.effect(label).delta - truth) ** 2).mean())


def test_doubles_that_interact_are_predicted_better(
    models: tuple[ad.AnnData, PerturbationModel, PerturbationModel],
) -> None:
    cells, model, plain = models
    gate = model.residuals.gates["combination"]
    assert gate.open
    assert gate.after < gate.before
    for label in HELD_OUT:
        assert error(cells, model, label) < 0.5 * error(cells, plain, label)
        estimate = model.effect(label)
        assert estimate.residual
        assert (estimate.high > estimate.low).all()


def test_users_see_whether_it_was_used(models: tuple[ad.AnnData, PerturbationModel, PerturbationModel]) -> None:
    cells, model, plain = models
    rows = model.scores[model.scores["regime"] == "combination"].set_index("method")
    assert {"without_residual", "with_residual"} <= set(rows.index)
    assert rows.loc["model", "mae"] == rows.loc["with_residual", "mae"] < rows.loc["without_residual", "mae"]
    table = model.explain(HELD_OUT[0])
    (own,) = table[table["candidate"] == "residual"].to_dict("records")
    assert own["source"] == "trained residual"
    assert set(own["genes"].split(", ")[:4]) == {"g36", "g37", "g38", "g39"}
    assert table["share"].sum() == pytest.approx(1)
    parts = model.contributions(HELD_OUT[0])
    assert parts.sum(0).to_numpy() == pytest.approx(model.effect(HELD_OUT[0]).delta, abs=1e-9)
    base = cells[cells.obs["condition"] == "control"].copy()
    assert model.predict(base, HELD_OUT[0]).uns["genesim"]["config"]["residual"] == ["all"]
    # What was measured stays what was measured.
    assert not model.effect("p4+p5").residual
    assert np.array_equal(model.effect("p4+p5").delta, plain.effect("p4+p5").delta)


def test_a_stored_residual_predicts_the_same(
    models: tuple[ad.AnnData, PerturbationModel, PerturbationModel], tmp_path: Path
) -> None:
    _, model, _ = models
    loaded = PerturbationModel.load(model.save(tmp_path / "model"))
    for label in (HELD_OUT[0], "p1+nobody", "p0+p1+p2"):
        one, other = model.effect(label), loaded.effect(label)
        assert np.array_equal(one.delta, other.delta)
        assert np.array_equal(one.high, other.high, equal_nan=True)
    assert loaded.residuals.gates == model.residuals.gates
    assert loaded.scores.equals(model.scores)


def test_nothing_is_trained_by_default(models: tuple[ad.AnnData, PerturbationModel, PerturbationModel]) -> None:
    _, _, plain = models
    assert PerturbationConfig().residual == "off"
    assert plain.residuals.gates == {}
    assert not plain.effect(HELD_OUT[0]).residual
    assert "residual" not in set(plain.explain(HELD_OUT[0])["candidate"])
    assert not plain.scores["method"].str.contains("residual").any()
