"""Conditional flow matching in the VAE's latent space: the learned prior that cells are drawn from.

Linear path x_t = (1 - t) e + t z from noise e ~ N(0, I) to latents z; the network regresses the velocity
z - e (Lipman 2023, ICLR; Liu 2023, ICLR), t logit-normal (Esser 2024, ICML), Heun's method to sample.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from genesim.config.model import ExpressionConfig
from genesim.models.base import GenerativeModel
from genesim.nn.embedding import LevelSum, time_features
from genesim.nn.mlp import ConditionedBlock, Constant
from genesim.nn.random import fold, row_bernoulli, row_keys, row_normal
from genesim.types import Condition, Minibatch

_TIME_FEATURES = 64


class LatentFlow(GenerativeModel):
    """Velocity field v(x, t | levels, continuous covariates, log library size) in standardised latents.

    Trained on posterior means and SDs side by side ([cell, 2 * latent]): each step draws fresh latents.

    Args:
        mean: Mean of the encoded training latents, to standardise by.
        sd: Their standard deviation (posterior variance included).
        log_library: Mean and SD of the training cells' log library size.
        n_levels: Levels of each categorical covariate.
        n_continuous: Continuous covariates.
        config: Sizes, condition dropout and Heun steps.
    """

    def __init__(
        self,
        mean: Float[np.ndarray, " latent"],
        sd: Float[np.ndarray, " latent"],
        log_library: tuple[float, float],
        n_levels: tuple[int, ...],
        n_continuous: int,
        config: ExpressionConfig,
        *,
        rngs: nnx.Rngs,
    ) -> None:
        n_latent, hidden = len(mean), config.n_hidden
        self.config, self.n_latent = config, n_latent
        self.deterministic = True
        self.mean = Constant(jnp.asarray(mean, jnp.float32))
        self.sd = Constant(jnp.asarray(sd, jnp.float32))
        self.log_library = Constant(jnp.asarray(log_library, jnp.float32))
        self.drift = Constant(jnp.zeros(n_latent))
        self.spread = Constant(jnp.ones(n_latent))
        self.levels = LevelSum(tuple(n_levels), hidden, scale=0.1, rngs=rngs)
        self.covariates = nnx.Linear(n_continuous + 1, hidden, rngs=rngs)
        self.time = nnx.Linear(_TIME_FEATURES, hidden, rngs=rngs)
        self.inner = nnx.Linear(n_latent, hidden, rngs=rngs)
        self.blocks = nnx.List([ConditionedBlock(hidden, rngs=rngs) for _ in range(config.n_flow_layers)])
        self.norm = nnx.LayerNorm(hidden, rngs=rngs)
        zeros = nnx.initializers.zeros_init()
        self.outer = nnx.Linear(hidden, n_latent, kernel_init=zeros, rngs=rngs)

    def context(self, condition: Condition) -> Float[Array, "cell hidden"]:
        """The condition as one vector a cell: sum of level embeddings and a linear map of the rest."""
        centre, scale = self.log_library[...]
        depth = (jnp.asarray(condition.log_library) - centre) / scale
        continuous = jnp.concatenate([jnp.asarray(condition.continuous), depth[:, None]], axis=-1)
        return self.levels(jnp.asarray(condition.categories)) + self.covariates(continuous)

    def velocity(
        self,
        x: Float[Array, "cell latent"],
        t: Float[Array, " cell"],
        context: Float[Array, "cell hidden"],
    ) -> Float[Array, "cell latent"]:
        """dx/dt at time t in [0, 1], in standardised latents."""
        context = context + self.time(time_features(t, _TIME_FEATURES))
        hidden = self.inner(x)
        for block in self.blocks:
            hidden = block(hidden, context)
        return self.outer(jax.nn.silu(self.norm(hidden)))

    def _with_dropped_levels(self, condition: Condition, keys: jax.Array) -> Condition:
        """Each level of each cell unknown with probability `condition_dropout`, to learn the margins."""
        categories = jnp.asarray(condition.categories)
        if not categories.shape[1] or not self.config.condition_dropout:
            return condition
        dropped = row_bernoulli(keys, self.config.condition_dropout, categories.shape[1])
        return Condition(jnp.where(dropped, -1, categories), condition.continuous, condition.log_library)

    def loss(self, minibatch: Minibatch, key: jax.Array, step: Array) -> tuple[Float[Array, " cell"], dict[str, Array]]:
        """Mean squared error of the velocity over latent dimensions, a cell."""
        keys = row_keys(key, minibatch.weight.shape[0])
        posterior_mean, posterior_sd = jnp.split(jnp.asarray(minibatch.values), 2, axis=-1)
        z = posterior_mean + posterior_sd * row_normal(fold(keys, 0), self.n_latent)
        z = (z - self.mean[...]) / self.sd[...]
        noise = row_normal(fold(keys, 1), self.n_latent)
        t = jax.nn.sigmoid(row_normal(fold(keys, 2), 1))
        condition = minibatch.condition
        if not self.deterministic:
            condition = self._with_dropped_levels(condition, fold(keys, 3))
        found = self.velocity((1 - t) * noise + t * z, t[:, 0], self.context(condition))
        return jnp.mean((found - (z - noise)) ** 2, axis=-1), {}

    def integrate(self, noise: Float[Array, "cell latent"], condition: Condition) -> Float[Array, "cell latent"]:
        """Carry standardised `noise` along the flow with `n_flow_steps` Heun steps; standardised latents."""
        n_steps = self.config.n_flow_steps
        context = self.context(condition)
        step = 1.0 / n_steps

        def heun(i: Array, x: Array) -> Array:
            now = jnp.full(x.shape[0], i * step)
            first = self.velocity(x, now, context)
            second = self.velocity(x + step * first, now + step, context)
            return x + 0.5 * step * (first + second)

        return jax.lax.fori_loop(0, n_steps, heun, noise)

    def sample(self, key: jax.Array, condition: Condition, start: int | Array = 0) -> Float[Array, "cell latent"]:
        """Latents of the VAE, one a row of `condition`; row i's draw depends on `start + i` alone."""
        noise = row_normal(row_keys(key, condition.n_examples, start), self.n_latent)
        x = (self.integrate(noise, condition) - self.drift[...]) / self.spread[...]
        return x * self.sd[...] + self.mean[...]

    def calibrate(self, drawn: Float[np.ndarray, "cell latent"]) -> None:
        """Correct the scale of later draws, given latents drawn at the training mix of conditions.

        A regression of velocities shrinks them, so that the draws' SD comes out a few per cent low.
        """
        x = (np.asarray(drawn) - np.asarray(self.mean[...])) / np.asarray(self.sd[...])
        self.drift[...] = jnp.asarray(x.mean(axis=0))
        self.spread[...] = jnp.asarray(np.clip(x.std(axis=0), 0.8, 1.25))
