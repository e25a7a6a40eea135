"""What a map of cis effects says as a whole: how many genes have one, how large, how near, in how many cell types."""

from __future__ import annotations

import numpy as np


def storey_pi1(p_values: np.ndarray) -> float:
    """Share of tests that are not null, 1 - pi0.

    pi0(lambda) = #{p > lambda} / (m (1 - lambda)), with the lambda of least mean squared error by its closed form
    (Storey, Taylor & Siegmund 2004, J. R. Stat. Soc. B 66:187; `pi0est(method = "bootstrap")` of the R package qvalue).

    Args:
        p_values: Any shape; NaN does not count as a test.

    Returns:
        Within [0, 1]; NaN without tests.
    """
    p = np.ravel(p_values)
    p = p[np.isfinite(p)]
    m = len(p)
    if not m:
        return float("nan")
    grid = np.arange(0.05, 0.96, 0.05)
    above = (p[None] > grid[:, None]).sum(1)
    pi0 = above / (m * (1 - grid))
    error = above / (m**2 * (1 - grid) ** 2) * (1 - above / m) + (pi0 - np.quantile(pi0, 0.1)) ** 2
    return float(np.clip(1 - pi0[error.argmin()], 0.0, 1.0))


def weighted_quantiles(values: np.ndarray, weights: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Quantiles of the law that puts each value's weight on it; NaN where no weight is.

    Args:
        values, weights: Same length; weights are not negative (posterior probabilities, say).
        at: Levels in [0, 1].
    """
    values, weights = np.ravel(values).astype(np.float64), np.ravel(weights).astype(np.float64)
    if not weights.sum() > 0:
        return np.full(np.shape(at), np.nan)
    order = np.argsort(values, kind="stable")
    mass = np.cumsum(weights[order]) / weights.sum()
    return values[order][np.minimum(np.searchsorted(mass, np.asarray(at) - 1e-12), len(values) - 1)]


def shared_by_size(effects: np.ndarray, factor: float = 2.0) -> float:
    """Share of pairs of cell types in which an effect has one sign and sizes within `factor` (Urbut et al. 2019).

    Nat. Genet. 51:187, "sharing by magnitude".

    Args:
        effects: effect x cell type; NaN where a type was not fitted. Pairs in which both are 0 do not count.
    """
    n_types = effects.shape[1]
    shared = counted = 0
    for a in range(n_types):
        for b in range(a + 1, n_types):
            one, two = effects[:, a], effects[:, b]
            large, small = np.maximum(np.abs(one), np.abs(two)), np.minimum(np.abs(one), np.abs(two))
            used = np.isfinite(one) & np.isfinite(two) & (large > 0)
            counted += int(used.sum())
            shared += int((used & (one * two > 0) & (small * factor >= large)).sum())
    return shared / counted if counted else float("nan")
