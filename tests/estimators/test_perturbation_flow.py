"""The flow of cells: opened where cells were planted to part in two, shut where the plain shift is the truth."""

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
UP = np.arange(N_GENES) % 3 == 0


def screen(responders: float) -> ad.AnnData:
    """One stimulus in six contexts: in a share of the cells it multiplies a third of the genes by ten."""
    draw = np.random.default_rng(0)
    base = draw.uniform(0.5, 4, N_GENES)
    counts, label, line = [], [], []
    for k, name in enumerate(LINES):
        own = base * np.exp(0.1 * np.random.default_rng(k + 1).normal(size=N_GENES))
        for stimulated in (False, True):
            rate = np.tile(own, (N_CELLS, 1))
            if stimulated:
                responds = draw.random(N_CELLS) < responders
                rate[responds] *= np.where(UP, 10 if responders < 1 else 3, 1)
            noise = draw.gamma(4, 1 / 4, (N_CELLS, N_GENES))
            counts.append(draw.poisson(rate * noise))
            label += ["stimulated" if stimulated else "control"] * N_CELLS
            line += [name] * N_CELLS
    obs = pd.DataFrame({"condition": label, "line": line, "total": 150.0}, index=[f"c{i}" for i in range(len(label))])
    var = pd.DataFrame(index=[f"g{i}" for i in range(N_GENES)])
    return ad.AnnData(sparse.csr_matrix(np.vstack(counts).astype(np.float32)), obs=obs, var=var)


def fitted(cells: ad.AnnData, how: str) -> PerturbationModel:
    config = PerturbationConfig(cells=how, flow_steps=400)
    return PerturbationModel.fit(cells, "condition", covariate_keys=["line"], library_key="total", config=config)


def taken(cells: ad.AnnData, condition: str) -> ad.AnnData:
    return cells[(cells.obs["condition"] == condition) & (cells.obs["line"] == "U")].copy()


@pytest.fixture(scope="module")
def split() -> tuple[ad.AnnData, PerturbationModel]:
    """Half of the cells respond; without the stimulated cells of context U."""
    cells = screen(0.5)
    known = cells[~((cells.obs["condition"] == "stimulated") & (cells.obs["line"] == "U"))].copy()
    return cells, fitted(known, "flow")


def programme(x: np.ndarray) -> np.ndarray:
    """Mean log expression of the genes that the stimulus moves, cell by cell."""
    return np.log1p(x)[:, UP].mean(1)


def test_the_gate_opens_where_half_of_the_cells_respond(split: tuple[ad.AnnData, PerturbationModel]) -> None:
    cells, model = split
    gates = model.transport.gates["new_context"]
    assert set(gates) == {"flow"}
    assert gates["flow"].open
    assert gates["flow"].n == 5
    truth, base = taken(cells, "stimulated").X.toarray(), taken(cells, "control")
    made = model.predict(base, "stimulated").X
    assert (made.data == made.data.round()).all()
    assert (made.data >= 0).all()
    made = made.toarray()
    plain = PerturbationModel(
        model.genes, model.learned, model.stacks, model.scores, model.keys, model.config, model.provenance, model.priors
    )
    shifted = plain.predict(base, "stimulated").X.toarray()
    distance = [paired_distance(np.log1p(x), np.log1p(truth)) for x in (made, shifted)]
    assert distance[0] < 0.6 * distance[1]
    # Two groups of cells are further apart than one that is spread about its middle.
    spread = [programme(x).std() for x in (made, shifted, truth)]
    assert spread[0] - spread[1] > 0.5 * (spread[2] - spread[1])


def test_the_flow_leaves_the_mean_where_the_stack_put_it(split: tuple[ad.AnnData, PerturbationModel]) -> None:
    cells, model = split
    base = taken(cells, "control")
    made = model.predict(base, "stimulated")
    moved = np.log1p(made.X.toarray() / model_size(model, base)).mean(0)
    before = np.log1p(base.X.toarray() / model_size(model, base)).mean(0)
    # One molecule in one of 80 cells moves a gene's mean by about .01.
    assert np.abs(moved - before - made.varm["delta"]["U"].to_numpy()).max() < 0.03


def model_size(model: PerturbationModel, cells: ad.AnnData) -> np.ndarray:
    return cells.obs["total"].to_numpy()[:, None] / model.learned.reference_library


def test_a_stored_flow_makes_the_same_cells(split: tuple[ad.AnnData, PerturbationModel], tmp_path: Path) -> None:
    cells, model = split
    model.save(tmp_path / "model")
    loaded = PerturbationModel.load(tmp_path / "model")
    base = taken(cells, "control")
    made, again, other = (
        m.predict(base, "stimulated", n_cells=30, seed=seed).X for m, seed in ((model, 4), (loaded, 4), (model, 5))
    )
    assert (made != again).nnz == 0
    assert (made != other).nnz > 0


def test_the_gate_stays_shut_where_every_cell_is_shifted_alike() -> None:
    model = fitted(screen(1.0), "flow")
    gate = model.transport.gates["new_context"]["flow"]
    assert not gate.open
    assert gate.n == 6
    assert model.transport.flow is None
    # What was compared was near: a flow of nothing does little harm.
    assert abs(gate.after - gate.before) < 0.3
