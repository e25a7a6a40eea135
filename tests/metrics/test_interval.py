"""Intervals: half-sampling gives the standard error that repeated draws have."""

from __future__ import annotations

import numpy as np
import pytest

from genesim.metrics.distribution import mmd2_unbiased
from genesim.metrics.interval import (
    half_sample_intervals,
    half_samples,
    normal_interval,
    proportion_interval,
)


def test_half_sampling_covers_a_difference_of_means() -> None:
    covered, widths = 0, []
    for seed in range(150):
        rng = np.random.default_rng(seed)
        x, y = rng.normal(size=60), rng.normal(1, size=80)
        found = half_sample_intervals(
            lambda i, j, x=x, y=y: {"gap": float(y[j].mean() - x[i].mean())},
            (60, 80),
            n_repeats=40,
            generator=rng,
        )["gap"]
        covered += found.low < 1 < found.high
        widths.append((found.high - found.low) / 2 / 1.96)
    assert 0.88 <= covered / 150 <= 0.99
    assert np.mean(widths) == pytest.approx(np.sqrt(1 / 60 + 1 / 80), rel=0.08)


def test_half_sampling_gives_mmd_its_spread() -> None:
    def draw(seed: int) -> tuple[np.ndarray, np.ndarray]:
        rng = np.random.default_rng(seed)
        return rng.normal(size=(60, 3)), rng.normal(0.8, size=(60, 3))

    true = np.std([mmd2_unbiased(*draw(seed), bandwidth=6.0) for seed in range(100)])
    x, y = draw(1000)
    found = half_sample_intervals(
        lambda i, j: {"mmd": mmd2_unbiased(x[i], y[j], bandwidth=6.0)},
        (60, 60),
        n_repeats=60,
        generator=np.random.default_rng(0),
    )["mmd"]
    assert (found.high - found.low) / 2 / 1.96 == pytest.approx(true, rel=0.4)


def test_halves_hold_distinct_rows_and_repeat_with_the_seed() -> None:
    first = half_samples((10, 7), 3, np.random.default_rng(1))
    again = half_samples((10, 7), 3, np.random.default_rng(1))
    assert [len(a) for a, _ in first] == [5, 5, 5]
    assert all(len(set(b)) == len(b) == 3 for _, b in first)
    np.testing.assert_array_equal(first[2][0], again[2][0])


def test_closed_form_intervals() -> None:
    low, high = normal_interval(0.5, 0.1)[1:]
    assert (low, high) == pytest.approx((0.304, 0.696), abs=1e-3)
    # Wilson 1927, as statsmodels gives it for 0 and 5 of 20.
    assert proportion_interval(0, 20)[1:] == pytest.approx((0, 0.1611), abs=1e-4)
    assert proportion_interval(5, 20)[1:] == pytest.approx((0.1119, 0.4687), abs=1e-4)
