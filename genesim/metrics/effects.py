"""How well known variant effects are recovered, and how well held-out donors are predicted."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Slope(NamedTuple):
    """Agreement of estimated with true effects.

    Attributes:
        slope: Of estimate on truth through the origin, over *all* true effects: 1 is unbiased (over
            discovered ones only it would be inflated by the winner's curse).
        correlation: Pearson's r.
        n: True effects.
    """

    slope: float
    correlation: float
    n: int


class Discovery(NamedTuple):
    """Power TP / causal variants, and false-discovery proportion FP / discoveries (0 without any)."""

    power: float
    false_discovery_proportion: float
    n_discovered: int


class CalibrationBin(NamedTuple):
    """Variants whose PIP lies in a bin: mean PIP against the share that is causal."""

    low: float
    high: float
    mean_pip: float
    observed: float
    n: int


def benjamini_hochberg(p_values: np.ndarray) -> np.ndarray:
    """q-values of Benjamini & Hochberg 1995; NaN stays NaN and does not count as a test."""
    p = np.asarray(p_values, np.float64)
    q = np.full(p.shape, np.nan)
    at = np.flatnonzero(~np.isnan(p))
    order = at[np.argsort(p[at], kind="stable")]
    m = len(order)
    scaled = p[order] * m / np.arange(1, m + 1)
    q[order] = np.minimum(np.minimum.accumulate(scaled[::-1])[::-1], 1.0)
    return q


def recovery_slope(estimate: np.ndarray, truth: np.ndarray) -> Slope:
    """Slope and correlation over the entries whose true effect is not 0 (estimate 0 where none was found)."""
    estimate, truth = np.ravel(estimate).astype(np.float64), np.ravel(truth).astype(np.float64)
    estimate, truth = estimate[truth != 0], truth[truth != 0]
    if not len(truth):
        return Slope(float("nan"), float("nan"), 0)
    slope = float((estimate * truth).sum() / (truth**2).sum())
    varied = len(truth) > 1 and estimate.std() > 0 and truth.std() > 0
    return Slope(slope, float(np.corrcoef(estimate, truth)[0, 1]) if varied else float("nan"), len(truth))


def power_and_fdp(discovered: np.ndarray, causal: np.ndarray, r2: np.ndarray, min_r2: float = 0.5) -> Discovery:
    """Power and false-discovery proportion where an LD proxy counts as the variant it tags.

    Args:
        discovered: Indices of the variants called.
        causal: Indices of the causal variants.
        r2: variant x variant squared correlation.
        min_r2: A call within this of a causal variant is true; that variant is then found.
    """
    discovered, causal = np.asarray(discovered, np.int64), np.asarray(causal, np.int64)
    linked = np.asarray(r2)[np.ix_(discovered, causal)] > min_r2
    linked |= discovered[:, None] == causal[None]
    false = 1 - linked.any(1).mean() if len(discovered) else 0.0
    power = linked.any(0).mean() if len(causal) else float("nan")
    return Discovery(float(power), float(false), len(discovered))


def pip_calibration(pip: np.ndarray, is_causal: np.ndarray, n_bins: int = 10) -> list[CalibrationBin]:
    """Reliability of PIPs in equal bins of [0, 1]; empty bins are left out."""
    pip, is_causal = np.ravel(pip).astype(np.float64), np.ravel(is_causal).astype(bool)
    edges = np.linspace(0, 1, n_bins + 1)
    which = np.clip(np.digitize(pip, edges[1:-1]), 0, n_bins - 1)
    return [
        CalibrationBin(
            float(edges[b]),
            float(edges[b + 1]),
            float(pip[which == b].mean()),
            float(is_causal[which == b].mean()),
            int((which == b).sum()),
        )
        for b in range(n_bins)
        if (which == b).any()
    ]


def interval_coverage(truth: np.ndarray, low: np.ndarray, high: np.ndarray) -> tuple[float, int]:
    """Share of intervals [low, high] that hold the truth, and their number (NaN without any).

    Intervals of effects chosen because they were found cover less than they promise: the winner's curse.
    """
    truth, low, high = (np.ravel(x).astype(np.float64) for x in (truth, low, high))
    inside = (low <= truth) & (truth <= high)
    return (float(inside.mean()) if len(inside) else float("nan")), len(inside)


def marginal_p_values(response: np.ndarray, dosage: np.ndarray, covariates: np.ndarray) -> np.ndarray:
    """Two-sided p-value of each variant alone, by the t test of its partial correlation.

    Args:
        response: Expression of one gene, per donor.
        dosage: variant x donor, no NaN.
        covariates: donor x covariate, without intercept; projected out of both.

    Returns:
        One p-value a variant; NaN where the dosage does not vary beyond the covariates.
    """
    from scipy.stats import t as student

    n = len(response)
    basis, spread, _ = np.linalg.svd(np.column_stack([np.ones(n), covariates]), full_matrices=False)
    basis = basis[:, spread > spread.max() * 1e-10]
    y = response - basis @ (basis.T @ response)
    x = dosage - (dosage @ basis) @ basis.T
    norm = (x**2).sum(1)
    varied = norm > 1e-8 * np.maximum((dosage**2).sum(1), 1.0)
    r2 = np.minimum((x @ y) ** 2 / np.where(varied, norm * (y @ y), np.nan), 1 - 1e-15)
    dof = n - basis.shape[1] - 1
    return np.asarray(2 * student.sf(np.sqrt(r2 * dof / (1 - r2)), dof))


def credible_set_coverage(sets: list[np.ndarray], causal: list[np.ndarray]) -> tuple[float, int]:
    """Share of credible sets that hold a causal variant of their gene, and the number of sets.

    Args:
        sets: Variant indices of each set.
        causal: Causal variant indices of the same set's gene.
    """
    hit = [bool(np.isin(c, s).any()) for s, c in zip(sets, causal, strict=True)]
    return (float(np.mean(hit)) if hit else float("nan")), len(hit)


def held_out_r2(truth: np.ndarray, prediction: np.ndarray, reference: np.ndarray | float = 0.0) -> np.ndarray:
    """R2 = 1 - SSE/SST of each gene over held-out donors; negative where worse than `reference`.

    Args:
        truth: gene x donor, covariates removed with coefficients of the training donors.
        prediction: gene x donor.
        reference: What SST is taken about: the training mean (0 where truth is centred on it), never the
            mean of the held-out donors.
    """
    truth = np.asarray(truth, np.float64)
    sse = ((truth - prediction) ** 2).sum(-1)
    sst = ((truth - reference) ** 2).sum(-1)
    return 1 - sse / np.where(sst > 0, sst, np.nan)
