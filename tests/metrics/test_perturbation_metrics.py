"""Perturbation metrics on cases whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest

from genesim.metrics.perturbation import (
    energy_distance,
    mean_absolute_error,
    pearson_delta,
    perturbation_discrimination,
)


@pytest.fixture
def effects() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(6, 200))


def test_pearson_delta_matches_numpy_and_leaves_targets_out(effects: np.ndarray) -> None:
    rng = np.random.default_rng(1)
    predicted = effects + rng.normal(size=effects.shape)
    used = rng.random(effects.shape) > 0.1
    expected = [np.corrcoef(p[u], t[u])[0, 1] for p, t, u in zip(predicted, effects, used)]
    np.testing.assert_allclose(pearson_delta(predicted, effects, used), expected)
    spoiled = np.where(used, predicted, 1e6)
    np.testing.assert_allclose(pearson_delta(spoiled, effects, used), expected)


def test_the_mean_predictor_wins_plain_and_fails_centred_scores(effects: np.ndarray) -> None:
    shared = 3 * np.random.default_rng(2).normal(size=200)
    truth = effects + shared
    used = np.ones(truth.shape, bool)
    mean = np.tile(truth.mean(0), (6, 1))
    assert pearson_delta(mean, truth, used).mean() > 0.9
    assert np.abs(pearson_delta(mean, truth, used, mean)).max() < 1e-9
    assert pearson_delta(truth, truth, used, mean) == pytest.approx(np.ones(6))
    assert perturbation_discrimination(mean, truth, used).mean() == pytest.approx(0.5, abs=0.05)
    assert perturbation_discrimination(truth, truth, used).tolist() == [1.0] * 6


def test_no_variation_says_nothing(effects: np.ndarray) -> None:
    used = np.ones(effects.shape, bool)
    assert pearson_delta(np.zeros_like(effects), effects, used).tolist() == [0.0] * 6
    assert np.isnan(pearson_delta(effects, np.zeros_like(effects), used)).all()
    np.testing.assert_allclose(mean_absolute_error(np.zeros_like(effects), effects, used), np.abs(effects).mean(1))


def test_discrimination_of_a_wrong_order_is_low() -> None:
    truth = np.arange(5.0)[:, None] * np.ones((1, 10))
    used = np.ones(truth.shape, bool)
    assert perturbation_discrimination(truth[::-1], truth, used)[0] == 0.0
    # The answer for a target gene alone must not count.
    marked = np.zeros((3, 10))
    marked[np.arange(3), np.arange(3)] = 5.0
    hidden = marked == 0
    assert perturbation_discrimination(marked, marked, hidden).tolist() == [0.5] * 3


def test_energy_distance_is_unbiased_and_sees_a_shift() -> None:
    rng = np.random.default_rng(3)
    same = [energy_distance(rng.normal(size=(30, 4)), rng.normal(size=(50, 4))) for _ in range(200)]
    assert abs(np.mean(same)) < 4 * np.std(same) / np.sqrt(200)
    assert min(same) < 0
    assert energy_distance(rng.normal(size=(30, 4)), rng.normal(size=(50, 4)) + 1) > 4 * np.std(same)
    x, y = rng.normal(size=(5, 2)), rng.normal(size=(4, 2))

    def mean(a: np.ndarray, b: np.ndarray, same_set: bool) -> float:
        pairs = [(i, j) for i in range(len(a)) for j in range(len(b)) if not (same_set and i == j)]
        return float(np.mean([np.linalg.norm(a[i] - b[j]) for i, j in pairs]))

    slow = 2 * mean(x, y, False) - mean(x, x, True) - mean(y, y, True)
    assert energy_distance(x, y, at_once=2) == pytest.approx(slow)
