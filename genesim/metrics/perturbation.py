"""Scores of predicted perturbation effects. Arrays in, numbers out; target genes are left out by a mask.

Notation: y and p are true and predicted means, c the control mean, so effects are y - c and p - c. No score
is read alone: the mean effect of all perturbations wins or ties on MAE and on Pearson's r of effects, and
fails on the centred r and on discrimination.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from jaxtyping import Bool, Float

Distance = Literal["l1", "l2", "cosine"]
_TINY = 1e-12


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


def most_changed(
    score: Float[np.ndarray, "condition gene"], used: Bool[np.ndarray, "condition gene"], n: int
) -> Bool[np.ndarray, "condition gene"]:
    """Mask of the `n` used genes of largest |score| of each condition (all used ones where there are fewer).

    Give the truth's |t| or effects: chosen by a prediction's own error any predictor would look bad.
    """
    size = np.where(used, np.abs(score), -np.inf)
    top = np.zeros(used.shape, bool)
    np.put_along_axis(top, np.argsort(-size, axis=1, kind="stable")[:, :n], True, axis=1)
    return top & used


def distances(a: np.ndarray, b: np.ndarray, used: np.ndarray, distance: Distance) -> np.ndarray:
    """Distance of each row of `a` to the same row of `b` over the genes used; cosine is 1 - cosine similarity."""
    a, b = np.where(used, a, 0.0), np.where(used, b, 0.0)
    if distance == "l1":
        return np.abs(a - b).sum(-1)
    if distance == "l2":
        return np.sqrt(((a - b) ** 2).sum(-1))
    norm = np.sqrt((a**2).sum(-1) * (b**2).sum(-1))
    # No direction is as far from every direction: it says nothing.
    return 1 - np.where(norm > _TINY, (a * b).sum(-1) / np.maximum(norm, _TINY), 0.0)


def _beyond(own: np.ndarray, other: np.ndarray) -> np.ndarray:
    """1 where the rival's distance is larger than its own, 1/2 where they tie (rounding apart)."""
    tie = np.isclose(other, own, rtol=1e-9, atol=_TINY)
    return np.where(tie, 0.5, other > own)


def perturbation_discrimination(
    predicted: np.ndarray, true: np.ndarray, used: np.ndarray, distance: Distance = "l1"
) -> np.ndarray:
    """Perturbation discrimination score (PDS), per condition; 1 is best, 0.5 is chance.

    1 - rank / (n - 1), rank = number of other true effects nearer to the prediction than its own; ties
    count half. Genes left out for either of two conditions are left out of both distances. (cell-eval divides by
    n, leaves out one of the two targets, and breaks ties by order.)

    Args:
        predicted, true: condition x gene effects, at least two conditions.
        used: Same shape; False leaves a gene out.
        distance: L1 rewards a right amplitude, cosine does not see it.
    """
    n = len(true)
    scores = np.empty(n)
    for i in range(n):
        both = used[i] & used
        own = distances(predicted[i], true[i], both, distance)
        other = distances(predicted[i], true, both, distance)
        # Each rival is judged over its own pair of gene sets, so `own` has one value a rival.
        scores[i] = _beyond(own, other)[np.arange(n) != i].mean()
    return scores


def centroid_accuracy(
    predicted: Float[np.ndarray, "condition gene"],
    true: Float[np.ndarray, "condition gene"],
    used: Bool[np.ndarray, "condition gene"],
) -> Float[np.ndarray, " condition"]:
    """Share of the other conditions' true means that lie farther (L2) from a predicted mean than its own true mean.

    Systema (Vinas Torne et al. 2025). Takes means of expression, not effects: conditions of several contexts have
    several controls. With one control it equals the PDS with L2.
    """
    return perturbation_discrimination(predicted, true, used, "l2")


def prediction_rank(
    predicted: Float[np.ndarray, "condition gene"],
    true: Float[np.ndarray, "condition gene"],
    used: Bool[np.ndarray, "condition gene"],
    distance: Distance = "l2",
) -> Float[np.ndarray, " condition"]:
    """PerturBench's rank (Wu et al. 2024, eq. 2): share of the other predictions at least as close to a true effect.

    0 is best, .5 is chance, and what a predictor of one effect for all gets (ties count half). It looks from the
    truth to all predictions, where the PDS looks from a prediction to all truths.
    """
    return 1 - perturbation_discrimination(true, predicted, used, distance)


def weights_of(t: Float[np.ndarray, "condition gene"]) -> Float[np.ndarray, "condition gene"]:
    """Weights of genes: squared min-max scaled |t| of a condition against the rest (Mejia et al. 2025).

    Against the *other perturbations*, not the control, so that what all share has little weight.
    """
    size = np.abs(np.nan_to_num(t))
    low, high = size.min(1, keepdims=True), size.max(1, keepdims=True)
    return np.where(high > low, (size - low) / np.maximum(high - low, _TINY), (high > 0).astype(float)) ** 2


def weighted_r2(
    predicted: Float[np.ndarray, "condition gene"],
    true: Float[np.ndarray, "condition gene"],
    used: Bool[np.ndarray, "condition gene"],
    weight: Float[np.ndarray, "condition gene"],
    centre: Float[np.ndarray, "condition gene"] | float = 0.0,
) -> Float[np.ndarray, " condition"]:
    """Weighted R2 of y - m and p - m over genes, per condition (Mejia et al. 2025); not above 1, 0 for a constant.

    Args:
        centre: m, the mean effect of the other perturbations; it scores 0 or less as a prediction.
        weight: See `weights_of`. NaN where all are 0 or the truth does not vary.
    """
    w = weight * used
    a, b = true - centre, predicted - centre
    total = np.maximum(w.sum(1), _TINY)
    mean = (w * np.where(used, a, 0.0)).sum(1) / total
    spread = (w * np.where(used, a - mean[:, None], 0.0) ** 2).sum(1)
    error = (w * np.where(used, a - b, 0.0) ** 2).sum(1)
    return np.where(spread > _TINY * total, 1 - error / np.maximum(spread, 1e-300), np.nan)


def interval_coverage(
    true: Float[np.ndarray, "condition gene"],
    low: Float[np.ndarray, "condition gene"],
    high: Float[np.ndarray, "condition gene"],
    used: Bool[np.ndarray, "condition gene"],
    se: Float[np.ndarray, "condition gene"] | float = 0.0,
    z: float = 1.96,
) -> Float[np.ndarray, " condition"]:
    """Share of the genes used whose observed effect lies in its interval, per condition; NaN without intervals.

    Args:
        low, high: Interval of the *true* effect.
        se: Standard error of the observed effect. Each side is widened to sqrt(side^2 + (z se)^2), so that intervals
            that are right are not blamed for the noise of what they are compared with.
        z: Normal quantile of the intervals.
    """
    middle = (low + high) / 2
    half = np.sqrt(((high - low) / 2) ** 2 + (z * np.asarray(se)) ** 2)
    known = used & np.isfinite(half)
    inside = known & (np.abs(true - middle) <= half)
    n = known.sum(1)
    return np.where(n > 0, inside.sum(1) / np.maximum(n, 1), np.nan)


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
