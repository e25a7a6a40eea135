"""fastPHASE as a generator (Scheet and Stephens 2006, AJHG 78:629): rank-1 jumps between K ancestral haplotypes.

From one variant to the next the state stays, or with probability r[m] is drawn anew from weights w[a, m] of the
population: where it comes from is forgotten, which is what AncHMM's full transitions keep. Fitted by EM,

    w[a,m,k] ~ jumps[a,m,k] + alpha * pooled[m,k],  r[m] = (jumps[m] + c r0) / (n + c),
    theta[m,k] = (N1[m,k] + 2 beta p[m]) / (N0[m,k] + N1[m,k] + 2 beta).
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int, Int8

from genesim import rng

N_STATES, N_PASSES, MINIBATCH = 64, 12, 256
MESSAGE_NUMBERS = 200_000_000  # numbers in the forward messages of one minibatch (800 MB)
ALPHA, BETA, JUMP, JUMP_WEIGHT = 0.3, 0.02, 0.02, 2.0


@jax.jit
def _expect(
    theta: Float[Array, "variant state"],
    jump: Float[Array, " variant"],
    weights: Float[Array, "variant ancestry state"],
    alleles: Int8[Array, "variant haplotype"],
    codes: Int[Array, " haplotype"],
    used: Float[Array, " haplotype"],
) -> tuple[Array, Array, Array]:
    """Expected jumps [variant, ancestry, state], alleles [variant, 2, state] and the log-likelihood."""
    member = jax.nn.one_hot(codes, weights.shape[1]) * used[:, None]

    def emit(site: Array, called: Array) -> Array:
        return jnp.where(called[:, None] == 1, site, 1 - site)

    def forward(alpha: Array, site: tuple[Array, ...]) -> tuple[Array, tuple[Array, Array]]:
        here, rate, weight, called = site
        joint = ((1 - rate) * alpha + rate * weight[codes]) * emit(here, called)
        scale = joint.sum(1)
        alpha = joint / scale[:, None]
        return alpha, (alpha, scale)

    sites = (theta, jump, weights, alleles)
    start = jnp.full((alleles.shape[1], theta.shape[1]), 1 / theta.shape[1])
    _, (alphas, scales) = lax.scan(forward, start, sites)

    def backward(beta: Array, site: tuple[Array, ...]) -> tuple[Array, tuple[Array, Array]]:
        here, rate, weight, called, alpha, scale = site
        upward = beta * emit(here, called) / scale[:, None]
        jumps = member.T @ (rate * weight[codes] * upward)
        state = alpha * beta * used[:, None]
        ones = (called == 1).astype(state.dtype)
        counts = jnp.stack([(1 - ones) @ state, ones @ state])
        below = (1 - rate) * upward + rate * (upward * weight[codes]).sum(1, keepdims=True)
        return below, (jumps, counts)

    _, (jumps, counts) = lax.scan(backward, jnp.ones_like(start), (*sites, alphas, scales), reverse=True)
    return jumps, counts, (jnp.log(scales).sum(0) * used).sum()


def fit(
    train: Int8[np.ndarray, "haplotype variant"],
    codes: Int[np.ndarray, " haplotype"],
    n_labels: int,
    seed: int,
    n_states: int = N_STATES,
    n_passes: int = N_PASSES,
) -> tuple[dict[str, Any], list[float]]:
    """Parameters `theta`, `jump`, `weights`, and the log-likelihood a haplotype before each pass."""
    random = rng.generator(seed, "benchmark", "fastphase")
    n, n_variants = train.shape
    p = (train.sum(0) + 0.5) / (n + 1)
    template = train[random.permutation(n)[np.arange(n_states) % n]].T
    theta = jnp.asarray(0.8 * template + 0.2 * p[:, None], jnp.float32)
    theta = jnp.clip(theta + 0.01 * random.random(theta.shape), 1e-4, 1 - 1e-4)
    jump = jnp.full(n_variants, JUMP).at[0].set(1.0)
    weights = jnp.full((n_variants, n_labels, n_states), 1 / n_states)
    history: list[float] = []
    size = max(1, min(MINIBATCH, n, MESSAGE_NUMBERS // (n_variants * n_states)))
    for _ in range(n_passes):
        totals: tuple[Array, ...] | None = None
        for start in range(0, n, size):
            rows = np.arange(start, start + size)
            used = jnp.asarray(rows < n, jnp.float32)
            rows = np.minimum(rows, n - 1)
            found = _expect(theta, jump, weights, jnp.asarray(train[rows].T), jnp.asarray(codes[rows]), used)
            totals = found if totals is None else tuple(a + b for a, b in zip(totals, found))
        assert totals is not None
        jumps, counts, likelihood = totals
        history.append(float(likelihood) / n)
        pooled = jumps.sum(1, keepdims=True) + 1e-3
        weights = jumps + ALPHA * pooled / pooled.sum(2, keepdims=True)
        weights = weights / weights.sum(2, keepdims=True)
        jump = ((jumps.sum((1, 2)) + JUMP_WEIGHT * JUMP) / (n + JUMP_WEIGHT)).at[0].set(1.0)
        theta = (counts[:, 1] + 2 * BETA * p[:, None]) / (counts.sum(1) + 2 * BETA)
    return {"theta": np.asarray(theta), "jump": np.asarray(jump), "weights": np.asarray(weights)}, history


def draw(
    train: Int8[np.ndarray, "haplotype variant"],
    codes: Int[np.ndarray, " haplotype"],
    asked: Int[np.ndarray, " drawn"],
    labels: list[str],
    seed: int,
    **sizes: int,
) -> tuple[Int8[np.ndarray, "drawn variant"], list[float]]:
    """One haplotype for each population code of `asked`, and the fit's history."""
    parameters, history = fit(train, codes, len(labels), seed, **sizes)
    random = rng.generator(seed, "benchmark", "fastphase", "draw")
    state = np.zeros(len(asked), int)
    out = np.empty((len(asked), train.shape[1]), np.int8)
    for site, (theta, jump) in enumerate(zip(parameters["theta"], parameters["jump"])):
        cumulative = np.cumsum(parameters["weights"][site], axis=1)[asked]
        fresh = (random.random((len(asked), 1)) * cumulative[:, -1:] > cumulative).sum(1)
        state = np.where(random.random(len(asked)) < jump, np.minimum(fresh, len(theta) - 1), state)
        out[:, site] = random.random(len(asked)) < theta[state]
    return out, history
