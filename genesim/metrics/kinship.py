"""Kinship of donors from their genotypes: KING-robust, with the noise of the estimate.

Manichaikul et al. 2010, Bioinformatics 26:2867, equation 11. No allele frequencies enter, so population structure
does not make unrelated donors of one population look related (those of two populations come out negative).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

THIRD_DEGREE = 2**-4.5
"""Kinship above which donors are relatives of the third degree or closer (0.0442)."""
DUPLICATE = 2**-1.5
"""Kinship above which two donors are monozygotic twins or one person twice (0.354)."""
_N_BLOCKS = 40
_MAX_DONORS_FOR_NOISE = 300
_ROWS = 2048


@dataclass(frozen=True)
class KingEstimate:
    """Kinship and its noise.

    Attributes:
        kinship: donor x donor, symmetric; 0.5 on the diagonal (own kinship, no inbreeding).
        noise: Standard error of one pair's kinship, pooled over pairs (block jackknife over variants).
    """

    kinship: Float[np.ndarray, "donor donor"]
    noise: float


def _distance_and_het(dosage: np.ndarray, rows: slice = slice(None)) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of donors i among `rows` and all j: sum of squared differences, heterozygotes of i that are called in j, and of
    j that are called in i; row x donor.
    """
    g = np.nan_to_num(dosage).astype(np.float32)
    seen = (~np.isnan(dosage)).astype(np.float32)
    square, is_het = g**2, ((g == 1) * seen).astype(np.float32)
    # Sums of whole numbers: exact in 32 bits up to 16 million variants, whatever the order.
    distance = square[:, rows].T @ seen + seen[:, rows].T @ square - 2 * (g[:, rows].T @ g)
    return distance, is_het[:, rows].T @ seen, seen[:, rows].T @ is_het


def _fewer(het: np.ndarray, cross: np.ndarray) -> np.ndarray:
    """`cross` of whichever donor of a pair has fewer heterozygotes."""
    return np.where(het <= het.T, cross, cross.T)


def king_robust(dosage: Float[np.ndarray, "variant donor"]) -> KingEstimate:
    """KING-robust kinship of every two donors.

    phi = 1/2 - sum (g_i - g_j)^2 / (4 min(n_het_i, n_het_j)), over variants called in both.

    Args:
        dosage: 0-2 alternate copies, NaN missing; in genomic order (blocks of neighbours are left out together, so
            that LD between them counts in the noise).
    """
    n_donors = dosage.shape[1]
    kinship = np.empty((n_donors, n_donors))
    for first in range(0, n_donors, _ROWS):  # the products of all donors at once would be many times the result
        rows = slice(first, first + _ROWS)
        distance, own, others = _distance_and_het(dosage, rows)
        kinship[rows] = 0.5 - distance / (4 * np.maximum(np.minimum(own, others), 1))
    np.fill_diagonal(kinship, 0.5)
    step = -(-n_donors // _MAX_DONORS_FOR_NOISE) or 1
    return KingEstimate(kinship, king_noise(dosage[:, ::step]))


def king_noise(dosage: Float[np.ndarray, "variant donor"]) -> float:
    """Standard error of the kinship of two donors, pooled over pairs.

    Block jackknife of the ratio to first order, with the donor of fewer heterozygotes taken as known.
    """
    n_blocks, n_donors = min(_N_BLOCKS, len(dosage)), dosage.shape[1]
    if n_donors < 2 or n_blocks < 2:
        return float("inf")
    blocks = [_distance_and_het(part)[:2] for part in np.array_split(dosage, n_blocks)]
    total = np.sum([het for _, het in blocks], axis=0)
    n = np.maximum(_fewer(total, total), 1)
    ratio = np.sum([distance for distance, _ in blocks], axis=0) / n
    squares = np.sum([(distance - ratio * _fewer(total, het)) ** 2 for distance, het in blocks], axis=0)
    variance = squares / (16 * n**2) * n_blocks / (n_blocks - 1)
    return float(np.sqrt(variance[np.triu_indices(n_donors, 1)].mean()))
