"""How well simulated counts keep what real counts have: margins, dependence, contrasts, usefulness.

Counts are cell x gene (CSR or dense), integers; labels are integer codes of cell types. Nothing here knows
where the arrays come from.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy import sparse

from genesim.metrics.distribution import Matrix, TwoSample, pooled_pca, require_rows, two_sample_auc

TARGET_SUM = 1e4


class GeneSummaries(NamedTuple):
    """Per gene: mean and variance of log-normalised expression, share of cells with a zero count."""

    mean: Float[np.ndarray, " gene"]
    variance: Float[np.ndarray, " gene"]
    zero_fraction: Float[np.ndarray, " gene"]


class CellSummaries(NamedTuple):
    """Per cell: natural log of the library size, number of genes with a count."""

    log_library: Float[np.ndarray, " cell"]
    detected_genes: Float[np.ndarray, " cell"]


def _csr(counts: Matrix) -> sparse.csr_matrix:
    return sparse.csr_matrix(counts)


def library_size(counts: Matrix) -> Float[np.ndarray, " cell"]:
    """Total count of each cell."""
    return np.asarray(counts.sum(axis=1), dtype=np.float64).ravel()


def log_normalise(counts: Matrix, target_sum: float = TARGET_SUM) -> sparse.csr_matrix:
    """log(1 + target_sum * count / library size), sparse float64; a cell without counts stays zero."""
    matrix = _csr(counts).astype(np.float64, copy=True)
    total = library_size(matrix)
    matrix.data *= np.repeat(target_sum / np.where(total > 0, total, 1.0), np.diff(matrix.indptr))
    np.log1p(matrix.data, out=matrix.data)
    return matrix


def _moments(matrix: sparse.csr_matrix) -> tuple[np.ndarray, np.ndarray]:
    """Mean and unbiased variance of each column."""
    n = matrix.shape[0]
    mean = np.asarray(matrix.mean(axis=0)).ravel()
    square = np.asarray(matrix.multiply(matrix).sum(axis=0)).ravel()
    return mean, np.maximum(square - n * mean**2, 0) / max(n - 1, 1)


def gene_summaries(counts: Matrix, log_normalised: sparse.csr_matrix | None = None) -> GeneSummaries:
    """Mean, variance (of log-normalised expression) and zero fraction (of counts) of each gene."""
    matrix = _csr(counts)
    mean, variance = _moments(log_normalise(matrix) if log_normalised is None else log_normalised)
    positive = np.bincount(matrix.indices[matrix.data > 0], minlength=matrix.shape[1])
    return GeneSummaries(mean, variance, 1 - positive / matrix.shape[0])


def cell_summaries(counts: Matrix) -> CellSummaries:
    """Log library size (log(1) = 0 for a cell without counts) and detected genes of each cell."""
    matrix = _csr(counts)
    detected = np.asarray((matrix > 0).sum(axis=1), dtype=np.float64).ravel()
    return CellSummaries(np.log(np.maximum(library_size(matrix), 1.0)), detected)


def ks_distance(x: Float[np.ndarray, " m"], y: Float[np.ndarray, " n"]) -> float:
    """Two-sample Kolmogorov-Smirnov statistic: sup_t |F_x(t) - F_y(t)|, in [0, 1]."""
    x, y = np.sort(x), np.sort(y)
    at = np.concatenate([x, y])
    gap = np.searchsorted(x, at, "right") / len(x) - np.searchsorted(y, at, "right") / len(y)
    return float(np.abs(gap).max())


def gene_mean_error(a: Float[np.ndarray, " gene"], b: Float[np.ndarray, " gene"]) -> float:
    """Root mean square difference of gene means, gene by gene (KS forgets which gene is which)."""
    return float(np.sqrt(np.mean((a - b) ** 2)))


def top_genes(values: Float[np.ndarray, " gene"], n: int) -> Int[np.ndarray, " top"]:
    """Indices of the `n` largest values, in order of index; ties go to the lower index."""
    return np.sort(np.argsort(-values, kind="stable")[:n])


def depth_features(real: Matrix, simulated: Matrix, n_top: int = 200) -> tuple[np.ndarray, np.ndarray]:
    """Log library size, detected genes and the pool's `n_top` most variable genes of each cell.

    Gene values are log-normalised.
    """
    logs = [log_normalise(real), log_normalise(simulated)]
    top = top_genes(_moments(sparse.vstack(logs, "csr"))[1], n_top)
    a, b = (
        np.column_stack([*cell_summaries(counts), log[:, top].toarray()])
        for counts, log in zip((real, simulated), logs)
    )
    return a, b


def classifier_auc(
    real: Matrix,
    simulated: Matrix,
    *,
    harder: bool = False,
    n_components: int = 50,
    n_top: int = 200,
    n_folds: int = 5,
    seed: int = 0,
) -> TwoSample:
    """AUC of gradient boosting that tells simulated from real cells by pooled PCs; .5 = it cannot.

    `harder=True` adds `depth_features`, so that depth and single-gene artefacts count too.
    """
    require_rows(real, simulated)
    features = pooled_pca([log_normalise(real), log_normalise(simulated)], n_components, seed)
    if harder:
        more = depth_features(real, simulated, n_top)
        features = [np.hstack(pair) for pair in zip(features, more)]
    return two_sample_auc(*features, n_folds=n_folds, seed=seed)


def gene_correlation(
    log_normalised: Matrix, labels: Int[np.ndarray, " cell"] | None = None
) -> Float[np.ndarray, "gene gene"]:
    """Pearson correlations of genes over cells, type means removed where `labels` is given.

    Type means alone give high agreement (.67 for independent genes), within types none. A gene that does
    not vary has correlation 0 with all others and 1 with itself.
    """
    values = _csr(log_normalised).toarray()
    codes = np.zeros(len(values), int) if labels is None else np.unique(labels, return_inverse=True)[1]
    one_hot = sparse.csr_matrix((np.ones(len(codes)), (np.arange(len(codes)), codes)))
    means = np.asarray(one_hot.T @ values) / np.bincount(codes)[:, None]
    residual = values - means[codes]
    covariance = residual.T @ residual
    scale = np.sqrt(np.diag(covariance))
    scale = np.where(scale > 1e-9 * np.sqrt(len(values)), scale, np.inf)
    correlation = covariance / scale / scale[:, None]
    np.fill_diagonal(correlation, 1.0)
    return correlation


def correlation_agreement(a: Float[np.ndarray, "gene gene"], b: Float[np.ndarray, "gene gene"]) -> float:
    """Pearson r between the upper triangles of two correlation matrices; NaN where one is constant."""
    upper = np.triu_indices(len(a), 1)
    x, y = a[upper], b[upper]
    if x.size < 2 or x.std() == 0 or y.std() == 0:
        return float("nan")
    return float(np.corrcoef(x, y)[0, 1])


def log_fold_changes(
    counts: Matrix,
    labels: Int[np.ndarray, " cell"],
    wanted: Int[np.ndarray, " label"],
    pseudocount: float = 0.5,
) -> Float[np.ndarray, "label gene"]:
    """log2 fold change of each gene, each wanted type against all other cells.

    Means are of counts per 10,000, with `pseudocount` added to both sides.
    """
    matrix = _csr(counts).astype(np.float64, copy=True)
    total = library_size(matrix)
    matrix.data *= np.repeat(TARGET_SUM / np.where(total > 0, total, 1.0), np.diff(matrix.indptr))
    one_hot = sparse.csr_matrix((labels[None, :] == wanted[:, None]).astype(np.float64))
    inside = np.asarray((one_hot @ matrix).todense())
    n = np.asarray(one_hot.sum(axis=1)).ravel()
    return fold_changes_of_sums(inside, n, np.asarray(matrix.sum(axis=0)).ravel(), len(labels), pseudocount)


def fold_changes_of_sums(
    inside: Float[np.ndarray, "label gene"],
    n_inside: Int[np.ndarray, " label"],
    everywhere: Float[np.ndarray, " gene"],
    n: int,
    pseudocount: float = 0.5,
) -> Float[np.ndarray, "label gene"]:
    """`log_fold_changes` from the sums of counts per 10,000 over each type's cells, and over all `n` cells."""
    size = np.asarray(n_inside, np.float64)[:, None]
    rest = everywhere - inside
    n_rest = np.maximum(n - size, 1)
    return np.log2((inside / np.maximum(size, 1) + pseudocount) / (rest / n_rest + pseudocount))


def slope(real: np.ndarray, simulated: np.ndarray) -> float:
    """Slope through the origin, sum(ab) / sum(aa) with a real and b simulated; below 1 = attenuated.

    Noise in `real` lowers it too, so read it against the floor (about .6 for small types).
    """
    a, b = real.ravel(), simulated.ravel()
    norm = float(a @ a)
    return float(a @ b) / norm if norm > 0 else float("nan")


def train_on_one_test_on_other(
    train: Matrix,
    labels_train: Int[np.ndarray, " m"],
    test: Matrix,
    labels_test: Int[np.ndarray, " n"],
    *,
    genes: Int[np.ndarray, " used"] | None = None,
    n_components: int = 50,
    seed: int = 0,
) -> Bool[np.ndarray, " n"]:
    """Which real test cells a classifier trained on other (simulated) cells labels rightly.

    Standardised log-normalised expression (of `genes`, or of all), principal components of the training
    cells, logistic regression. `balanced_accuracy` of the result is the usefulness ("train on
    synthetic, test on real").
    """
    from sklearn.decomposition import PCA
    from sklearn.linear_model import LogisticRegression

    require_rows(train, test)
    used = slice(None) if genes is None else genes
    a, b = log_normalise(train)[:, used].toarray(), log_normalise(test)[:, used].toarray()
    centre, scale = a.mean(axis=0), np.maximum(a.std(axis=0), 0.05)
    a, b = np.clip((a - centre) / scale, -10, 10), np.clip((b - centre) / scale, -10, 10)
    if len(np.unique(labels_train)) < 2:
        return np.asarray(labels_test == labels_train[0])
    k = max(1, min(n_components, min(a.shape) - 1))
    pca = PCA(k, svd_solver="randomized", random_state=seed).fit(a)
    model = LogisticRegression(C=0.1, max_iter=200).fit(pca.transform(a), labels_train)
    return np.asarray(model.predict(pca.transform(b)) == labels_test)


def balanced_accuracy(right: Bool[np.ndarray, " cell"], labels: Int[np.ndarray, " cell"]) -> float:
    """Mean over types of the share of their cells that are labelled rightly."""
    return float(np.mean([right[labels == label].mean() for label in np.unique(labels)]))
