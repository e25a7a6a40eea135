"""SuSiE: a sum of single effects per gene, fitted by iterative Bayesian stepwise selection (IBSS).

Wang, Sarkar, Carbonetto & Stephens 2020, J. R. Stat. Soc. B 82:1273 (algorithm 1); several cell types as in
mvSuSiE (Zou et al. 2023, bioRxiv).
y_c = X_c b_c + e_c, b = sum_l gamma_l beta_l, gamma_l ~ Mult(1, pi) for all types at once, beta_l ~ `EffectMixture`,
which has a null: an effect exists with a probability of its own. One type is the case of one, not another path.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from genesim.models.effects.mixture import EffectMixture, starting_mixture
from genesim.models.effects.problem import EffectProblem
from genesim.models.effects.single_effect import (
    Geometry,
    SingleEffect,
    filled_z,
    geometry,
    second_moment,
    sign_probabilities,
    single_effect,
)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class SusiePosterior:
    """Approximate posterior of `n_effects` single effects a gene, in units of scaled columns.

    Attributes:
        present: Probability that effect l exists: 1 minus its null.
        alpha: Probability that effect l sits at variant j, if it exists (sums to 1 over variants).
        mean: Posterior mean of effect l in each type, if it sits at j.
        sd: Posterior standard deviation of the same.
        positive, negative: Probabilities of the sign of the same; together below 1 where a type may lack the effect.
        z: Estimates of effect l over their standard errors, at each variant and in each type.
        log_evidence: log marginal likelihood of effect l under each component against no effect.
        log_bayes_factor: Of effect l (existing) against none.
        residual_variance: sigma2 of each type.
        residual_correlation: Of the residuals of two types, this gene's own.
        geometry: What turns z into a posterior (`single_effect.Geometry`).
        n_iterations: Passes until `alpha` and `present` stopped moving.
    """

    present: Float[Array, "gene effect"]
    alpha: Float[Array, "gene effect variant"]
    mean: Float[Array, "gene effect variant type"]
    sd: Float[Array, "gene effect variant type"]
    positive: Float[Array, "gene effect variant type"]
    negative: Float[Array, "gene effect variant type"]
    z: Float[Array, "gene effect variant type"]
    log_evidence: Float[Array, "gene effect covariance scale"]
    log_bayes_factor: Float[Array, "gene effect"]
    residual_variance: Float[Array, "gene type"]
    residual_correlation: Float[Array, "gene type type"]
    geometry: Geometry
    n_iterations: Float[Array, " gene"]


def _correlation(residual: Array, usable: Array) -> Array:
    """Of the types' residuals; those of absent donors are 0, so few donors in common give little of it."""
    norm = jnp.sqrt(jnp.maximum((residual**2).sum(1), 1e-20))
    r = residual @ residual.T / jnp.outer(norm, norm)
    eye = jnp.eye(len(norm))
    return jnp.where(jnp.outer(usable, usable) > 0, r * (1 - eye) + eye, eye)


def _fit_one(
    problem: EffectProblem, mixture: EffectMixture, n_effects: int, max_iterations: int, tolerance: float
) -> SusiePosterior:
    """One gene; `problem` has a leading axis of types."""
    y, x, dof = problem.response, problem.genotype, problem.dof
    n_types, n_donors, n_variants = x.shape
    seen = (problem.prior > 0).T.astype(y.dtype)
    usable = (seen > 0).any(0).astype(y.dtype)
    # The same numbers went into each type's prior, which dropped what does not vary there.
    prior = problem.prior.sum(0) / jnp.maximum(usable.sum(), 1)
    log_prior = jnp.where(prior > 0, jnp.log(jnp.maximum(prior, 1e-30)), -jnp.inf)
    variance = jnp.maximum((y**2).sum(1) / dof, 1e-12)
    # Harmonic mean, by donors: what the types with the least noise show.
    count = jnp.where(usable > 0, dof, 0.0)
    unit = jnp.sqrt(jnp.maximum(count.sum(), 1.0) / jnp.maximum((count / variance).sum(), 1e-30))
    unit = jnp.where(count.sum() > 0, unit, 1.0)

    def geometry_of(sigma2: Array, correlation: Array) -> Geometry:
        own = count.sum() / jnp.maximum(usable.sum(), 1)
        share = own / (own + mixture.correlation_count)
        mixed = share * correlation + (1 - share) * mixture.correlation
        return geometry(unit, jnp.sqrt(sigma2 / dof), usable, mixed, mixture)

    def estimate(effect: Array, fitted: Array, g: Geometry) -> tuple[Array, SingleEffect]:
        residual = y - (fitted.sum(0) - fitted[effect])
        # A product a type: XLA runs einsum("cn,cnp->pc") on a CPU seven times slower.
        slope = jax.vmap(jnp.matmul)(residual, x).T / dof
        z = filled_z(slope / unit * g.precision, seen, g.inverse)
        return z, single_effect(z, log_prior, g, mixture)

    def step(carry: tuple, effect: Array) -> tuple[tuple, Array]:
        present, alpha, fitted, g = carry
        _, one = estimate(effect, fitted, g)
        weight = one.present * one.alpha[:, None]
        second = (weight * second_moment(one, g)).sum(0) * unit**2
        carry = (
            present.at[effect].set(one.present),
            alpha.at[effect].set(one.alpha),
            fitted.at[effect].set(jax.vmap(jnp.matmul)(x, (weight * one.mean * unit).T)),
            g,
        )
        return carry, second

    def one_pass(state: tuple) -> tuple:
        (present, alpha, fitted), sigma2, correlation, iteration, _ = state
        g = geometry_of(sigma2, correlation)
        (new_present, new_alpha, fitted, _), second = jax.lax.scan(
            step, (present, alpha, fitted, g), jnp.arange(n_effects)
        )
        residual = y - fitted.sum(0)
        expected_rss = (residual**2).sum(1) + (second * dof - (fitted**2).sum(2)).sum(0)
        sigma2 = jnp.maximum(expected_rss / dof, 1e-4 * variance)
        moved = jnp.maximum(
            jnp.abs(new_alpha * new_present[:, None] - alpha * present[:, None]).max(),
            jnp.abs(new_present - present).max(),
        )
        return (new_present, new_alpha, fitted), sigma2, _correlation(residual, usable), iteration + 1, moved

    start = (
        (
            jnp.zeros(n_effects),
            jnp.broadcast_to(prior, (n_effects, n_variants)),
            jnp.zeros((n_effects, n_types, n_donors)),
        ),
        variance,
        _correlation(y, usable),
        0,
        jnp.where(usable.sum() > 0, jnp.float32(jnp.inf), 0.0),  # padding needs no pass
    )
    (_, _, fitted), sigma2, correlation, iterations, _ = jax.lax.while_loop(
        lambda s: (s[3] < max_iterations) & (s[4] > tolerance), one_pass, start
    )
    g = geometry_of(sigma2, correlation)

    def finish(_: None, effect: Array) -> tuple[None, tuple]:
        z, one = estimate(effect, fitted, g)
        sd = jnp.sqrt(jnp.maximum(second_moment(one, g) - one.mean**2, 0.0))
        up, down = sign_probabilities(one, g)
        return None, (
            one.present,
            one.alpha,
            one.mean * unit,
            sd * unit,
            up,
            down,
            z,
            one.log_evidence,
            one.log_bayes_factor,
        )

    _, found = jax.lax.scan(finish, None, jnp.arange(n_effects))
    names = ("present", "alpha", "mean", "sd", "positive", "negative", "z", "log_evidence", "log_bayes_factor")
    effects = dict(zip(names, found, strict=True))
    return SusiePosterior(
        **effects,
        residual_variance=sigma2,
        residual_correlation=correlation,
        geometry=g,
        n_iterations=jnp.float32(iterations),
    )


@partial(jax.jit, static_argnames=("n_effects", "max_iterations", "tolerance", "genes_at_once"))
def _fit(
    problem: EffectProblem,
    mixture: EffectMixture,
    n_effects: int,
    max_iterations: int,
    tolerance: float,
    genes_at_once: int,
) -> SusiePosterior:
    return jax.lax.map(
        lambda one: _fit_one(one, mixture, n_effects, max_iterations, tolerance), problem, batch_size=genes_at_once
    )


def with_types(problem: EffectProblem) -> EffectProblem:
    """A problem of one type with the axis of types that one of several has, [gene, type, ...]."""
    return problem if problem.response.ndim == 3 else jax.tree.map(lambda a: a[:, None], problem)


def fit_susie(
    problem: EffectProblem,
    mixture: EffectMixture | None = None,
    n_effects: int = 5,
    max_iterations: int = 100,
    tolerance: float = 1e-3,
    genes_at_once: int = 1,
) -> SusiePosterior:
    """Fit every gene of `problem` by IBSS.

    Args:
        problem: Batch of genes, of one type or (see `with_types`) of several.
        mixture: Prior of the sizes, as `learning.learn_mixture` finds it; None takes `starting_mixture`.
        n_effects: Single effects a gene (L).
        max_iterations: Most passes over the L effects.
        tolerance: Largest change of a probability in a pass that counts as converged.
        genes_at_once: Genes advanced together. On a CPU 1 is fastest: a gene's genotypes then stay in
            cache and each gene stops when it has converged; accelerators want the whole batch.
    """
    problem = with_types(problem)
    mixture = starting_mixture(problem.response.shape[1]) if mixture is None else mixture
    return _fit(problem, mixture, n_effects, max_iterations, tolerance, genes_at_once)


def inclusion_probability(posterior: SusiePosterior) -> Float[Array, "gene variant"]:
    """PIP_j = 1 - prod_l (1 - P(l exists) alpha_lj) (Wang et al. 2020, eq. 3.8, with a null)."""
    return 1.0 - jnp.prod(1.0 - posterior.present[..., None] * posterior.alpha, axis=1)
