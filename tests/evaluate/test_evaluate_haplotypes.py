"""The haplotype evaluation: fresh draws of one population pass, independent sites and copies are named."""

from __future__ import annotations

import numpy as np
import pytest

from genesim.config.evaluate import EvaluateConfig
from genesim.errors import InputError
from genesim.evaluate.haplotype_privacy import quantile_interval
from genesim.evaluate.haplotypes import comparable_variants, equal_draws, evaluate_haplotypes
from genesim.evaluate.nearest import Nearest, hamming
from genesim.evaluate.score_table import ScoreTable
from genesim.metrics.haplotype_privacy import adversarial_accuracy

SMALL = EvaluateConfig(n_bootstrap=6, max_haplotypes=100, max_variants=120)
POSITION = np.arange(120) * 500 + 1000


def draw(seed: int, n: int = 90) -> tuple[np.ndarray, np.ndarray]:
    """Haplotypes of two ancestries: two-state Markov chains, with linkage and different frequencies."""
    fixed = np.random.default_rng(3)
    p = fixed.uniform(0.15, 0.85, 120)
    other = np.clip(p + fixed.normal(0, 0.2, 120), 0.05, 0.95)
    rng = np.random.default_rng(seed)
    ancestry = np.array(["A", "B"])[np.arange(n) % 2]
    frequency = np.where(ancestry[:, None] == "A", p, other)
    values = np.empty((n, 120), np.int8)
    level = rng.random(n)
    for j in range(120):
        level = np.where(rng.random(n) < 0.05, rng.random(n), level)
        values[:, j] = level < frequency[:, j]
    return values, ancestry


def independent(seed: int, n: int = 90) -> tuple[np.ndarray, np.ndarray]:
    values, ancestry = draw(seed, n)
    rng = np.random.default_rng(seed)
    for a in ("A", "B"):
        rows = np.flatnonzero(ancestry == a)
        for j in range(120):
            values[rows, j] = values[rng.permutation(rows), j]
    return values, ancestry


def run(simulated: tuple[np.ndarray, np.ndarray], **changes: object) -> ScoreTable:
    test, train, null = draw(1), draw(2, 130), independent(3)
    arguments = {
        "position": POSITION,
        "ancestry_test": test[1],
        "ancestry_simulated": simulated[1],
        "ancestry_train": train[1],
        "ancestry_null": null[1],
        "config": SMALL,
    } | changes
    return ScoreTable(evaluate_haplotypes(test[0], simulated[0], train[0], null[0], **arguments))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def faithful() -> ScoreTable:
    return run(draw(4))


def test_fresh_haplotypes_reach_the_floor(faithful: ScoreTable) -> None:
    for metric in (
        "ld_rmse",
        "ld_decay_error",
        "adversarial_accuracy_real",
        "adversarial_accuracy_simulated",
    ):
        assert faithful[metric].level in ("good", "near"), faithful[metric]
    for metric in ("membership_auc", "exact_copies_haplotypes", "longest_shared_tract"):
        assert faithful[metric].level in ("good", "near"), faithful[metric]
    assert faithful["exact_copies_haplotypes"].verdict == "no sign of copying"


def test_independent_variants_are_no_better_than_the_null() -> None:
    naive = run(independent(5))
    for metric in ("ld_rmse", "ld_decay_error", "adversarial_accuracy_real"):
        assert naive[metric].level == "bad", naive[metric]
    # What it keeps by construction is not held against it.
    assert naive["allele_frequency_rmse"].level != "bad"


def test_copies_are_named() -> None:
    values, ancestry = draw(2, 130)
    copied = run((values[:90], ancestry[:90]))
    for metric in ("privacy_loss", "membership_auc", "exact_copies_haplotypes", "longest_shared_tract"):
        assert copied[metric].level == "bad", copied[metric]
    for metric in ("privacy_loss", "membership_auc"):
        assert copied[metric].verdict == "training donors are recognised"
    for metric in ("exact_copies_haplotypes", "longest_shared_tract"):
        assert copied[metric].verdict == "copies training data"


def test_swapped_ancestries_are_seen_within_ancestries_only(faithful: ScoreTable) -> None:
    values, ancestry = draw(4)
    swapped = run((values, np.where(ancestry == "A", "B", "A")))
    within, pooled = "allele_frequency_rmse_within_ancestry", "allele_frequency_rmse"
    assert swapped[within].value > 1.7 * faithful[within].value
    assert swapped[pooled].value == pytest.approx(faithful[pooled].value, rel=0.3)


def test_same_seed_same_scores(faithful: ScoreTable) -> None:
    assert run(draw(4)) == faithful


def test_without_train_null_or_ancestry() -> None:
    bare = ScoreTable(evaluate_haplotypes(draw(1)[0], draw(4)[0], position=POSITION, config=SMALL))
    metrics = [s.metric for s in bare]
    assert "ld_rmse" in metrics
    assert "privacy_loss" not in metrics
    assert "allele_frequency_rmse_within_ancestry" not in metrics
    assert all(np.isfinite(s.floor) and np.isnan(s.null) for s in bare)


def test_distances_and_accuracy_equal_the_metric() -> None:
    a, b = draw(6, 30)[0], draw(7, 30)[0]
    np.testing.assert_array_equal(hamming(a, b), (a[:, None] != b[None]).sum(axis=2))
    nearest = Nearest(a, b)
    assert nearest.accuracy(np.arange(30), np.arange(30)) == pytest.approx(tuple(adversarial_accuracy(a, b)))
    rows = np.arange(3, 25)
    expected = adversarial_accuracy(a[rows], b[rows - 2])
    assert nearest.accuracy(rows, rows - 2) == pytest.approx(tuple(expected))


def test_missing_alleles_leave_their_variant_out() -> None:
    test = draw(1)[0].copy()
    test[5, 100] = -1
    columns = comparable_variants({"test": test, "simulated": draw(4)[0]}, 500)
    assert columns.tolist() == [j for j in range(120) if j != 100]
    assert comparable_variants({"test": test}, 50).tolist() == list(range(34, 84))
    test[0, 15:] = -1
    with pytest.raises(InputError, match="only 15 of 120 variants"):
        comparable_variants({"test": test}, 500)


def test_equal_draws_have_one_mix_of_ancestries() -> None:
    labels = {"test": np.repeat(["A", "B"], [40, 10]), "simulated": np.repeat(["A", "B", "C"], [20, 30, 9])}
    for name, rows in equal_draws(labels, 1000, 0).items():
        found, n = np.unique(labels[name][rows], return_counts=True)
        assert dict(zip(found.tolist(), n.tolist())) == {"A": 20, "B": 10}
    assert len(equal_draws(labels, 12, 0)["test"]) == 12
    with pytest.raises(InputError, match="same ancestry labels"):
        equal_draws({"a": np.array(["x"] * 20), "b": np.array(["y"] * 20)}, 10, 0)


def test_bad_input_is_refused() -> None:
    test = draw(1)[0]
    with pytest.raises(InputError, match="align all data sets"):
        evaluate_haplotypes(test, test[:, :50], position=POSITION)
    with pytest.raises(InputError, match="each donor's label twice"):
        evaluate_haplotypes(
            test,
            test,
            position=POSITION,
            ancestry_test=np.array(["A"] * 45),
            ancestry_simulated=np.array(["A"] * 90),
        )


def test_quantile_interval_covers_the_quantile() -> None:
    truth = -np.log(0.05)  # 95th percentile of the exponential law
    covered = 0
    for seed in range(200):
        found = quantile_interval(np.random.default_rng(seed).exponential(size=200), 0.95)
        covered += found.low <= truth <= found.high
    assert 0.9 <= covered / 200 <= 0.995
