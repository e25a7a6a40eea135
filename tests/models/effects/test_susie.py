"""SuSiE against a slow reference, on planted effects and on data without any."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import binomtest, norm

from genesim.models.effects.baselines import (
    marginal_correlation,
    predict_genetic,
    ridge_coefficients,
    susie_coefficients,
    top_variant_coefficients,
    zero_coefficients,
)
from genesim.models.effects.credible import credible_sets
from genesim.models.effects.mixture import EffectMixture, starting_mixture
from genesim.models.effects.problem import EffectProblem, make_problem, orthonormal_covariates
from genesim.models.effects.susie import SusiePosterior, fit_susie, inclusion_probability


def linked_dosages(
    rng: np.random.Generator, n_genes: int = 40, n_donors: int = 200, n_variants: int = 40
) -> np.ndarray:
    """Dosages (gene x donor x variant) whose LD decays with distance."""
    haplotypes = np.empty((n_genes, 2 * n_donors, n_variants))
    haplotypes[:, :, 0] = rng.normal(size=(n_genes, 2 * n_donors))
    for j in range(1, n_variants):
        step = rng.normal(size=(n_genes, 2 * n_donors))
        haplotypes[:, :, j] = 0.9 * haplotypes[:, :, j - 1] + np.sqrt(1 - 0.81) * step
    carried = haplotypes > rng.uniform(-1.0, 1.0, (n_genes, 1, n_variants))
    return carried.reshape(n_genes, 2, n_donors, n_variants).sum(1).astype(np.float32)


def problem_of(
    y: np.ndarray, x: np.ndarray, covariates: np.ndarray | None = None, weight: np.ndarray | None = None
) -> EffectProblem:
    n = y.shape[1]
    c = orthonormal_covariates(np.zeros((n, 0)) if covariates is None else covariates, np.ones(n, bool))
    weight = np.ones_like(y) if weight is None else weight
    return make_problem(
        jnp.asarray(y, jnp.float32),
        jnp.asarray(weight, jnp.float32),
        jnp.asarray(x, jnp.float32),
        jnp.asarray(c, jnp.float32),
        jnp.ones((x.shape[0], x.shape[2]), jnp.float32),
    )


def planted(rng: np.random.Generator, x: np.ndarray, n_causal: int, h2: float) -> tuple[np.ndarray, list[np.ndarray]]:
    g, n, p = x.shape
    causal = [rng.choice(p, n_causal, replace=False) for _ in range(g)]
    value = np.stack([x[i][:, c] @ rng.choice([-1.0, 1.0], n_causal) for i, c in enumerate(causal)])
    value = (value - value.mean(1, keepdims=True)) / np.maximum(value.std(1, keepdims=True), 1e-6)
    return np.sqrt(h2) * value + np.sqrt(1 - h2) * rng.normal(size=(g, n)), causal


def reference_ibss(
    y: np.ndarray, x: np.ndarray, mixture: EffectMixture, n_effects: int, n_passes: int
) -> dict[str, np.ndarray]:
    """Algorithm 1 of Wang et al. 2020 with loops; each single effect by numerical integration over its size."""
    n, p = x.shape
    dof = n - 1
    d = (x**2).sum(0)
    sigma2 = (y**2).sum() / dof
    unit = np.sqrt(sigma2)
    null, weight = float(mixture.null), np.asarray(mixture.weight, float).ravel()
    scale = unit * np.asarray(mixture.scale, float)
    grid = np.linspace(-4, 4, 4001) * unit
    prior = (weight * norm.pdf(grid[:, None], scale=scale)).sum(1) * (grid[1] - grid[0])
    alpha, present = np.full((n_effects, p), 1 / p), np.zeros(n_effects)
    mu, mu2 = np.zeros((n_effects, p)), np.zeros((n_effects, p))
    for _ in range(n_passes):
        for effect in range(n_effects):
            others = sum((present[k] * alpha[k] * mu[k] for k in range(n_effects) if k != effect), np.zeros(p))
            bhat = x.T @ (y - x @ others) / d
            s = np.sqrt(sigma2 / d)
            ratio = norm.pdf(bhat[:, None], grid, s[:, None]) / norm.pdf(bhat, 0, s)[:, None]
            bf = ratio @ prior
            mu[effect] = ratio @ (prior * grid) / bf
            mu2[effect] = ratio @ (prior * grid**2) / bf
            alpha[effect] = bf / bf.sum()
            present[effect] = (1 - null) * bf.mean() / ((1 - null) * bf.mean() + null)
        fitted = [x @ (present[k] * alpha[k] * mu[k]) for k in range(n_effects)]
        rss = ((y - sum(fitted)) ** 2).sum()
        rss += sum((present[k] * alpha[k] * mu2[k] * d).sum() - (fitted[k] ** 2).sum() for k in range(n_effects))
        sigma2 = rss / dof
    pip = 1 - np.prod([1 - alpha[k] * present[k] for k in range(n_effects)], axis=0)
    coefficients = (present[:, None] * alpha * mu).sum(0)
    sd = np.sqrt(mu2 - mu**2)
    return {"pip": pip, "coef": coefficients, "sigma2": np.array(sigma2), "present": present, "sd": sd}


def test_agrees_with_numerical_integration() -> None:
    rng = np.random.default_rng(0)
    x = linked_dosages(rng)  # one shape for most tests: each is compiled anew
    y, _ = planted(rng, x, 2, 0.4)
    problem = problem_of(y, x)
    fit = fit_susie(problem)
    pip = np.asarray(inclusion_probability(fit))
    for gene in range(3):
        slow = reference_ibss(
            np.asarray(problem.response[gene], float),
            np.asarray(problem.genotype[gene], float),
            starting_mixture(1),
            5,
            20,
        )
        np.testing.assert_allclose(pip[gene], slow["pip"], atol=0.02)
        np.testing.assert_allclose(susie_coefficients(fit)[gene], slow["coef"], atol=0.01)
        np.testing.assert_allclose(fit.residual_variance[gene, 0], slow["sigma2"], rtol=0.02)
        np.testing.assert_allclose(fit.present[gene], slow["present"], atol=0.02)
        np.testing.assert_allclose(fit.sd[gene, 0, :, 0], slow["sd"][0], rtol=0.03, atol=1e-3)
    assert pip.max() > 0.5
    assert 0.02 < np.asarray(fit.present).min() < 0.5


def sets_of(problem: EffectProblem, fit: SusiePosterior) -> list[list[np.ndarray]]:
    alpha, present, x = (np.asarray(a) for a in (fit.alpha, fit.present, problem.genotype))
    return [[s.variants for s in credible_sets(alpha[i], present[i], x[i])] for i in range(len(alpha))]


def test_credible_sets_cover_planted_variants_and_null_genes_have_few() -> None:
    rng = np.random.default_rng(1)
    hits, wrong, null_sets = [], [], 0
    for _ in range(4):
        x = linked_dosages(rng)
        y, causal = planted(rng, x, 1, 0.2)
        problem = problem_of(y, x)
        found = sets_of(problem, fit_susie(problem))
        hits += [bool(np.isin(causal[g], s).any()) for g in range(40) for s in found[g]]
        wrong += [bool(np.isin(causal[g - 1], s).any()) for g in range(40) for s in found[g]]
        null = problem_of(rng.normal(size=y.shape), x)
        null_sets += sum(bool(s) for s in sets_of(null, fit_susie(null)))
    assert len(hits) > 140
    # Accepts coverage .95, and a shuffled truth is refused by the same test.
    assert binomtest(sum(hits), len(hits), 0.95, "less").pvalue > 0.01
    assert binomtest(sum(wrong), len(wrong), 0.95, "less").pvalue < 1e-6
    assert null_sets <= 8


def test_two_effects_give_two_sets() -> None:
    rng = np.random.default_rng(2)
    x = linked_dosages(rng)
    y = x[:, :, 5] - x[:, :, 35] + rng.normal(size=(40, 200))
    problem = problem_of(y, x)
    found = sets_of(problem, fit_susie(problem))
    both = [
        sorted((bool(np.isin(5, s)), bool(np.isin(35, s))) for s in one) == [(False, True), (True, False)]
        for one in found
    ]
    assert np.mean(both) > 0.8


def test_padding_changes_nothing() -> None:
    rng = np.random.default_rng(3)
    x = linked_dosages(rng, 40, 160, 28)
    y, _ = planted(rng, x, 1, 0.3)
    plain = fit_susie(problem_of(y, x))
    covariates = orthonormal_covariates(np.zeros((200, 0)), np.arange(200) < 160)
    padded = make_problem(
        jnp.asarray(np.pad(y, ((0, 0), (0, 40)), constant_values=7.0), jnp.float32),
        jnp.asarray(np.pad(np.ones_like(y), ((0, 0), (0, 40))), jnp.float32),
        jnp.asarray(np.pad(x, ((0, 0), (0, 40), (0, 12)), constant_values=1.0)),
        jnp.asarray(np.pad(covariates, ((0, 0), (0, 3))), jnp.float32),
        jnp.asarray(np.pad(np.ones((40, 28)), ((0, 0), (0, 12))), jnp.float32),
    )
    pip = np.asarray(inclusion_probability(fit_susie(padded)))
    assert np.abs(pip[:, 28:]).max() == 0
    np.testing.assert_allclose(pip[:, :28], inclusion_probability(plain), atol=5e-3)


def test_covariates_and_weights_are_honoured() -> None:
    """A confounder that carries the association removes it; a donor of no weight has no say."""
    rng = np.random.default_rng(4)
    x = linked_dosages(rng)
    confounder = x[0, :, 7] + 0.1 * rng.normal(size=200)
    y = np.tile(2 * confounder + rng.normal(size=200), (40, 1))
    open_ = inclusion_probability(fit_susie(problem_of(y, x)))
    closed = inclusion_probability(fit_susie(problem_of(y, x, confounder[:, None])))
    assert open_[0, 7] > 0.9
    assert np.asarray(closed)[0].max() < 0.5
    weight = np.ones((40, 200))
    weight[0, :50] = 0
    spoiled = y.copy()
    spoiled[0, :50] += 100 * x[0, :50, 20]
    np.testing.assert_allclose(
        problem_of(spoiled, x, weight=weight).response, problem_of(y, x, weight=weight).response, atol=1e-3
    )


@pytest.mark.parametrize("scale", [0.01, 1.0, 100.0])
def test_posterior_follows_the_response_scale(scale: float) -> None:
    rng = np.random.default_rng(5)
    x = linked_dosages(rng)
    y, _ = planted(rng, x, 1, 0.4)
    one, other = fit_susie(problem_of(y, x)), fit_susie(problem_of(scale * y, x))
    np.testing.assert_allclose(inclusion_probability(one), inclusion_probability(other), atol=5e-3)
    np.testing.assert_allclose(scale * susie_coefficients(one), susie_coefficients(other), rtol=0.02, atol=2e-3 * scale)


def test_baselines_agree_with_direct_formulas() -> None:
    rng = np.random.default_rng(6)
    x = linked_dosages(rng)
    y, _ = planted(rng, x, 3, 0.5)
    problem = problem_of(y, x)
    r = np.asarray(marginal_correlation(problem))
    for gene in range(2):
        direct = [np.corrcoef(x[gene, :, j], y[gene])[0, 1] for j in range(40)]
        np.testing.assert_allclose(r[gene], direct, atol=1e-4)
        top = int(np.argmax(np.abs(direct)))
        slope = np.polyfit(x[gene, :, top], y[gene], 1)[0]
        per_allele = np.asarray(top_variant_coefficients(problem) / problem.scale)[gene]
        np.testing.assert_allclose(per_allele[top], slope, rtol=1e-3)
        assert (np.delete(per_allele, top) == 0).all()
    assert not np.asarray(zero_coefficients(problem)).any()


def test_ridge_is_a_ridge_of_likely_strength() -> None:
    rng = np.random.default_rng(7)
    x = linked_dosages(rng)
    y, _ = planted(rng, x, 10, 0.5)
    problem = problem_of(y, x)
    coef = np.asarray(ridge_coefficients(problem))[0]
    a, b = np.asarray(problem.genotype[0], float), np.asarray(problem.response[0], float)
    # A ridge solution satisfies X'(y - Xb) = lambda b for one lambda.
    gradient = a.T @ (b - a @ coef)
    strength = gradient @ coef / (coef @ coef)
    np.testing.assert_allclose(gradient, strength * coef, atol=1e-2 * np.abs(gradient).max())
    assert 0 < strength < 1e4
    noise = problem_of(rng.normal(size=(40, 200)), x)
    shrunk = (np.asarray(ridge_coefficients(noise)) ** 2).sum(1)
    assert np.median(shrunk) < 0.2 * (coef**2).sum()


def test_ridge_heritability_is_the_likeliest_with_covariates_and_few_variants() -> None:
    """Fewer variants than donors leave a null space that holds both noise and the covariates."""
    rng = np.random.default_rng(3)
    x = linked_dosages(rng, 6, 60, 8)
    y, _ = planted(rng, x, 2, 0.5)
    covariates = rng.normal(size=(60, 10))
    problem = problem_of(y, x, covariates)
    found = np.asarray(ridge_coefficients(problem))
    basis = orthonormal_covariates(covariates, np.ones(60, bool))
    outside = np.linalg.svd(np.eye(60) - basis @ basis.T)[0][:, : 60 - basis.shape[1]]
    for gene in range(6):
        # The problem on an explicit basis of what the covariates leave: no null space of theirs.
        left, target = outside.T @ np.asarray(problem.genotype[gene]), outside.T @ np.asarray(problem.response[gene])
        kernel = left @ left.T / 8

        def minus_log_likelihood(h: float, kernel: np.ndarray = kernel, target: np.ndarray = target) -> float:
            covariance = h * kernel + (1 - h) * np.eye(len(target))
            quadratic = target @ np.linalg.solve(covariance, target)
            return 0.5 * (len(target) * np.log(quadratic / len(target)) + np.linalg.slogdet(covariance)[1])

        h = min(np.linspace(0, 0.96, 25), key=minus_log_likelihood)
        solved = np.linalg.solve(h * kernel + (1 - h) * np.eye(len(target)), target)
        np.testing.assert_allclose(found[gene][:8], h * left.T @ solved / 8, atol=2e-3)


def test_predictions_beat_the_null_on_new_donors() -> None:
    rng = np.random.default_rng(8)
    x = linked_dosages(rng, 40, 300, 40)
    y, _ = planted(rng, x, 1, 0.3)
    problem = problem_of(y[:, :200], x[:, :200])
    new = jnp.asarray(x[:, 200:])
    truth = y[:, 200:]
    sse = {
        name: ((truth - np.asarray(predict_genetic(c, problem, new))) ** 2).sum()
        for name, c in {
            "susie": susie_coefficients(fit_susie(problem)),
            "ridge": ridge_coefficients(problem),
            "zero": zero_coefficients(problem),
        }.items()
    }
    assert sse["susie"] < sse["ridge"] < sse["zero"]
    assert 1 - sse["susie"] / sse["zero"] > 0.2
