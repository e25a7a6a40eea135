"""Summaries of a map of cis effects."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from genesim.metrics.eqtl import shared_by_size, storey_pi1, weighted_quantiles


@pytest.mark.parametrize("share", [0.0, 0.2, 0.6])
def test_pi1_finds_the_share_of_tests_that_are_not_null(share: float) -> None:
    found = []
    for seed in range(30):
        draw = np.random.default_rng(seed)
        z = draw.normal(size=2000) + 4 * (draw.random(2000) < share)
        found.append(storey_pi1(2 * stats.norm.sf(np.abs(z))))
    # Cut off at 0, and with the least of several estimates, it leans upwards by a little where all are null.
    assert np.mean(found) == pytest.approx(share, abs=0.04)
    assert abs(np.mean(found) - share) < abs(np.mean(found) - (share + 0.1))


def test_pi1_leaves_out_missing_tests() -> None:
    p = np.r_[np.full(50, 1e-6), np.linspace(0, 1, 50), np.full(20, np.nan)]
    assert storey_pi1(p) == storey_pi1(p[:100])
    assert np.isnan(storey_pi1(np.full(3, np.nan)))


def test_weighted_quantiles_are_those_of_repeated_values() -> None:
    draw = np.random.default_rng(0)
    values, weights = draw.normal(size=40), draw.integers(0, 6, 40)
    at = np.linspace(0.05, 0.95, 7)
    repeated = np.quantile(np.repeat(values, weights), at, method="inverted_cdf")
    np.testing.assert_array_equal(weighted_quantiles(values, weights, at), repeated)
    assert np.isnan(weighted_quantiles(values, np.zeros(40), at)).all()


def test_sharing_counts_sign_and_size() -> None:
    effects = np.array([[1.0, 1.5, -1.0], [1.0, 0.3, np.nan], [0.0, 0.0, 2.0]])
    # Pairs: (1, 1.5) shared; (1, -1), (1.5, -1) not; (1, .3) not; (0, 2) twice not; (0, 0) does not count.
    assert shared_by_size(effects) == pytest.approx(1 / 6)
    assert shared_by_size(effects, factor=5.0) == pytest.approx(2 / 6)
    assert np.isnan(shared_by_size(np.zeros((3, 2))))
