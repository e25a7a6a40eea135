"""Variance between donors and between cells."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse

from genesim.metrics.donor_variance import donor_variance, shrunk_variance


def cells(
    n_donors: int, n_cells: int, donor_sd: np.ndarray, cell_sd: float, seed: int
) -> tuple[sparse.csr_matrix, np.ndarray, np.ndarray]:
    """Counts of genes whose donors' and cells' factors are log-normal with mean 1."""
    draw = np.random.default_rng(seed)
    donor = np.repeat(np.arange(n_donors), draw.poisson(n_cells, n_donors) + 1)
    library = np.exp(draw.normal(7, 0.4, len(donor)))
    factor = np.exp(donor_sd * draw.normal(size=(n_donors, len(donor_sd))) - donor_sd**2 / 2)[donor]
    factor *= np.exp(cell_sd * draw.normal(size=factor.shape) - cell_sd**2 / 2)
    rate = np.exp(draw.uniform(-8, -5, len(donor_sd)))
    return sparse.csr_matrix(draw.poisson(library[:, None] * rate * factor)), library, donor


def test_recovers_both_variances_and_sees_none_between_shuffled_donors() -> None:
    sd = np.r_[np.zeros(60), np.full(60, 0.3)]
    counts, library, donor = cells(150, 40, sd, 0.6, 0)
    found = donor_variance(counts, library, donor)
    error = found.standard_error
    for part, truth in ((slice(0, 60), 0.0), (slice(60, 120), np.exp(0.09) - 1)):
        v, s = found.donor[part], error[part]
        assert abs(v.mean() - truth) < 4 * v.std() / np.sqrt(60)
        assert ((v - truth) / s).std() < 1.5
    total = np.exp(0.36 + sd**2) - 1
    assert found.total[:60].mean() == pytest.approx(total[0], rel=0.15)
    assert found.share[60:].mean() == pytest.approx((np.exp(0.09) - 1) / total[-1], rel=0.2)
    shuffled = donor_variance(counts, library, np.random.default_rng(1).permutation(donor))
    assert abs(shuffled.donor[60:].mean()) < 0.1 * found.donor[60:].mean()
    # What the variance of donors' pseudobulk would say: counting noise and cells' own factors are in it.
    sums = np.array([np.asarray(counts[donor == d].sum(0)).ravel() / library[donor == d].sum() for d in range(150)])
    assert (sums.var(0) / sums.mean(0) ** 2)[:60].mean() > 0.02


def test_agrees_with_the_sum_over_pairs_of_cells() -> None:
    counts, library, donor = cells(6, 5, np.full(4, 0.4), 0.3, 2)
    found = donor_variance(counts, library, donor)
    y = counts.toarray()
    rate = y.sum(0) / library.sum()
    d, m = y - np.outer(library, rate), np.outer(library, rate)
    pairs = [(i, j) for i in range(len(y)) for j in range(len(y)) if i != j and donor[i] == donor[j]]
    top = sum(d[i] * d[j] for i, j in pairs)
    below = sum(m[i] * m[j] for i, j in pairs)
    np.testing.assert_allclose(found.donor, top / below, rtol=1e-9)
    np.testing.assert_allclose(found.total, ((d**2).sum(0) - m.sum(0)) / (m**2).sum(0), rtol=1e-9)


def test_says_nothing_without_two_cells_of_a_donor_or_without_counts() -> None:
    counts = sparse.csr_matrix(np.array([[3, 0], [1, 0], [2, 0]]))
    alone = donor_variance(counts, np.full(3, 10.0), np.arange(3))
    assert np.isnan(alone.donor).all()
    assert np.isnan(donor_variance(counts, np.full(3, 10.0), np.array([0, 0, 1])).donor[1])


def test_shrinkage_lowers_the_error_and_keeps_what_is_sure() -> None:
    n_donors = 100
    draw = np.random.default_rng(3)
    truth = 0.05 * draw.gamma(2, size=2000)
    noise = draw.choice([0.001, 1.0], 2000)
    value = (truth + noise) * draw.chisquare(n_donors - 1, 2000) / (n_donors - 1) - noise
    error = (value + noise) * np.sqrt(2 / n_donors)
    found = shrunk_variance(value, error, n_donors)
    assert (found >= 0).all()
    assert np.sqrt(((found - truth) ** 2).mean()) < 0.6 * np.sqrt(((np.maximum(value, 0) - truth) ** 2).mean())
    sure = noise < 0.01
    np.testing.assert_allclose(found[sure], np.maximum(value[sure], 0), rtol=0.15, atol=0.01)
    assert found[~sure].mean() == pytest.approx(truth.mean(), rel=0.15)
    assert np.isnan(shrunk_variance(np.array([np.nan, 0.1]), np.array([np.nan, 0.1]), 10)[0])
