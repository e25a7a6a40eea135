"""Scores within groups find the group that is simulated worse, and no other; small groups are not scored."""

from __future__ import annotations

import numpy as np
import pytest

from genesim.evaluate.groups import (
    SIDES,
    expression_group_scores,
    groups_with,
    haplotype_group_scores,
    nearest_of_donors,
    worst_first,
)

N_VARIANTS = 120


def panel(shift: dict[str, float], n: int = 40, seed: int = 0, copied: str | None = None):
    """Haplotypes and labels of two groups; a group's simulated frequencies are off by `shift`, or its donors copied."""
    draw = np.random.default_rng(seed)
    frequency = {g: draw.uniform(0.2, 0.6, N_VARIANTS) for g in ("A", "B")}
    haplotypes, labels = {}, {}
    for side in SIDES:
        parts = []
        for group, p in frequency.items():
            moved = p + shift.get(group, 0.0) if side == "simulated" else p
            parts.append((draw.random((n, 2, N_VARIANTS)) < moved).astype(np.int8))
        haplotypes[side] = np.concatenate(parts)
        labels[side] = np.repeat(["A", "B"], n)
    if copied is not None:
        haplotypes["simulated"][labels["simulated"] == copied] = haplotypes["train"][labels["train"] == copied]
    return haplotypes, labels


def scored(haplotypes, labels, **more):
    options = {"attribute": "ancestry", "least": 20, "seed": 1, **more}
    return {(s.metric, s.group): s for s in haplotype_group_scores(haplotypes, labels, **options)}


def test_the_group_with_wrong_frequencies_is_the_worst_and_the_other_is_at_its_floor() -> None:
    found = scored(*panel({"B": 0.15}))
    bad, good = (found["allele_frequency_rmse", g] for g in ("B", "A"))
    assert bad.gap.low > 0
    assert good.gap.low < 0 < good.gap.high
    assert worst_first(list(found.values()))[0] is bad


def test_the_attack_finds_copied_donors_in_their_group_only() -> None:
    found = scored(*panel({}, copied="A"))
    assert found["donor_membership_auc", "A"].value.low > 0.9
    assert found["donor_membership_auc", "B"].gap.low < 0 < found["donor_membership_auc", "B"].gap.high


def test_intervals_hold_the_truth_about_as_often_as_they_say() -> None:
    """Nothing was learned by heart: the attack's true AUC is 1/2 and the true gap is 0."""
    held = {"allele_frequency_rmse": [], "donor_membership_auc": []}
    for seed in range(40):
        for (metric, _), score in scored(*panel({}, n=24, seed=seed), n_repeats=20).items():
            held[metric].append(score.gap.low <= 0 <= score.gap.high)
    for metric, inside in held.items():
        assert 0.88 <= np.mean(inside) <= 1, metric


def test_distances_are_those_of_a_loop() -> None:
    draw = np.random.default_rng(3)
    donors, made = (draw.integers(0, 2, (n, 2, 30)).astype(np.int8) for n in (7, 5))
    every = made.reshape(-1, 30)
    slow = [min(int((h != m).sum()) for h in donor for m in every) for donor in donors]
    np.testing.assert_array_equal(nearest_of_donors(donors, made), slow)


@pytest.mark.parametrize("side", SIDES)
def test_a_group_that_is_small_on_any_side_is_left_out(side: str) -> None:
    haplotypes, labels = panel({}, n=30)
    labels[side][labels[side] == "B"] = np.where(np.arange(30) < 19, "B", "A")
    assert groups_with(labels, 20) == (["A"], ["B"])
    assert {group for _, group in scored(haplotypes, labels)} == {"A"}


def test_the_same_seed_gives_the_same_scores_whatever_other_groups_there_are() -> None:
    haplotypes, labels = panel({})
    both = scored(haplotypes, labels)
    only = {side: labels[side] == "A" for side in SIDES}
    alone = scored({s: haplotypes[s][only[s]] for s in SIDES}, {s: labels[s][only[s]] for s in SIDES})
    assert {k: v for k, v in both.items() if k[1] == "A"} == alone


def test_a_group_with_wrong_expression_is_found() -> None:
    draw = np.random.default_rng(5)
    labels = {side: np.repeat(["A", "B"], 30) for side in SIDES}
    means = {side: draw.normal(1, 0.1, (60, 50)) for side in SIDES}
    means["simulated"][labels["simulated"] == "B"] += draw.normal(0, 0.3, 50)
    cells = {side: draw.integers(5, 20, 60) for side in SIDES}
    scores = expression_group_scores(means, cells, labels, attribute="sex", least=20, seed=0)
    found = {s.group: s for s in scores}
    assert found["B"].gap.low > 0
    assert found["A"].gap.low < 0 < found["A"].gap.high
