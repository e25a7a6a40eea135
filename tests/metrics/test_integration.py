"""Batch mixing against a slow count of neighbours, separation against its definition, and planted batch effects."""

from __future__ import annotations

import numpy as np
import pytest

from genesim.errors import InputError
from genesim.metrics.integration import batch_mixing, centred_by_batch, label_separation


def points(seed: int, n: int = 240, shift: float = 0.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Two types that differ along one axis, three batches of unequal size that are `shift` apart along another."""
    random = np.random.default_rng(seed)
    labels, batches = np.arange(n) % 2, random.choice(3, n, p=[0.5, 0.3, 0.2])
    x = random.normal(size=(n, 5))
    x[:, 0] += 6 * labels
    x[:, 1] += shift * batches
    return x, labels, batches


def test_mixing_is_the_mean_of_inverse_simpson_indices_of_the_nearest() -> None:
    x, _, batches = points(0, 60, 2.0)
    k, found = 7, []
    for i in range(60):
        distance = np.linalg.norm(x - x[i], axis=1)
        distance[i] = np.inf
        near = batches[np.argsort(distance)[:k]]
        found.append(1 / sum((np.mean(near == b)) ** 2 for b in range(3)))
    share = np.bincount(batches) / 60
    expected = (np.mean(found) - 1) / (1 / (share**2).sum() - 1)
    assert batch_mixing(x, batches, k) == pytest.approx(expected, rel=1e-12)
    assert batch_mixing(x, batches * 7 + 2, k) == pytest.approx(expected, rel=1e-12)  # names do not matter
    with pytest.raises(InputError, match="one batch"):
        batch_mixing(x, np.zeros(60, int))


def test_separation_is_the_silhouette() -> None:
    x, labels, _ = points(1, 30)
    distance = np.linalg.norm(x[:, None] - x[None], axis=2)
    widths = []
    for i in range(30):
        own = labels == labels[i]
        a = distance[i, own].sum() / (own.sum() - 1)
        b = distance[i, ~own].mean()
        widths.append((b - a) / max(a, b))
    assert label_separation(x, labels) == pytest.approx((np.mean(widths) + 1) / 2, rel=1e-10)
    with pytest.raises(InputError, match="1 labels"):
        label_separation(x, np.zeros(30, int))


def test_a_planted_batch_effect_is_seen_and_integrated_away_and_types_stay() -> None:
    mixed, apart = points(2), points(2, shift=8.0)
    assert batch_mixing(mixed[0], mixed[2]) > 0.9
    assert batch_mixing(apart[0], apart[2]) < 0.1
    corrected = centred_by_batch(apart[0], apart[2])
    assert batch_mixing(corrected, apart[2]) > 0.9
    assert label_separation(corrected, apart[1]) > 0.75
    np.testing.assert_allclose(corrected.mean(axis=0), apart[0].mean(axis=0))
    for batch in range(3):
        np.testing.assert_allclose(corrected[apart[2] == batch].mean(axis=0), apart[0].mean(axis=0))


def test_mixing_of_equal_batches_does_not_depend_on_the_number_of_cells() -> None:
    few, many = ([batch_mixing(*points(seed, n)[::2]) for seed in range(5)] for n in (200, 800))
    assert abs(np.mean(few) - np.mean(many)) < 0.03
