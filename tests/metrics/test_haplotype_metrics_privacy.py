"""Privacy metrics of haplotypes: brute force, honest draws pass, copies are caught."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genesim.errors import InputError
from genesim.metrics import haplotype_privacy as privacy


def draws(seed: int, n: int, n_variants: int = 80) -> np.ndarray:
    stream = np.random.default_rng(seed)
    p = np.random.default_rng(99).beta(0.5, 0.5, n_variants)
    return (stream.random((n, n_variants)) < p).astype(np.int8)


def slow_nearest(queries: np.ndarray, references: np.ndarray, same: bool = False) -> list[int]:
    return [
        min(int((q != r).sum()) for j, r in enumerate(references) if not (same and i == j))
        for i, q in enumerate(queries)
    ]


def test_nearest_distance_equals_brute_force(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(privacy, "BLOCK", 7)
    a, b = draws(1, 20), draws(2, 31)
    assert privacy.nearest_distance(a, b).tolist() == slow_nearest(a, b)
    assert privacy.nearest_distance(b, b, same=True).tolist() == slow_nearest(b, b, same=True)


def test_adversarial_accuracy_by_hand() -> None:
    a, b = draws(1, 40, 12), draws(2, 40, 12)  # few variants: many ties
    d_ts, d_tt = np.array(slow_nearest(a, b)), np.array(slow_nearest(a, a, same=True))
    d_st, d_ss = np.array(slow_nearest(b, a)), np.array(slow_nearest(b, b, same=True))
    assert (d_ts == d_tt).any()
    found = privacy.adversarial_accuracy(a, b)
    assert found.real == pytest.approx(np.mean((d_ts > d_tt) + (d_ts == d_tt) / 2))
    assert found.synthetic == pytest.approx(np.mean((d_st > d_ss) + (d_st == d_ss) / 2))
    assert found.mean == pytest.approx((found.real + found.synthetic) / 2)


def test_honest_draws_pass_and_copies_are_caught() -> None:
    train, held_out, honest = draws(1, 300), draws(2, 300), draws(3, 300)
    copies = train ^ (np.random.default_rng(4).random(train.shape) < 0.01).astype(np.int8)
    fair = privacy.adversarial_accuracy(train, honest)
    assert 0.4 < fair.real < 0.6
    assert 0.4 < fair.synthetic < 0.6
    assert privacy.adversarial_accuracy(train, copies).mean < 0.1
    assert abs(privacy.privacy_loss(train, held_out, honest)) < 0.08
    assert privacy.privacy_loss(train, held_out, copies) > 0.3
    assert 0.4 < privacy.membership_auc(train, held_out, honest) < 0.6
    assert privacy.membership_auc(train, held_out, copies) > 0.95
    assert privacy.exact_copies(train, honest) == 0
    assert privacy.exact_copies(train, np.concatenate([honest, train[:3], train[:1]])) == 4


def test_a_collapsed_generator_is_seen_on_both_sides() -> None:
    train = draws(1, 100)
    collapsed = np.repeat(draws(3, 1), 100, axis=0)
    found = privacy.adversarial_accuracy(train, collapsed)
    assert found.real > 0.7
    assert found.synthetic > 0.99


def test_membership_auc_counts_pairs_with_ties() -> None:
    train, held_out, synthetic = draws(1, 15, 10), draws(2, 12, 10), draws(3, 9, 10)
    member, other = slow_nearest(train, synthetic), slow_nearest(held_out, synthetic)
    wins = [(m < o) + 0.5 * (m == o) for m in member for o in other]
    assert privacy.membership_auc(train, held_out, synthetic) == pytest.approx(np.mean(wins))


def test_both_directions_come_from_one_product(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(privacy, "BLOCK", 7)
    a, b = draws(1, 20), draws(2, 31)
    from_a, from_b = privacy.nearest_between(a, b)
    assert from_a.tolist() == slow_nearest(a, b)
    assert from_b.tolist() == slow_nearest(b, a)


def test_members_found_at_a_low_rate_by_hand() -> None:
    other = np.arange(200)  # 1 % are two held-out haplotypes: those at 0 and 1
    member = np.array([0, 1, 1, 2, 50])
    found = privacy.membership_of_distances(member, other)
    assert found.tpr == pytest.approx(3 / 5)
    wins = [(m < o) + 0.5 * (m == o) for m in member for o in other]
    assert found.auc == pytest.approx(np.mean(wins))
    tied = np.zeros(200)  # every threshold that finds a member calls all held-out ones
    assert privacy.membership_of_distances(np.zeros(5), tied) == (0.5, 0.0)
    assert privacy.membership_of_distances(member, other, false_positive_rate=1.0).tpr == 1


def test_chance_finds_one_in_a_hundred_and_copies_are_found() -> None:
    train, held_out, honest = draws(1, 1000), draws(2, 1000), draws(3, 1000)
    assert privacy.membership(train, held_out, honest).tpr < 0.03
    assert privacy.membership(train, held_out, train).tpr > 0.9


def slow_tract(query: np.ndarray, references: np.ndarray, positions: np.ndarray) -> int:
    best = 0
    for reference in references:
        start = 0
        for m in range(len(query)):
            if query[m] != reference[m]:
                start = m + 1
            else:
                best = max(best, int(positions[m] - positions[start]))
    return best


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 12), st.integers(1, 9), st.integers(1, 25))
def test_longest_tract_equals_brute_force(seed: int, n_query: int, n_reference: int, n_variants: int) -> None:
    stream = np.random.default_rng(seed)
    queries = (stream.random((n_query, n_variants)) < 0.4).astype(np.int8)
    references = (stream.random((n_reference, n_variants)) < 0.4).astype(np.int8)
    positions = np.cumsum(stream.integers(1, 1000, n_variants))
    expected = [slow_tract(q, references, positions) for q in queries]
    assert privacy.longest_shared_tract_each(queries, references, positions).tolist() == expected


def test_longest_tract_sees_a_mosaic_that_is_no_neighbour() -> None:
    train, held_out = draws(1, 60, 300), draws(2, 60, 300)
    positions = np.arange(300) * 100
    stream = np.random.default_rng(0)
    pieces = stream.integers(0, 60, (60, 6))
    mosaic = np.concatenate([train[pieces[:, k], 50 * k : 50 * (k + 1)] for k in range(6)], axis=1)
    floor = privacy.longest_shared_tract(held_out, train, positions)
    assert privacy.longest_shared_tract(draws(3, 60, 300), train, positions) < 1.5 * floor
    assert privacy.longest_shared_tract(mosaic, train, positions) > 1.5 * floor
    assert privacy.longest_shared_tract(train, train, positions) == 29_900


def test_unequal_numbers_are_refused() -> None:
    with pytest.raises(InputError, match="equal numbers"):
        privacy.adversarial_accuracy(draws(1, 10), draws(2, 9))
