"""Of many cells a report shows a draw, in which every donor has a part; of few, all."""

from __future__ import annotations

from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from genesim.data.expression import read_expression
from genesim.pipeline import report_cells

N_CELLS = 400


@pytest.fixture
def cells() -> ad.AnnData:
    """400 cells; donor "rare" has one, the last."""
    random = np.random.default_rng(0)
    donor = np.append(random.choice(["a", "b", "c"], N_CELLS - 1), "rare")
    obs = pd.DataFrame(
        {"donor": pd.Categorical(donor), "kind": pd.Categorical(np.resize(["x", "y"], N_CELLS))},
        index=[f"cell{i}" for i in range(N_CELLS)],
    )
    counts = sparse.csr_matrix(random.poisson(1.0, (N_CELLS, 5)).astype(np.int32) + 1)
    return ad.AnnData(counts, obs=obs, var=pd.DataFrame(index=list("ABCDE")))


@pytest.mark.parametrize("most", [1, 30, 399])
def test_a_draw_has_every_donor(cells: ad.AnnData, monkeypatch: pytest.MonkeyPatch, most: int) -> None:
    monkeypatch.setattr(report_cells, "MOST_CELLS", most)
    rows = report_cells.drawn_rows(cells.obs["donor"], 0, "real")
    assert most <= len(rows) <= most + 3
    assert (np.diff(rows) > 0).all()
    assert set(cells.obs["donor"].iloc[rows]) == {"a", "b", "c", "rare"}
    assert set(rows) != set(report_cells.drawn_rows(cells.obs["donor"], 1, "real"))


def test_few_cells_are_all_shown(cells: ad.AnnData, tmp_path: Path) -> None:
    assert report_cells.shown_cells(cells, 0) is cells
    cells.write_h5ad(tmp_path / "sim.h5ad")
    shown, n_cells = report_cells.read_shown(tmp_path / "sim.h5ad", "kind", 0)
    assert shown.n_obs == n_cells == N_CELLS


def test_cells_on_disk_are_read_as_far_as_they_are_shown(
    cells: ad.AnnData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report_cells, "MOST_CELLS", 50)
    cells.write_h5ad(tmp_path / "sim.h5ad")
    whole = read_expression(tmp_path / "sim.h5ad", donor_key="donor", labels_key="kind")
    shown, n_cells = report_cells.read_shown(tmp_path / "sim.h5ad", "kind", 0)
    assert n_cells == N_CELLS
    assert 50 <= shown.n_obs <= 53
    assert (shown.X != whole[shown.obs_names].X).nnz == 0
    assert list(shown.obs["donor"]) == list(whole[shown.obs_names].obs["donor"])
    on_disk = report_cells.shown_cells(ad.read_h5ad(tmp_path / "sim.h5ad", backed="r"), 0)
    in_memory = report_cells.shown_cells(cells, 0)
    assert not on_disk.isbacked
    assert list(on_disk.obs_names) == list(in_memory.obs_names)
    assert (on_disk.X != in_memory.X).nnz == 0
