"""The prior of a single effect's sizes over cell types: a mixture that all genes share and teach.

    b ~ nu delta_0 + (1 - nu) sum_kg omega_kg N(0, sigma_g^2 U_k)

U_k: equal in all types (11'), alike (.5 11' + .5 I), unrelated (I), and one for each type alone (e_c e_c').
With one type these are one, and the prior is a scale mixture as in ash (Stephens 2017, Biostatistics 18:275);
with several it is mash's (Urbut et al. 2019, Nature Genetics 51:187; for fine-mapping Zou et al. 2023, mvSuSiE).
Sizes are in log2 units per SD of the dosage, divided by the gene's noise (`single_effect.Geometry`), so one prior
serves genes of every scale, and 11' says that the log2 fold change is equal in all types.

omega is learned from each gene's first effect beside a null of its own (genes without any); nu of the fit is given.
The likeliest nu is that of all single effects, most of which a gene does not have (.65 to .9 of 5), and is too doubtful
of the first: held-out R2 of GEUVADIS chr22 falls to .0636 from .0667. With a nu for each effect, or one that grows with
their order, the fit takes later, weaker effects for absent, and intervals of genetic values lose up to 8 points of
coverage. With omega learned under the given nu its smallest scales take the absent effects in, and R2 falls to .0642.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

N_SCALES = 6
NULL = 0.3
# ash's and mash's penalty on the null: so many genes without effect are seen beforehand.
NULL_COUNT = 10.0
_LEAST_COUNT = 1e-3


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class EffectMixture:
    """Prior of the sizes of a single effect.

    Attributes:
        root: Square roots B_k of the covariances, U_k = B_k B_k'; the diagonal of U_k is 0 or 1.
        scale: Standard deviations sigma_g, ascending.
        weight: omega_kg, probability of each component if there is an effect; sums to 1.
        null: nu, probability that a single effect does not exist; given.
        correlation: Of the noise of two types' estimates at one variant, over genes; 0 off the diagonal where
            types share no donors.
        correlation_count: Donors' worth of `correlation` that is mixed into a gene's own.
    """

    root: Float[Array, "covariance type type"]
    scale: Float[Array, " scale"]
    weight: Float[Array, "covariance scale"]
    null: Float[Array, ""]
    correlation: Float[Array, "type type"]
    correlation_count: Float[Array, ""]

    def to_dict(self) -> dict[str, np.ndarray]:
        return {name: np.asarray(getattr(self, name)) for name in self.__dataclass_fields__}


def covariance_names(n_types: int) -> list[str]:
    """What the components of `starting_mixture` are, in order; types by number."""
    if n_types == 1:
        return ["effect"]
    return ["equal", "alike", "unrelated", *(f"only {c}" for c in range(n_types))]


def _roots(n_types: int) -> np.ndarray:
    if n_types == 1:
        return np.ones((1, 1, 1))
    one, eye = np.ones((n_types, n_types)), np.eye(n_types)
    covariances = [one, 0.5 * one + 0.5 * eye, eye, *(np.outer(e, e) for e in eye)]
    roots = []
    for u in covariances:
        values, vectors = np.linalg.eigh(u)
        roots.append(vectors * np.sqrt(np.maximum(values, 0)))
    return np.stack(roots)


def starting_mixture(n_types: int, smallest: float = 0.05, n_scales: int = N_SCALES) -> EffectMixture:
    """A flat mixture: all components alike.

    Args:
        n_types: Cell types.
        smallest: Least scale. A standard error (1 / sqrt(donors)) is right: an effect well below it looks like none,
            and its component would take the place of the null.
        n_scales: Scales up to 1, the whole spread of the response.
    """
    root = _roots(n_types)
    weight = np.full((len(root), n_scales), 1.0 / (len(root) * n_scales))
    return EffectMixture(
        jnp.asarray(root, jnp.float32),
        jnp.geomspace(min(smallest, 0.5), 1.0, n_scales, dtype=jnp.float32),
        jnp.asarray(weight, jnp.float32),
        jnp.float32(NULL),
        jnp.eye(n_types, dtype=jnp.float32),
        jnp.float32(50.0),
    )


def learned_weights(
    mixture: EffectMixture,
    log_evidence: Float[np.ndarray, "gene covariance scale"],
) -> EffectMixture:
    """`mixture` with the weights of largest penalised likelihood, by EM (Stephens 2017, section 3.1).

    Args:
        mixture: Gives the starting weights.
        log_evidence: log of the marginal likelihood of one effect of a gene under each component against no effect.
    """
    n_genes = len(log_evidence)
    flat = log_evidence.reshape(n_genes, -1).astype(np.float64)
    top = np.maximum(flat.max(1), 0.0)
    likelihood, nothing = np.exp(flat - top[:, None]), np.exp(-top)
    null = 0.5
    omega = np.asarray(mixture.weight, np.float64).ravel()
    for _ in range(1000):
        joint = likelihood * omega * (1 - null)
        absent = nothing * null
        total = joint.sum(1) + absent
        count = (joint / total[:, None]).sum(0)
        new_null = float(((absent / total).sum() + NULL_COUNT) / (n_genes + NULL_COUNT + 1.0))
        # Every component keeps a little: what is 0 stays 0 in EM, and has no logarithm.
        new = count + _LEAST_COUNT
        new /= new.sum()
        moved = max(np.abs(new - omega).max(), abs(new_null - null))
        omega, null = new, new_null
        if moved < 1e-5:
            break
    return replace(mixture, weight=jnp.asarray(omega.reshape(mixture.weight.shape), jnp.float32))


def learned_correlation(
    mixture: EffectMixture, correlation: Float[np.ndarray, "gene type type"], dof: Float[np.ndarray, "gene type"]
) -> EffectMixture:
    """`mixture` with the noise correlation of the types, and how much genes differ in it.

    The mean over genes, and by the method of moments the count of donors that makes the mean and a gene's own
    correlation (of sampling variance (1 - rho^2)^2 / dof) equally credible.

    Args:
        mixture: Gets them.
        correlation: Of each gene's residuals; NaN where a type has none.
        dof: Of each gene and type; 0 where it has none.
    """
    n_types = correlation.shape[1]
    if n_types == 1:
        return mixture
    known = np.isfinite(correlation)
    count = known.sum(0)
    mean = np.where(count > 0, np.where(known, correlation, 0.0).sum(0) / np.maximum(count, 1), 0.0)
    mean = np.where(np.eye(n_types, dtype=bool), 1.0, mean)
    # The mean over few genes is noisy: shrink it to the identity as if two genes had shown none.
    off = ~np.eye(n_types, dtype=bool)
    mean = np.where(off, mean * count / (count + 2.0), mean)
    values, vectors = np.linalg.eigh(mean)
    mean = vectors @ np.diag(np.maximum(values, 0.05)) @ vectors.T
    mean /= np.sqrt(np.outer(np.diag(mean), np.diag(mean)))
    pair = known & off
    shared = np.minimum(dof[:, :, None], dof[:, None, :])
    sampling = (1 - mean**2) ** 2 / np.maximum(shared, 1.0)
    excess = np.where(pair, (np.where(known, correlation, 0.0) - mean) ** 2 - sampling, 0.0).sum()
    spread = excess / max(pair.sum(), 1)
    typical = (np.where(pair, sampling * shared, 0.0)).sum() / max(pair.sum(), 1)
    strength = np.clip(typical / max(spread, 1e-6), 5.0, 1e4)
    return replace(
        mixture, correlation=jnp.asarray(mean, jnp.float32), correlation_count=jnp.asarray(strength, jnp.float32)
    )
