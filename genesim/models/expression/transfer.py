"""Given cells as they would be under another condition: the flow run backward to noise, then forward again.

The encoder sees no covariate, so latents keep whatever a batch does to cells beyond its gene offsets. The flow
under a cell's own condition carries its latent to noise from which the condition is gone (as far as the flow has
learned it), and under the wanted condition back: the counterfactual of an invertible generative model (abduction,
action, prediction; Pawlowski 2020, NeurIPS).
"""

from __future__ import annotations

from collections.abc import Iterable

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from genesim.models.expression.flow import LatentFlow
from genesim.models.expression.generator import block_size, in_blocks
from genesim.types import Condition


def noise_of(flow: LatentFlow, z: Float[Array, "cell latent"], own: Condition) -> Float[Array, "cell latent"]:
    """The noise that `flow.integrate` carries to latents `z`: its Heun steps in reverse, an inverse up to the
    integration error."""
    n_steps = flow.config.n_flow_steps
    context = flow.context(own)
    step = 1.0 / n_steps

    def heun(i: Array, x: Array) -> Array:
        now = jnp.full(x.shape[0], 1.0 - i * step)
        first = flow.velocity(x, now, context)
        second = flow.velocity(x - step * first, now - step, context)
        return x - 0.5 * step * (first + second)

    x = (z - flow.mean[...]) / flow.sd[...] * flow.spread[...] + flow.drift[...]
    return jax.lax.fori_loop(0, n_steps, heun, x)


@nnx.jit
def _moved(
    flow: LatentFlow, z: Array, own: Condition, wanted: list[tuple[Array, Condition]]
) -> Float[Array, "cell latent"]:
    noise = noise_of(flow, z, own)
    # Both ends through the same steps: where the condition stays, the latent stays, free of integration error.
    change = -flow.integrate(noise, own)
    for weight, condition in wanted:
        change = change + weight[:, None] * flow.integrate(noise, condition)
    return z + change / flow.spread[...] * flow.sd[...]


def transfer(
    flow: LatentFlow,
    z: Float[np.ndarray, "cell latent"],
    own: Condition,
    wanted: list[tuple[Float[np.ndarray, " cell"], Condition]],
) -> Float[np.ndarray, "cell latent"]:
    """Latents of the same cells under a weighted sum of conditions (weights of a cell add up to 1) instead of
    their `own`; unchanged where these agree."""

    def block(
        rows: tuple[np.ndarray, Condition, list[tuple[np.ndarray, Condition]]], first: int
    ) -> Float[Array, "cell latent"]:
        latents, before, after = rows
        return _moved(flow, jnp.asarray(latents), before, [(jnp.asarray(weight), to) for weight, to in after])

    return in_blocks(block, (z, own, wanted), len(z), block_size(flow.n_latent))


def mean_rates(
    parts: Iterable[tuple[float, Float[np.ndarray, "cell gene"]]],
) -> Float[np.ndarray, "cell gene"]:
    """Weighted geometric mean of the same cells' rates under several conditions; rows sum to 1 again.

    Logs are averaged, as offsets are in the decoder; means of latents would lie between the clusters that the
    decoder knows.
    """
    total = sum(np.float32(weight) * np.log(rates) for weight, rates in parts)
    rates = np.exp(np.asarray(total))
    return rates / rates.sum(axis=1, keepdims=True)
