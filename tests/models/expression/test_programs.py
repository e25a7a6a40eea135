"""Linear readouts of latents: exact where the decoder is linear, honest where it is not."""

import numpy as np
import pytest

from genesim.models.expression.programs import Programs

N_GENES = 12


def latents(n: int = 4000) -> np.ndarray:
    """Correlated latents of unequal size, and a fourth one that carries nothing."""
    random = np.random.default_rng(0)
    z = random.normal(size=(n, 3)) @ np.array([[1.0, 0.5, 0.0], [0.0, 2.0, 0.3], [0.0, 0.0, 0.4]])
    return np.hstack([z + 3.0, np.full((n, 1), 7.0)])


def test_a_linear_decoder_is_read_exactly() -> None:
    z = latents()
    weights = np.random.default_rng(1).normal(size=(4, N_GENES))
    log_rates = z @ weights - 5.0
    found = Programs.fit(z, log_rates)
    scores = found.scores(z)
    np.testing.assert_allclose(scores.mean(axis=0), 0.0, atol=1e-9)
    np.testing.assert_allclose(np.cov(scores.T, bias=True), np.eye(3), atol=1e-9)
    np.testing.assert_allclose(scores @ found.loadings.T, log_rates - log_rates.mean(axis=0), atol=1e-9)
    size = found.loadings.T @ found.loadings
    np.testing.assert_allclose(size - np.diag(np.diag(size)), 0.0, atol=1e-9)
    assert found.r_squared == pytest.approx(1.0)
    assert found.share.sum() == pytest.approx(1.0)
    assert list(found.share) == sorted(found.share, reverse=True)
    np.testing.assert_allclose(found.linearity, 1.0)
    assert (found.loadings.max(axis=0) == np.abs(found.loadings).max(axis=0)).all()
    first = Programs.fit(z, log_rates, n_programs=1)
    np.testing.assert_allclose(first.loadings[:, 0], found.loadings[:, 0])
    assert first.r_squared == pytest.approx(1.0)
    assert first.share.sum() == pytest.approx(found.share[0])


def test_curvature_is_reported_and_not_shown_as_linear() -> None:
    z = np.random.default_rng(2).normal(size=(20_000, 1))
    along, across = np.eye(N_GENES)[:2]
    bent = Programs.fit(z, z * along + (z**2 - 1) * along)  # variance 1 + 2, of which 1 is linear
    assert bent.r_squared == pytest.approx(1 / 3, abs=0.03)
    assert bent.linearity[0] == pytest.approx(1 / 3, abs=0.03)
    aside = Programs.fit(z, z * along + (z**2 - 1) * across)
    assert aside.r_squared == pytest.approx(1 / 3, abs=0.03)
    assert aside.linearity[0] == pytest.approx(1.0, abs=0.03)


def test_the_readout_is_the_mean_jacobian_of_gaussian_latents() -> None:
    z = np.random.default_rng(3).normal(size=(50_000, 2))
    found = Programs.fit(z, np.sin(z))
    jacobian = found.to_score @ found.loadings.T
    np.testing.assert_allclose(jacobian, np.exp(-0.5) * np.eye(2), atol=0.02)  # E[cos z]
