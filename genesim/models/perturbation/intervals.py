"""Intervals of predicted effects: a variance law, and how far held-out effects lay from it (split conformal)."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

LEVELS = np.r_[np.arange(1, 100) / 100, 0.995]
"""Levels whose quantiles are kept; between them they are interpolated."""


@dataclass(frozen=True)
class VarianceLaw:
    """Variance of a true effect about its prediction d: constant + slope d^2 + disagreement s^2.

    Attributes:
        constant, slope, disagreement: Coefficients, >= 0; s^2 is the variance over the candidates' predictions.
        ratios: Quantiles of |error| / standard deviation at `LEVELS`; empty where nothing was held out.
    """

    constant: float = 0.0
    slope: float = 0.0
    disagreement: float = 0.0
    ratios: np.ndarray = field(default_factory=lambda: np.zeros(0))

    def variance(self, prediction: np.ndarray, spread: np.ndarray) -> np.ndarray:
        """Of the true effect, per gene."""
        return self.constant + self.slope * prediction**2 + self.disagreement * spread

    def multiplier(self, level: float) -> float:
        """Standard deviations that cover a share `level` of the held-out effects; NaN without any."""
        return float(np.interp(level, LEVELS, self.ratios)) if len(self.ratios) else float("nan")


def fit_law(
    prediction: np.ndarray, spread: np.ndarray, truth: np.ndarray, se: np.ndarray, used: np.ndarray
) -> VarianceLaw:
    """Law and quantiles of held-out conditions.

    Args:
        prediction, spread, truth, se: condition x gene; spread is the variance over candidates.
        used: Genes that count.
    """
    from scipy.optimize import nnls  # slow to import

    d, s, error, noise = (a[used] for a in (prediction, spread, truth - prediction, se**2))
    # Candidates that differ by rounding do not disagree.
    s = s if s.mean() > 1e-9 * (d**2).mean() else np.zeros_like(s)
    excess = error**2 - noise
    design = np.column_stack([np.ones_like(d), d**2, s])
    weight = 1 / (noise + 1e-6)
    scaled = design * weight[:, None]
    # Normal equations: as many rows as conditions x genes would take minutes otherwise.
    gram, cross = scaled.T @ scaled, scaled.T @ (excess * weight)
    scale = np.sqrt(np.maximum(np.diag(gram), 1e-300))
    factor = np.linalg.cholesky(gram / np.outer(scale, scale) + 1e-9 * np.eye(3))
    constant, slope, disagreement = nnls(factor.T, np.linalg.solve(factor, cross / scale))[0] / scale
    law = VarianceLaw(float(constant), float(slope), float(disagreement))
    ratio = np.abs(error) / np.sqrt(np.maximum(law.variance(d, s) + noise, 1e-18))
    return VarianceLaw(law.constant, law.slope, law.disagreement, np.quantile(ratio, LEVELS))


def covered(
    law: VarianceLaw,
    level: float,
    prediction: np.ndarray,
    spread: np.ndarray,
    truth: np.ndarray,
    se: np.ndarray,
    used: np.ndarray,
) -> np.ndarray:
    """Per condition, the share of observed effects that lie inside their intervals, measurement noise included."""
    half = law.multiplier(level) * np.sqrt(law.variance(prediction, spread) + se**2)
    inside = (np.abs(truth - prediction) <= half) & used
    return inside.sum(1) / np.maximum(used.sum(1), 1)
