"""Population structure: principal components of genotypes, and how many of them are structure of the whole genome."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float

# Normal quantile of p = 0.001.
_REPLICATED = 3.09


def standardised(dosage: Float[np.ndarray, "variant donor"]) -> Float[np.ndarray, "variant donor"]:
    """(g - 2p) / sqrt(2p(1-p)), missing at 0; variants without variance are left out."""
    frequency = np.nanmean(dosage, axis=1) / 2
    spread = np.sqrt(2 * frequency * (1 - frequency))
    good = spread > 1e-6
    return np.nan_to_num((dosage[good] - 2 * frequency[good, None]) / spread[good, None]).astype(np.float64)


def genotype_components(
    dosage: Float[np.ndarray, "variant donor"], n: int, reference: Bool[np.ndarray, " donor"] | None = None
) -> Float[np.ndarray, "donor component"]:
    """First `n` principal components of the donors, each of unit variance over the reference donors.

    Axes are those of the reference donors, on which the others are projected: relatives would otherwise be axes of
    their own (PC-AiR; Conomos et al. 2015, Genet Epidemiol 39:276).

    Args:
        dosage: Nearly independent variants, NaN missing.
        n: Wanted; at most the reference donors less one are given.
        reference: Donors that are unrelated to each other; None takes all.
    """
    x = standardised(dosage)
    reference = np.ones(x.shape[1], bool) if reference is None else reference
    n = max(0, min(n, int(reference.sum()) - 1, len(x)))
    if n == 0:
        return np.zeros((x.shape[1], 0))
    centred = x - x[:, reference].mean(1, keepdims=True)
    base = centred[:, reference]
    values, vectors = np.linalg.eigh(base.T @ base)
    values, vectors = values[::-1][:n], vectors[:, ::-1][:, :n]
    loadings = base @ vectors / np.maximum(values, 1e-12)
    components = centred.T @ loadings * np.sqrt(reference.sum())
    # The sign of an eigenvector is arbitrary: make it the same on every machine.
    largest = components[np.abs(components).argmax(0), np.arange(n)]
    return components * np.where(largest < 0, -1.0, 1.0)


def n_structured(dosage: Float[np.ndarray, "variant donor"], at_most: int) -> int:
    """Leading components that are structure of the whole genome, not haplotypes of one place.

    A component of one half of the variants counts if the other half varies along it more than along a random
    direction (p < 0.001), and so the other way round. The Tracy-Widom test (Patterson et al. 2006, PLoS Genet 2:e190)
    takes LD that thinning left for structure: on chr22 of four European populations it finds five components, of
    which this test keeps one.

    Args:
        dosage: Nearly independent variants of unrelated donors in genomic order, NaN missing.
        at_most: Largest answer.
    """
    x = standardised(dosage)
    x = x - x.mean(1, keepdims=True)
    half = len(x) // 2
    at_most = min(at_most, half - 1, x.shape[1] - 3)
    if at_most < 1:
        return 0
    parts = (x[:half].T @ x[:half], x[half:].T @ x[half:])
    z = np.minimum(_replication(parts[0], parts[1], at_most), _replication(parts[1], parts[0], at_most))
    return int(np.append(z < _REPLICATED, True).argmax())


def _replication(found: np.ndarray, other: np.ndarray, n: int) -> np.ndarray:
    """z of the quadratic form of `other` at each leading eigenvector of `found`, those before it removed.

    At a random unit vector of m dimensions it has mean tr / m and variance 2 (sum l^2 / m - mean^2) / (m + 2).
    """
    from scipy.linalg import eigh

    size = len(found)
    _, vectors = eigh(found, subset_by_index=(size - n, size - 1))
    z = np.zeros(n)
    for i in range(n):
        vector = vectors[:, -1 - i]
        m = size - 1 - i
        mean = np.trace(other) / m
        spread = np.sqrt(2 * max((other**2).sum() / m - mean**2, 0.0) / (m + 2))
        z[i] = (vector @ other @ vector - mean) / max(spread, 1e-12)
        along = other @ vector
        other = other - np.outer(along, vector) - np.outer(vector, along) + (vector @ along) * np.outer(vector, vector)
    return z
