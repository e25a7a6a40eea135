"""Batch integration: how well batches are mixed, before and after, and whether cell types stay apart.

The integration is the simplest that analysts use: batch means are taken out of the principal components (the location
part of ComBat; Johnson et al. 2007, Biostatistics 8:118). It is the same for real and simulated cells, so that a
difference of its outcome is a difference of the cells.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int

from genesim.errors import InputError
from genesim.metrics.distribution import require_rows


def centred_by_batch(
    features: Float[np.ndarray, "cell feature"], batches: Int[np.ndarray, " cell"]
) -> Float[np.ndarray, "cell feature"]:
    """Features less their batch's mean, plus the mean of all cells."""
    n = np.maximum(np.bincount(batches), 1)
    sums = np.zeros((len(n), features.shape[1]))
    np.add.at(sums, batches, features)
    return features - (sums / n[:, None])[batches] + features.mean(axis=0)


def batch_mixing(
    features: Float[np.ndarray, "cell feature"], batches: Int[np.ndarray, " cell"], n_neighbours: int = 30
) -> float:
    """Mean inverse Simpson's index of the batches among each cell's nearest neighbours: 0 = apart, 1 = as in a mixture.

    (1 / sum_b p_b^2 - 1) / (1 / sum_b q_b^2 - 1), p the shares among the neighbours and q among all cells: iLISI
    (Korsunsky et al. 2019, Nature Methods 16:1289) with equal weights instead of a perplexity, and scaled by what the
    batches' sizes allow. With k neighbours of a perfect mixture it is a little below 1.

    Raises:
        InputError: Fewer than two batches, or no more cells than neighbours.
    """
    from sklearn.neighbors import NearestNeighbors

    require_rows(features, least=3)
    codes = np.unique(batches, return_inverse=True)[1]
    share = np.bincount(codes) / len(codes)
    if len(share) < 2:
        raise InputError("all cells are of one batch", where="batch mixing", remedy="give two batches or more")
    k = min(n_neighbours, len(features) - 1)
    near = NearestNeighbors(n_neighbors=k).fit(features).kneighbors(return_distance=False)
    of_batch = codes[near]
    square = sum(((of_batch == b).mean(axis=1) ** 2 for b in range(len(share))), np.zeros(len(features)))
    return float((np.mean(1 / square) - 1) / (1 / (share**2).sum() - 1))


def label_separation(features: Float[np.ndarray, "cell feature"], labels: Int[np.ndarray, " cell"]) -> float:
    """Mean silhouette width of the labels (Rousseeuw 1987), scaled to 0-1 as in scIB: (s + 1) / 2.

    Raises:
        InputError: Fewer than two labels, or a label a cell.
    """
    from sklearn.metrics import silhouette_score

    n = len(np.unique(labels))
    if not 2 <= n < len(labels):
        raise InputError(f"{n} labels for {len(labels)} cells", where="label separation", remedy="give two or more")
    return float((silhouette_score(features, labels) + 1) / 2)
