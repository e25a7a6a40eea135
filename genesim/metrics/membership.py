"""How well an attack on simulated data tells the donors of the training set from other donors.

The unit is the donor: an attack gives each cell a score, a donor's score is the mean over the donor's cells, and
every figure and interval counts donors. Higher scores mean "was in the training set". `membership_scores` has the
attacks.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from genesim.errors import InputError
from genesim.metrics.interval import Interval

FPR = 0.01
"""Share of other donors that may be taken for members (Carlini et al. 2022, IEEE S&P: the low end is what matters)."""
Sides = tuple[Float[np.ndarray, " member"], Float[np.ndarray, " other"]]
"""Scores of donors of the training set, and of donors that are not in it."""


class DonorAttack(NamedTuple):
    """One attack's success over donors."""

    auc: Interval
    """P(a member scores higher than another donor) + P(tie)/2; .5 is chance."""
    tpr: Interval
    """Members found where at most `FPR` of the others are taken for members."""


def centred_within(values: Float[np.ndarray, " cell"], labels: Int[np.ndarray, " cell"]) -> Float[np.ndarray, " cell"]:
    """Scores less the mean of their label: a donor with many cells of an easy type is no likelier to be a member.

    The means are over all cells that are judged, members' or not: the attacker has them without knowing which.
    """
    n = np.bincount(labels)
    mean = np.bincount(labels, weights=values) / np.maximum(n, 1)
    return values - mean[labels]


def donor_means(
    values: Float[np.ndarray, " cell"], donors: Int[np.ndarray, " cell"], n_donors: int
) -> Float[np.ndarray, " donor"]:
    """Mean score of each donor's cells.

    Raises:
        InputError: A donor has no cells.
    """
    n = np.bincount(donors, minlength=n_donors)
    if (n == 0).any():
        raise InputError(
            f"{int((n == 0).sum())} of {n_donors} donors have no cells",
            where="membership attack",
            remedy="judge donors with cells only",
        )
    return np.bincount(donors, weights=values, minlength=n_donors) / n


def auroc(member: Float[np.ndarray, "*k m"], other: Float[np.ndarray, "*k n"]) -> Float[np.ndarray, "*k"]:
    """Area under the ROC curve, P(member > other) + P(equal)/2 (Mann and Whitney 1947), over the last axis.

    Only ranks matter: a score that is a monotone function of another has its value. O(m n), for donors.
    """
    above = member[..., :, None] > other[..., None, :]
    equal = member[..., :, None] == other[..., None, :]
    return (above + 0.5 * equal).mean(axis=(-2, -1))


def tpr_at_fpr(
    member: Float[np.ndarray, "*k m"], other: Float[np.ndarray, "*k n"], fpr: float = FPR
) -> Float[np.ndarray, "*k"]:
    """Share of members above the threshold that at most `fpr` of the others exceed, over the last axis.

    With fewer than 1 / fpr others no false positive at all is allowed. Ties count against the attacker.
    """
    allowed = int(fpr * other.shape[-1])
    threshold = -np.sort(-other, axis=-1)[..., allowed]
    return (member > threshold[..., None]).mean(axis=-1)


def chance_tpr(n_other: int, fpr: float = FPR) -> float:
    """`tpr_at_fpr` of an attack that knows nothing: P(a member is above all but `allowed` of n others).

    (allowed + 1) / (n + 1), by exchangeability.
    """
    return (int(fpr * n_other) + 1) / (n_other + 1)


def roc_curve(
    member: Float[np.ndarray, " m"], other: Float[np.ndarray, " n"]
) -> tuple[Float[np.ndarray, " point"], Float[np.ndarray, " point"]]:
    """False- and true-positive rate at every threshold, from (0, 0) to (1, 1); tied scores make one point."""
    thresholds = np.unique(np.concatenate([member, other]))[::-1]
    fpr = 1 - np.searchsorted(np.sort(other), thresholds, side="left") / len(other)
    tpr = 1 - np.searchsorted(np.sort(member), thresholds, side="left") / len(member)
    return np.concatenate([[0.0], fpr]), np.concatenate([[0.0], tpr])


def donor_attack(
    folds: Sequence[Sides],
    generator: np.random.Generator,
    *,
    n_repeats: int = 1000,
    coverage: float = 0.95,
    fpr: float = FPR,
) -> DonorAttack:
    """AUROC and TPR with intervals by resampling donors.

    Args:
        folds: One pair of scores a reference that the attack was made with. All folds have the same members in the
            same order, and different others. Figures are means over the folds: scores that were made with different
            references are not compared with one another.
        generator: Draws the donors.
        n_repeats: Bootstrap samples, members and others drawn apart with replacement (percentile interval, Efron and
            Tibshirani 1993, chapter 13). At an AUC of exactly 0 or 1 the interval has no width: read n as well.
        coverage: Coverage of the intervals.
        fpr: Of the TPR.

    Raises:
        InputError: Fewer than two donors on a side, or scores that are not finite.
    """
    n_members = len(folds[0][0])
    for member, other in folds:
        if min(len(member), len(other)) < 2 or len(member) != n_members:
            raise InputError(
                f"{len(member)} members and {len(other)} other donors",
                where="membership attack",
                remedy="give at least two donors on each side, the same members in every fold",
            )
        if not (np.isfinite(member).all() and np.isfinite(other).all()):
            raise InputError("scores are not finite", where="membership attack", remedy="use rank-safe scores")
    rows = generator.integers(0, n_members, (n_repeats, n_members))
    drawn = [(m[rows], o[generator.integers(0, len(o), (n_repeats, len(o)))]) for m, o in folds]
    ends = [(1 - coverage) / 2, (1 + coverage) / 2]

    def interval(values: Sequence[np.ndarray], repeats: Sequence[np.ndarray]) -> Interval:
        low, high = np.quantile(np.mean(repeats, axis=0), ends)
        return Interval(float(np.mean(values)), float(low), float(high))

    return DonorAttack(
        interval([auroc(m, o) for m, o in folds], [auroc(m, o) for m, o in drawn]),
        interval([tpr_at_fpr(m, o, fpr) for m, o in folds], [tpr_at_fpr(m, o, fpr) for m, o in drawn]),
    )


def smallest_detectable_auc(n_members: int, n_others: int, coverage: float = 0.95) -> float:
    """AUC above .5 that chance alone exceeds in (1 - coverage)/2 of cases; NaN where a side is empty.

    The variance of a Mann-Whitney AUC under the null is (m + n + 1) / (12 m n) (Mann and Whitney 1947).
    """
    from scipy.stats import norm

    if min(n_members, n_others) == 0:
        return float("nan")
    error = np.sqrt((n_members + n_others + 1) / (12 * n_members * n_others))
    return float(min(1.0, 0.5 + norm.ppf(0.5 + coverage / 2) * error))


def detectable_tpr(n_member: int, n_other: int, coverage: float = 0.95, fpr: float = FPR) -> float:
    """Smallest `tpr_at_fpr` that chance reaches in at most (1 - coverage)/2 of cases; above 1 where there is none.

    With a others allowed above the threshold, x members lie above it where at most a of the x + a highest donors are
    others: a hypergeometric probability, as every order of exchangeable donors is as likely.
    """
    from scipy.stats import hypergeom

    allowed = int(fpr * n_other)
    x = np.arange(1, n_member + 1)
    p = hypergeom.cdf(allowed, n_member + n_other, n_other, x + allowed)
    rare = np.flatnonzero(p <= (1 - coverage) / 2)
    return float(x[rare[0]] / n_member) if len(rare) else float("inf")
