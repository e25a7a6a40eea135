"""Scores of predicted perturbation effects. Arrays in, numbers out; target genes are left out by a mask.

Notation: y and p are true and predicted means, c the control mean, so effects are y - c and p - c. No score
is read alone: the mean effect of all perturbations wins or ties on MAE and on Pearson's r of effects, and
fails on the centred r and on discrimination.
"""

from __future__ import annotations

import numpy as np


def pearson_delta(
    predicted: np.ndarray, true: np.ndarray, used: np.ndarray, centre: np.ndarray | float = 0.0
) -> np.ndarray:
    """Pearson's r over genes between predicted and true effects, per condition.

    With `centre` = 0: r(p - c, y - c). With `centre` = the mean effect m of the other perturbations:
    r(p - m, y - m), which gives no credit for what all share (Systema, Vinas Torne et al. 2025).

    Args:
        predicted, true: condition x gene effects.
        used: Same shape; False leaves a gene out.
        centre: Broadcasts to effects.

    Returns:
        Per condition; 0 where the prediction does not vary (it says nothing), NaN where the truth does not.
    """
    a = np.where(used, predicted - centre, 0.0)
    b = np.where(used, true - centre, 0.0)
    n = np.maximum(used.sum(1), 1)
    a = np.where(used, a - (a.sum(1) / n)[:, None], 0.0)
    b = np.where(used, b - (b.sum(1) / n)[:, None], 0.0)
    norm_a, norm_b = np.sqrt((a**2).sum(1)), np.sqrt((b**2).sum(1))
    r = (a * b).sum(1) / np.maximum(norm_a * norm_b, 1e-300)
    r = np.where(norm_a > 1e-12, r, 0.0)
    return np.where(norm_b > 1e-12, r, np.nan)


def mean_absolute_error(predicted: np.ndarray, true: np.ndarray, used: np.ndarray) -> np.ndarray:
    """Mean of |p - y| over the genes used, per condition."""
    return (np.abs(predicted - true) * used).sum(1) / np.maximum(used.sum(1), 1)


def perturbation_discrimination(predicted: np.ndarray, true: np.ndarray, used: np.ndarray) -> np.ndarray:
    """Perturbation discrimination score (PDS), per condition; 1 is best, 0.5 is chance.

    1 - rank / (n - 1), rank = number of other true effects nearer (L1) to the prediction than its own; ties
    count half. Genes left out for either of two conditions are left out of both distances.

    Args:
        predicted, true: condition x gene effects, at least two conditions.
        used: Same shape; False leaves a gene out.
    """
    n = len(true)
    scores = np.empty(n)
    for i in range(n):
        both = used[i] & used
        own = (np.abs(predicted[i] - true[i]) * both).sum(1)
        other = (np.abs(predicted[i] - true) * both).sum(1)
        others = np.arange(n) != i
        rank = (other < own)[others].sum() + 0.5 * (other == own)[others].sum()
        scores[i] = 1 - rank / (n - 1)
    return scores


def energy_distance(x: np.ndarray, y: np.ndarray, at_once: int = 1000) -> float:
    """E-distance 2 E|X - Y| - E|X - X'| - E|Y - Y'| with Euclidean distances (not squared), as a U-statistic.

    Unbiased: two samples of one law give 0 on average, at any size (a V-statistic would not).

    Args:
        x, y: cell x feature, at least two cells each.
        at_once: Rows whose distances are held in memory.
    """
    from scipy.spatial.distance import cdist

    def total(a: np.ndarray, b: np.ndarray) -> float:
        return float(sum(cdist(a[i : i + at_once], b).sum() for i in range(0, len(a), at_once)))

    m, n = len(x), len(y)
    return 2 * total(x, y) / (m * n) - total(x, x) / (m * (m - 1)) - total(y, y) / (n * (n - 1))
