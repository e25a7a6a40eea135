"""Conclusions on cells: statistics against scipy, overlap by hand; equal data agree, a planted difference does not."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse, stats

from genesim.errors import InputError
from genesim.metrics.downstream import clustering_agreement, marker_overlap, marker_statistics

WANTED = np.array([0, 2])


def cells(seed: int, n: int = 300, contrast_seed: int = 9, genes: int = 250) -> tuple[sparse.csr_matrix, np.ndarray]:
    random = np.random.default_rng(seed)
    contrast = np.random.default_rng(contrast_seed).normal(0, 1, (3, genes))
    labels = np.arange(n) % 3
    log = np.maximum(random.normal(1 + contrast[labels], 1), 0)
    return sparse.csr_matrix(log), labels


def test_statistics_are_welch_s_t() -> None:
    log, labels = cells(0)
    log = sparse.csr_matrix(np.hstack([log.toarray(), np.zeros((300, 1))]))
    found, dense = marker_statistics(log, labels, WANTED), log.toarray()
    for row, label in enumerate(WANTED):
        expected = stats.ttest_ind(dense[labels == label, :-1], dense[labels != label, :-1], equal_var=False).statistic
        np.testing.assert_allclose(found[row, :-1], expected, rtol=1e-8)
    assert (found[:, -1] == 0).all()
    with pytest.raises(InputError, match="fewer than two cells"):
        marker_statistics(log, np.r_[np.zeros(299, int), 2], WANTED)


def test_overlap_by_hand_and_at_chance() -> None:
    a = np.array([[5.0, 4, 3, 2, 1, 0, -1, -2, -3, -4]])
    assert marker_overlap(a, a, 2) == 1.0
    assert marker_overlap(a, -a, 2) == 0.0
    assert marker_overlap(a, a[:, [0, 2, 1, *range(3, 10)]], 2) == 0.5
    random = np.random.default_rng(1)
    chance = [marker_overlap(random.normal(size=(1, 500)), random.normal(size=(1, 500)), 50) for _ in range(200)]
    assert np.mean(chance) == pytest.approx(0.1, abs=0.01)


def test_equal_data_share_markers_and_other_contrasts_do_not() -> None:
    first, again, other = cells(0), cells(1), cells(2, contrast_seed=10)
    t = [marker_statistics(log, labels, np.arange(3)) for log, labels in (first, again, other)]
    assert marker_overlap(t[0], t[1]) > 0.8
    assert marker_overlap(t[0], t[2]) < 0.4


def test_clusters_find_types_and_not_shuffled_ones() -> None:
    log, labels = cells(0)
    random = np.random.default_rng(0)
    assert clustering_agreement(log.toarray(), labels) > 0.95
    assert abs(clustering_agreement(log.toarray(), random.permutation(labels))) < 0.05
