"""Intervals of predicted effects: a variance law, and how far held-out effects lay from it (split conformal).

Most genes do not move, so one quantile over all of them is theirs: it covers 90 % of all effects and half of those
that moved. Quantiles are therefore taken bin by bin of the law's variance (Mondrian), which is known beforehand.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

LEVELS = np.r_[np.arange(1, 100) / 100, 0.995]
"""Levels whose quantiles are kept; between them they are interpolated."""
# Bins are cut at these quantiles of the law's variance, as far as each holds this many effects.
_CUTS = (0.5, 0.8, 0.9, 0.95, 0.98)
_LEAST = 100
_N_ROUNDS = 3


@dataclass(frozen=True)
class VarianceLaw:
    """Variance of a true effect about its prediction d: constant + slope d^2 + disagreement s^2 + activity a^2.

    Attributes:
        constant, slope, disagreement, activity: Coefficients, >= 0; s^2 is the variance over the candidates'
            predictions, a^2 the gene's mean squared effect over the training conditions.
        edges: Variances between the bins, increasing.
        ratios: Quantiles of |error| / standard deviation at `LEVELS`, bin x level; empty where nothing was held out.
    """

    constant: float = 0.0
    slope: float = 0.0
    disagreement: float = 0.0
    activity: float = 0.0
    edges: np.ndarray = field(default_factory=lambda: np.zeros(0))
    ratios: np.ndarray = field(default_factory=lambda: np.zeros((0, len(LEVELS))))

    def variance(self, prediction: np.ndarray, spread: np.ndarray, active: np.ndarray) -> np.ndarray:
        """Of the true effect, per gene."""
        return self.constant + self.slope * prediction**2 + self.disagreement * spread + self.activity * active

    def multiplier(self, level: float, variance: np.ndarray) -> np.ndarray:
        """Standard deviations that cover a share `level` of the held-out effects like each; NaN without any."""
        if not len(self.ratios):
            return np.full(np.shape(variance), np.nan)
        by_bin = np.array([np.interp(level, LEVELS, ratios) for ratios in self.ratios])
        return by_bin[np.searchsorted(self.edges, variance)]


def fit_law(
    prediction: np.ndarray,
    spread: np.ndarray,
    active: np.ndarray,
    truth: np.ndarray,
    se: np.ndarray,
    used: np.ndarray,
) -> VarianceLaw:
    """Law and quantiles of held-out conditions.

    Args:
        prediction, spread, active, truth, se: condition x gene; spread is the variance over candidates, active the
            genes' mean squared effects in training.
        used: Genes that count.
    """
    from scipy.optimize import nnls  # slow to import

    d, s, a, error, noise = (x[used] for x in (prediction, spread, active, truth - prediction, se**2))
    # Candidates that differ by rounding do not disagree.
    s = s if s.mean() > 1e-9 * (d**2).mean() else np.zeros_like(s)
    excess = error**2 - noise
    design = np.column_stack([np.ones_like(d), d**2, s, a])
    total = noise + 1e-6
    for _ in range(_N_ROUNDS):
        scaled = design / total[:, None]
        # Normal equations: as many rows as conditions x genes would take minutes otherwise.
        gram, cross = scaled.T @ scaled, scaled.T @ (excess / total)
        # A feature that is 0 throughout has no coefficient.
        scale = np.where(np.diag(gram) > 0, np.sqrt(np.diag(gram)), np.inf)
        factor = np.linalg.cholesky(gram / np.outer(scale, scale) + 1e-9 * np.eye(4))
        coefficient = nnls(factor.T, np.linalg.solve(factor, cross / scale))[0] / scale
        variance = design @ coefficient
        # A squared error varies as its own mean does.
        total = noise + variance + 1e-6
    constant, slope, disagreement, activity = (float(c) for c in coefficient)
    ratio = np.abs(error) / np.sqrt(np.maximum(variance + noise, 1e-18))
    cuts = [q for q in _CUTS if (1 - q) * len(variance) >= _LEAST]
    edges = np.unique(np.quantile(variance, cuts))
    place = np.searchsorted(edges, variance)
    edges = edges[[k for k in range(len(edges)) if (place == k).any() and (place > k).any()]]
    place = np.searchsorted(edges, variance)
    ratios = np.stack([np.quantile(ratio[place == k], LEVELS) for k in range(len(edges) + 1)])
    return VarianceLaw(constant, slope, disagreement, activity, edges, ratios)


def inside(
    law: VarianceLaw,
    level: float,
    prediction: np.ndarray,
    spread: np.ndarray,
    active: np.ndarray,
    truth: np.ndarray,
    se: np.ndarray,
) -> np.ndarray:
    """Observed effects that lie inside their intervals, measurement noise included; condition x gene."""
    variance = law.variance(prediction, spread, active)
    return np.abs(truth - prediction) <= law.multiplier(level, variance) * np.sqrt(variance + se**2)
