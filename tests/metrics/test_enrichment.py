"""Rank-sum enrichment against scipy, and its calibration."""

from __future__ import annotations

import numpy as np
import pytest

from genesim.metrics.enrichment import benjamini_hochberg, enrichment


def test_it_is_the_rank_sum_test_of_scipy() -> None:
    from scipy.stats import false_discovery_control, mannwhitneyu

    random = np.random.default_rng(0)
    effect = np.round(random.normal(size=80), 1)  # with ties
    sets = [random.choice(80, k, replace=False) for k in (5, 12, 30)]
    found = enrichment(effect, sets)
    for i, at in enumerate(sets):
        rest = np.setdiff1d(np.arange(80), at)
        peer = mannwhitneyu(effect[at], effect[rest], method="asymptotic", use_continuity=True)
        assert found["p"][i] == pytest.approx(peer.pvalue, rel=1e-9)
        assert found["auc"][i] == pytest.approx(peer.statistic / (len(at) * len(rest)))
        assert found["mean"][i] == pytest.approx(effect[at].mean())
    np.testing.assert_allclose(found["fdr"], false_discovery_control(found["p"]))


def test_random_sets_are_found_as_often_as_chance_and_moved_ones_always() -> None:
    random = np.random.default_rng(1)
    effect = random.normal(size=300)
    sets = [random.choice(300, 15, replace=False) for _ in range(400)]
    p = enrichment(effect, sets)["p"]
    assert 0.02 < (p < 0.05).mean() < 0.09
    effect[sets[0]] += 1.5
    assert enrichment(effect, sets[:1])["p"][0] < 1e-4


def test_effects_that_are_all_alike_enrich_nothing() -> None:
    found = enrichment(np.zeros(30), [np.arange(6)])
    assert found["p"][0] == 1.0
    assert found["auc"][0] == 0.5
    assert benjamini_hochberg(np.zeros(0)).shape == (0,)
