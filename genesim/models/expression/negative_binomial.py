"""The negative binomial of counts: mean mu, inverse dispersion theta, variance mu + mu^2 / theta."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import gammaln
from jaxtyping import Array, Float, Int

from genesim.nn.random import row_seeds

LOG_THETA_MIN = -5.0
"""Smallest log theta: below it the likelihood's gradients overflow in float32."""
LOG_THETA_MAX = 7.0
"""Largest log theta: above it the distribution is Poisson to float32."""
MAX_COUNT = 2**30
"""Largest rate of a drawn count, far above any cell's: beyond it, draws would wrap around in int32."""


def log_prob(
    counts: Float[Array, "*shape"], log_mean: Float[Array, "*shape"], log_theta: Float[Array, "*#shape"]
) -> Float[Array, "*shape"]:
    """Log probability of `counts` under NB(mean, theta), from logs so that no rate underflows.

    log p(x) = lnG(x + theta) - lnG(theta) - lnG(x + 1) + theta ln(theta/(theta + mu)) + x ln(mu/(theta + mu))
    (Love 2014, Genome Biology, with theta = 1/alpha).
    """
    theta = jnp.exp(log_theta)
    log_total = jnp.logaddexp(log_theta, log_mean)
    return (
        gammaln(counts + theta)
        - gammaln(theta)
        - gammaln(counts + 1.0)
        + theta * (log_theta - log_total)
        + counts * (log_mean - log_total)
    )


def draw_counts(
    key: jax.Array,
    mean: Float[Array | np.ndarray, "cell gene"],
    theta: Float[Array | np.ndarray, "*#cell gene"],
    start: int = 0,
) -> Int[np.ndarray, "cell gene"]:
    """One NB count for each mean, as a gamma-Poisson mixture.

    NumPy draws them: on a CPU its gamma and Poisson samplers are five times as fast as XLA's.

    Rates are held at `MAX_COUNT`.

    Args:
        key: Stream of the draw.
        mean: Expected counts, library size times rate.
        theta: Inverse dispersion, a gene or a cell and gene.
        start: Number of the first row, where a long draw is made in chunks: row i of the draw depends
            on `key`, its own mean and theta, and `start + i`, on nothing else.
    """
    mean = np.asarray(mean, np.float64)
    theta = np.broadcast_to(np.asarray(theta, np.float64), mean.shape)
    seeds = row_seeds(key, len(mean), start)
    counts = np.empty(mean.shape, np.int32)
    for row in range(len(mean)):
        random = np.random.Generator(np.random.Philox(key=seeds[row]))
        rate = random.standard_gamma(theta[row]) * (mean[row] / theta[row])
        counts[row] = random.poisson(np.minimum(rate, MAX_COUNT))
    return counts


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
