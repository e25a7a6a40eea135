"""Metrics of effect recovery on cases whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest

from genesim.metrics.effects import (
    benjamini_hochberg,
    credible_set_coverage,
    held_out_r2,
    interval_coverage,
    marginal_p_values,
    pip_calibration,
    power_and_fdp,
    recovery_slope,
)


def test_slope_counts_missed_effects() -> None:
    truth = np.array([1.0, -1.0, 0.5, 0.0])
    assert recovery_slope(truth, truth)[:2] == pytest.approx((1.0, 1.0))
    half = recovery_slope(np.array([1.0, 0.0, 0.5, 9.0]), truth)
    assert half.n == 3
    assert half.slope == pytest.approx(1.25 / 2.25)
    assert np.isnan(recovery_slope(np.ones(3), np.zeros(3)).slope)


def test_proxies_count_as_hits() -> None:
    r2 = np.eye(5)
    r2[0, 1] = r2[1, 0] = 0.8
    r2[2, 3] = r2[3, 2] = 0.3
    found = power_and_fdp(np.array([1, 3]), np.array([0, 2]), r2)
    assert found == (0.5, 0.5, 2)
    assert power_and_fdp(np.array([], int), np.array([0]), r2) == (0.0, 0.0, 0)
    assert power_and_fdp(np.array([0, 1]), np.array([0]), r2) == (1.0, 0.0, 2)


def test_calibration_tells_honest_from_inflated() -> None:
    rng = np.random.default_rng(0)
    pip = rng.random(50_000)
    causal = rng.random(50_000) < pip
    honest = pip_calibration(pip, causal)
    assert len(honest) == 10
    assert sum(b.n for b in honest) == 50_000
    assert max(abs(b.mean_pip - b.observed) for b in honest) < 0.03
    inflated = pip_calibration(np.sqrt(pip), causal)
    assert max(abs(b.mean_pip - b.observed) for b in inflated) > 0.15
    assert pip_calibration(np.array([1.0]), np.array([True]))[0].high == 1.0


def test_coverage() -> None:
    sets = [np.array([1, 2]), np.array([3]), np.array([7])]
    assert credible_set_coverage(sets, [np.array([2]), np.array([4]), np.array([7, 9])]) == (
        pytest.approx(2 / 3),
        3,
    )
    assert np.isnan(credible_set_coverage([], [])[0])


def test_held_out_r2_is_zero_for_the_reference_and_negative_for_noise() -> None:
    rng = np.random.default_rng(1)
    y = rng.normal(size=(3, 100))
    assert held_out_r2(y, y).tolist() == [1, 1, 1]
    assert held_out_r2(y, np.zeros_like(y)).tolist() == [0, 0, 0]
    assert (held_out_r2(y, rng.normal(size=y.shape)) < -0.5).all()


def test_benjamini_hochberg_against_its_definition() -> None:
    p = np.array([0.01, np.nan, 0.04, 0.03, 0.5])
    q = benjamini_hochberg(p)
    assert np.isnan(q[1])
    known = p[[0, 2, 3, 4]]
    steps = np.sort(known) * 4 / np.arange(1, 5)
    expected = [min(1, steps[np.sort(known) >= v].min()) for v in known]
    np.testing.assert_allclose(q[[0, 2, 3, 4]], expected)


def test_interval_coverage_tells_honest_from_narrow() -> None:
    assert interval_coverage(np.array([0.0, 1.0, 2.0]), np.array([0.0, 1.5, 1.0]), np.array([1.0, 2.0, 3.0])) == (
        pytest.approx(2 / 3),
        3,
    )
    assert np.isnan(interval_coverage(np.zeros(0), np.zeros(0), np.zeros(0))[0])
    rng = np.random.default_rng(0)
    truth = rng.normal(size=20_000)
    estimate = truth + rng.normal(scale=0.3, size=20_000)
    honest, _ = interval_coverage(truth, estimate - 1.96 * 0.3, estimate + 1.96 * 0.3)
    narrow, _ = interval_coverage(truth, estimate - 1.96 * 0.15, estimate + 1.96 * 0.15)
    assert abs(honest - 0.95) < 0.006
    assert narrow < 0.7


def test_marginal_p_values_are_those_of_least_squares() -> None:
    from scipy import stats

    rng = np.random.default_rng(2)
    dosage = rng.binomial(2, 0.3, (5, 60)).astype(float)
    dosage[4] = 1.0
    covariates = rng.normal(size=(60, 3))
    response = 0.5 * dosage[0] + covariates @ [1.0, -2.0, 0.5] + rng.normal(size=60)
    none = marginal_p_values(response, dosage, np.zeros((60, 0)))
    assert none[:4] == pytest.approx([stats.linregress(d, response).pvalue for d in dosage[:4]])
    assert np.isnan(none[4])
    expected = []
    for d in dosage[:4]:
        x = np.column_stack([np.ones(60), covariates, d])
        inverse = np.linalg.inv(x.T @ x)
        beta = inverse @ x.T @ response
        variance = ((response - x @ beta) ** 2).sum() / 55
        expected.append(2 * stats.t.sf(abs(beta[4]) / np.sqrt(variance * inverse[4, 4]), 55))
    assert marginal_p_values(response, dosage, covariates)[:4] == pytest.approx(expected)
