"""What the VAE says about given cells: latents, expected expression, and a bound on the likelihood."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from genesim.models.expression.generator import block_size, in_blocks, take
from genesim.models.expression.vae import NbVae
from genesim.nn.random import row_keys
from genesim.types import Condition, Minibatch

_BOUND_DRAWS = 8


@nnx.jit
def _posterior(vae: NbVae, counts: Array) -> Array:
    mean, log_sd = vae.encode(counts)
    return jnp.concatenate([mean, jnp.exp(log_sd)], axis=-1)


@nnx.jit
def _expected(vae: NbVae, z: Float[Array | np.ndarray, "cell latent"], condition: Condition) -> Array:
    return jnp.exp(vae.log_rates(jnp.asarray(z), condition))


@nnx.jit
def _given_counts(vae: NbVae, rates: Array, z: Array, counts: Array, own: Condition) -> Array:
    mean = jnp.exp(jnp.asarray(own.log_library)[:, None] + vae.log_rates(z, own))
    theta = jnp.exp(vae.log_dispersion(own))
    found = rates * (theta + counts) / (theta + mean)
    return found / found.sum(axis=-1, keepdims=True)


@nnx.jit
def _bounds(vae: NbVae, counts: Array, condition: Condition, key: jax.Array, start: Array) -> Array:
    minibatch = Minibatch(counts, condition, jnp.ones(counts.shape[0]))

    def draw(key: jax.Array) -> Array:
        likelihood, kl = vae.bound(minibatch, row_keys(key, counts.shape[0], start))
        return likelihood - kl

    return jax.lax.map(draw, jax.random.split(key, _BOUND_DRAWS)).mean(axis=0)[:, None]


def _dense(counts: Any, rows: np.ndarray) -> Array:
    """Rows of a dense or CSR matrix, dense, float32."""
    chosen = counts[rows]
    return jnp.asarray(chosen.toarray() if hasattr(chosen, "toarray") else chosen, jnp.float32)


def encode(vae: NbVae, counts: Any) -> Float[np.ndarray, "cell 2*latent"]:
    """Posterior means and SDs of the latents, side by side; `counts` [cell, gene] dense or CSR."""

    def block(rows: np.ndarray, first: int) -> Array:
        return _posterior(vae, _dense(counts, rows))

    return in_blocks(block, np.arange(counts.shape[0]), counts.shape[0], block_size(vae.n_genes))


def rates_at(vae: NbVae, z: Float[np.ndarray, "cell latent"], condition: Condition) -> Float[np.ndarray, "cell gene"]:
    """Each gene's expected share of the cell's counts at latents `z`; rows sum to 1."""

    def block(rows: tuple[np.ndarray, Condition], first: int) -> Array:
        z_rows, condition_rows = rows
        return _expected(vae, z_rows, condition_rows)

    return in_blocks(block, (z, condition), len(z), block_size(vae.n_genes))


def given_counts(
    vae: NbVae,
    rates: Float[np.ndarray, "cell gene"],
    z: Float[np.ndarray, "cell latent"],
    counts: Any,
    own: Condition,
) -> Float[np.ndarray, "cell gene"]:
    """`rates` times what each gene of the cell deviates from them, as far as its own count tells; rows sum to 1.

    NB(mu, theta) is Poisson(mu g) with g ~ Gamma(theta, theta), the cell's expression beyond its latent (Sarkar &
    Stephens 2021, Nature Genetics). Given count x, E g = (theta + x) / (theta + mu): the gene's own count by its
    overdispersion, the other genes' by the latent (SAVER, Huang 2018, Nature Methods, with the network's prior).

    Args:
        vae: The trained network.
        rates: Rates that are to have the deviation: those at `z` and `own`, or of the same cells under another
            condition, which keeps g.
        z: Latents of the cells.
        counts: Their counts [cell, gene], dense or CSR.
        own: The condition that these were measured under, with their library sizes.
    """

    def block(rows: tuple[np.ndarray, np.ndarray, np.ndarray, Condition], first: int) -> Array:
        at, rates_rows, z_rows, own_rows = rows
        return _given_counts(vae, jnp.asarray(rates_rows), jnp.asarray(z_rows), _dense(counts, at), own_rows)

    return in_blocks(block, (np.arange(len(z)), rates, z, own), len(z), block_size(vae.n_genes))


def log_likelihood_bound(vae: NbVae, counts: Any, condition: Condition, key: jax.Array) -> Float[np.ndarray, " cell"]:
    """Evidence lower bound of each cell's log-likelihood in nats, mean of 8 posterior draws.

    A cell's value depends on its counts, its condition, `key` and its row number, on no other cell.
    """

    def block(rows: np.ndarray, first: int) -> Array:
        return _bounds(vae, _dense(counts, rows), take(condition, rows), key, jnp.int32(first))

    n_cells = counts.shape[0]
    return in_blocks(block, np.arange(n_cells), n_cells, block_size(vae.n_genes))[:, 0].astype(np.float64)
