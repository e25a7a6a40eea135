"""A gene's p-value from permuted donors: the law of the smallest p-value over its window, as a beta law.

Ongen et al. 2016, Bioinformatics 32:1479 (FastQTL). The smallest of many dependent p-values is close to
Beta(a, b): b is the effective number of independent variants, and the degrees of freedom are chosen such
that a is 1 where the tests are exact. A few hundred permutations then give p-values far below 1 / their number.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int
from scipy.special import betainc, digamma, polygamma, stdtr

from genesim.models.effects.problem import EffectProblem

_N_BISECTIONS = 30
_N_NEWTON = 25


@jax.jit
def permuted_maxima(problem: EffectProblem, order: Int[Array, "permutation donor"]) -> Float[Array, "gene permutation"]:
    """Largest squared correlation over the window, for each permutation of the projected response.

    Args:
        problem: Batch of genes.
        order: Permutations of the donors that keep absent donors (weight 0) in place.
    """

    def one(gene: tuple[Array, Array, Array]) -> Array:
        y, x, dof = gene
        norm = jnp.maximum(y @ y, 1e-12) * dof
        return ((y[order] @ x) ** 2).max(1) / norm

    return jax.lax.map(one, (problem.response, problem.genotype, problem.dof))


def permutations(present: np.ndarray, n: int, draw: np.random.Generator) -> np.ndarray:
    """`n` permutations (permutation x donor) of the donors that are `present`; the others stay in place."""
    order = np.tile(np.arange(len(present)), (n, 1))
    here = np.flatnonzero(present)
    order[:, here] = draw.permuted(np.tile(here, (n, 1)), axis=1)
    return order


def correlation_p_value(square: np.ndarray, dof: np.ndarray | float) -> np.ndarray:
    """Two-sided p-value of a squared partial correlation under `dof` degrees of freedom."""
    square = np.clip(square, 0.0, 1 - 1e-12)
    return 2 * stdtr(dof, -np.sqrt(square * dof / (1 - square)))


def _moment_shape(p: np.ndarray) -> np.ndarray:
    """First shape of the beta law with the mean and variance of `p` (last axis)."""
    mean, variance = p.mean(-1), np.maximum(p.var(-1, ddof=1), 1e-300)
    return mean * (mean * (1 - mean) / variance - 1)


def _degrees_of_freedom(null: np.ndarray, dof: np.ndarray) -> np.ndarray:
    """Those at which the smallest p-values have a first shape of 1: more of them, and it falls."""
    low, high = dof / 4, dof * 4
    for _ in range(_N_BISECTIONS):
        middle = np.sqrt(low * high)
        above = _moment_shape(correlation_p_value(null, middle[:, None])) > 1
        low, high = np.where(above, middle, low), np.where(above, high, middle)
    return np.sqrt(low * high)


def _fit_beta(p: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Maximum-likelihood shapes of beta laws, one a row, by Newton's method on their logarithms."""
    p = np.clip(p, 1e-300, 1 - 1e-12)
    mean_log, mean_log1m = np.log(p).mean(1), np.log1p(-p).mean(1)
    a = np.clip(_moment_shape(p), 0.1, 10.0)
    b = np.maximum(a * (1 / p.mean(1) - 1), 0.1)
    for _ in range(_N_NEWTON):
        together = digamma(a + b)
        ga, gb = a * (together - digamma(a) + mean_log), b * (together - digamma(b) + mean_log1m)
        curve = polygamma(1, a + b)
        haa, hbb, hab = a**2 * (curve - polygamma(1, a)), b**2 * (curve - polygamma(1, b)), a * b * curve
        determinant = haa * hbb - hab**2
        step_a = np.clip(-(hbb * ga - hab * gb) / determinant, -0.7, 0.7)
        step_b = np.clip(-(haa * gb - hab * ga) / determinant, -0.7, 0.7)
        a, b = a * np.exp(step_a), b * np.exp(step_b)
    return a, b


def gene_p_values(
    problem: EffectProblem, correlation: np.ndarray, n_donors: np.ndarray, order: np.ndarray
) -> np.ndarray:
    """p-value of any association of each gene of a batch; NaN for one without a usable variant.

    Args:
        problem: Batch of genes.
        correlation: Partial correlation of each variant, gene x variant.
        n_donors: With weight, per gene.
        order: From `permutations`.
    """
    used = np.asarray((np.asarray(problem.prior) > 0).any(1))
    projected = np.asarray(problem.dof, np.float64)
    # A permuted response has its share of variance in the covariates again, the observed one has none.
    null = np.asarray(permuted_maxima(problem, jnp.asarray(order)), np.float64)
    null *= (np.maximum(n_donors - 1, 1) / projected)[:, None]
    p = np.full(len(used), np.nan)
    observed = (np.asarray(correlation, np.float64) ** 2).max(1)
    if used.any():
        p[used] = beta_p_value(observed[used], null[used], np.maximum(projected[used] - 1, 1.0))
    return p


def beta_p_value(observed: np.ndarray, null: np.ndarray, dof: np.ndarray) -> np.ndarray:
    """p-value of each gene's largest squared correlation.

    Args:
        observed: Largest squared correlation, per gene.
        null: The same with permuted donors, gene x permutation.
        dof: Degrees of freedom of one variant's test, per gene.
    """
    learned = _degrees_of_freedom(null, dof)
    a, b = _fit_beta(correlation_p_value(null, learned[:, None]))
    return betainc(a, b, correlation_p_value(observed, learned))
