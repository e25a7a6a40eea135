"""The weighted, covariate-free regression of one response on many variants, batched over genes.

By the Frisch-Waugh-Lovell theorem, projecting the covariates out of both sides leaves the variants'
coefficients unchanged, so every cis model here works on the projected problem.
"""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from genesim.models.effects.kinship import Families, whitener

# Columns keeping less than this share of their variance after projection are collinear with the covariates.
MIN_VARIANCE_LEFT = 1e-3


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class EffectProblem:
    """Regression problems of a batch of genes, padded to one shape.

    Attributes:
        response: Weighted, projected response; log2 units.
        genotype: Weighted, projected dosages; each column scaled so that x'x = `dof` (0 where padded).
        scale: What a column was divided by: coefficient per allele copy = scaled coefficient / scale.
        centre: Weighted mean dosage of each variant among the gene's donors.
        prior: Prior probability of a single effect at each variant; sums to 1 per gene, 0 where padded.
        dof: Donors with weight minus the rank of the covariates.
    """

    response: Float[Array, "gene donor"]
    genotype: Float[Array, "gene donor variant"]
    scale: Float[Array, "gene variant"]
    centre: Float[Array, "gene variant"]
    prior: Float[Array, "gene variant"]
    dof: Float[Array, " gene"]


def orthonormal_covariates(covariates: np.ndarray, present: np.ndarray) -> np.ndarray:
    """Orthonormal basis (donor x rank) of intercept and covariates over the donors that are `present`.

    Args:
        covariates: donor x covariate, without intercept; rows of absent donors are ignored.
        present: Boolean per donor.
    """
    x = np.asarray(covariates, np.float64).reshape(len(present), -1) * present[:, None]
    mean = x.sum(0) / max(present.sum(), 1)
    x = (x - mean) * present[:, None]
    spread = np.sqrt((x**2).mean(0))
    x = x[:, spread > 1e-12] / spread[spread > 1e-12]
    x = np.column_stack([present.astype(np.float64), x])
    u, s, _ = np.linalg.svd(x, full_matrices=False)
    return u[:, s > s.max() * 1e-6]


def _one_problem(
    response: Array,
    weight: Array,
    dosage: Array,
    covariates: Array,
    prior: Array,
    families: Families | None,
    heritability: Array | None,
) -> EffectProblem:
    n = (weight > 0).sum()
    weight = weight * n / jnp.maximum(weight.sum(), 1e-12)
    root = jnp.sqrt(weight)[:, None]
    centre = weight @ dosage / jnp.maximum(n, 1)
    if families is None or heritability is None:

        def whiten(a: Array) -> Array:
            return a * root

    else:
        white = whitener(families, heritability, weight)

        def whiten(a: Array) -> Array:
            return white(families, a)

    c = whiten(covariates)
    gram = c.T @ c + 1e-6 * jnp.eye(c.shape[1])
    factor = jax.scipy.linalg.cho_factor(gram)

    def project(a: Array) -> Array:
        a = a - c @ jax.scipy.linalg.cho_solve(factor, c.T @ a)
        return a - c @ jax.scipy.linalg.cho_solve(factor, c.T @ a)  # twice: single precision

    y = project(whiten(response[:, None]))[:, 0]
    x0 = whiten(dosage - centre)
    x = project(x0)
    rank = (jnp.abs(covariates).max(0) > 0).sum()  # zero columns pad the covariates
    dof = jnp.maximum(n - rank, 1).astype(y.dtype)
    before, after = (x0**2).sum(0), (x**2).sum(0)
    usable = (prior > 0) & (after > MIN_VARIANCE_LEFT * before) & (before > 1e-6 * n)
    scale = jnp.where(usable, jnp.sqrt(after / dof), 1.0)
    prior = jnp.where(usable, prior, 0.0)
    prior = prior / jnp.maximum(prior.sum(), 1e-30)
    return EffectProblem(y, jnp.where(usable, x / scale, 0.0), scale, centre, prior, dof)


@jax.jit
def make_problem(
    response: Float[Array, "gene donor"],
    weight: Float[Array, "gene donor"],
    dosage: Float[Array, "gene donor variant"],
    covariates: Float[Array, "donor rank"],
    prior: Float[Array, "gene variant"],
    families: Families | None = None,
    heritability: Float[Array, " gene"] | None = None,
) -> EffectProblem:
    """Project the covariates out of response and dosages under each gene's donor weights.

    Args:
        response: log2 units.
        weight: Precision of each donor's response; 0 for an absent or padded donor.
        dosage: Alternate allele copies, no NaN.
        covariates: From `orthonormal_covariates`, intercept included; zero columns pad.
        prior: Any non-negative numbers; 0 pads a variant. A variant without variance gets 0.
        families: Relatives; their shared variance is whitened out first (`models.effects.kinship`). None: there are
            none.
        heritability: Share of each gene's residual variance that follows kinship; with `families`.
    """
    return jax.vmap(_one_problem, in_axes=(0, 0, 0, None, 0, None, 0))(
        response, weight, dosage, covariates, prior, families, heritability
    )
