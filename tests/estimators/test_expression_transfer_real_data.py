"""Real cells under another condition: Kang interferon-beta, where stimulation moves hundreds of genes (slow)."""

from __future__ import annotations

from pathlib import Path

import anndata as ad
import numpy as np
import pytest

from genesim.config.model import ExpressionConfig
from genesim.data.expression import read_expression
from genesim.estimators.expression import ExpressionModel

TYPES = ("CD4T", "CD14+Mono", "FCGR3A+Mono")
"""The three types with most cells: their real fold changes are the least noisy."""


@pytest.fixture(scope="module")
def kang(shared_data: Path) -> ad.AnnData:
    """The 1,000 genes most variable for their mean."""
    cells = read_expression(shared_data / "perturbation" / "kang_ifnb.h5ad")
    mean = np.asarray(cells.X.mean(axis=0)).ravel()
    square = np.asarray(cells.X.multiply(cells.X).mean(axis=0)).ravel()
    order = np.argsort(-(square - mean**2) / (mean + 0.01), kind="stable")
    return cells[:, np.sort(order[:1000])].copy()


def group(cells: ad.AnnData, kind: str, condition: str) -> np.ndarray:
    return ((cells.obs["cell_type"] == kind) & (cells.obs["condition"] == condition)).to_numpy()


def log_profile(counts: np.ndarray) -> np.ndarray:
    """log2(1 + counts per 10,000) of all cells together."""
    total = np.asarray(counts.sum(axis=0)).ravel()
    return np.log2(1e4 * total / total.sum() + 1)


def slope(found: np.ndarray, real: np.ndarray) -> float:
    return float(found @ real / (real @ real))


@pytest.mark.slow
def test_real_cells_are_carried_over_and_an_unseen_combination_is_predicted(kang: ad.AnnData) -> None:
    """Stimulated B cells are kept from the model. Offsets alone would meet no bound here."""
    unseen = group(kang, "B", "stimulated")
    train = kang[~unseen].copy()
    model = ExpressionModel.fit(train, labels_key="cell_type", batch_key="condition")
    control = train[(train.obs["condition"] == "control").to_numpy()].copy()
    stimulated = train[(train.obs["condition"] == "stimulated").to_numpy()].copy()
    told = control.copy()
    told.obs["condition"] = "stimulated"
    own, carried = model.denoise(control), model.denoise(control, obs={"condition": "stimulated"})
    offsets = model.denoise(told)
    removed = [model.denoise(cells, obs={"condition": None}) for cells in (control, stimulated)]
    for kind in TYPES:
        before = group(control, kind, "control")
        real = log_profile(stimulated.X[group(stimulated, kind, "stimulated")]) - log_profile(control.X[before])
        start = log_profile(own.X[before])
        assert slope(log_profile(carried.X[before]) - start, real) > 0.7
        assert slope(log_profile(offsets.X[before]) - start, real) < 0.5
        rows = before, group(stimulated, kind, "stimulated")
        left = [log_profile(cells.X[chosen]) for cells, chosen in zip(removed, rows)]
        assert abs(slope(left[1] - left[0], real)) < 0.1

    real = log_profile(kang.X[unseen]) - log_profile(kang.X[group(kang, "B", "control")])

    def drawn(model: ExpressionModel) -> np.ndarray:
        profiles = [
            log_profile(model.sample(2000, obs={"cell_type": "B", "condition": condition}, seed=1).X)
            for condition in ("control", "stimulated")
        ]
        return profiles[1] - profiles[0]

    predicted = drawn(model)
    # The flow's own sum of embeddings reaches 0.44 and 0.71, the mean change of the other types 0.69 and 0.76.
    assert slope(predicted, real) > 0.52
    assert np.corrcoef(predicted, real)[0, 1] > 0.73
    apart = ExpressionModel.fit(
        train, labels_key="cell_type", batch_key="condition", config=ExpressionConfig(method="independent")
    )
    assert abs(slope(drawn(apart), real)) < 0.1
