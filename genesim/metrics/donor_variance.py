"""How much of a gene's variation lies between donors, and how much between the cells of a donor.

A cell's count is y_dc ~ Poisson(l_dc r A_d B_dc): library size l, rate r, and factors of donor and cell with
mean 1. Products of the residuals of two different cells of one donor have expectation
l_dc l_dc' r^2 var(A): counting noise and the cell's own factor cancel (as in the ANOVA estimator of an
intraclass correlation; Searle, Casella & McCulloch 1992, Variance Components, ch. 3).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy import sparse


class DonorVariance(NamedTuple):
    """Per gene; variances of factors relative to their mean of 1 (for small ones, of natural logarithms).

    Attributes:
        donor: var(A), not truncated at 0; NaN where no donor has two cells or nothing is expressed.
        standard_error: Of `donor`, by leaving out one donor at a time.
        total: var(A B): of a cell's rate, donors and cells together.
    """

    donor: np.ndarray
    standard_error: np.ndarray
    total: np.ndarray

    @property
    def share(self) -> np.ndarray:
        """Share of the variance of cells' rates that lies between donors, within [0, 1]; NaN where there is none."""
        total = np.where(self.total > 0, self.total, np.nan)
        return np.clip(self.donor / total, 0.0, 1.0)


def donor_variance(counts: sparse.csr_matrix, library: np.ndarray, donor: np.ndarray) -> DonorVariance:
    """Variance of genes' rates between donors and in all.

    Args:
        counts: Cells of one type, cell x gene.
        library: Library size per cell.
        donor: Code of each cell's donor, from 0.
    """
    n_cells, n_donors = len(donor), int(donor.max()) + 1 if len(donor) else 0
    of_donor = sparse.csr_matrix((np.ones(n_cells), (donor, np.arange(n_cells))), (n_donors, n_cells))
    counts = sparse.csr_matrix(counts, dtype=np.float64)
    rate = np.asarray(counts.sum(0)).ravel() / max(float(library.sum()), 1e-300)
    by_donor = of_donor @ library
    square_library = of_donor @ library**2
    y = (of_donor @ counts).toarray()
    y2 = (of_donor @ counts.multiply(counts)).toarray()
    yl = (of_donor @ sparse.diags(library) @ counts).toarray()
    residual = y - np.outer(by_donor, rate)
    squares = y2 - 2 * rate * yl + rate**2 * square_library[:, None]
    above = residual**2 - squares
    below = rate**2 * (by_donor**2 - square_library)[:, None]
    top, bottom = above.sum(0), below.sum(0)
    with np.errstate(divide="ignore", invalid="ignore"):
        value = np.where(bottom > 0, top / bottom, np.nan)
        without = np.where(bottom - below > 0, (top - above) / (bottom - below), np.nan)
        total = (squares.sum(0) - rate * library.sum()) / (rate**2 * square_library.sum())
    spread = ((without - without.mean(0)) ** 2).sum(0)
    error = np.sqrt(spread * max(n_donors - 1, 0) / max(n_donors, 1))
    return DonorVariance(value, error, np.where(rate > 0, total, np.nan))


def shrunk_variance(value: np.ndarray, standard_error: np.ndarray, n_donors: int) -> np.ndarray:
    """Variances shrunk to their mean over genes by what their standard errors leave unsure; none below 0.

    An estimated variance v has the standard error (v + e) sqrt(2 / n), e being the noise of its measurement. The
    error is taken at the genes' mean in place of v, lest large variances, whose errors are large, be pulled
    down more than small ones are pulled up. The spread of the true variances over genes is what the spread of the
    estimates has beyond these squared errors (DerSimonian & Laird 1986, Control. Clin. Trials 7:177).

    Args:
        value, standard_error: As `donor_variance` gives them; NaN stays NaN.
        n_donors: n.
    """
    known = np.isfinite(value) & np.isfinite(standard_error) & (standard_error > 0)
    out = np.where(np.isfinite(value), np.maximum(value, 0.0), np.nan)
    if not known.any():
        return out
    v, root = value[known], np.sqrt(2 / max(n_donors, 2))
    noise = np.maximum(standard_error[known] / root - np.maximum(v, 0.0), 0.0)
    between, centre = 0.0, max(float(np.median(v)), 0.0)
    for _ in range(5):
        s2 = np.maximum(((centre + noise) * root) ** 2, 1e-12)
        weight = 1 / (s2 + between)
        centre = max(float((weight * v).sum() / weight.sum()), 0.0)
        weight = 1 / s2
        q = (weight * (v - (weight * v).sum() / weight.sum()) ** 2).sum()
        between = max(0.0, (q - (len(v) - 1)) / max(weight.sum() - (weight**2).sum() / weight.sum(), 1e-300))
    out[known] = np.maximum((v * between + centre * s2) / (between + s2), 0.0)
    return out
