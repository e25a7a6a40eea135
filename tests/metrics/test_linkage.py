"""The linkage attack finds who made a profile, as the optimal classifier of the model does, and nobody by chance."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from genesim.errors import InputError
from genesim.metrics import linkage


def planted(n: int, n_genes: int, r2: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    predicted = random.normal(0, np.sqrt(r2), (n, n_genes))
    return predicted + random.normal(0, np.sqrt(1 - r2), (n, n_genes)), predicted


def test_scores_are_log_likelihood_ratios_up_to_what_all_pairs_share() -> None:
    observed, predicted = planted(40, 7, 0.3, 0)
    found = linkage.linkage_scores(observed, predicted)
    x = (observed - observed.mean(0)) / observed.std(0)
    r2 = predicted.var(0) / observed.var(0)
    p = (predicted - predicted.mean(0)) / observed.std(0)
    expected = np.array(
        [[(stats.norm.logpdf(a, b, np.sqrt(1 - r2)) - stats.norm.logpdf(a)).sum() for b in p] for a in x]
    )
    np.testing.assert_allclose(found - found.mean(), expected - expected.mean(), atol=1e-9)


def test_more_genes_link_better_and_dealt_predictions_are_at_chance() -> None:
    ranks, random = [], np.random.default_rng(0)
    for n_genes in (5, 30, 150):
        observed, predicted = planted(60, n_genes, 0.15, n_genes)
        success = linkage.linkage_success(linkage.linkage_scores(observed, predicted), np.arange(60), random)
        ranks.append(success.rank.value)
    assert ranks[0] > ranks[1] > ranks[2]
    assert success.rank.high < 0.02
    assert success.found.value > 0.8
    assert success.chance_found == pytest.approx(1 / 60)
    by_chance = [
        linkage.rank_of_truth(linkage.linkage_scores(*planted(60, 30, 0.15, s)), random.permutation(60)).mean()
        for s in range(40)
    ]
    assert np.mean(by_chance) == pytest.approx(0.5, abs=0.02)


def test_ranks_count_ties_by_half() -> None:
    scores = np.array([[1.0, 1.0, 0.0], [3.0, 2.0, 1.0]])
    np.testing.assert_allclose(linkage.rank_of_truth(scores, np.array([0, 2])), [0.25, 1.0])


def test_copies_of_training_donors_are_matched_best() -> None:
    observed, predicted = planted(80, 60, 0.3, 3)
    match = linkage.best_match(linkage.linkage_scores(observed[:40], predicted))
    assert match[:40].mean() > match[40:].mean() + match.std()


def test_nothing_to_match_is_refused() -> None:
    with pytest.raises(InputError, match="do not fit"):
        linkage.linkage_scores(np.ones((3, 2)), np.ones((3, 4)))
    with pytest.raises(InputError, match="vary"):
        linkage.linkage_scores(np.ones((3, 2)), np.arange(6.0).reshape(3, 2))
