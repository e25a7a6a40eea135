"""Donor responses: unbiased at low counts, precise where counts are many, and factors that find a batch."""

from __future__ import annotations

import numpy as np
import pytest

from genesim.models.effects.problem import orthonormal_covariates
from genesim.models.effects.response import count_response, hidden_factors, linear_response, log2_response


@pytest.mark.parametrize("mean", [0.5, 2.0, 20.0, 500.0])
def test_a_slope_survives_low_counts(mean: float) -> None:
    rng = np.random.default_rng(0)
    dosage = rng.binomial(2, 0.5, 20_000)
    library = rng.uniform(500, 2000, 20_000)
    rate = mean / 1000 * 2 ** (0.3 * (dosage - 1))
    counts = rng.poisson(rate * library)[None]
    z, w = count_response(counts, library, np.ones(20_000, bool))
    slope = np.polyfit(dosage, z[0], 1, w=np.sqrt(w[0]))[0]
    assert 0.85 * 0.3 < slope < 1.08 * 0.3
    naive = np.polyfit(dosage, np.log2((counts[0] + 0.5) / (library + 1)), 1)[0]
    assert abs(slope - 0.3) <= abs(naive - 0.3) + 0.02


def test_weights_are_inverse_variances() -> None:
    rng = np.random.default_rng(1)
    library = np.repeat([200.0, 2000.0], 5000)
    gamma = rng.gamma(1 / 0.2, 0.2, (30, 10_000))
    z, w = count_response(rng.poisson(0.02 * library * gamma), library, np.ones(10_000, bool))
    for half in (slice(0, 5000), slice(5000, None)):
        np.testing.assert_allclose((z[:, half].var(1) * w[:, half].mean(1)).mean(), 1.0, atol=0.15)
    assert w[0, 0] < w[0, -1]


def test_absent_donors_and_silent_genes_have_no_weight() -> None:
    counts = np.array([[3, 9, 0, 4], [0, 0, 0, 0]])
    present = np.array([True, True, False, True])
    for values in (
        count_response(counts, np.array([10.0, 20.0, 0.0, 9.0]), present),
        linear_response(counts, present),
    ):
        z, w = values
        assert np.isfinite(z).all()
        assert (w[:, 2] == 0).all()
        assert (w[1] == 0).all()
        assert (w[0, [0, 1, 3]] > 0).all()
    z, w = log2_response(np.array([[-1.0, 2.0, 5.0, 0.0]]), present)
    assert z[0, 1] == 2.0
    assert w[0].tolist() == [1, 1, 0, 1]


@pytest.mark.filterwarnings("error")
def test_a_cell_type_that_no_donor_has_weighs_nothing_without_a_warning() -> None:
    counts = np.random.default_rng(0).poisson(3.0, (4, 6))
    z, w = count_response(counts, counts.sum(0), np.zeros(6, bool))
    assert not z.any()
    assert not w.any()


def test_factors_find_a_hidden_batch_but_not_a_known_one() -> None:
    rng = np.random.default_rng(2)
    batch = rng.integers(0, 2, 80).astype(float)
    y = rng.normal(size=(200, 80)) + rng.normal(size=(200, 1)) * batch
    w = np.ones_like(y)
    present = np.ones(80, bool)
    factors, loadings = hidden_factors(y, w, orthonormal_covariates(np.zeros((80, 0)), present), 2)
    assert factors.shape == (80, 2)
    assert loadings.shape == (200, 2)
    assert abs(np.corrcoef(factors[:, 0], batch)[0, 1]) > 0.9
    known, _ = hidden_factors(y, w, orthonormal_covariates(batch[:, None], present), 2)
    assert abs(np.corrcoef(known[:, 0], batch)[0, 1]) < 1e-6
    few, _ = hidden_factors(y[:, :15], w[:, :15], orthonormal_covariates(np.zeros((15, 0)), present[:15]), 5)
    assert few.shape == (15, 1)


def test_collinear_covariates_are_reduced() -> None:
    rng = np.random.default_rng(3)
    a = rng.normal(size=(30, 1))
    basis = orthonormal_covariates(np.hstack([a, 2 * a + 1, np.ones((30, 1))]), np.ones(30, bool))
    assert basis.shape == (30, 2)
    np.testing.assert_allclose(basis.T @ basis, np.eye(2), atol=1e-10)
