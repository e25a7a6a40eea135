"""Effect recovery: perfect estimates reach the floor, absent ones the null; proxies count as hits."""

from __future__ import annotations

import numpy as np
import pytest

from genesim.config.evaluate import EvaluateConfig
from genesim.errors import InputError
from genesim.evaluate.effects import GeneEffects, evaluate_effects, marginal_effects, planted_and_estimated
from genesim.evaluate.score_table import ScoreTable

QUICK = EvaluateConfig(n_bootstrap=6)


def genes(seed: int, n: int = 40, *, noise: float, scale: float = 1.0, shuffled: bool = False) -> list[GeneEffects]:
    made = []
    for i in range(n):
        fixed = np.random.default_rng([7, i])
        dosage = fixed.binomial(2, 0.3, (60, 12)).astype(float)
        planted = np.zeros(12)
        if i % 4:
            planted[3] = fixed.normal(0, 0.6)
        rng = np.random.default_rng([seed, i])
        estimate, sets = np.zeros(12), ()
        at = int(rng.integers(12)) if shuffled else 3
        if i % 4 and (shuffled or abs(planted[3]) > 0.2):
            estimate[at] = rng.normal(0, 0.1) if shuffled else scale * planted[3] + rng.normal(0, noise)
            sets = (np.array([at, (at + 1) % 12]),)
        made.append(GeneEffects(dosage, planted, estimate, sets))
    return made


def test_good_estimates_reach_the_floor_and_weak_ones_do_not() -> None:
    ceiling, null = genes(0, noise=0.02), genes(1, noise=0, shuffled=True)
    good = ScoreTable(evaluate_effects(genes(2, noise=0.03), ceiling, null, config=QUICK))
    weak = ScoreTable(evaluate_effects(genes(2, noise=0.03, scale=0.4), ceiling, null, config=QUICK))
    assert good["effect_slope"].level == "good"
    assert good["effect_slope"].value == pytest.approx(1, abs=0.1)
    assert good["effect_power"].level == "good"
    assert good["effect_false_discovery"].value == 0
    assert good["effect_false_discovery"].null > 0.5
    assert good["credible_set_coverage"].value == 1
    assert weak["effect_slope"].value == pytest.approx(0.4, abs=0.1)
    assert weak["effect_slope"].level == "middle"


def test_shuffled_donors_score_as_the_null() -> None:
    ceiling, null = genes(0, noise=0.02), genes(1, noise=0, shuffled=True)
    scores = ScoreTable(evaluate_effects(genes(5, noise=0, shuffled=True), ceiling, null, config=QUICK))
    for metric in ("effect_slope", "effect_correlation", "effect_false_discovery"):
        assert scores[metric].level == "bad", metric


def test_a_perfect_proxy_is_as_good_as_the_causal_variant() -> None:
    rng = np.random.default_rng(0)
    dosage = rng.binomial(2, 0.4, (50, 4)).astype(float)
    dosage[:, 2] = dosage[:, 1]
    planted, estimate = np.array([0, 0.8, 0, 0]), np.array([0, 0, 0.8, 0])
    gene = GeneEffects(dosage, planted, estimate, (np.array([2]),))
    truth, found_effect, found = planted_and_estimated([gene])
    assert found_effect == pytest.approx(truth)
    assert found.all()
    missed = GeneEffects(dosage, planted, np.array([0.8, 0, 0, 0]), (np.array([0]),))
    assert not planted_and_estimated([missed])[2].any()


def test_marginal_effects_equal_simple_regressions() -> None:
    rng = np.random.default_rng(1)
    dosage = rng.binomial(2, 0.4, (80, 5)).astype(float)
    dosage[:, 1] = np.clip(dosage[:, 0] + rng.binomial(1, 0.2, 80), 0, 2)
    effects = np.array([0.5, -0.2, 0, 0, 0.3])
    got = marginal_effects(dosage, effects, np.array([0, 4]))
    slow = [np.polyfit(dosage[:, j], dosage @ effects, 1)[0] for j in (0, 4)]
    assert got == pytest.approx(slow)
    dosage[:, 2] = 1
    assert marginal_effects(dosage, effects, np.array([2])).tolist() == [0]
    dosage[3, 0] = np.nan
    assert np.isfinite(marginal_effects(dosage, effects, np.array([0]))).all()


def test_genes_without_effects_count_as_false_discoveries() -> None:
    dosage = np.random.default_rng(2).binomial(2, 0.4, (50, 4)).astype(float)
    quiet = GeneEffects(dosage, np.zeros(4), np.array([0, 0.2, 0, 0]), (np.array([1]),))
    hit = GeneEffects(dosage, np.array([0, 0, 0.5, 0]), np.array([0, 0, 0.5, 0]), (np.array([2]),))
    scores = ScoreTable(evaluate_effects([quiet, hit], config=QUICK))
    assert scores["effect_false_discovery"].value == 0.5
    assert scores["effect_power"].value == 1


def test_nothing_planted_or_shapes_that_differ_are_refused() -> None:
    dosage = np.ones((5, 3))
    with pytest.raises(InputError, match="no planted effect"):
        evaluate_effects([GeneEffects(dosage, np.zeros(3), np.zeros(3))])
    with pytest.raises(InputError, match="do not match"):
        GeneEffects(dosage, np.zeros(2), np.zeros(3))
