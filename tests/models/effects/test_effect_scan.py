"""Fitting many genes of unequal windows, and what is drawn and predicted from the kept posterior."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
from scipy import stats

from genesim.config.model import EffectConfig
from genesim.models.effects.draws import draw_effects, under_null
from genesim.models.effects.posterior import EffectPosterior, effect_groups, genetic_values, marginal_effects
from genesim.models.effects.problem import orthonormal_covariates
from genesim.models.effects.scan import fit_genes, padded_size


def fitted(seed: int = 1) -> tuple[EffectPosterior, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    dosage = rng.binomial(2, 0.3, (90, 200)).astype(np.float32)
    windows = [np.arange(0, 10), np.arange(5, 55), np.zeros(0, int), np.arange(50, 90)]
    y = rng.normal(size=(4, 200))
    y[0] += 1.5 * dosage[3]
    y[1] += dosage[40] - dosage[20]
    basis = orthonormal_covariates(np.zeros((200, 0)), np.ones(200, bool))
    posterior = fit_genes(y, np.ones_like(y), basis, windows, lambda i: dosage[i], EffectConfig())
    return posterior, dosage, y


def test_finds_planted_variants_across_batches() -> None:
    posterior, _, _ = fitted()
    m = marginal_effects(posterior)
    sure = {(int(g), int(v)) for g, v, p in zip(m["gene"], m["variant"], m["pip"]) if p > 0.9}
    assert sure == {(0, 3), (1, 40), (1, 20)}
    assert posterior.n_sets.tolist() == [1, 2, 0, 0]
    assert posterior.n_variants.tolist() == [10, 50, 0, 40]
    assert posterior.top_variant[0] == 3
    assert np.isnan(posterior.p_value[2])
    assert posterior.p_value[0] < 1e-10 < posterior.p_value[3]
    at = (m["gene"] == 0) & (m["variant"] == 3)
    assert abs(m["mean"][at][0] - 1.5) < 3 * m["sd"][at][0]
    assert abs(posterior.top_slope[0] - 1.5) < 0.4


def test_draws_follow_the_posterior() -> None:
    posterior, _, _ = fitted()
    rng = np.random.default_rng(1)
    m = marginal_effects(replace(posterior, spread=posterior.sd))  # effects are drawn apart
    expected = {(int(g), int(v)): (a, s) for g, v, a, s in zip(m["gene"], m["variant"], m["mean"], m["sd"])}
    total: dict[tuple[int, int], list[float]] = {}
    for _ in range(800):
        drawn: dict[tuple[int, int], float] = {}
        for g, v, b in zip(*draw_effects(posterior, rng.random((4, 5)), rng.normal(size=(4, 5)))):
            # Two single effects may sit at one variant.
            drawn[int(g), int(v)] = drawn.get((int(g), int(v)), 0.0) + float(b)
        for key, size in drawn.items():
            total.setdefault(key, []).append(size)
    for key in ((0, 3), (1, 40), (1, 20)):
        mean, sd = expected[key]
        assert len(total[key]) >= 700
        assert abs(np.mean(total[key]) - mean) < 5 * sd / np.sqrt(800)
        assert stats.kstest((np.array(total[key]) - mean) / sd, "norm").pvalue > 1e-3
        assert stats.kstest((np.array(total[key]) - mean) / sd - 1, "norm").pvalue < 1e-6


def test_another_null_changes_the_odds_of_existence_and_nothing_else() -> None:
    posterior, _, _ = fitted()
    start, group = effect_groups(posterior)

    def odds(p: EffectPosterior) -> np.ndarray:
        present = np.minimum(np.add.reduceat(p.alpha.astype(float), start), 1 - 1e-7)
        return present / (1 - present)

    same, doubtful = under_null(posterior, 0.3, 0.3), under_null(posterior, 0.3, 0.6)
    np.testing.assert_allclose(same.alpha, posterior.alpha, rtol=1e-5)
    unsure = odds(posterior) < 1e3
    assert 0 < unsure.sum() < len(start)
    np.testing.assert_allclose((odds(doubtful) / odds(posterior))[unsure], 0.3 / 0.7 * 0.4 / 0.6, rtol=1e-3)
    ratio = doubtful.alpha / posterior.alpha
    np.testing.assert_allclose(ratio, ratio[start][group], rtol=1e-5)
    assert under_null(posterior, 0.3, 1 - 1e-9).alpha[unsure[group]].max() < 1e-4


def test_same_position_numbers_give_the_same_variant() -> None:
    posterior, _, _ = fitted()
    u = np.random.default_rng(2).random((4, 5))
    first = draw_effects(posterior, u, np.zeros((4, 5)))
    second = draw_effects(posterior, u, np.ones((4, 5)))
    assert (first[1] == second[1]).all()
    assert (second[2] != first[2]).any()


def test_genetic_values_are_the_mean_over_draws() -> None:
    posterior, dosage, _ = fitted()
    centre = dosage.mean(1)
    mean, sd = genetic_values(posterior, dosage, centre)
    rng = np.random.default_rng(3)
    drawn = np.zeros((300, 4, 200))
    for i in range(300):
        for g, v, b in zip(*draw_effects(posterior, rng.random((4, 5)), rng.normal(size=(4, 5)))):
            drawn[i, g] += b * (dosage[v] - centre[v])
    np.testing.assert_allclose(drawn.mean(0), mean, atol=5 * sd.max() / np.sqrt(300))
    np.testing.assert_allclose(drawn[:, :2].std(0).mean(1), sd[:2].mean(1), rtol=0.2)
    assert not mean[2].any()


def test_padded_sizes_grow_by_at_most_a_half() -> None:
    sizes = sorted({padded_size(n) for n in range(1, 3000)})
    assert all(padded_size(n) >= n for n in range(1, 3000))
    assert all(b <= 1.5 * a for a, b in itertools.pairwise(sizes))
