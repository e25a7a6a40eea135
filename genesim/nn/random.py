"""Draws keyed by row: row i gets the same numbers however many rows stand beside it.

That makes a minibatch's padding, its size and the chunking of a long draw invisible in the result.
"""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, UInt64


def row_keys(key: jax.Array, n_rows: int, start: int | Array = 0) -> jax.Array:
    """Keys of rows `start` to `start + n_rows` of the stream `key`; shape [row]."""
    return jax.vmap(lambda row: jax.random.fold_in(key, row))(start + jnp.arange(n_rows))


@partial(jax.jit, static_argnames="n_rows")
def _key_words(key: jax.Array, start: Array, n_rows: int) -> jax.Array:
    return jax.random.key_data(row_keys(key, n_rows, start))


def power_of_two(n: int) -> int:
    """The next power of two, 16 at least: few shapes to compile, whatever the number of rows."""
    return max(16, 1 << max(n - 1, 0).bit_length())


def row_seeds(key: jax.Array, n_rows: int, start: int = 0) -> UInt64[np.ndarray, "row word"]:
    """`row_keys` as two words a row, to seed NumPy generators with."""
    words = np.asarray(_key_words(key, jnp.int32(start), power_of_two(n_rows)))[:n_rows]
    return words[:, -2:].astype(np.uint64)


def row_normal(keys: jax.Array, n_features: int) -> Float[Array, "row feature"]:
    """Standard normal draws, one key a row."""
    return jax.vmap(lambda key: jax.random.normal(key, (n_features,)))(keys)


def row_bernoulli(keys: jax.Array, probability: float, n_features: int) -> Bool[Array, "row feature"]:
    """True with `probability`, one key a row."""
    return jax.vmap(lambda key: jax.random.bernoulli(key, probability, (n_features,)))(keys)


def dropout(x: Float[Array, "row feature"], probability: float, keys: jax.Array | None) -> Float[Array, "row feature"]:
    """Inverted dropout (Srivastava 2014, JMLR) with one key a row; `keys` None leaves `x` as it is."""
    if keys is None or probability == 0.0:
        return x
    keep = row_bernoulli(keys, 1.0 - probability, x.shape[-1])
    return jnp.where(keep, x / (1.0 - probability), 0.0)


def fold(keys: jax.Array, name: int) -> jax.Array:
    """Derive another stream from each row's key."""
    return jax.vmap(lambda key: jax.random.fold_in(key, name))(keys)
