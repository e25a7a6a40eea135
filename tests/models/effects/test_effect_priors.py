"""Priors over where and how large effects are: against formulas or brute force, a wrong prior beside the right."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import integrate, stats

from genesim.config.model import EffectConfig
from genesim.models.effects.combine import CONFLICT, combine_sizes
from genesim.models.effects.location import TSS_EDGES, correlation_log_bf, learn_tss_curve, table_probabilities
from genesim.models.effects.posterior import EffectPosterior, marginal_effects
from genesim.models.effects.scan import PriorOf, fit_genes

N_DONORS, N_GENES, PER_GENE = 120, 24, 40
CAUSAL = np.random.default_rng(5).integers(PER_GENE, size=N_GENES)


def planted() -> tuple[np.ndarray, np.ndarray, list[np.ndarray]]:
    """Expression, dosages in strong LD (blocks of five, r about .9), and windows."""
    draw = np.random.default_rng(0)
    base = draw.integers(0, 3, (N_GENES * PER_GENE // 5, N_DONORS)).astype(float)
    dosage = np.repeat(base, 5, axis=0)
    changed = draw.random(dosage.shape) < 0.1
    dosage = np.where(changed, draw.integers(0, 3, dosage.shape), dosage)
    windows = [np.arange(g * PER_GENE, (g + 1) * PER_GENE) for g in range(N_GENES)]
    y = np.stack([0.35 * dosage[w[c]] for w, c in zip(windows, CAUSAL, strict=True)])
    return y + draw.normal(size=y.shape), dosage, windows


def found(prior_of: PriorOf | None) -> np.ndarray:
    """PIP of the causal variant of each gene."""
    y, dosage, windows = planted()
    config = EffectConfig(n_permutations=50)
    basis = np.full((N_DONORS, 1), N_DONORS**-0.5)
    fit = fit_genes(y, np.ones_like(y), basis, windows, lambda i: dosage[i], config, prior_of=prior_of)
    m = marginal_effects(fit)
    pip = {(int(g), int(v)): p for g, v, p in zip(m["gene"], m["variant"], m["pip"], strict=True)}
    return np.array([pip.get((g, int(windows[g][c])), 0.0) for g, c in enumerate(CAUSAL)])


def test_the_right_prior_finds_the_variant_a_shuffled_one_does_not_and_a_weight_of_0_leaves_it_out() -> None:
    draw = np.random.default_rng(1)
    sites = [CAUSAL, draw.permutation(PER_GENE)[:N_GENES]]

    def weights(where: np.ndarray, high: float) -> PriorOf:
        def prior_of(gene: int, window: np.ndarray) -> np.ndarray:
            pi = np.ones(len(window))
            pi[where[gene]] = high
            return pi

        return prior_of

    flat, right, wrong = found(None), found(weights(sites[0], 20.0)), found(weights(sites[1], 20.0))
    assert right.mean() > flat.mean() + 0.2
    assert wrong.mean() < flat.mean() + 0.02
    assert found(weights(CAUSAL, 0.0)).max() == 0.0
    np.testing.assert_allclose(found(lambda gene, window: np.full(len(window), 3.0)), flat, atol=1e-5)


def test_bayes_factors_of_correlations_are_those_of_a_regression() -> None:
    """Against the marginal likelihood by quadrature: y ~ N(b x, 1), b ~ N(0, W), standardised x, known noise."""
    draw = np.random.default_rng(2)
    n = 200
    x = draw.normal(size=n)
    x = (x - x.mean()) / x.std()
    y = 0.3 * x + draw.normal(size=n)
    r = float(np.corrcoef(x, y)[0, 1])
    beta = float(x @ y / n)
    noise = np.sqrt((y**2).mean() - beta**2)

    def bayes(share: float) -> float:
        sd = np.sqrt(share) * noise
        log_like = lambda b: -0.5 * (((y - y.mean() - b * x) ** 2).sum()) / noise**2  # noqa: E731
        top = log_like(beta)
        area = integrate.quad(
            lambda b: np.exp(log_like(b) - top) * stats.norm.pdf(b, 0, sd), beta - 1, beta + 1, points=[beta]
        )[0]
        return float(np.log(area) + top - log_like(0.0))

    expected = np.log(np.mean(np.exp([bayes(share) for share in (0.01, 0.03, 0.1, 0.3)])))
    assert correlation_log_bf(np.array([r]), n)[0] == pytest.approx(expected, abs=0.15)


@pytest.mark.parametrize("seed", [0, 1])
def test_the_distance_curve_is_learned_where_there_is_one_and_stays_flat_without_effects(seed: int) -> None:
    draw = np.random.default_rng(seed)
    distance = [draw.uniform(-1e6, 1e6, 400) for _ in range(300)]
    near = [np.flatnonzero(np.abs(d) < 1e5) for d in distance]
    log_bf, nothing = [], []
    for close in near:
        r = draw.normal(0, 1 / np.sqrt(300), 400)
        nothing.append(correlation_log_bf(r, 300))
        r = r.copy()
        r[draw.choice(close)] = 0.4
        log_bf.append(correlation_log_bf(r, 300))
    curve, p1 = learn_tss_curve(log_bf, distance)
    at = dict(zip(curve.edges, curve.weights, strict=True))
    assert p1 > 0.95
    # All effects lie within 100 kb, a tenth of the window: the average weight there is 10 (of 1 over the whole).
    assert np.mean(curve(np.linspace(0, 1e5, 200))) == pytest.approx(10, rel=0.1)
    assert at[1e6] < 0.1
    assert all(a >= b for a, b in zip(curve.weights, curve.weights[1:], strict=False))
    flat, p1 = learn_tss_curve(nothing, distance)
    assert p1 < 0.2
    assert max(flat.weights) < 3
    assert min(flat.weights) > 1 / 3
    assert curve.edges == TSS_EDGES


def test_probabilities_of_a_table_are_those_of_one_causal_variant_and_kappa_makes_them_humbler() -> None:
    beta, se = np.array([0.1, 0.5, -0.45, 0.0]), np.full(4, 0.1)
    q = table_probabilities(beta, se)
    # With equal errors the odds are exp((z1^2 - z2^2)/2 shrunk by W / (W + s^2)), W on a grid.
    z2 = (beta / se) ** 2
    shrink = np.log(q[1] / q[2]) / (0.5 * (z2[1] - z2[2]))
    assert 0.9 < shrink < 1
    np.testing.assert_allclose(np.log(q[1] / q[0]), 0.5 * (z2[1] - z2[0]) * shrink, rtol=1e-6)
    assert q.sum() == pytest.approx(1)
    humbler = table_probabilities(beta, se, kappa=9.0)
    assert humbler[1] < q[1]
    assert humbler[0] > q[0]


def posterior(mean: float, sd: float, sets: int = 1) -> EffectPosterior:
    one = np.ones(1)
    return EffectPosterior(
        gene=np.zeros(1, np.int32),
        effect=np.zeros(1, np.int8),
        variant=np.full(1, 7, np.int32),
        alpha=one.astype(np.float32),
        mean=np.array([mean], np.float32),
        sd=np.array([sd], np.float32),
        credible_set=np.array([sets], np.int32),
        p_value=one,
        top_variant=one.astype(int),
        top_slope=one,
        residual_sd=one,
        n_donors=one.astype(int),
        n_variants=one.astype(int),
        n_sets=np.array([sets]),
        set_gene=np.zeros(sets, int),
        set_number=np.ones(sets, int),
        set_coverage=np.ones(sets),
        set_purity=np.ones(sets),
        set_log_bayes_factor=np.ones(sets),
    )


def test_sizes_are_combined_by_precision_unless_they_conflict() -> None:
    at = np.zeros(1, int), np.full(1, 7)
    fitted = posterior(0.2, 0.2)
    combined = combine_sizes(fitted, *at, np.array([0.5]), np.array([0.1]))
    assert combined[1:] == (1, 0, 0)
    precision = 1 / 0.2**2 + 1 / 0.1**2
    now = combined.posterior
    assert now.mean[0] == pytest.approx((0.2 / 0.2**2 + 0.5 / 0.1**2) / precision, rel=1e-5)
    assert now.sd[0] == pytest.approx(precision**-0.5, rel=1e-5)
    assert now.negative[0] == pytest.approx(stats.norm.cdf(-now.mean[0] / now.sd[0]), rel=1e-4)
    assert now.positive[0] + now.negative[0] == pytest.approx(1)
    far = 0.2 + 1.01 * CONFLICT * np.hypot(0.2, 0.1)
    kept = combine_sizes(fitted, *at, np.array([far]), np.array([0.1]))
    assert kept[1:] == (0, 1, 0)
    assert kept.posterior.mean[0] == fitted.mean[0]
    # Another variant, or a gene of two sets: nothing to combine.
    assert combine_sizes(fitted, at[0], np.full(1, 8), np.array([0.5]), np.array([0.1]))[1:] == (0, 0, 0)
    assert combine_sizes(posterior(0.2, 0.2, sets=2), *at, np.array([0.5]), np.array([0.1]))[1:] == (0, 0, 1)
