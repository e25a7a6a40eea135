"""Perturbation metrics on cases whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest

from genesim.metrics.distribution import mmd2_unbiased
from genesim.metrics.perturbation import (
    centroid_accuracy,
    distances,
    energy_distance,
    interval_coverage,
    mean_absolute_error,
    most_changed,
    pearson_delta,
    perturbation_discrimination,
    prediction_rank,
    weighted_r2,
    weights_of,
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


@pytest.mark.parametrize(("distance", "metric"), [("l1", "cityblock"), ("l2", "euclidean"), ("cosine", "cosine")])
def test_discrimination_matches_a_slow_loop_over_scipy(effects: np.ndarray, distance: str, metric: str) -> None:
    from scipy.spatial.distance import cdist

    random = np.random.default_rng(4)
    predicted = effects + 2 * random.normal(size=effects.shape)
    used = random.random(effects.shape) > 0.2
    expected = []
    for i, p in enumerate(predicted):
        wins = []
        for j in range(len(effects)):
            genes = used[i] & used[j]
            own, other = (cdist(p[None, genes], effects[k][None, genes], metric)[0, 0] for k in (i, j))
            wins.append((other > own) + 0.5 * (other == own))
        expected.append((sum(wins) - 0.5) / (len(effects) - 1))
    np.testing.assert_allclose(perturbation_discrimination(predicted, effects, used, distance), expected)
    # The rank of PerturBench is the same with the roles of truth and prediction exchanged.
    swapped = 1 - perturbation_discrimination(effects, predicted, used, distance)
    np.testing.assert_allclose(prediction_rank(predicted, effects, used, distance), swapped)


def test_amplitude_moves_l1_and_not_cosine(effects: np.ndarray) -> None:
    used = np.ones(effects.shape, bool)
    half = 0.5 * effects
    assert perturbation_discrimination(half, effects, used, "cosine").tolist() == [1.0] * 6
    assert distances(half, effects, used, "cosine").max() < 1e-12
    assert distances(half, effects, used, "l1").min() > 1
    assert distances(np.zeros_like(effects), effects, used, "cosine").tolist() == [1.0] * 6


def test_noise_scores_chance_and_one_effect_for_all_ranks_in_the_middle(effects: np.ndarray) -> None:
    used = np.ones(effects.shape, bool)
    random = np.random.default_rng(5)
    noise = [perturbation_discrimination(random.normal(size=effects.shape), effects, used).mean() for _ in range(300)]
    assert abs(np.mean(noise) - 0.5) < 4 * np.std(noise) / np.sqrt(300)
    ranks = [prediction_rank(random.normal(size=effects.shape), effects, used).mean() for _ in range(300)]
    assert abs(np.mean(ranks) - 0.5) < 4 * np.std(ranks) / np.sqrt(300)
    collapsed = np.tile(effects.mean(0), (6, 1))
    assert prediction_rank(collapsed, effects, used).tolist() == [0.5] * 6
    assert prediction_rank(effects, effects, used).tolist() == [0.0] * 6


def test_centroids_of_two_contexts_are_told_apart_by_means_not_by_effects(effects: np.ndarray) -> None:
    """The same effects in two contexts: only the means say which context."""
    truth = np.vstack([effects[:3], effects[:3]])
    level = np.repeat([0.0, 5.0], 3)[:, None]
    used = np.ones(truth.shape, bool)
    assert centroid_accuracy(truth + level, truth + level, used).tolist() == [1.0] * 6
    assert perturbation_discrimination(truth, truth, used, "l2").tolist() == pytest.approx([0.9] * 6)
    wrong = centroid_accuracy(truth[[1, 2, 0, 4, 5, 3]] + level, truth + level, used)
    assert wrong.max() < 0.85


def test_weighted_r2_matches_scikit_learn_and_gives_the_mean_nothing(effects: np.ndarray) -> None:
    from sklearn.metrics import r2_score

    random = np.random.default_rng(6)
    t = 5 * effects + random.normal(size=effects.shape)
    weight = weights_of(t)
    assert weight.min() == 0
    assert (weight.max(1) == 1).all()
    scaled = np.abs(t[0]) - np.abs(t[0]).min()
    np.testing.assert_allclose(weight[0], (scaled / scaled.max()) ** 2)
    predicted, centre = effects + random.normal(size=effects.shape), random.normal(size=effects.shape)
    used = random.random(effects.shape) > 0.1
    expected = [
        r2_score((y - m)[u], (p - m)[u], sample_weight=w[u])
        for y, p, m, u, w in zip(effects, predicted, centre, used, weight)
    ]
    np.testing.assert_allclose(weighted_r2(predicted, effects, used, weight, centre), expected)
    assert (weighted_r2(centre, effects, used, weight, centre) <= 0).all()
    assert weighted_r2(effects, effects, used, weight).tolist() == [1.0] * 6
    assert np.isnan(weighted_r2(effects, np.zeros_like(effects), used, weight)).all()


def test_the_most_changed_genes_are_used_ones() -> None:
    score = np.array([[3.0, -9.0, 1.0, 5.0], [0.0, 1.0, 2.0, 3.0]])
    used = np.array([[True, False, True, True], [True, True, False, False]])
    top = most_changed(score, used, 2)
    assert top.tolist() == [[True, False, False, True], [True, True, False, False]]


def test_coverage_is_nominal_for_right_intervals_and_not_for_narrow_ones() -> None:
    random = np.random.default_rng(7)
    shape, used = (3, 20_000), np.ones((3, 20_000), bool)
    se = random.uniform(0.05, 0.4, shape)
    predicted = random.normal(size=shape)
    observed = predicted + random.normal(size=shape) * 0.3 + se * random.normal(size=shape)
    low, high = predicted - 1.96 * 0.3, predicted + 1.96 * 0.3
    np.testing.assert_allclose(interval_coverage(observed, low, high, used, se), 0.95, atol=0.006)
    assert interval_coverage(observed, low, high, used).max() < 0.9  # blamed for the noise of the truth
    assert interval_coverage(observed, predicted - 0.3, predicted + 0.3, used, se).max() < 0.88
    assert np.isnan(interval_coverage(observed, np.full(shape, np.nan), high, used)).all()


@pytest.mark.parametrize("n", [8, 30, 120])
def test_distances_of_cells_are_zero_on_average_for_equal_laws_at_any_n(n: int) -> None:
    random = np.random.default_rng(8)
    draws = [(random.normal(size=(n, 5)), random.normal(size=(2 * n, 5))) for _ in range(150)]
    for found in ([energy_distance(x, y) for x, y in draws], [mmd2_unbiased(x, y, bandwidth=5.0) for x, y in draws]):
        assert abs(np.mean(found)) < 4 * np.std(found) / np.sqrt(len(found))
    # A V-statistic (pairs of a point with itself counted) would not pass.
    biased = [energy_distance(x, y) + np.mean([np.linalg.norm(x - p, axis=1).mean() for p in x]) / n for x, y in draws]
    assert abs(np.mean(biased)) > 8 * np.std(biased) / np.sqrt(len(biased))
