"""One effect at one variant, in all cell types at once: the posterior given everything else.

Wang et al. 2020 (SuSiE) for one type, Zou et al. 2023 (mvSuSiE) for several. At variant j the least-squares
estimates of the types have covariance S = D^-1 R D^-1 (D: precision, R: correlation of the types' noise); b has the
mixture prior N(0, sigma^2 B B'). With u = D R^-1 z (z = D bhat) and the eigenvectors Q, eigenvalues lambda of
B' D R^-1 D B, H = B Q and t = H' u:

    log BF = 1/2 sum_i [ t_i^2 e_i - log(1 + sigma^2 lambda_i) ],   e_i = sigma^2 / (1 + sigma^2 lambda_i)
    E b = H (e t),   Cov b = H diag(e) H'

so all variants and scales share one small decomposition a covariance, and a type of no precision (D = 0) needs no
case of its own.
"""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from genesim.models.effects.mixture import EffectMixture

_EXACT = jax.lax.Precision.HIGHEST


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Geometry:
    """What single effects of a gene have in common, whatever the variant.

    Attributes:
        unit: Size, in the response's units, that counts as 1: the gene's noise, as the cleanest types show it.
        precision: `unit` / standard error of each type's estimates; 0 where a type cannot be used.
        inverse: R^-1, the inverse correlation of the noise.
        axes: H, for each covariance.
        shrink: e, for each covariance, axis and scale.
        log_determinant: sum_i log(1 + sigma^2 lambda_i).
    """

    unit: Float[Array, ""]
    precision: Float[Array, " type"]
    inverse: Float[Array, "type type"]
    axes: Float[Array, "covariance type axis"]
    shrink: Float[Array, "covariance axis scale"]
    log_determinant: Float[Array, "covariance scale"]


def geometry(
    unit: Float[Array, ""],
    error: Float[Array, " type"],
    usable: Float[Array, " type"],
    correlation: Float[Array, "type type"],
    mixture: EffectMixture,
) -> Geometry:
    """Decompose the noise of a gene against the mixture's covariances.

    Args:
        unit: See `Geometry`.
        error: Standard error of each type's estimates, in the response's units.
        usable: 1 where a type has data on the gene.
        correlation: Of the noise between types.
        mixture: The prior.
    """
    n_types = len(error)
    precision = jnp.where(usable > 0, unit / jnp.maximum(error, 1e-12), 0.0)
    both = usable[:, None] * usable[None] > 0
    r = jnp.where(both | jnp.eye(n_types, dtype=bool), correlation, 0.0) * jnp.where(both, 1.0, jnp.eye(n_types))
    inverse = jnp.ones((1, 1)) if n_types == 1 else jnp.linalg.inv(r)
    whole = precision[:, None] * inverse * precision[None]
    inner = jnp.einsum("kca,cd,kdb->kab", mixture.root, whole, mixture.root, precision=_EXACT)
    if n_types == 1:
        values, vectors = inner[:, 0], jnp.ones_like(inner)
    else:
        values, vectors = jnp.linalg.eigh(0.5 * (inner + inner.swapaxes(1, 2)))
    variance = mixture.scale**2
    inflated = 1.0 + jnp.maximum(values, 0.0)[:, :, None] * variance
    return Geometry(
        unit,
        precision,
        inverse,
        jnp.einsum("kca,kab->kcb", mixture.root, vectors, precision=_EXACT),
        variance / inflated,
        jnp.log(inflated).sum(1),
    )


def filled_z(
    z: Float[Array, "variant type"], seen: Float[Array, "variant type"], inverse: Float[Array, "type type"]
) -> Float[Array, "variant type"]:
    """z with the types in which a variant does not vary set to what the noise of the other types predicts.

    Such a type then says nothing beyond the others against "no effect", and (its precision is kept) a little against
    a shared effect: the approximation errs to the safe side. Gauss-Seidel on the conditional means.
    """
    n_types = z.shape[1]
    if n_types == 1:
        return z
    for _ in range(2):
        for c in range(n_types):
            others = z @ inverse[:, c] - z[:, c] * inverse[c, c]
            z = z.at[:, c].set(jnp.where(seen[:, c] > 0, z[:, c], -others / inverse[c, c]))
    return z


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class SingleEffect:
    """Posterior of one single effect of a gene; sizes in units of `Geometry.unit` a scaled column.

    Attributes:
        present: Probability that the effect exists.
        alpha: Probability that it sits at each variant, if it exists.
        component: Posterior of the mixture's component at each variant, if the effect sits there.
        projected: t of the module's text.
        mean: Posterior mean, if the effect sits at the variant.
        log_evidence: log marginal likelihood under each component against no effect.
        log_bayes_factor: Of the effect under the whole prior (given that it exists) against none.
    """

    present: Float[Array, ""]
    alpha: Float[Array, " variant"]
    component: Float[Array, "covariance variant scale"]
    projected: Float[Array, "covariance variant axis"]
    mean: Float[Array, "variant type"]
    log_evidence: Float[Array, "covariance scale"]
    log_bayes_factor: Float[Array, ""]


def single_effect(
    z: Float[Array, "variant type"],
    log_prior: Float[Array, " variant"],
    g: Geometry,
    mixture: EffectMixture,
) -> SingleEffect:
    """The single effect whose least-squares estimates are z standard errors from 0.

    Args:
        z: Estimate over standard error; 0 where a type cannot be used.
        log_prior: Of the position; -inf where there cannot be an effect.
        g: Of the gene.
        mixture: Prior of the sizes.
    """
    usable = jnp.isfinite(log_prior).any()
    u = (z @ g.inverse) * g.precision
    t = jnp.einsum("pc,kca->kpa", u, g.axes)
    log_bf = 0.5 * (jnp.einsum("kpa,kag->kpg", t**2, g.shrink) - g.log_determinant[:, None])
    log_weight = jnp.log(mixture.weight)
    joint = log_weight[:, None] + log_bf
    # logsumexp and softmax at once: exponentials are most of the cost.
    top = joint.max((0, 2))
    component = jnp.exp(joint - top[:, None])
    at_variant = component.sum((0, 2))
    component = component / at_variant[:, None]
    at_variant = top + jnp.log(at_variant)
    total = jnp.where(usable, jax.scipy.special.logsumexp(log_prior + at_variant), -jnp.inf)
    # A gene without a usable variant (padding, say) keeps an alpha of zeros.
    alpha = jnp.where(usable, jnp.exp(log_prior + at_variant - jnp.where(usable, total, 0.0)), 0.0)
    share = jnp.einsum("p,kpg->kg", alpha, component)
    return SingleEffect(
        jnp.where(usable, jax.nn.sigmoid(total + jnp.log1p(-mixture.null) - jnp.log(mixture.null)), 0.0),
        alpha,
        component,
        t,
        jnp.einsum("kpa,kca->pc", jnp.einsum("kpg,kag->kpa", component, g.shrink) * t, g.axes),
        jnp.where(usable, jnp.log(jnp.maximum(share, 1e-37)) + total - log_weight, 0.0),
        jnp.where(usable, total, 0.0),
    )


def _moments(
    component: Array, projected: Array, g: Geometry, each: Array
) -> tuple[Float[Array, "covariance variant type"], Float[Array, "covariance type"]]:
    """Mean and variance under every covariance at scale number `each`."""
    shrink = g.shrink[:, :, each]
    return (
        jnp.einsum("kpa,ka,kca->kpc", projected, shrink, g.axes),
        jnp.einsum("ka,kca->kc", shrink, g.axes**2),
    )


def second_moment(effect: SingleEffect, g: Geometry) -> Float[Array, "variant type"]:
    """E b^2 at each variant, if the effect sits there."""

    def add(total: Array, each: Array) -> tuple[Array, None]:
        mean, variance = _moments(effect.component, effect.projected, g, each)
        weight = jnp.take(effect.component, each, axis=2)
        return total + jnp.einsum("kp,kpc->pc", weight, mean**2) + jnp.einsum("kp,kc->pc", weight, variance), None

    return jax.lax.scan(add, jnp.zeros_like(effect.mean), jnp.arange(g.shrink.shape[2]))[0]


def sign_probabilities(effect: SingleEffect, g: Geometry) -> tuple[Array, Array]:
    """P(b > 0) and P(b < 0) by variant and type, if the effect sits there; a type may have none of it."""

    def add(total: tuple[Array, Array], each: Array) -> tuple[tuple[Array, Array], None]:
        mean, variance = _moments(effect.component, effect.projected, g, each)
        weight = jnp.take(effect.component, each, axis=2)[:, :, None] * (variance > 1e-10)[:, None]
        up = jax.scipy.special.ndtr(mean / jnp.sqrt(jnp.maximum(variance, 1e-10))[:, None])
        return (total[0] + (weight * up).sum(0), total[1] + (weight * (1 - up)).sum(0)), None

    zero = jnp.zeros_like(effect.mean)
    return jax.lax.scan(add, (zero, zero), jnp.arange(g.shrink.shape[2]))[0]
