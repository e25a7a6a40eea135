"""The negative binomial against SciPy."""

import jax
import numpy as np
import pytest
from scipy import sparse, special, stats

from genesim.models.expression.negative_binomial import fit_theta, log_gamma, log_prob, stored_log_prob, theta_within
from genesim.types import SparseRows


@pytest.mark.parametrize("theta", [0.05, 1.0, 20.0])
@pytest.mark.parametrize("mean", [1e-3, 0.7, 300.0])
def test_log_prob_is_scipys(mean: float, theta: float) -> None:
    counts = np.array([0.0, 1.0, 5.0, 400.0])
    found = log_prob(counts, np.full(4, np.log(mean)), np.log(theta))
    expected = stats.nbinom.logpmf(counts, theta, theta / (theta + mean))
    np.testing.assert_allclose(found, expected, rtol=2e-4, atol=2e-3)


def test_log_prob_is_finite_where_rates_vanish() -> None:
    gradient = jax.grad(lambda m: log_prob(np.array([0.0, 3.0]), m, np.log(0.5)).sum())(np.array([-60.0, -60.0]))
    assert np.isfinite(gradient).all()


def test_log_gamma_and_its_gradient_are_scipys() -> None:
    x = np.exp(np.linspace(-5.0, 14.0, 400)).astype(np.float32)
    for found, expected in ((log_gamma(x), special.gammaln(x)), (jax.vmap(jax.grad(log_gamma))(x), special.digamma(x))):
        np.testing.assert_allclose(found, expected, rtol=5e-6, atol=5e-6)


def test_stored_counts_give_the_likelihood_of_dense_ones_and_its_gradients() -> None:
    random = np.random.default_rng(0)
    counts = random.poisson(random.gamma(0.1, 5.0, (6, 9))).astype(np.float32)
    counts[2] = 0.0  # an empty row between others
    rows = sparse.csr_matrix(counts)
    capacity = rows.nnz + 4
    columns = np.r_[rows.indices, 9 + np.arange(4)].astype(np.int32)
    stored = SparseRows(np.r_[rows.data, np.zeros(4)].astype(np.float32), columns, rows.indptr.astype(np.int32), 9)
    assert len(stored.data) == capacity
    log_mean, log_theta = random.normal(size=(2, 6, 9)).astype(np.float32)

    def dense(log_mean: jax.Array, log_theta: jax.Array) -> jax.Array:
        return log_prob(counts, log_mean, log_theta).sum(axis=1)

    def from_stored(log_mean: jax.Array, log_theta: jax.Array) -> jax.Array:
        return stored_log_prob(stored, stored.dense(), log_mean, log_theta)

    np.testing.assert_allclose(from_stored(log_mean, log_theta), dense(log_mean, log_theta), rtol=1e-5, atol=1e-4)
    weight = np.arange(1.0, 7.0)
    slopes = [jax.grad(lambda a, b, f=f: weight @ f(a, b), (0, 1))(log_mean, log_theta) for f in (from_stored, dense)]
    for found, expected in zip(*slopes):
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-3)


def test_fit_theta_recovers_dispersion_and_sees_the_mean() -> None:
    random = np.random.default_rng(1)
    theta = np.array([0.3, 1.0, 5.0])
    mean = random.gamma(4.0, 1.5, (3000, 1)) * np.array([1.0, 1.0, 1.0])
    counts = random.poisson(mean * random.gamma(theta, 1 / theta, (3000, 3)))
    np.testing.assert_allclose(np.log(fit_theta(counts, mean)), np.log(theta), atol=0.15)
    flat = np.broadcast_to(mean.mean(axis=0), mean.shape)
    assert fit_theta(counts, flat)[2] < 4.0  # an ignored library size looks like dispersion


def test_fit_theta_stays_finite_on_unseen_and_constant_genes() -> None:
    counts = np.zeros((20, 2))
    counts[:, 1] = 4.0
    found = fit_theta(counts, np.column_stack([np.full(20, 1e-3), np.full(20, 4.0)]))
    assert np.isfinite(found).all()
    assert found[1] > 10  # less than Poisson variance: as little dispersion as there can be


def test_fit_theta_is_at_the_mode_of_the_written_posterior() -> None:
    random = np.random.default_rng(3)
    mean = random.gamma(3.0, 1.0, (200, 4))
    counts = random.poisson(mean * random.gamma(2.0, 0.5, (200, 4)))
    found = np.log(fit_theta(counts, mean, n_iterations=40))
    excess = ((counts - mean) ** 2 - mean).sum(axis=0)
    centre = np.median(np.log((mean**2).sum(axis=0) / excess))

    def posterior(log_theta: np.ndarray) -> np.ndarray:
        theta = np.exp(log_theta)
        likelihood = stats.nbinom.logpmf(counts, theta, theta / (theta + mean)).sum(axis=0)
        return likelihood - (log_theta - centre) ** 2 / (2 * 1.5**2)

    for step in (-0.02, 0.02):
        assert (posterior(found) > posterior(found + step)).all()


def test_theta_within_donors_gives_the_same_variance_once_donors_differ() -> None:
    """Var of a product of independent factors of mean 1: (1 + a)(1 + b) - 1; a Poisson's where donors hold it all."""
    theta, between = np.array([0.4, 2.0, 50.0]), np.array([0.3, 0.3, 0.01])
    within = theta_within(theta, between)
    np.testing.assert_allclose((1 + between) * (1 + 1 / within) - 1, 1 / theta, rtol=1e-12)
    assert (within > theta).all()
    np.testing.assert_allclose(theta_within(theta, np.zeros(3)), theta)
    assert theta_within(np.array([50.0]), np.array([0.3]))[0] > 1000
