"""Slope per allele copy against allelic fold change."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from genesim.models.effects.units import afc_from_slope, slope_from_afc


@given(st.floats(-6, 6), st.floats(0.02, 0.98))
def test_slope_is_the_weighted_least_squares_slope_under_hardy_weinberg(delta: float, p: float) -> None:
    dosage = np.array([0.0, 1.0, 2.0])
    weight = np.array([(1 - p) ** 2, 2 * p * (1 - p), p**2])
    y = np.log2([1.0, (1 + 2**delta) / 2, 2**delta])
    centred = dosage - weight @ dosage
    expected = (weight * centred) @ y / ((weight * centred) @ centred)
    np.testing.assert_allclose(slope_from_afc(np.array(delta), np.array(p)), expected, atol=1e-9)


@given(st.floats(-7, 7), st.floats(0.05, 0.95))
def test_the_map_is_inverted(delta: float, p: float) -> None:
    back = afc_from_slope(slope_from_afc(np.array(delta), np.array(p)), np.array(p))
    np.testing.assert_allclose(back, delta, atol=1e-6)


def test_small_effects_are_twice_the_slope_and_zero_is_zero() -> None:
    np.testing.assert_allclose(afc_from_slope(np.array([0.01, -0.01]), np.array(0.1)), [0.02, -0.02], rtol=0.02)
    assert afc_from_slope(np.array([0.0]), np.array([0.2]))[0] == 0
    np.testing.assert_allclose(afc_from_slope(np.array([0.7]), np.array([0.5])), 1.4, atol=1e-9)
