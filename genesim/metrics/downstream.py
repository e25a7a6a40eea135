"""Would an analyst reach the same conclusions on simulated cells: the same markers, clusters that tell as much?

Every function sees arrays only; a conclusion on one data set is compared with the same one on another elsewhere.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int
from scipy import sparse

from genesim.errors import InputError
from genesim.metrics.distribution import require_rows


def marker_statistics(
    log: sparse.csr_matrix, labels: Int[np.ndarray, " cell"], wanted: Int[np.ndarray, " label"]
) -> Float[np.ndarray, "label gene"]:
    """Welch's t of every gene, the cells of each wanted type against all others (scanpy's `t-test`).

    t = (m1 - m0) / sqrt(v1 / n1 + v0 / n0), with unbiased variances; 0 where neither side varies.

    Args:
        log: Log-normalised expression, cell x gene.
        labels: Codes of cell types.
        wanted: Types that are tested.

    Raises:
        InputError: A wanted type, or its complement, has fewer than two cells.
    """
    n = np.bincount(labels, minlength=int(wanted.max()) + 1)[wanted]
    one_hot = sparse.csr_matrix((labels[None, :] == wanted[:, None]).astype(np.float64))
    both = log, log.multiply(log).tocsr()
    inside = [np.asarray((one_hot @ m).todense()) for m in both]
    total = [np.asarray(m.sum(0)).ravel() for m in both]
    return marker_statistics_of_sums(inside[0], inside[1], n, total[0], total[1], len(labels))


def marker_statistics_of_sums(
    log: Float[np.ndarray, "label gene"],
    square: Float[np.ndarray, "label gene"],
    n_inside: Int[np.ndarray, " label"],
    log_everywhere: Float[np.ndarray, " gene"],
    square_everywhere: Float[np.ndarray, " gene"],
    n: int,
) -> Float[np.ndarray, "label gene"]:
    """`marker_statistics` from sums of log-normalised expression and its squares: each type's, and over all `n` cells.

    Raises:
        InputError: A type, or its complement, has fewer than two cells.
    """
    size = np.asarray(n_inside, np.float64)
    if size.min() < 2 or n - size.max() < 2:
        raise InputError("a cell type has fewer than two cells inside or outside", where="markers")

    def moments(first: np.ndarray, second: np.ndarray, count: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        mean = first / count
        return mean, np.maximum(second - count * mean**2, 0) / (count - 1) / count

    inside = moments(log, square, size[:, None])
    outside = moments(log_everywhere - log, square_everywhere - square, (n - size)[:, None])
    error = np.sqrt(inside[1] + outside[1])
    return np.where(error > 0, (inside[0] - outside[0]) / np.maximum(error, 1e-300), 0.0)


def marker_overlap(a: Float[np.ndarray, "label gene"], b: Float[np.ndarray, "label gene"], n_top: int = 50) -> float:
    """Share of the `n_top` genes of largest statistic that two data sets have in common, averaged over types.

    The overlap at N of scIB-like and cell-eval benchmarks. Two random rankings share n_top / genes. Few genes make it
    easy: at most a fifth of the genes are taken.
    """
    n = max(1, min(n_top, a.shape[1] // 5))
    best = [np.argsort(-x, axis=1, kind="stable")[:, :n] for x in (a, b)]
    return float(np.mean([len(np.intersect1d(*pair)) / n for pair in zip(*best, strict=True)]))


def clustering_agreement(features: Float[np.ndarray, "cell feature"], labels: Int[np.ndarray, " cell"]) -> float:
    """Adjusted Rand index (Hubert & Arabie 1985) of k-means clusters, as many as there are types, with the types.

    Raises:
        InputError: Fewer than two cells.
    """
    from sklearn.cluster import KMeans
    from sklearn.metrics import adjusted_rand_score

    require_rows(features)
    k = len(np.unique(labels))
    found = KMeans(k, n_init=2, random_state=0).fit_predict(features)
    return float(adjusted_rand_score(labels, found))
