"""Small models with known answers, for the tests of training."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from genesim.config.model import TrainPlan
from genesim.data.stream import ArrayStream, WholeStream
from genesim.models.base import EmModel, GenerativeModel
from genesim.types import Condition, Minibatch


def no_condition(n: int) -> Condition:
    return Condition(np.zeros((n, 0), np.int32), np.zeros((n, 0), np.float32), np.zeros(n, np.float32))


class NoisyMean(GenerativeModel):
    """Half the squared distance to a learned centre, noise added; the optimum is the mean of the data."""

    def __init__(self, n_features: int, seed: int = 0, noise: float = 0.01, plan: TrainPlan | None = None) -> None:
        start = np.random.default_rng(seed).normal(size=n_features)
        self.centre = nnx.Param(jnp.asarray(start, jnp.float32))
        self.noise = noise
        self.settings = plan
        self.sizes = {"features": [n_features]}
        self.n_calls = nnx.Variable(jnp.int32(0))

    def loss(self, minibatch: Minibatch, key: jax.Array, step: jax.Array):
        self.n_calls[...] = self.n_calls[...] + 1
        x = jnp.asarray(minibatch.values)
        noisy = x + self.noise * (jax.random.uniform(key, (x.shape[1],)) - 0.5)
        residual = 0.5 * jnp.square(noisy - self.centre[...]).sum(axis=1)
        return residual, {"residual": residual}


class DroppedOut(GenerativeModel):
    """Dropout of its own stream of keys, inside a list of modules: state that no gradient moves."""

    def __init__(self, n_features: int, seed: int = 0) -> None:
        rngs = nnx.Rngs(seed)
        self.layers = nnx.List([nnx.Linear(n_features, n_features, rngs=rngs)])
        self.dropout = nnx.Dropout(0.3, rngs=rngs)

    def loss(self, minibatch: Minibatch, key: jax.Array, step: jax.Array):
        x = jnp.asarray(minibatch.values)
        return jnp.square(self.dropout(self.layers[0](x)) - x).sum(axis=1), {}


class Poisoned(GenerativeModel):
    """Learns a mean; rows whose first value is above 1e6 have a NaN gradient."""

    def __init__(self, n_features: int) -> None:
        self.centre = nnx.Param(jnp.zeros(n_features))

    def loss(self, minibatch: Minibatch, key: jax.Array, step: jax.Array):
        x = jnp.asarray(minibatch.values)
        loss = 0.5 * jnp.square(x - self.centre[...]).sum(axis=1)
        return loss * jnp.where(x[:, 0] > 1e6, jnp.nan, 1.0), {}


class BernoulliMixture(EmModel):
    """A mixture of independent Bernoulli features, fitted by EM; -1 is missing."""

    def __init__(self, n_components: int, n_features: int, seed: int = 0) -> None:
        draws = np.random.default_rng(seed).uniform(0.3, 0.7, (n_components, n_features))
        self.frequency = nnx.Param(jnp.asarray(draws, jnp.float32))
        self.share = nnx.Param(jnp.full(n_components, 1 / n_components, jnp.float32))

    def expect(self, minibatch: Minibatch):
        x = jnp.asarray(minibatch.values)
        seen, one = (x >= 0).astype(jnp.float32), (x == 1).astype(jnp.float32)
        p = self.frequency[...]
        joint = jnp.log(self.share[...]) + one @ jnp.log(p).T + (seen - one) @ jnp.log1p(-p).T
        total = jax.nn.logsumexp(joint, axis=1)
        weight = jnp.asarray(minibatch.weight)
        posterior = jnp.exp(joint - total[:, None]) * weight[:, None]
        return {
            "log_likelihood": (total * weight).sum(),
            "share": posterior.sum(axis=0),
            "seen": posterior.T @ seen,
            "one": posterior.T @ one,
        }

    def maximise(self, statistics) -> None:
        self.share[...] = statistics["share"] / statistics["share"].sum()
        self.frequency[...] = (statistics["one"] + 0.5) / (statistics["seen"] + 1.0)


def normal_stream(n: int = 50, n_features: int = 3, minibatch_size: int = 8, seed: int = 0) -> ArrayStream:
    values = np.random.default_rng(seed).normal(2.0, 1.0, (n, n_features)).astype(np.float32)
    return ArrayStream(values, no_condition(n), minibatch_size, seed, "train")


def allele_stream(n: int = 45, n_features: int = 6, minibatch_size: int = 8) -> WholeStream:
    generator = np.random.default_rng(3)
    frequency = np.where(generator.random((n, 1)) < 0.4, 0.1, 0.85)
    values = (generator.random((n, n_features)) < frequency).astype(np.int8)
    values[generator.random(values.shape) < 0.05] = -1
    return WholeStream(values, no_condition(n), minibatch_size)


def leaves(model: nnx.Module) -> list[np.ndarray]:
    """Trained parameters as bytes can be compared."""
    return [np.asarray(leaf) for leaf in jax.tree.leaves(nnx.state(model, nnx.Param))]


def same(a: nnx.Module, b: nnx.Module) -> bool:
    """Whether two models have bit for bit the same parameters."""
    return all(x.tobytes() == y.tobytes() for x, y in zip(leaves(a), leaves(b), strict=True))
