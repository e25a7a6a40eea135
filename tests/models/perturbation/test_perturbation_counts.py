"""Counts made from control cells hit their target and keep the law of counts."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse, stats

from genesim.models.perturbation.counts import perturb_counts, shift_gene


def mean_log(counts: np.ndarray, size: np.ndarray) -> np.ndarray:
    return np.log1p(counts / size[:, None]).mean(0)


@pytest.fixture(scope="module")
def cells() -> tuple[sparse.csr_matrix, np.ndarray]:
    rng = np.random.default_rng(0)
    size = rng.lognormal(0, 0.3, 400)
    rate = rng.gamma(2.0, 0.5, (400, 30)) * np.geomspace(0.1, 50, 30)
    return sparse.csr_matrix(rng.poisson(rate * size[:, None]).astype(np.int32)), size


def test_targets_are_hit(cells: tuple[sparse.csr_matrix, np.ndarray]) -> None:
    counts, size = cells
    dense = counts.toarray()
    effect = np.random.default_rng(1).normal(0, 0.4, 30)
    effect[:5] = 0
    start = mean_log(dense, size)
    made = perturb_counts(counts, size, effect, seed=0)
    assert made.dtype == np.int32
    assert made.min() >= 0
    np.testing.assert_allclose(mean_log(made.toarray(), size), np.maximum(start + effect, 0), atol=0.01)
    assert (made.toarray()[:, :5] == dense[:, :5]).all()
    down = effect < 0
    assert (made.toarray()[:, down] <= dense[:, down]).all()
    assert (made.toarray()[:, effect > 0] >= dense[:, effect > 0]).all()


def test_a_molecule_more_or_less_is_rounded_not_added() -> None:
    """Of 50 cells one molecule moves a gene by .014: always one too many would lift a screen of weak effects."""
    rng = np.random.default_rng(3)
    counts, size = sparse.csr_matrix(rng.poisson(0.5, (50, 400)).astype(np.int32)), np.ones(50)
    effect = rng.normal(0, 0.02, 400)
    made = perturb_counts(counts, size, effect, seed=0).toarray()
    error = mean_log(made, size) - mean_log(counts.toarray(), size) - effect
    assert np.abs(error).max() <= np.log(2) / 50 / 2 + 1e-12
    assert abs(error.mean()) < 4 * error.std() / np.sqrt(400)
    weak = np.abs(effect) < 0.1 / 50
    assert weak.sum() > 20
    assert (made[:, weak] == counts.toarray()[:, weak]).all()


def test_silencing_and_inducing_a_silent_gene(cells: tuple[sparse.csr_matrix, np.ndarray]) -> None:
    counts, size = cells
    made = perturb_counts(counts, size, np.full(30, -10.0), seed=0)
    assert made.nnz == 0
    silent = sparse.csr_matrix(counts.shape, dtype=np.int32)
    induced = perturb_counts(silent, size, np.full(30, 0.7), seed=0).toarray()
    np.testing.assert_allclose(mean_log(induced, size), 0.7, atol=0.02)
    assert ((induced > 0).mean(0) > 0.3).all()


def test_seeded_and_gene_by_gene(cells: tuple[sparse.csr_matrix, np.ndarray]) -> None:
    counts, size = cells
    effect = np.full(30, 0.3)
    first = perturb_counts(counts, size, effect, seed=1)
    assert (first != perturb_counts(counts, size, effect, seed=1)).nnz == 0
    assert (first != perturb_counts(counts, size, effect, seed=2)).nnz > 0
    other = effect.copy()
    other[3] = -0.3
    changed = perturb_counts(counts, size, other, seed=1)
    assert ((first != changed).toarray().any(0) == (np.arange(30) == 3)).all()


@pytest.mark.parametrize("effect", [-0.4, 0.4])
def test_a_shifted_poisson_stays_poisson(effect: float) -> None:
    """Thinning and adding give the law of real cells; shifting log values, or scaling, would not."""
    rng = np.random.default_rng(2)
    size = np.ones(4000)
    counts = rng.poisson(3.0, 4000)
    made = shift_gene(counts, size, effect, 1e-2, rng)
    expected = stats.poisson(made.mean())
    edges = np.arange(int(made.max()) + 1)
    observed = np.bincount(made, minlength=len(edges))
    law = expected.pmf(edges) * 4000
    good = law > 5
    assert stats.chisquare(observed[good], law[good] * observed[good].sum() / law[good].sum()).pvalue > 1e-3
    scaled = np.rint(counts * made.mean() / 3.0).astype(int)
    wrong = np.bincount(scaled, minlength=len(edges))[: len(edges)]
    assert stats.chisquare(wrong[good], law[good] * wrong[good].sum() / law[good].sum()).pvalue < 1e-3
