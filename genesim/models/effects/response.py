"""Donor-level responses: log2 expression with a precision weight, and hidden factors of expression.

Arrays are gene x donor. Responses are in log2 units: effects are log2 fold changes per allele copy.
"""

from __future__ import annotations

import numpy as np

# Below about this many expected counts the response is linear in the count, above it logarithmic.
COUNT_OFFSET = 2.0

# Fewer donors with a count than this (or than half of all donors, where that is less) leave a gene untested: a
# handful of non-zero donors, carriers of one rare haplotype by chance, gives false credible sets five times as often.
MIN_DONORS_EXPRESSING = 30


def _dispersion(counts: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """Moment estimate, per gene, of phi in var = mu + phi mu^2, shrunk to the trend over genes' means."""
    excess = ((counts - expected) ** 2 - expected).sum(1)
    phi = np.clip(excess / np.maximum((expected**2).sum(1), 1e-12), 0.0, 10.0)
    mean = expected.sum(1) / max(expected.shape[1], 1)
    order = np.argsort(mean, kind="stable")
    width = max(1, min(101, len(phi) // 5))
    trend = np.empty_like(phi)
    padded = np.pad(phi[order], (width // 2, width - 1 - width // 2), mode="edge")
    trend[order] = np.median(np.lib.stride_tricks.sliding_window_view(padded, width), axis=1)
    # A gene of few counts says little about its own dispersion.
    own = expected.sum(1) / (expected.sum(1) + 50.0)
    return own * phi + (1 - own) * trend


def count_response(counts: np.ndarray, library: np.ndarray, present: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Response and precision of donor pseudobulk counts.

    With mu the count expected from the donor's library size alone,
    z = (mu + k)/mu * log2((y + k)/(mu + k)), k = 2:
    the log2 ratio y/mu at large counts, the working response (y - mu)/(mu ln 2) of a count regression at
    small ones. log2(y + 0.5) instead shrinks effects to a third at 0.3 counts and two thirds at 1; z keeps
    0.86-1.03 of them from 0.3 counts up (computed by summation over the Poisson law).
    Precision is 1/var(z) = ln(2)^2 / (1/mu + phi), phi by moments.

    Args:
        counts: gene x donor, integers.
        library: Library size of each donor (over all genes).
        present: Boolean per donor; absent donors get weight 0.

    Returns:
        Response and weight, gene x donor; weight 0 throughout for a gene that too few donors express.
    """
    counts = np.asarray(counts, np.float64) * present
    library = np.where(present, library, 0.0)
    rate = counts.sum(1) / max(library.sum(), 1e-12)
    expected = np.maximum(np.outer(rate, library), 1e-6)
    phi = _dispersion(counts[:, present], expected[:, present])
    k = COUNT_OFFSET
    response = (expected + k) / expected * np.log2((counts + k) / (expected + k))
    weight = np.log(2) ** 2 / (1 / expected + phi[:, None]) * present
    expressed = (counts > 0).sum(1) >= max(1, min(MIN_DONORS_EXPRESSING, present.sum() / 2))
    return np.where(present & expressed[:, None], response, 0.0), weight * expressed[:, None]


def linear_response(values: np.ndarray, present: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """log2 of non-negative expression (TPM, RPKM) with equal weights.

    The offset is a tenth of the gene's mean: many zeros do not make log2 of tiny numbers rule a gene.
    """
    values = np.asarray(values, np.float64) * present
    mean = values.sum(1) / max(present.sum(), 1)
    response = np.log2(values + 0.1 * mean[:, None] + 1e-12)
    expressed = (mean > 0)[:, None] & present
    return np.where(expressed, response, 0.0), expressed.astype(np.float64)


def log2_response(values: np.ndarray, present: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Expression already on a log2 scale, with equal weights."""
    weight = np.broadcast_to(present, values.shape).astype(np.float64)
    return np.where(present, np.asarray(values, np.float64), 0.0), weight


def hidden_factors(
    response: np.ndarray, weight: np.ndarray, covariates: np.ndarray, n_factors: int
) -> tuple[np.ndarray, np.ndarray]:
    """Principal components of expression after the known covariates: batch and other unmeasured causes.

    Args:
        response: gene x donor.
        weight: gene x donor; genes count by their mean weight rank, absent donors not at all.
        covariates: Orthonormal basis, donor x rank, intercept included.
        n_factors: Wanted; at most a tenth of the donors present and half of the genes are given.

    Returns:
        Factors (donor x factor, unit variance over donors present) and loadings (gene x factor), with which
        `response` standardised and projected, of other donors, gives their factors.
    """
    present = weight.sum(0) > 0
    n_factors = max(0, min(n_factors, int(present.sum()) // 10, response.shape[0] // 2))
    expressed = (weight > 0).any(1)
    y = response * present
    y = y - (y @ covariates) @ covariates.T
    spread = np.sqrt((y**2).sum(1) / max(present.sum(), 1))
    good = expressed & (spread > 1e-9)
    y = np.where(good[:, None], y / np.where(spread > 1e-9, spread, 1.0)[:, None], 0.0)
    # Genes with little information are mostly noise: weigh each by its share of the best precision.
    mean_weight = weight[:, present].mean(1) if present.any() else weight.mean(1)
    y = y * np.sqrt(mean_weight / max(mean_weight.max(), 1e-12))[:, None]
    if n_factors == 0 or not good.any():
        return np.zeros((response.shape[1], 0)), np.zeros((response.shape[0], 0))
    u, s, vt = np.linalg.svd(y, full_matrices=False)
    n = np.sqrt(present.sum())
    return vt[:n_factors].T * n, u[:, :n_factors] * s[:n_factors] / n
