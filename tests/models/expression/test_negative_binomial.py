"""The negative binomial against SciPy."""

import jax
import numpy as np
import pytest
from scipy import stats

from genesim.models.expression.negative_binomial import draw_counts, fit_theta, log_prob

KEY = jax.random.key(0)


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


def test_draws_follow_the_distribution_and_not_poisson() -> None:
    mean, theta = 3.0, 0.8
    draws = draw_counts(KEY, np.full((4000, 1), mean), np.array([theta]))[:, 0]
    top = 12
    observed = np.bincount(np.minimum(draws, top), minlength=top + 1)
    nb = stats.nbinom(theta, theta / (theta + mean))
    for distribution, accepted in ((nb, True), (stats.poisson(mean), False)):
        p = distribution.pmf(np.arange(top))
        expected = 4000 * np.append(p, 1 - p.sum())
        assert bool(stats.chisquare(observed, expected).pvalue > 1e-3) is accepted


@pytest.mark.parametrize("theta", [0.01, 5.0])
def test_draws_beyond_int32_are_held_and_do_not_wrap(theta: float) -> None:
    draws = draw_counts(KEY, np.full((50, 4), 1e12), np.full(4, theta))
    assert draws.dtype == np.int32
    assert draws.min() >= 0
    assert draws.max() > 2**29


def test_draws_depend_on_the_row_alone() -> None:
    mean = np.random.default_rng(0).gamma(1.0, 3.0, (8, 5))
    theta = np.array([0.5, 1.0, 2.0, 4.0, 8.0])
    whole = draw_counts(KEY, mean, theta)
    np.testing.assert_array_equal(whole[:3], draw_counts(KEY, mean[:3], theta))
    np.testing.assert_array_equal(whole[5:], draw_counts(KEY, mean[5:], theta, start=5))
    assert whole.dtype == np.int32
    assert (draw_counts(jax.random.key(1), mean, theta) != whole).any()


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
