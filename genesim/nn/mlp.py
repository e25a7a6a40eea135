"""Multilayer perceptrons: plain, and residual with a condition that shifts and scales each block."""

from __future__ import annotations

from itertools import pairwise

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from genesim.nn.random import dropout, fold


class Constant(nnx.Variable):
    """An array of the model that is stored with it but never trained."""


class Mlp(nnx.Module):
    """Linear, LayerNorm, SiLU and dropout, `n_layers` times; normalises within a row, never across rows."""

    def __init__(self, n_in: int, n_hidden: int, n_layers: int, dropout_rate: float, *, rngs: nnx.Rngs) -> None:
        widths = [n_in] + [n_hidden] * n_layers
        self.linears = nnx.List([nnx.Linear(a, b, rngs=rngs) for a, b in pairwise(widths)])
        self.norms = nnx.List([nnx.LayerNorm(n_hidden, rngs=rngs) for _ in range(n_layers)])
        self.dropout_rate = dropout_rate

    def __call__(self, x: Float[Array, "row in"], keys: jax.Array | None = None) -> Float[Array, "row hidden"]:
        """Hidden activations; dropout is on only where row `keys` are given."""
        for layer, (linear, norm) in enumerate(zip(self.linears, self.norms)):
            x = jax.nn.silu(norm(linear(x)))
            x = dropout(x, self.dropout_rate, None if keys is None else fold(keys, layer))
        return x


class ConditionedBlock(nnx.Module):
    """Residual block whose LayerNorm is shifted and scaled by the condition (adaLN; Peebles 2023, ICCV).

    The last layer starts at zero, so that the block starts as the identity.
    """

    def __init__(self, n_hidden: int, *, rngs: nnx.Rngs) -> None:
        zeros = nnx.initializers.zeros_init()
        self.norm = nnx.LayerNorm(n_hidden, use_bias=False, use_scale=False, rngs=rngs)
        self.modulation = nnx.Linear(n_hidden, 2 * n_hidden, kernel_init=zeros, rngs=rngs)
        self.inner = nnx.Linear(n_hidden, n_hidden, rngs=rngs)
        self.outer = nnx.Linear(n_hidden, n_hidden, kernel_init=zeros, rngs=rngs)

    def __call__(
        self, x: Float[Array, "row hidden"], condition: Float[Array, "row hidden"]
    ) -> Float[Array, "row hidden"]:
        scale, shift = jnp.split(self.modulation(jax.nn.silu(condition)), 2, axis=-1)
        hidden = self.norm(x) * (1.0 + scale) + shift
        return x + self.outer(jax.nn.silu(self.inner(hidden)))
