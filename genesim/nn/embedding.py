"""Embeddings of time and of covariate levels."""

from __future__ import annotations

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int


def time_features(t: Float[Array, " row"], n_features: int) -> Float[Array, "row feature"]:
    """Sine and cosine features of a time in [0, 1] (Vaswani 2017), angular frequencies 1 to 1000."""
    frequency = jnp.exp(jnp.linspace(0.0, jnp.log(1000.0), n_features // 2))
    angle = t[:, None] * frequency
    return jnp.concatenate([jnp.sin(angle), jnp.cos(angle)], axis=-1)


class LevelSum(nnx.Module):
    """Sum over categorical covariates of one learned vector a level; level -1 (unknown) adds nothing.

    The vectors of all covariates lie in one table, so any number of covariates costs one gather.
    """

    def __init__(self, n_levels: tuple[int, ...], n_out: int, *, scale: float = 0.02, rngs: nnx.Rngs) -> None:
        self.n_levels = tuple(n_levels)
        table = nnx.initializers.normal(scale) if scale else nnx.initializers.zeros_init()
        self.table = nnx.Param(table(rngs.params(), (sum(n_levels), n_out)))

    def __call__(self, categories: Int[Array, "row categorical"]) -> Float[Array, "row out"]:
        """Summed vectors; a level outside its covariate's range counts as unknown."""
        table = self.table[...]
        total = jnp.zeros((categories.shape[0], table.shape[1]), table.dtype)
        first = 0
        for column, n_levels in enumerate(self.n_levels):
            level = categories[:, column]
            known = (level >= 0) & (level < n_levels)
            vector = table[first + jnp.clip(level, 0, n_levels - 1)]
            total = total + jnp.where(known[:, None], vector, 0.0)
            first += n_levels
        return total
