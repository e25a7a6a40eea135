"""The negative binomial of counts: mean mu, inverse dispersion theta, variance mu + mu^2 / theta."""

from __future__ import annotations

import math

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from genesim.types import SparseRows

LOG_THETA_MIN = -5.0
"""Smallest log theta: below it the likelihood's gradients overflow in float32."""
LOG_THETA_MAX = 7.0
"""Largest log theta: above it the distribution is Poisson to float32."""


def theta_within(
    theta: Float[np.ndarray, "cell gene"], between: Float[np.ndarray, "*#cell gene"]
) -> Float[np.ndarray, "cell gene"]:
    """Inverse dispersion left to the cells of one donor, where `theta` was learned from cells of many.

    The factor on a cell's rate has the relative variance 1 / theta. It is a donor's factor, of relative variance
    `between`, times an independent one of the cell, of 1 / theta': 1 + 1 / theta = (1 + between) (1 + 1 / theta').
    Where donors leave nothing, theta' is that of a Poisson.
    """
    left = (1 + 1 / theta) / (1 + between) - 1
    return 1 / np.maximum(left, math.exp(-LOG_THETA_MAX))


def log_gamma(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """ln Gamma(x) for x > 0, to 3e-6 of 1 + its size in float32.

    Stirling's series from 8 on, reached by the recurrence ln Gamma(x) = ln Gamma(x + 8) - ln(x (x+1) ... (x+7)).
    Its gradient costs half of `gammaln`'s, on which the training of small networks spends most of its time.
    """
    small = x < 8.0
    first = jnp.where(small, x, 1.0)
    pair = first * (first + 7.0)  # (x+1)(x+6) = pair + 6, (x+2)(x+5) = pair + 10, (x+3)(x+4) = pair + 12
    product = pair * (pair + 6.0) * (pair + 10.0) * (pair + 12.0)
    large = jnp.where(small, x + 8.0, x)
    inverse = 1.0 / large
    series = inverse * (1 / 12 - inverse**2 * (1 / 360 - inverse**2 / 1260))
    stirling = (large - 0.5) * jnp.log(large) - large + 0.5 * math.log(2 * math.pi) + series
    return stirling - jnp.where(small, jnp.log(product), 0.0)


def log_prob(
    counts: Float[Array, "*shape"], log_mean: Float[Array, "*shape"], log_theta: Float[Array, "*#shape"]
) -> Float[Array, "*shape"]:
    """Log probability of `counts` under NB(mean, theta), from logs so that no rate underflows.

    log p(x) = lnG(x + theta) - lnG(theta) - lnG(x + 1) + theta ln(theta/(theta + mu)) + x ln(mu/(theta + mu))
    (Love 2014, Genome Biology, with theta = 1/alpha).
    """
    theta = jnp.exp(log_theta)
    log_total = jnp.log(theta + jnp.exp(log_mean))
    return (
        log_gamma(counts + theta)
        - log_gamma(theta)
        - log_gamma(counts + 1.0)
        + theta * (log_theta - log_total)
        + counts * (log_mean - log_total)
    )


def stored_log_prob(
    stored: SparseRows,
    counts: Float[Array, "cell gene"],
    log_mean: Float[Array, "cell gene"],
    log_theta: Float[Array, "cell gene"],
) -> Float[Array, " cell"]:
    """`log_prob` summed over a cell's genes, `counts` being the dense `stored`.

    lnG(x + theta) - lnG(theta) - lnG(x + 1) vanishes at x = 0, so the slow functions run over stored counts only.
    """
    log_total = jnp.log(jnp.exp(log_theta) + jnp.exp(log_mean))
    smooth = jnp.exp(log_theta) * (log_theta - log_total) + counts * (log_mean - log_total)
    row = stored.rows()
    theta = jnp.exp(jnp.asarray(log_theta).at[row, stored.columns].get(mode="clip"))  # the padding's counts are 0
    count = jnp.asarray(stored.data, jnp.float32)
    rest = log_gamma(count + theta) - log_gamma(theta) - log_gamma(count + 1.0)
    rest = jnp.where(count > 0, rest, 0.0)
    return smooth.sum(axis=-1) + jnp.zeros(stored.n_rows).at[row].add(rest, indices_are_sorted=True)


def fit_theta(
    counts: Float[np.ndarray, "cell gene"],
    mean: Float[np.ndarray, "cell gene"],
    n_iterations: int = 12,
    prior_sd: float = 1.5,
) -> Float[np.ndarray, " gene"]:
    """Posterior-mode theta of each gene, given every cell's mean, by Newton steps on log theta.

    The prior is normal on log theta around the genes' moment estimate (Love 2014: shrunken dispersions), so a
    gene with a handful of counts does not run to a bound.

    Returns:
        Theta, a gene, within exp(`LOG_THETA_MIN`) and exp(`LOG_THETA_MAX`).
    """
    from scipy.special import digamma, polygamma

    excess = np.sum((counts - mean) ** 2 - mean, axis=0)
    moment = np.log(np.maximum(np.sum(mean**2, axis=0), 1e-12) / np.maximum(excess, 1e-12))
    moment = np.clip(moment, LOG_THETA_MIN, LOG_THETA_MAX)
    informative = counts.sum(axis=0) >= 10
    centre = float(np.median(moment[informative])) if informative.any() else 0.0
    log_theta = np.where(informative, moment, centre)
    # digamma(x + theta) - digamma(theta) vanishes at x = 0, so the slow functions run over positive counts only.
    positive, gene = np.nonzero(counts > 0)
    value = counts[positive, gene]
    n_genes = counts.shape[1]
    for _ in range(n_iterations):
        theta = np.exp(log_theta)
        total = theta + mean
        at = value + theta[gene]
        slope = np.sum(np.log(theta / total) + 1.0 - (counts + theta) / total, axis=0)
        slope += np.bincount(gene, digamma(at) - digamma(theta)[gene], n_genes)
        curve = np.sum(1.0 / theta - 2.0 / total + (counts + theta) / total**2, axis=0)
        curve += np.bincount(gene, polygamma(1, at) - polygamma(1, theta)[gene], n_genes)
        gradient = theta * slope - (log_theta - centre) / prior_sd**2
        hessian = theta * slope + theta**2 * curve - 1.0 / prior_sd**2
        # Where the posterior is not concave, climb along the gradient instead of Newton's direction.
        step = np.where(hessian < -1e-6, -gradient / np.minimum(hessian, -1e-6), np.sign(gradient))
        log_theta = np.clip(log_theta + np.clip(step, -1.0, 1.0), LOG_THETA_MIN, LOG_THETA_MAX)
    return np.exp(log_theta)
