"""From a slope per allele copy on the log2 scale to log2 allelic fold change (log2 aFC), and back.

Mohammadi et al. 2017, Genome Res. 27:1872: expression is additive over haplotypes on the natural scale,
e_d = C/2 * sum_h 2^(delta x_h), delta = log2 aFC = log2(alternate allele's expression / reference allele's).

Derivation. By dosage, log2 e - log2 C is 0, log2((1 + 2^delta)/2), delta. That is delta/2 * d plus, at
heterozygotes only, kappa = log2((1 + 2^delta)/2) - delta/2 >= 0 (kappa = ln(2)/8 delta^2 + O(delta^4)).
The least-squares slope on d is delta/2 + kappa cov(1[d=1], d)/var(d). Under Hardy-Weinberg with alternate
allele frequency p, cov = 2pq(1 - 2p) and var = 2pq, hence exactly

    slope = delta/2 + kappa(delta) (1 - 2p).

So log2 aFC is twice the slope at small effects (and at p = 1/2), and the map is strictly increasing because
|kappa'| = |2^delta/(1 + 2^delta) - 1/2| < 1/2; it is inverted here by bisection.
"""

from __future__ import annotations

import numpy as np

# log2 aFC beyond this is a silenced or a private allele: no data set here can tell it from the bound.
LARGEST = 8.0


def slope_from_afc(log2_afc: np.ndarray, frequency: np.ndarray) -> np.ndarray:
    """Least-squares slope of log2 expression per alternate allele copy, under Hardy-Weinberg."""
    delta = np.asarray(log2_afc, np.float64)
    kappa = np.logaddexp2(0.0, delta) - 1.0 - delta / 2
    return delta / 2 + kappa * (1 - 2 * np.asarray(frequency, np.float64))


def afc_from_slope(slope: np.ndarray, frequency: np.ndarray) -> np.ndarray:
    """log2 aFC whose least-squares slope is `slope` at alternate allele `frequency`, within +-8."""
    slope, frequency = np.broadcast_arrays(np.asarray(slope, np.float64), np.asarray(frequency, np.float64))
    low, high = np.full(slope.shape, -LARGEST), np.full(slope.shape, LARGEST)
    for _ in range(60):
        middle = (low + high) / 2
        below = slope_from_afc(middle, frequency) < slope
        low, high = np.where(below, middle, low), np.where(below, high, middle)
    # Bisection leaves +-1e-17 at zero: an effect that is off stays exactly 0.
    return np.where(slope == 0, 0.0, (low + high) / 2)
