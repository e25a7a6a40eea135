"""Population structure: principal components of genotypes, and how many of them are more than chance."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float

# Tracy-Widom law (beta = 1): the value that is exceeded with probability 0.001.
_TRACY_WIDOM = 3.2724


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
    """Leading components that exceed chance at p < 0.001 each.

    Tracy-Widom test of Patterson, Price & Reich 2006 (PLoS Genet 2:e190), with their effective number of variants.

    Args:
        dosage: Nearly independent variants of unrelated donors, NaN missing.
        at_most: Largest answer.
    """
    x = standardised(dosage)
    x = x - x.mean(1, keepdims=True)
    values = np.linalg.eigvalsh(x.T @ x)[::-1][: x.shape[1] - 1]
    for found in range(min(at_most, len(values) - 2)):
        rest = values[found:]
        m = len(rest)
        spread = (m - 1 + 2) * (rest**2).sum() - rest.sum() ** 2
        n = (m + 1) * rest.sum() ** 2 / max(spread, 1e-12)
        centre = (np.sqrt(n - 1) + np.sqrt(m)) ** 2 / n
        scale = (np.sqrt(n - 1) + np.sqrt(m)) / n * (1 / np.sqrt(n - 1) + 1 / np.sqrt(m)) ** (1 / 3)
        if (m * rest[0] / rest.sum() - centre) / scale < _TRACY_WIDOM:
            return found
    return min(at_most, max(len(values) - 2, 0))
