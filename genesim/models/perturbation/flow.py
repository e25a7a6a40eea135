"""What the plain shift gets wrong about the distribution of cells, as a flow from shifted cells to real ones.

Conditional flow matching (Lipman 2023, ICLR) between paired cells (Tong 2024, TMLR): source cells are controls
already moved by the predicted mean effect, so that a flow that has learned nothing changes nothing. Network and
output work in a few principal components of log expression; what lies outside them stays as the shift left it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jaxtyping import Array, Float
from scipy import sparse

from genesim import rng
from genesim.models.perturbation.coupling import Paired, minibatch_pairs
from genesim.nn.embedding import time_features
from genesim.nn.mlp import ConditionedBlock

_TIME_FEATURES, _HIDDEN, _N_BLOCKS = 16, 64, 2
_BATCH, _LEARNING_RATE, _HEUN_STEPS = 256, 2e-3, 8
_MAX_BASIS_CELLS = 1000


class ResidualFlow(nnx.Module):
    """Velocity v(x, t | predicted mean effect) in scaled components; zero everywhere before training."""

    def __init__(self, n_components: int, *, rngs: nnx.Rngs) -> None:
        self.inner = nnx.Linear(n_components, _HIDDEN, rngs=rngs)
        self.condition = nnx.Linear(n_components, _HIDDEN, rngs=rngs)
        self.time = nnx.Linear(_TIME_FEATURES, _HIDDEN, rngs=rngs)
        self.blocks = nnx.List([ConditionedBlock(_HIDDEN, rngs=rngs) for _ in range(_N_BLOCKS)])
        zeros = nnx.initializers.zeros_init()
        self.outer = nnx.Linear(_HIDDEN, n_components, kernel_init=zeros, rngs=rngs)

    def velocity(
        self, x: Float[Array, "cell component"], t: Float[Array, " cell"], effect: Float[Array, "cell component"]
    ) -> Float[Array, "cell component"]:
        """dx/dt at time t in [0, 1]."""
        context = self.condition(effect) + self.time(time_features(t, _TIME_FEATURES))
        hidden = self.inner(x)
        for block in self.blocks:
            hidden = block(hidden, context)
        return self.outer(jax.nn.silu(hidden))

    def loss(
        self,
        source: Float[Array, "cell component"],
        target: Float[Array, "cell component"],
        effect: Float[Array, "cell component"],
        t: Float[Array, " cell"],
    ) -> Float[Array, ""]:
        """Mean squared error of the velocity along straight lines between pairs."""
        at = (1 - t)[:, None] * source + t[:, None] * target
        return jnp.mean((self.velocity(at, t, effect) - (target - source)) ** 2)

    def carry(
        self, x: Float[Array, "cell component"], effect: Float[Array, "cell component"]
    ) -> Float[Array, "cell component"]:
        """Cells at t = 1, by Heun's method."""
        step = 1.0 / _HEUN_STEPS

        def heun(i: Array, now: Array) -> Array:
            t = jnp.full(now.shape[0], i * step)
            first = self.velocity(now, t, effect)
            second = self.velocity(now + step * first, t + step, effect)
            return now + 0.5 * step * (first + second)

        return jax.lax.fori_loop(0, _HEUN_STEPS, heun, x)


@dataclass(frozen=True)
class Basis:
    """Principal components of log expression.

    Attributes:
        mean: Of the cells that they were made from, per gene.
        loadings: component x gene, orthonormal rows.
        scale: Standard deviation along the first component; scores are in units of it.
    """

    mean: Float[np.ndarray, " gene"]
    loadings: Float[np.ndarray, "component gene"]
    scale: float

    @classmethod
    def of(cls, cells: sparse.csr_matrix, n_components: int, seed: int) -> Basis:
        """From log expression (cell x gene); of many cells a part is used."""
        draw = rng.generator(seed, "perturbation", "flow", "basis")
        if cells.shape[0] > _MAX_BASIS_CELLS:
            cells = cells[np.sort(draw.choice(cells.shape[0], _MAX_BASIS_CELLS, replace=False))]
        x = cells.toarray()
        mean = x.mean(0)
        x = x - mean
        wide = x.shape[1] > x.shape[0]
        value, vector = np.linalg.eigh(x @ x.T if wide else x.T @ x)
        n = min(n_components, int((value > 1e-9 * value[-1]).sum()))
        value, vector = value[-n:][::-1], vector[:, -n:][:, ::-1]
        # The sign of a component is arbitrary: the largest loading is made positive, so that runs agree.
        loadings = (vector / np.sqrt(value)).T @ x if wide else vector.T.copy()
        loadings *= np.sign(loadings[np.arange(n), np.abs(loadings).argmax(1)])[:, None]
        return cls(mean, loadings, float(np.sqrt(value[0] / len(x))))

    def scores(self, cells: sparse.csr_matrix) -> Float[np.ndarray, "cell component"]:
        """Scaled scores of log expression."""
        return (np.asarray(cells @ self.loadings.T) - self.loadings @ self.mean) / self.scale

    def direction(self, effect: Float[np.ndarray, " gene"]) -> Float[np.ndarray, " component"]:
        """An effect, in scaled scores."""
        return self.loadings @ effect / self.scale


@dataclass(frozen=True, eq=False)
class CellFlow:
    """A trained flow with the components that it works in."""

    basis: Basis
    network: ResidualFlow

    def displacement(
        self, cells: sparse.csr_matrix, effect: Float[np.ndarray, " gene"]
    ) -> Float[np.ndarray, "cell component"]:
        """Where each shifted cell goes from the mean of all, times `basis.loadings` in log expression.

        Args:
            cells: Log expression of control cells that were moved by `effect`.
            effect: Predicted mean effect.
        """
        x = self.basis.scores(cells)
        condition = np.broadcast_to(self.basis.direction(effect), x.shape)
        arrived = _carry(self.network, jnp.asarray(x, jnp.float32), jnp.asarray(condition, jnp.float32))
        moved = np.asarray(arrived, np.float64) - x
        # The mean is the stack's business: the flow says how cells differ from one another, and nothing else.
        return (moved - moved.mean(0)) * self.basis.scale


@nnx.jit
def _carry(network: ResidualFlow, x: Array, effect: Array) -> Array:
    return network.carry(x, effect)


def _batch(key: Array, arrays: tuple[Array, Array, Array], step: Array) -> tuple[Array, ...]:
    """One minibatch of pairs and times."""
    first, second = jax.random.split(jax.random.fold_in(key, step))
    rows = jax.random.randint(first, (_BATCH,), 0, len(arrays[0]))
    return *(a[rows] for a in arrays), jax.random.uniform(second, (_BATCH,))


@partial(jax.jit, static_argnames=("graph", "n_steps"))
def _trained(
    graph: nnx.GraphDef, parameters: nnx.State, key: Array, arrays: tuple[Array, Array, Array], n_steps: int
) -> tuple[nnx.State, Array]:
    """Parameters after `n_steps` of Adam (cosine decay), and the loss of every step."""
    optimizer = optax.chain(
        optax.clip_by_global_norm(1.0), optax.adam(optax.cosine_decay_schedule(_LEARNING_RATE, n_steps))
    )

    def one(carry: tuple, step: Array) -> tuple[tuple, Array]:
        now, state = carry
        batch = _batch(key, arrays, step)
        loss, gradient = jax.value_and_grad(lambda p: nnx.merge(graph, p).loss(*batch))(now)
        update, state = optimizer.update(gradient, state, now)
        return (optax.apply_updates(now, update), state), loss

    (parameters, _), losses = jax.lax.scan(one, (parameters, optimizer.init(parameters)), jnp.arange(n_steps))
    return parameters, losses


def fit_flow(
    conditions: list[Paired], basis: Basis, n_steps: int, seed: int
) -> tuple[CellFlow, Float[np.ndarray, " step"]]:
    """Learn the flow from conditions that were measured.

    Args:
        conditions: Shifted and real cells of each, in scores of `basis`.
        basis: Components.
        n_steps: Steps of the optimiser.
        seed: Of couplings, minibatches and the network's start.

    Returns:
        The flow and its loss, step by step.
    """
    pairs = minibatch_pairs(conditions, seed)
    network = ResidualFlow(len(basis.loadings), rngs=nnx.Rngs(rng.seed(seed, "perturbation", "flow", "network")))
    source, target, effect = (jnp.asarray(a, jnp.float32) for a in (pairs.source, pairs.target, pairs.effect))
    graph, parameters = nnx.split(network)
    key = rng.key(seed, "perturbation", "flow")
    parameters, losses = _trained(graph, parameters, key, (source, target, effect), n_steps)
    return CellFlow(basis, nnx.merge(graph, parameters)), np.asarray(losses)
