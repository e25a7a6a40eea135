"""What SuSiE is measured against: no effect, the top variant, and ridge (the infinitesimal model).

Each gives coefficients per scaled column, as `susie_coefficients` does, so that one predictor serves all.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from genesim.models.effects.problem import EffectProblem
from genesim.models.effects.susie import SusiePosterior


def susie_coefficients(posterior: SusiePosterior, cell_type: int = 0) -> Float[Array, "gene variant"]:
    """Posterior mean coefficient of each scaled column, in one of the cell types that were fitted together."""
    return (posterior.present[..., None] * posterior.alpha * posterior.mean[..., cell_type]).sum(1)


def zero_coefficients(problem: EffectProblem) -> Float[Array, "gene variant"]:
    """No variant has an effect."""
    return jnp.zeros_like(problem.scale)


@jax.jit
def marginal_correlation(problem: EffectProblem) -> Float[Array, "gene variant"]:
    """Partial correlation of each variant with the response, covariates removed (0 where padded)."""
    norm = jnp.sqrt(jnp.maximum((problem.response**2).sum(1), 1e-12) * problem.dof)
    r = jnp.einsum("gd,gdv->gv", problem.response, problem.genotype) / norm[:, None]
    return jnp.clip(r, -1.0, 1.0)


@jax.jit
def top_variant_coefficients(problem: EffectProblem) -> Float[Array, "gene variant"]:
    """Least squares at the variant of largest |correlation|, 0 elsewhere."""
    slope = jnp.einsum("gd,gdv->gv", problem.response, problem.genotype) / problem.dof[:, None]
    top = jnp.argmax(jnp.abs(slope), axis=1)
    return jnp.where(jnp.arange(slope.shape[1])[None] == top[:, None], slope, 0.0)


@jax.jit
def ridge_coefficients(problem: EffectProblem) -> Float[Array, "gene variant"]:
    """Ridge with the heritability that maximises the likelihood (GBLUP).

    VanRaden 2008, J. Dairy Sci. 91:4414.

    y ~ N(0, s2 [h K + (1 - h) I]), K = X X' / (variants used); h is profiled on a grid of 25 values.
    """

    def one(y: Array, x: Array, used: Array, dof: Array) -> Array:
        kernel = x @ x.T / jnp.maximum(used, 1)
        values, vectors = jnp.linalg.eigh(kernel)
        rotated = (vectors.T @ y) ** 2
        # Directions of the covariates and of absent donors hold neither signal nor noise. Eigenvectors may mix
        # them with others of eigenvalue 0, so they are not told apart: `rotated` sums over all, `dof` are counted.
        inside = jnp.arange(len(y)) >= len(y) - dof

        def log_likelihood(h: Array) -> Array:
            d = h * jnp.maximum(values, 0) + (1 - h)
            return -0.5 * (dof * jnp.log((rotated / d).sum() / dof) + jnp.where(inside, jnp.log(d), 0).sum())

        grid = jnp.linspace(0.0, 0.96, 25)
        h = grid[jnp.argmax(jax.vmap(log_likelihood)(grid))]
        precision = h / (h * jnp.maximum(values, 0) + (1 - h))
        return x.T @ (vectors @ (precision * (vectors.T @ y))) / jnp.maximum(used, 1)

    used = (problem.prior > 0).sum(1)
    return jax.lax.map(lambda a: one(*a), (problem.response, problem.genotype, used, problem.dof))


@jax.jit
def predict_genetic(
    coefficients: Float[Array, "gene variant"],
    problem: EffectProblem,
    dosage: Float[Array, "gene donor variant"],
) -> Float[Array, "gene donor"]:
    """Genetic value (log2 units) of donors, relative to the mean donor of the fit.

    Args:
        coefficients: Per scaled column.
        problem: The fitted problem (its `scale` and `centre`).
        dosage: Raw dosages of the donors, no NaN.
    """
    per_allele = coefficients / problem.scale
    return jnp.einsum("gdv,gv->gd", dosage - problem.centre[:, None], per_allele)
