"""What predicted cells differ in besides the mean: found where it was planted, left out where it was not."""

from __future__ import annotations

from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from genesim.config.model import PerturbationConfig
from genesim.estimators.perturbation import PerturbationModel
from genesim.estimators.perturbation_screen import paired_distance

N_GENES, N_CELLS = 60, 80
LINES = ("U", "V", "W", "X", "Y", "Z")


def screen(switched_on: bool) -> ad.AnnData:
    """One stimulus in six contexts: it doubles a third of the genes, or switches ten silent genes on in every cell."""
    draw = np.random.default_rng(0)
    base = np.r_[np.full(10, 0.02), draw.uniform(0.5, 8, N_GENES - 10)]
    up = np.arange(N_GENES) % 3 == 0
    counts, label, line = [], [], []
    for k, name in enumerate(LINES):
        own = base * np.exp(0.1 * np.random.default_rng(k + 1).normal(size=N_GENES))
        for stimulated in (False, True):
            rate, phi = own.copy(), np.full(N_GENES, 0.6)
            if stimulated and switched_on:
                rate[:10], phi[:10] = 12.0, 0.02
            elif stimulated:
                rate = np.where(up, 2 * own, own)
            noise = draw.gamma(1 / phi, phi, (N_CELLS, N_GENES))
            counts.append(draw.poisson(rate * noise))
            label += ["stimulated" if stimulated else "control"] * N_CELLS
            line += [name] * N_CELLS
    obs = pd.DataFrame({"condition": label, "line": line, "total": 300.0}, index=[f"c{i}" for i in range(len(label))])
    var = pd.DataFrame(index=[f"g{i}" for i in range(N_GENES)])
    return ad.AnnData(sparse.csr_matrix(np.vstack(counts).astype(np.float32)), obs=obs, var=var)


def fitted(cells: ad.AnnData, how: str = "auto") -> PerturbationModel:
    config = PerturbationConfig(cells=how, flow_steps=100)
    return PerturbationModel.fit(cells, "condition", covariate_keys=["line"], library_key="total", config=config)


def controls(cells: ad.AnnData, line: str) -> ad.AnnData:
    return cells[(cells.obs["condition"] == "control") & (cells.obs["line"] == line)].copy()


@pytest.fixture(scope="module")
def on() -> tuple[ad.AnnData, PerturbationModel]:
    """Without the stimulated cells of context U."""
    cells = screen(switched_on=True)
    known = cells[~((cells.obs["condition"] == "stimulated") & (cells.obs["line"] == "U"))].copy()
    return cells, fitted(known)


def test_a_planted_dispersion_is_found_and_new_cells_are_nearer_to_real_ones(
    on: tuple[ad.AnnData, PerturbationModel],
) -> None:
    cells, model = on
    gate = model.transport.gates["new_context"]["dispersion"]
    assert gate.open
    assert gate.n == 5
    truth = cells[(cells.obs["condition"] == "stimulated") & (cells.obs["line"] == "U")].X.toarray()
    base = controls(cells, "U")
    shaped = model.predict(base, "stimulated").X.toarray()
    plain = PerturbationModel(
        model.genes, model.learned, model.stacks, model.scores, model.keys, model.config, model.provenance, model.priors
    )
    shifted = plain.predict(base, "stimulated").X.toarray()
    distance = {n: paired_distance(np.log1p(x), np.log1p(truth)) for n, x in (("s", shaped), ("p", shifted))}
    assert distance["s"] < 0.5 * distance["p"]


def test_the_gates_stay_shut_where_the_plain_shift_is_right() -> None:
    gates = fitted(screen(switched_on=False)).transport.gates["new_context"]
    assert not any(gate.open for gate in gates.values())
    assert gates["dispersion"].n == 6
    # A rule without a standard error would judge on noise: what is compared differs hardly.
    assert abs(gates["dispersion"].before - gates["dispersion"].after) < 0.1


def test_a_stored_model_makes_the_same_cells(on: tuple[ad.AnnData, PerturbationModel], tmp_path: Path) -> None:
    cells, model = on
    model.save(tmp_path / "model")
    loaded = PerturbationModel.load(tmp_path / "model")
    assert loaded.transport.metadata() == model.transport.metadata()
    made, again = (m.predict(controls(cells, "U"), "stimulated", n_cells=30, seed=4).X for m in (model, loaded))
    assert (made != again).nnz == 0


def test_without_being_asked_nothing_is_tried() -> None:
    model = PerturbationModel.fit(screen(switched_on=True), "condition", covariate_keys=["line"], library_key="total")
    assert model.transport.gates == {}


def test_the_distance_of_two_halves_of_one_law_is_zero_on_average() -> None:
    draw = np.random.default_rng(5)
    found = [paired_distance(*draw.normal(size=(2, 40, 200))) for _ in range(20)]
    assert np.mean(found) == pytest.approx(0, abs=3 * np.std(found) / np.sqrt(20) + 0.05)
    assert paired_distance(draw.normal(size=(40, 200)), draw.normal(0.7, 1, (40, 200))) > 1
