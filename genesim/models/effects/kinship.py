"""Relatives in the regression: the mixed model's covariance by family, its heritability, and whitening.

y ~ N(C g + X b, s2 V), V = h (2K) + (1 - h) W^-1, with K the kinship of donors (0.5 on the diagonal for the outbred)
and W their precision weights, of mean 1. Kinship below a threshold is 0, so V is block-diagonal by families and its
Cholesky factor costs next to nothing (the sparse GRM of fastGWA: Jiang et al. 2019, Nat Genet 51:1749). Multiplying
response, covariates and dosages by the inverse factor turns the problem into one of independent donors.
"""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

HERITABILITY_GRID = np.linspace(0.0, 0.95, 20)
# Eigenvalues of a family's relationship matrix (2K) are at least this.
_SMALLEST_EIGENVALUE = 1e-3


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Families:
    """Relatives by family; donors in none are unrelated to all.

    Attributes:
        member: Donors (positions) of each family; `n_donors` pads.
        relationship: 2K of each family; identity where padded.
        own: 2K of each donor with itself (1 if outbred).
    """

    member: Int[Array, "family size"]
    relationship: Float[Array, "family size size"]
    own: Float[Array, " donor"]


def positive_definite(matrix: np.ndarray) -> np.ndarray:
    """The symmetric `matrix` with eigenvalues of at least 0.001 and its own diagonal; as it is where they are."""
    values, vectors = np.linalg.eigh(matrix)
    if values.min() >= _SMALLEST_EIGENVALUE:
        return matrix
    repaired = (vectors * np.maximum(values, _SMALLEST_EIGENVALUE)) @ vectors.T
    scale = np.sqrt(np.diag(matrix) / np.diag(repaired))
    return repaired * np.outer(scale, scale)


def families_of(kinship: Float[np.ndarray, "donor donor"], threshold: float) -> Families | None:
    """Families: the connected components of donors with kinship above `threshold`; None where there are none.

    Args:
        kinship: Symmetric; values of `threshold` or less are taken as 0.
        threshold: Kinship above which two donors are relatives.
    """
    from scipy.sparse import csr_matrix
    from scipy.sparse.csgraph import connected_components

    n = len(kinship)
    near = np.where(kinship > threshold, kinship, 0.0)
    np.fill_diagonal(near, np.diag(kinship))
    related = near > 0
    np.fill_diagonal(related, False)
    _, label = connected_components(csr_matrix(related), directed=False)
    sizes = np.bincount(label)
    groups = [np.flatnonzero(label == family) for family in np.flatnonzero(sizes > 1)]
    if not groups:
        return None
    size = max(len(group) for group in groups)
    member = np.full((len(groups), size), n)
    relationship = np.tile(np.eye(size), (len(groups), 1, 1))
    for i, group in enumerate(groups):
        member[i, : len(group)] = group
        relationship[i, : len(group), : len(group)] = positive_definite(2 * near[np.ix_(group, group)])
    own = 2 * np.diag(kinship)
    return Families(
        jnp.asarray(member, jnp.int32), jnp.asarray(relationship, jnp.float32), jnp.asarray(own, jnp.float32)
    )


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Whitener:
    """Inverse square root of one gene's V, as factors.

    Attributes:
        factor: Cholesky factor of each family's V; identity for absent donors.
        root: 1 / sqrt(V) of donors without relatives; 0 for absent donors and for those in families.
        inside: 1 for donors that are present.
    """

    factor: Float[Array, "family size size"]
    root: Float[Array, " donor"]
    inside: Float[Array, " donor"]

    def __call__(self, families: Families, a: Float[Array, "donor column"]) -> Float[Array, "donor column"]:
        """V^(-1/2) a."""
        a = a * self.inside[:, None]
        blocks = jnp.take(a, families.member, axis=0, mode="fill", fill_value=0.0)
        solved = jax.scipy.linalg.solve_triangular(self.factor, blocks, lower=True)
        return (a * self.root[:, None]).at[families.member].set(solved, mode="drop")

    def log_determinant(self, families: Families) -> Array:
        """log det V over the donors that are present."""
        alone = jnp.where(self.root > 0, jnp.log(jnp.where(self.root > 0, self.root, 1.0)), 0.0)
        return 2 * jnp.log(jnp.diagonal(self.factor, axis1=1, axis2=2)).sum() - 2 * alone.sum()


def whitener(families: Families, heritability: Array, weight: Float[Array, " donor"]) -> Whitener:
    """Factors of V = h 2K + (1 - h) W^-1 over the donors of positive weight.

    Args:
        families: Relatives.
        heritability: h, in [0, 1).
        weight: Of mean 1 over the donors of positive weight.
    """
    inside = weight > 0
    noise = (1 - heritability) / jnp.where(inside, weight, 1.0)
    in_family = jnp.zeros(len(weight), bool).at[families.member].set(True, mode="drop")
    root = jnp.where(inside & ~in_family, 1 / jnp.sqrt(heritability * families.own + noise), 0.0)
    there = jnp.take(inside, families.member, mode="fill", fill_value=False)
    added = jnp.take(noise, families.member, mode="fill", fill_value=0.0)
    v = heritability * families.relationship + added[:, :, None] * jnp.eye(families.member.shape[1])
    both = there[:, :, None] & there[:, None, :]
    v = jnp.where(both, v, jnp.eye(families.member.shape[1]))
    return Whitener(jnp.linalg.cholesky(v), root, inside.astype(weight.dtype))


def _restricted_likelihood(
    heritability: Array, response: Array, weight: Array, covariates: Array, families: Families
) -> Array:
    """REML log likelihood of one gene without variants, s2 profiled out, up to a constant."""
    white = whitener(families, heritability, weight)
    y, c = white(families, response[:, None]), white(families, covariates)
    padding = (jnp.abs(covariates).max(0) == 0).astype(y.dtype)
    gram = c.T @ c + jnp.diag(padding)
    factor = jnp.linalg.cholesky(gram + 1e-6 * jnp.eye(len(gram)))
    fitted = jax.scipy.linalg.solve_triangular(factor, c.T @ y, lower=True)
    dof = jnp.maximum((weight > 0).sum() - (1 - padding).sum(), 1)
    residual = jnp.maximum((y**2).sum() - (fitted**2).sum(), 1e-12)
    fixed = 2 * jnp.log(jnp.diagonal(factor)).sum()
    return -0.5 * (dof * jnp.log(residual / dof) + white.log_determinant(families) + fixed)


def normalised(weight: Array) -> Array:
    """Weights of mean 1 over the donors of positive weight."""
    return weight * (weight > 0).sum() / jnp.maximum(weight.sum(), 1e-12)


@jax.jit
def reml_heritability(
    response: Float[Array, "gene donor"],
    weight: Float[Array, "gene donor"],
    covariates: Float[Array, "donor rank"],
    families: Families,
) -> Float[Array, " gene"]:
    """Share of the residual variance that follows kinship, per gene: the REML maximum on a grid of steps of 0.05.

    Estimated without variants (as in EMMAX, Kang et al. 2010, Nat Genet 42:348): an effect that runs in families is
    counted in, which costs a little power and no error.

    Args:
        response, weight, covariates: As for `make_problem`.
        families: Relatives.
    """
    grid = jnp.asarray(HERITABILITY_GRID, response.dtype)
    # Response without its covariates (unweighted): single precision would lose a small residual beside a large mean.
    response = response - (response @ covariates) @ covariates.T

    def one(y: Array, w: Array) -> Array:
        w = normalised(w)
        return grid[jnp.argmax(jax.vmap(lambda h: _restricted_likelihood(h, y, w, covariates, families))(grid))]

    return jax.lax.map(lambda a: one(*a), (response, weight))


def fit_heritability(
    response: np.ndarray, weight: np.ndarray, covariates: np.ndarray, families: Families, at_once: int = 256
) -> np.ndarray:
    """`reml_heritability` of any number of genes, in compiled batches of one shape; 0 for a gene without weights."""
    n_genes = len(response)
    found = np.zeros(n_genes, np.float32)
    width = min(at_once, max(n_genes, 1))
    basis = jnp.asarray(covariates, jnp.float32)
    for first in range(0, n_genes, width):
        part = slice(first, min(first + width, n_genes))
        padding = ((0, width - (part.stop - part.start)), (0, 0))
        y, w = (jnp.asarray(np.pad(a[part], padding), jnp.float32) for a in (response, weight))
        found[part] = np.asarray(reml_heritability(y, w, basis, families))[: part.stop - part.start]
    return np.where((weight > 0).any(1), found, 0.0)
