"""Are the genes that a perturbation moves the ones that move in predicted cells? Tests on cells, not on means.

A perfect mean put on log-shifted control cells finds almost none of them, for rank tests see zeros and spread:
these scores ask for counts like real ones.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from genesim.metrics.distribution import require_rows
from genesim.metrics.effects import benjamini_hochberg


@dataclass(frozen=True)
class DifferentialExpression:
    """One set of cells against controls.

    Attributes:
        log2_fold: log2 ratio of mean normalised expression, per gene.
        p: Two-sided rank-sum p-value (normal approximation with ties); 1 where a gene never varies.
    """

    log2_fold: Float[np.ndarray, " gene"]
    p: Float[np.ndarray, " gene"]

    def significant(self, used: Bool[np.ndarray, " gene"], fdr: float = 0.05) -> Bool[np.ndarray, " gene"]:
        """Genes below `fdr` (Benjamini and Hochberg) among those used."""
        q = benjamini_hochberg(np.where(used, self.p, np.nan))
        return np.nan_to_num(q, nan=1.0) < fdr


def differential_expression(
    cells: Float[np.ndarray, "cell gene"], control: Float[np.ndarray, "control gene"], pseudocount: float = 0.01
) -> DifferentialExpression:
    """Rank-sum test (Mann and Whitney 1947) of every gene.

    Args:
        cells, control: log1p of normalised counts.
        pseudocount: Added to both means, on the scale of normalised counts: a gene that one side lacks has a finite
            fold change.

    Raises:
        InputError: Fewer than two cells on a side, or different genes.
    """
    from scipy.stats import mannwhitneyu  # slow to import

    require_rows(cells, control)
    varies = (np.ptp(cells, axis=0) > 0) | (np.ptp(control, axis=0) > 0)
    varies |= cells[0] != control[0]
    p = np.ones(cells.shape[1])
    if varies.any():
        p[varies] = mannwhitneyu(cells[:, varies], control[:, varies], axis=0, method="asymptotic").pvalue
    means = [np.expm1(x).mean(0) + pseudocount for x in (cells, control)]
    return DifferentialExpression(np.log2(means[0] / means[1]), np.nan_to_num(p, nan=1.0))


def _strongest(de: DifferentialExpression, among: np.ndarray, n: int) -> np.ndarray:
    """Indices of the `n` genes of largest |log2 fold change| of a mask."""
    at = np.flatnonzero(among)
    return at[np.argsort(-np.abs(de.log2_fold[at]), kind="stable")[:n]]


def overlap_at_n(
    predicted: DifferentialExpression, true: DifferentialExpression, used: Bool[np.ndarray, " gene"], fdr: float = 0.05
) -> float:
    """Differential-expression score (DES): of the N genes that truly move, the share among the N strongest predicted.

    Both lists hold genes significant at `fdr`, by |log2 fold change|, as cell-eval's overlap at N; a predicted list
    may be shorter. NaN where no gene truly moves.
    """
    truly = true.significant(used, fdr)
    n = int(truly.sum())
    if n == 0:
        return float("nan")
    return float(truly[_strongest(predicted, predicted.significant(used, fdr), n)].sum() / n)


def precision_at_n(
    predicted: DifferentialExpression, true: DifferentialExpression, used: Bool[np.ndarray, " gene"], fdr: float = 0.05
) -> float:
    """Share of the genes predicted to move that truly do; NaN where no gene truly moves, 0 where none is predicted."""
    truly, called = true.significant(used, fdr), predicted.significant(used, fdr)
    if not truly.any():
        return float("nan")
    return float((truly & called).sum() / max(int(called.sum()), 1))


def welch_t(a: Float[np.ndarray, "cell gene"], b: Float[np.ndarray, "other gene"]) -> Float[np.ndarray, " gene"]:
    """Welch's t of each gene, with scanpy's guard: 0 where neither side varies.

    Raises:
        InputError: Fewer than two rows on a side, or different genes.
    """
    require_rows(a, b)
    error = np.sqrt(a.var(0, ddof=1) / len(a) + b.var(0, ddof=1) / len(b))
    difference = a.mean(0) - b.mean(0)
    return np.where(error > 0, difference / np.maximum(error, 1e-300), 0.0)
