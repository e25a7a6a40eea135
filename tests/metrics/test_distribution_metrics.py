"""Two-sample metrics: against oracles, accepting equal distributions and rejecting planted differences."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse
from scipy.spatial.distance import cdist, pdist

from genesim.errors import InputError
from genesim.metrics import distribution


def normal(seed: int, n: int = 200, d: int = 5, shift: float = 0.0) -> np.ndarray:
    values = np.random.default_rng(seed).normal(size=(n, d))
    values[:, 0] += shift
    return values


def slow_mmd2(x: np.ndarray, y: np.ndarray) -> float:
    median = np.median(pdist(x, "sqeuclidean"))

    def k(a: np.ndarray, b: np.ndarray) -> float:
        d2 = float(((a - b) ** 2).sum())
        return float(np.mean([np.exp(-d2 / (c * median)) for c in (0.25, 0.5, 1, 2, 4)]))

    m, n = len(x), len(y)
    within_x = sum(k(x[i], x[j]) for i in range(m) for j in range(m) if i != j) / (m * (m - 1))
    within_y = sum(k(y[i], y[j]) for i in range(n) for j in range(n) if i != j) / (n * (n - 1))
    return within_x + within_y - 2 * sum(k(a, b) for a in x for b in y) / (m * n)


def test_mmd2_equals_the_slow_loops() -> None:
    x, y = normal(0, 15), normal(1, 19, shift=0.5)
    assert distribution.mmd2_unbiased(x, y) == pytest.approx(slow_mmd2(x, y), abs=1e-12)


@pytest.mark.parametrize("n", [20, 80])
def test_mmd2_is_unbiased_at_any_n_and_sees_a_shift(n: int) -> None:
    # The bandwidth is fixed so that the expectation is exactly 0 under equality.
    null = [distribution.mmd2_unbiased(normal(2 * i, n), normal(2 * i + 1, n), bandwidth=10.0) for i in range(200)]
    moved = [
        distribution.mmd2_unbiased(normal(2 * i, n), normal(2 * i + 1, n, shift=1.0), bandwidth=10.0) for i in range(50)
    ]
    error = np.std(null) / np.sqrt(len(null))
    assert abs(np.mean(null)) < 3.5 * error
    assert np.mean(moved) > 20 * error
    # The estimate of the shifted distance does not depend on n either: same population value.
    population = distribution.mmd2_unbiased(normal(1, 1500), normal(2, 1500, shift=1.0), bandwidth=10.0)
    assert abs(np.mean(moved) - population) < 4 * np.std(moved) / np.sqrt(len(moved)) + 0.003


def test_mmd2_is_the_same_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = normal(0, 50), normal(1, 41)
    whole = distribution.mmd2_unbiased(x, y)
    monkeypatch.setattr(distribution, "_BLOCK", 7)
    assert distribution.mmd2_unbiased(x, y) == pytest.approx(whole, abs=1e-12)


def test_stratified_mmd2_weights_labels_and_sees_what_the_margin_hides() -> None:
    x, y = normal(0, 300), normal(1, 300)
    labels = np.repeat([0, 1], [200, 100])
    expected = (
        200 * distribution.mmd2_unbiased(x[:200], y[:200]) + 100 * distribution.mmd2_unbiased(x[200:], y[200:])
    ) / 300
    assert distribution.stratified_mmd2(x, y, labels, labels) == pytest.approx(expected)
    # Labels of the simulated points swapped between two separate clusters: the margins agree, types do not.
    x[:200, 0] += 4
    y[:200, 0] += 4
    swapped = np.repeat([1, 0], [200, 100])
    assert distribution.stratified_mmd2(x, y, labels, swapped) > 0.3
    assert np.isnan(distribution.stratified_mmd2(x, y, labels, labels + 5))


def test_roc_auc_matches_sklearn_and_its_error_matches_resampling() -> None:
    from sklearn.metrics import roc_auc_score

    rng = np.random.default_rng(0)
    negative, positive = rng.integers(0, 6, 60), rng.integers(1, 8, 40)  # with ties
    truth = np.repeat([0, 1], [60, 40])
    got = distribution.roc_auc(negative, positive)
    assert got.auc == pytest.approx(roc_auc_score(truth, np.concatenate([negative, positive])))
    repeats = [distribution.roc_auc(rng.normal(size=60), rng.normal(0.7, size=40)) for _ in range(400)]
    spread = np.std([r.auc for r in repeats])
    assert np.mean([r.standard_error for r in repeats]) == pytest.approx(spread, rel=0.15)


def test_classifier_accepts_equal_and_rejects_different() -> None:
    equal = distribution.two_sample_auc(normal(0), normal(1), n_folds=3)
    different = distribution.two_sample_auc(normal(0), normal(1, shift=1.5), n_folds=3)
    assert abs(equal.auc - 0.5) < 4 * equal.standard_error
    assert different.auc > 0.8
    assert distribution.two_sample_auc(normal(0), normal(1), n_folds=3) == equal


def test_pooled_pca_sparse_equals_dense_and_keeps_distances() -> None:
    x, y = normal(0, 30, 6), normal(1, 20, 6, shift=2)
    dense = distribution.pooled_pca([x, y], 5)
    thin = distribution.pooled_pca([sparse.csr_matrix(x), sparse.csr_matrix(y)], 5)
    assert dense[0].shape == (30, 5)
    assert dense[1].shape == (20, 5)
    np.testing.assert_allclose(np.abs(dense[0]), np.abs(thin[0]), atol=1e-8)
    centred = np.vstack([x, y]) - np.vstack([x, y]).mean(axis=0)
    _, s, _ = np.linalg.svd(centred)
    np.testing.assert_allclose(np.linalg.norm(np.vstack(dense), axis=0), s[:5])


def test_nearer_to_train_finds_copies_and_counts_ties_half() -> None:
    train, test = normal(0), normal(1)
    fresh = distribution.nearer_to_train(normal(2), train, test)
    assert abs(fresh.mean() - 0.5) < 4 * 0.5 / np.sqrt(200)
    assert distribution.nearer_to_train(train + 1e-3, train, test).mean() > 0.99
    assert (distribution.nearer_to_train(normal(3), train, train[::-1]) == 0.5).all()
    slow = cdist(normal(2), train).min(1) < cdist(normal(2), test).min(1)
    np.testing.assert_array_equal(fresh == 1, slow)


def test_wrong_shapes_are_refused() -> None:
    with pytest.raises(InputError, match="subsample"):
        distribution.nearer_to_train(normal(0), normal(1, 50), normal(2, 60))
    with pytest.raises(InputError, match="align"):
        distribution.mmd2_unbiased(normal(0), normal(1, d=4))
    with pytest.raises(InputError, match="rows are needed"):
        distribution.two_sample_auc(normal(0, 5), normal(1))
    with pytest.raises(InputError, match="two points"):
        distribution.roc_auc(np.zeros(1), np.zeros(5))
