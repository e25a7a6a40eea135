"""SuSiE: a sum of single effects per gene, fitted by iterative Bayesian stepwise selection (IBSS).

Wang, Sarkar, Carbonetto & Stephens 2020, J. R. Stat. Soc. B 82:1273 (algorithm 1).
y = X b + e, e ~ N(0, sigma2 I), b = sum_l gamma_l beta_l, gamma_l ~ Mult(1, pi), beta_l ~ N(0, V_l).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from genesim.models.effects.problem import EffectProblem

_COARSE, _FINE = 12, 8
# Below this share of the response's variance an effect is off: it has no place in PIPs or credible sets.
PRIOR_VARIANCE_TOLERANCE = 1e-6


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class SusiePosterior:
    """Approximate posterior of `n_effects` single effects a gene, in units of scaled columns.

    Attributes:
        alpha: Probability that effect l sits at variant j (sums to 1 over variants).
        mean: Posterior mean of effect l given that it sits at j.
        sd: Posterior standard deviation of the same.
        prior_variance: V_l, by empirical Bayes; 0 switches the effect off.
        log_bayes_factor: Of effect l against none.
        residual_variance: sigma2.
        n_iterations: Passes until `alpha` stopped moving.
    """

    alpha: Float[Array, "gene effect variant"]
    mean: Float[Array, "gene effect variant"]
    sd: Float[Array, "gene effect variant"]
    prior_variance: Float[Array, "gene effect"]
    log_bayes_factor: Float[Array, "gene effect"]
    residual_variance: Float[Array, " gene"]
    n_iterations: Float[Array, " gene"]


def _log_prior(prior: Array) -> Array:
    return jnp.where(prior > 0, jnp.log(jnp.maximum(prior, 1e-30)), -jnp.inf)


def _log_bf(square: Array, s2: Array, v: Array) -> Array:
    """Wakefield's log approximate Bayes factor; `square` is the squared least-squares estimate."""
    return 0.5 * jnp.log(s2 / (v + s2)) + 0.5 * square / s2 * v / (v + s2)


def _prior_variance(square: Array, s2: Array, log_prior: Array, ceiling: Array) -> tuple[Array, Array]:
    """V of largest marginal likelihood, on a grid refined once; 0 if none beats the null."""

    def marginal(log_v: Array) -> Array:
        return jax.scipy.special.logsumexp(log_prior + _log_bf(square, s2, jnp.exp(log_v)))

    low, high = jnp.log(s2) - 3.0, jnp.maximum(jnp.log(ceiling), jnp.log(s2))
    coarse = jnp.linspace(low, high, _COARSE)
    best = coarse[jnp.argmax(jax.vmap(marginal)(coarse))]
    step = (high - low) / (_COARSE - 1)
    fine = jnp.linspace(best - step, best + step, _FINE)
    values = jax.vmap(marginal)(fine)
    at = jnp.argmax(values)
    return jnp.where(values[at] > 0, jnp.exp(fine[at]), 0.0), jnp.maximum(values[at], 0.0)


def _fit_one(problem: EffectProblem, n_effects: int, max_iterations: int, tolerance: float) -> SusiePosterior:
    y, x, dof = problem.response, problem.genotype, problem.dof
    n_donors, n_variants = x.shape
    log_prior = _log_prior(problem.prior)
    usable = (problem.prior > 0).any()
    variance = jnp.maximum(y @ y / dof, 1e-12)

    def single_effect(carry: tuple, effect: Array) -> tuple:
        alpha, mean, spread, v, lbf, fitted, sigma2 = carry
        residual = y - (fitted.sum(0) - fitted[effect])
        s2 = sigma2 / dof
        estimate = residual @ x / dof
        v_l, _ = _prior_variance(estimate**2, s2, log_prior, variance)
        log_bf = _log_bf(estimate**2, s2, jnp.maximum(v_l, 1e-30))
        log_bf = jnp.where(v_l > 0, log_bf, 0.0)
        # A gene without a usable variant (padding, say) keeps an alpha of zeros.
        lbf_l = jnp.where(usable, jax.scipy.special.logsumexp(log_prior + log_bf), 0.0)
        alpha_l = jnp.exp(log_prior + log_bf - lbf_l)
        shrink = v_l / (v_l + s2)
        mean_l = estimate * shrink
        carry = (
            alpha.at[effect].set(alpha_l),
            mean.at[effect].set(mean_l),
            spread.at[effect].set(s2 * shrink),
            v.at[effect].set(v_l),
            lbf.at[effect].set(lbf_l),
            fitted.at[effect].set(x @ (alpha_l * mean_l)),
            sigma2,
        )
        return carry, None

    def one_pass(state: tuple) -> tuple:
        carry, iteration, _ = state
        old = carry[0]
        carry, _ = jax.lax.scan(single_effect, carry, jnp.arange(n_effects))
        alpha, mean, spread, v, lbf, fitted, _ = carry
        second = (alpha * (mean**2 + spread[:, None])).sum(1) * dof
        expected_rss = ((y - fitted.sum(0)) ** 2).sum() + (second - (fitted**2).sum(1)).sum()
        sigma2 = jnp.maximum(expected_rss / dof, 1e-4 * variance)
        moved = jnp.abs(alpha - old).max()
        return (alpha, mean, spread, v, lbf, fitted, sigma2), iteration + 1, moved

    start = (
        jnp.broadcast_to(problem.prior, (n_effects, n_variants)),
        jnp.zeros((n_effects, n_variants)),
        jnp.zeros(n_effects),
        jnp.zeros(n_effects),
        jnp.zeros(n_effects),
        jnp.zeros((n_effects, n_donors)),
        variance,
    )
    state = jax.lax.while_loop(
        lambda s: (s[1] < max_iterations) & (s[2] > tolerance), one_pass, (start, 0, jnp.float32(jnp.inf))
    )
    (alpha, mean, spread, v, lbf, _, sigma2), iterations, _ = state
    v = jnp.where(v > PRIOR_VARIANCE_TOLERANCE * variance, v, 0.0)
    sd = jnp.broadcast_to(jnp.sqrt(spread)[:, None], mean.shape)
    return SusiePosterior(alpha, mean, sd, v, lbf, sigma2, jnp.float32(iterations))


@partial(jax.jit, static_argnames=("n_effects", "max_iterations", "tolerance", "genes_at_once"))
def fit_susie(
    problem: EffectProblem,
    n_effects: int = 5,
    max_iterations: int = 100,
    tolerance: float = 1e-3,
    genes_at_once: int = 1,
) -> SusiePosterior:
    """Fit every gene of `problem` by IBSS.

    Args:
        problem: Batch of genes.
        n_effects: Single effects a gene (L).
        max_iterations: Most passes over the L effects.
        tolerance: Largest change of an `alpha` in a pass that counts as converged.
        genes_at_once: Genes advanced together. On a CPU 1 is fastest: a gene's genotypes then stay in
            cache and each gene stops when it has converged; accelerators want the whole batch.
    """
    return jax.lax.map(
        lambda one: _fit_one(one, n_effects, max_iterations, tolerance), problem, batch_size=genes_at_once
    )


def inclusion_probability(posterior: SusiePosterior) -> Float[Array, "gene variant"]:
    """PIP_j = 1 - prod_l (1 - alpha_lj) over the effects that are on (Wang et al. 2020, eq. 3.8)."""
    on = (posterior.prior_variance > 0)[..., None]
    return 1.0 - jnp.prod(1.0 - jnp.where(on, posterior.alpha, 0.0), axis=1)
