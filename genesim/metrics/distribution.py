"""Are two sets of points draws from one distribution? Classifier test, MMD, Wasserstein, nearest neighbours.

Every function takes arrays (point x feature) and gives numbers. Embeddings are fitted on the pool of all
sets compared: fitted on one of two sets, PCA makes real data look simulated (AUC .86 against .47 measured).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy import sparse
from scipy.spatial.distance import cdist

from genesim.errors import InputError

Matrix: TypeAlias = np.ndarray | sparse.csr_matrix
_BLOCK = 1024


class TwoSample(NamedTuple):
    """A classifier's area under the ROC curve and its standard error."""

    auc: float
    standard_error: float


def require_rows(*sets: Matrix, least: int = 2) -> None:
    """Raise InputError where a set has fewer than `least` rows, or the sets differ in columns."""
    for i, points in enumerate(sets):
        if points.ndim != 2 or points.shape[0] < least:
            raise InputError(
                f"has shape {points.shape}, but at least {least} rows are needed",
                where=f"data set {i + 1} of the comparison",
                remedy="give more cells or haplotypes",
            )
        if points.shape[1] != sets[0].shape[1]:
            raise InputError(
                f"has {points.shape[1]} columns where the first one has {sets[0].shape[1]}",
                where=f"data set {i + 1} of the comparison",
                remedy="align both on the same genes or variants",
            )


def pooled_pca(sets: Sequence[Matrix], n_components: int = 50, seed: int = 0) -> list[np.ndarray]:
    """Scores of each set on principal components of the pool (centred, not scaled).

    Args:
        sets: Matrices, cell x gene (dense or sparse), of the same columns.
        n_components: Components kept; fewer where the pool's rank is smaller.
        seed: Seeds the iterative solver that wide matrices use.

    Returns:
        One float64 array (point x component) a set.
    """
    from sklearn.decomposition import PCA

    require_rows(*sets, least=1)
    values = [s.astype(np.float64) for s in sets]
    pool: Any = sparse.vstack(values, "csr") if any(map(sparse.issparse, values)) else np.vstack(values)
    k = max(1, min(n_components, min(pool.shape) - 1))
    solver = "covariance_eigh" if pool.shape[1] <= 2500 else "arpack"
    scores = PCA(k, svd_solver=solver, random_state=seed).fit_transform(pool)
    return np.split(scores, np.cumsum([s.shape[0] for s in sets])[:-1])


def roc_auc(negative: Float[np.ndarray, " m"], positive: Float[np.ndarray, " n"]) -> TwoSample:
    """AUC = P(positive > negative) + P(equal)/2, with the standard error of DeLong et al. 1988, Biometrics.

    Raises:
        InputError: Fewer than two scores on a side.
    """
    from scipy.stats import rankdata

    m, n = len(negative), len(positive)
    if min(m, n) < 2:
        raise InputError(f"{m} and {n} scores", where="ROC curve", remedy="give at least two points on each side")
    ranks = rankdata(np.concatenate([negative, positive]))
    above = (ranks[m:] - rankdata(positive)) / m  # share of negatives below each positive
    below = 1 - (ranks[:m] - rankdata(negative)) / n
    variance = above.var(ddof=1) / n + below.var(ddof=1) / m
    return TwoSample(float(above.mean()), float(np.sqrt(variance)))


def two_sample_auc(
    real: Float[np.ndarray, "m feature"],
    simulated: Float[np.ndarray, "n feature"],
    *,
    n_folds: int = 5,
    seed: int = 0,
) -> TwoSample:
    """Classifier two-sample test: cross-validated AUC of gradient boosting; .5 = cannot be told apart.

    Lopez-Paz and Oquab 2017 (ICLR), with the AUC of each held-out fold averaged: pooled out-of-fold scores
    can be biased. The standard error is DeLong's within folds; it leaves out the variation of the training
    folds (measured: a tenth too small for equal distributions, a quarter for nearly equal ones).

    Raises:
        InputError: Fewer rows than folds need.
    """
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.model_selection import StratifiedKFold

    require_rows(real, simulated, least=2 * n_folds)
    features = np.vstack([real, simulated])
    label = np.repeat([0, 1], [len(real), len(simulated)])
    folds: list[TwoSample] = []
    for fit, held in StratifiedKFold(n_folds, shuffle=True, random_state=seed).split(features, label):
        model = HistGradientBoostingClassifier(max_iter=60, learning_rate=0.15, max_bins=63, random_state=seed)
        score = model.fit(features[fit], label[fit]).decision_function(features[held])
        folds.append(roc_auc(score[label[held] == 0], score[label[held] == 1]))
    auc, error = np.array(folds).T
    return TwoSample(float(auc.mean()), float(np.sqrt((error**2).sum()) / n_folds))


def squared_bandwidth(reference: Float[np.ndarray, "m feature"], limit: int = 1000) -> float:
    """Median squared distance between the first `limit` points of `reference`; 1 where they coincide."""
    points = reference[:limit]
    distance = cdist(points, points, "sqeuclidean")[np.triu_indices(len(points), 1)]
    median = float(np.median(distance)) if distance.size else 1.0
    return median if median > 0 else 1.0


def _kernel_sum(x: np.ndarray, y: np.ndarray, bandwidth: float) -> float:
    """Sum over all pairs of the mean of exp(-d2 / (c * bandwidth)) over c = 4, 2, 1, 1/2, 1/4."""
    total = 0.0
    for start in range(0, len(x), _BLOCK):
        kernel = np.exp(cdist(x[start : start + _BLOCK], y, "sqeuclidean") / (-4 * bandwidth))
        for _ in range(4):
            total += float(kernel.sum())
            kernel *= kernel  # halving c squares the kernel
        total += float(kernel.sum())
    return total / 5


def mmd2_unbiased(
    x: Float[np.ndarray, "m feature"],
    y: Float[np.ndarray, "n feature"],
    *,
    bandwidth: float | None = None,
) -> float:
    """Unbiased squared maximum mean discrepancy; expectation 0 for equal distributions, at any n.

    MMD2 = sum_{i!=j} k(x_i,x_j)/m(m-1) + sum_{i!=j} k(y_i,y_j)/n(n-1) - 2 mean k(x_i,y_j), Gretton et al.
    2012 (JMLR, eq. 3), k the mean over c in {1/4, 1/2, 1, 2, 4} of exp(-d2 / (c * bandwidth)).

    Args:
        x: Reference (real) points.
        y: Points compared with them.
        bandwidth: Squared length; the median squared distance within `x` where None.
    """
    require_rows(x, y)
    scale = squared_bandwidth(x) if bandwidth is None else bandwidth
    m, n = len(x), len(y)
    within_x = (_kernel_sum(x, x, scale) - m) / (m * (m - 1))
    within_y = (_kernel_sum(y, y, scale) - n) / (n * (n - 1))
    return within_x + within_y - 2 * _kernel_sum(x, y, scale) / (m * n)


def stratified_mmd2(
    x: Float[np.ndarray, "m feature"],
    y: Float[np.ndarray, "n feature"],
    labels_x: Int[np.ndarray, " m"],
    labels_y: Int[np.ndarray, " n"],
    *,
    min_points: int = 10,
    bandwidths: dict[int, float] | None = None,
) -> float:
    """Mean of `mmd2_unbiased` within each label, weighted by the label's share of `x`.

    Weighted, because small types would inflate a plain mean. NaN where no label has `min_points` on both
    sides. `bandwidths` gives the squared length of each label, to hold it fixed over subsamples.
    """
    total, weight = 0.0, 0
    for label in np.unique(labels_x):
        a, b = x[labels_x == label], y[labels_y == label]
        if min(len(a), len(b)) >= min_points:
            scale = bandwidths.get(int(label)) if bandwidths else None
            total += len(a) * mmd2_unbiased(a, b, bandwidth=scale)
            weight += len(a)
    return total / weight if weight else float("nan")


def nearest_distance(points: np.ndarray, reference: np.ndarray) -> Float[np.ndarray, " point"]:
    """Euclidean distance of each point to its nearest one in `reference`."""
    require_rows(points, reference, least=1)
    blocks = range(0, len(points), _BLOCK)
    return np.concatenate([cdist(points[i : i + _BLOCK], reference).min(axis=1) for i in blocks])


def nearer_to_train(
    simulated: Float[np.ndarray, "n feature"],
    train: Float[np.ndarray, "m feature"],
    test: Float[np.ndarray, "m feature"],
) -> Float[np.ndarray, " n"]:
    """1 for each simulated point nearer to `train` than to `test`, 0 for the other way, 1/2 for a tie.

    The mean is the nearest-neighbour share: near 1 means copying. `train` and `test` must be of one size
    (the larger set is nearer by chance), in an embedding of all sets. Read it against a generator that
    cannot copy, not against 1/2.

    Raises:
        InputError: `train` and `test` differ in size.
    """
    require_rows(train, test, simulated, least=1)
    if len(train) != len(test):
        raise InputError(
            f"{len(train)} training and {len(test)} test points",
            where="nearest-neighbour share",
            remedy="subsample the larger set: unequal sizes bias the share",
        )
    a, b = nearest_distance(simulated, train), nearest_distance(simulated, test)
    # Rounding inside cdist is relative to the norms: a copy in both sets must count as a tie.
    tie: Bool[np.ndarray, " n"] = np.isclose(a, b, rtol=1e-9, atol=1e-12)
    return np.where(tie, 0.5, (a < b).astype(float))
