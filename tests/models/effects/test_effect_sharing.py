"""Effects that cell types share: against dense Gaussians, under correlated noise, and in draws."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import logsumexp
from scipy.stats import multivariate_normal, norm

from genesim.config.model import EffectConfig
from genesim.models.effects.draws import draw_effects, draw_shared
from genesim.models.effects.mixture import learned_weights, starting_mixture
from genesim.models.effects.posterior import EffectPosterior, local_false_sign_rates, marginal_effects
from genesim.models.effects.problem import orthonormal_covariates
from genesim.models.effects.scan import fit_types
from genesim.models.effects.single_effect import filled_z, geometry, second_moment, sign_probabilities, single_effect

N_TYPES, N_GENES, N_DONORS, WIDE = 3, 48, 120, 30


def test_a_single_effect_in_two_types_is_that_of_dense_gaussians() -> None:
    random = np.random.default_rng(0)
    mixture = starting_mixture(2, 0.1, 4)
    mixture = learned_weights(mixture, random.normal(size=(30, *mixture.weight.shape)))
    error, unit, r = np.array([0.05, 0.2]), 0.7, np.array([[1, 0.6], [0.6, 1]])
    bhat = random.normal(0, 0.3, (12, 2))
    log_prior = np.log(random.dirichlet(np.ones(12)))
    g = geometry(jnp.float32(unit), jnp.asarray(error), jnp.ones(2), jnp.asarray(r), mixture)
    one = single_effect(jnp.asarray(bhat / error), jnp.asarray(log_prior), g, mixture)
    noise = np.diag(error) @ r @ np.diag(error)
    logs, means, seconds, ups = [], [], [], []
    for k, root in enumerate(np.asarray(mixture.root, float)):
        for s, scale in enumerate(np.asarray(mixture.scale, float)):
            prior = (unit * scale) ** 2 * root @ root.T
            evidence = multivariate_normal.logpdf(bhat, cov=noise + prior)
            evidence -= multivariate_normal.logpdf(bhat, cov=noise)
            gain = prior @ np.linalg.inv(noise + prior)
            cov = prior - gain @ prior
            logs.append(evidence + np.log(float(mixture.weight[k, s])))
            means.append(bhat @ gain.T)
            seconds.append(means[-1] ** 2 + np.diag(cov))
            sd = np.sqrt(np.diag(cov))
            ups.append(np.where(sd > 1e-6, norm.cdf(means[-1] / np.maximum(sd, 1e-6)), 0.0))
    logs = np.array(logs)
    at_variant = logsumexp(logs, axis=0)
    weight = np.exp(logs - at_variant)[:, :, None]
    total = logsumexp(at_variant + log_prior)
    odds = np.exp(total) * (1 - float(mixture.null)) / float(mixture.null)
    np.testing.assert_allclose(one.present, odds / (1 + odds), rtol=1e-3)
    np.testing.assert_allclose(one.alpha, np.exp(at_variant + log_prior - total), rtol=5e-3, atol=1e-5)
    np.testing.assert_allclose(unit * one.mean, (weight * means).sum(0), rtol=5e-3, atol=1e-4)
    np.testing.assert_allclose(unit**2 * second_moment(one, g), (weight * seconds).sum(0), rtol=5e-3, atol=1e-5)
    up, down = sign_probabilities(one, g)
    np.testing.assert_allclose(up, (weight * ups).sum(0), atol=2e-3)
    assert float((up + down).max()) <= 1 + 1e-5


def test_a_type_where_a_variant_does_not_vary_is_what_the_noise_of_the_others_predicts() -> None:
    r = np.array([[1, 0.5, 0.2], [0.5, 1, 0.4], [0.2, 0.4, 1]])
    z = np.array([[2.0, -1.0, 0.0]])
    seen = np.array([[1.0, 1.0, 0.0]])
    expected = r[2, :2] @ np.linalg.solve(r[:2, :2], z[0, :2])
    filled = filled_z(jnp.asarray(z), jnp.asarray(seen), jnp.asarray(np.linalg.inv(r)))
    np.testing.assert_allclose(filled[0], [2, -1, expected], atol=1e-5)


def world(seed: int, sizes: np.ndarray, correlation: float) -> tuple[np.ndarray, np.ndarray, list[np.ndarray]]:
    """Responses [type, gene, donor] with effects `sizes` [gene, type] at the gene's variant 7, dosages, windows."""
    random = np.random.default_rng(seed)
    dosage = random.binomial(2, 0.3, (N_GENES * WIDE, N_DONORS)).astype(np.float32)
    windows = [np.arange(g * WIDE, (g + 1) * WIDE) for g in range(N_GENES)]
    noise = np.sqrt(1 - correlation) * random.normal(size=(N_TYPES, N_GENES, N_DONORS))
    noise += np.sqrt(correlation) * random.normal(size=(N_GENES, N_DONORS))
    return noise + sizes.T[:, :, None] * dosage[7::WIDE], dosage, windows


def fitted(
    seed: int, sizes: np.ndarray, correlation: float = 0.0, types: slice = slice(None), correlated: bool = True
) -> tuple[list[EffectPosterior], object]:
    y, dosage, windows = world(seed, sizes, correlation)
    y = y[types]
    basis = np.stack([orthonormal_covariates(np.zeros((N_DONORS, 0)), np.ones(N_DONORS, bool))] * len(y))
    return fit_types(
        y, np.ones_like(y), basis, windows, lambda i: dosage[i], EffectConfig(), correlated_noise=correlated
    )


@pytest.mark.slow
def test_noise_that_types_share_does_not_pass_for_effects() -> None:
    none = np.zeros((N_GENES, N_TYPES))
    false = sum(int((p.n_sets > 0).sum()) for p in fitted(0, none, 0.9)[0])
    blind = sum(int((p.n_sets > 0).sum()) for p in fitted(0, none, 0.9, correlated=False)[0])
    assert false <= N_TYPES * N_GENES * 0.02
    assert blind > N_TYPES * N_GENES * 0.05


def test_types_lend_each_other_strength_and_an_effect_of_one_stays_there() -> None:
    sizes = np.zeros((N_GENES, N_TYPES))
    sizes[:16] = 0.45
    sizes[16:32, 0] = 0.8
    joint, shared = fitted(5, sizes, 0.4)
    causal = np.arange(N_GENES) * WIDE + 7

    def found(p: EffectPosterior, genes: range) -> np.ndarray:
        held = set(zip(p.gene[p.credible_set > 0].tolist(), p.variant[p.credible_set > 0].tolist(), strict=True))
        return np.array([(g, causal[g]) in held for g in genes])

    together = sum(found(p, range(16)).sum() for p in joint)
    alone = sum(found(fitted(5, sizes, 0.4, slice(c, c + 1))[0][0], range(16)).sum() for c in range(N_TYPES))
    assert together > 1.2 * alone
    assert found(joint[0], range(16, 32)).mean() > 0.9
    wrong = 0
    for p in joint[1:]:
        mine = (p.gene >= 16) & (p.gene < 32)
        wrong += len(set(p.gene[mine & (local_false_sign_rates(p) < 0.05)].tolist()))
        m = marginal_effects(p)
        at = (m["gene"] >= 16) & (m["gene"] < 32) & (m["variant"] == causal[m["gene"]])
        assert np.abs(m["mean"][at]).mean() < 0.1
    assert wrong <= 1
    assert all((p.n_sets[32:] > 0).sum() <= 1 for p in joint)
    draws_follow_the_joint_posterior(joint, shared)


def draws_follow_the_joint_posterior(joint: list[EffectPosterior], shared: object) -> None:
    random = np.random.default_rng(6)
    n = joint[0].effect.max(initial=0) + 1
    sums = np.zeros((N_TYPES, N_GENES))
    both, alone, count = [], [], 0
    for _ in range(300):
        gene, _, size = draw_shared(
            joint,
            shared,  # type: ignore[arg-type]
            random.random((N_GENES, n)),
            random.random((N_GENES, n)),
            random.normal(size=(N_TYPES, N_GENES, n)),
        )
        for c in range(N_TYPES):
            np.add.at(sums[c], gene, size[c])
        count += len(gene)
        both += [size[:, gene == 3].sum(1)]
        alone += [size[1:, (gene >= 16) & (gene < 32)].ravel()]
    for c, p in enumerate(joint):
        expected = np.bincount(p.gene, p.alpha * p.mean, N_GENES)
        np.testing.assert_allclose(sums[c] / 300, expected, atol=0.06)
    present = sum(float(p) for p in joint[0].alpha)
    assert abs(count / 300 - present) < 0.05 * present
    # Sizes of a shared effect vary together; an effect of one type is mostly exactly 0 in the others.
    assert np.corrcoef(np.array(both).T)[0, 1] > 0.5
    assert (np.concatenate(alone) == 0).mean() > 0.3


def test_an_effect_that_may_be_absent_is_absent_in_as_many_draws() -> None:
    none = np.zeros(0)
    rows = np.arange(3)
    p = EffectPosterior(
        np.zeros(3, int), np.zeros(3, int), rows, np.array([0.1, 0.3, 0.2]), np.ones(3), np.full(3, 0.1), 0 * rows,
        none, none, none, none, none, none, none, none, none, none, none, none,
    )  # fmt: skip
    u = (np.arange(1000) + 0.5) / 1000
    variant = np.concatenate([draw_effects(p, np.array([[x]]), np.zeros((1, 1)))[1] for x in u])
    np.testing.assert_array_equal(np.bincount(variant, minlength=3), [100, 300, 200])
    np.testing.assert_allclose(local_false_sign_rates(p), 0.4, atol=1e-6)


def test_a_type_without_data_on_a_gene_has_no_test_there_and_no_say() -> None:
    sizes = np.full((N_GENES, N_TYPES), 0.8)
    y, dosage, windows = world(8, sizes, 0.0)
    weight = np.ones_like(y)
    weight[2, 0] = 0
    spoiled = y.copy()
    spoiled[2, 0] = 100 * dosage[3]
    basis = np.stack([orthonormal_covariates(np.zeros((N_DONORS, 0)), np.ones(N_DONORS, bool))] * N_TYPES)
    found, other = (fit_types(v, weight, basis, windows, lambda i: dosage[i], EffectConfig())[0] for v in (y, spoiled))
    assert np.isnan(found[2].p_value[0])
    assert found[2].n_variants[0] == 0
    np.testing.assert_allclose(found[0].alpha, other[0].alpha, atol=1e-4)
    first = (found[2].gene == 0) & (found[2].variant == 7)
    assert found[2].alpha[first].max() > 0.9  # where the others put it
    assert abs(found[2].mean[first][0] - 0.8) < 0.3
