"""Metrics of effect recovery on cases whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest

from genesim.metrics.effects import (
    benjamini_hochberg,
    credible_set_coverage,
    held_out_r2,
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
