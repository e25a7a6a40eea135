"""The linkage attack: against scipy, and on drawn donors whose records are, or are not, their own."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from genesim.errors import InputError
from genesim.metrics.linkage import linkage_membership, linkage_ranks, linkage_scores
from genesim.metrics.membership import auroc

R = 0.5


def people(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Predictions and expression of n people at 100 genes, correlated R."""
    random = np.random.default_rng(seed)
    predicted = random.normal(size=(n, 100))
    return predicted, R * predicted + np.sqrt(1 - R**2) * random.normal(size=(n, 100))


def test_scores_equal_the_slow_log_ratio() -> None:
    predicted, expression = people(6, 0)
    r = np.linspace(0, 0.8, 100)
    p, e = stats.zscore(predicted), stats.zscore(expression[:4])
    slow = [[(stats.norm.logpdf(b, r * a, np.sqrt(1 - r**2)) - stats.norm.logpdf(b)).sum() for b in e] for a in p]
    np.testing.assert_allclose(linkage_scores(predicted, expression[:4], r), slow)


def test_own_records_are_found_and_members_told_from_others() -> None:
    predicted, expression = people(80, 1)
    scores = linkage_scores(predicted, expression[:40], np.full(100, R))
    ranks = linkage_ranks(scores, np.arange(40))
    assert (ranks == 1).mean() > 0.9
    found = linkage_membership(scores)
    assert auroc(found[:40], found[40:]) > 0.95


def test_records_of_nobody_here_are_at_chance() -> None:
    predicted, _ = people(80, 2)
    aucs, ranks = [], []
    for seed in range(30):
        _, others = people(40, 100 + seed)
        scores = linkage_scores(predicted, others, np.full(100, R))
        found = linkage_membership(scores)
        aucs.append(auroc(found[::2], found[1::2]))
        ranks.append(linkage_ranks(scores, np.arange(40)).mean())
    assert np.mean(aucs) == pytest.approx(0.5, abs=0.06)
    assert np.mean(ranks) == pytest.approx(40.5, abs=2.5)


def test_unpredictable_and_constant_genes_tell_nothing() -> None:
    predicted, expression = people(10, 3)
    assert np.allclose(linkage_scores(predicted, expression, np.zeros(100)), 0)
    flat = linkage_scores(np.ones((10, 100)), expression, np.full(100, R))
    np.testing.assert_allclose(linkage_ranks(flat, np.arange(10)), 5.5)


def test_other_genes_are_refused() -> None:
    predicted, expression = people(5, 4)
    with pytest.raises(InputError, match="linkage attack"):
        linkage_scores(predicted, expression[:, :9], np.full(100, R))
