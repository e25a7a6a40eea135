"""What the closed-form prediction of a mean effect leaves over (L1): a small network over programs of effects.

Trained on held-out conditions, whose closed-form predictions never saw them. Components of a perturbation act each
alone and pair by pair (a factorisation machine; Rendle 2010, ICDM), a context shifts and scales what they do. The
network is 0 before training, and how long it is trained is chosen on conditions that it does not train on: where
there is nothing to learn that is not at all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jaxtyping import Array, Float

from genesim import rng
from genesim.models.perturbation.programs import Told, Vocabulary
from genesim.nn.mlp import ConditionedBlock

_HIDDEN = 32
_LEARNING_RATE, _WEIGHT_DECAY = 3e-3, 1e-2
_N_MEMBERS, _N_FOLDS = 3, 4
# Rows are filled up to a multiple of this, so that folds of about a size share one compilation.
_ROWS = 32


class ResidualEffect(nnx.Module):
    """Residual of a mean effect, as scores on programs; 0 everywhere before training."""

    def __init__(self, n_programs: int, n_features: int, n_context: int, *, rngs: nnx.Rngs) -> None:
        self.level = nnx.Linear(n_programs, _HIDDEN, rngs=rngs)
        self.part = nnx.Linear(n_features, _HIDDEN, rngs=rngs)
        self.factor = nnx.Linear(n_features, _HIDDEN, rngs=rngs)
        self.pair = nnx.Linear(_HIDDEN, _HIDDEN, use_bias=False, rngs=rngs)
        self.context = nnx.Linear(n_context, _HIDDEN, rngs=rngs)
        self.block = ConditionedBlock(_HIDDEN, rngs=rngs)
        zeros = nnx.initializers.zeros_init()
        self.outer = nnx.Linear(_HIDDEN, n_programs, kernel_init=zeros, rngs=rngs)

    def __call__(
        self,
        level: Float[Array, "question program"],
        parts: Float[Array, "question part feature"],
        present: Float[Array, "question part"],
        context: Float[Array, "question axis"],
    ) -> Float[Array, "question program"]:
        """See `Told`; the order of components does not matter."""
        there = present[..., None]
        alone = (jax.nn.silu(self.part(parts)) * there).sum(1)
        factor = self.factor(parts) * there
        together = (factor.sum(1) ** 2 - (factor**2).sum(1)) / 2
        hidden = self.level(level) + alone + self.pair(together)
        return self.outer(self.block(hidden, self.context(context)))

    def losses(
        self, told: Sequence[Array], target: Float[Array, "question program"], weight: Float[Array, "question program"]
    ) -> Float[Array, " question"]:
        """Weighted squared error of each question."""
        return (weight * (self(*told) - target) ** 2).sum(1)


@dataclass(frozen=True, eq=False)
class EffectResidual:
    """A trained residual.

    Attributes:
        vocabulary: What it is told in.
        members: Networks that differ in their start; their mean counts.
        unit: Of their output, in scores.
        n_steps: Trained for; 0 is no residual.
    """

    vocabulary: Vocabulary
    members: tuple[ResidualEffect, ...]
    unit: float
    n_steps: int

    def of(self, told: Told, target: np.ndarray) -> Float[np.ndarray, " gene"]:
        """Residual effect of one question.

        Args:
            told: The question.
            target: Mask of its target genes, of which nothing was learned.
        """
        arrays = [jnp.asarray(a, jnp.float32) for a in told.arrays]
        scores = np.mean([np.asarray(member(*arrays)[0], np.float64) for member in self.members], axis=0)
        # Directions are 1 / scale long: back in genes they count scale^2 times.
        directions = self.vocabulary.programs.directions
        length = np.maximum((directions**2).sum(1), 1e-300)
        return np.where(target, 0.0, (self.unit * scores / length) @ directions)


@partial(jax.jit, static_argnames=("graph", "n_steps"))
def _trained(
    graph: nnx.GraphDef,
    members: nnx.State,
    data: tuple[tuple[Array, ...], Array, Array],
    used: Float[Array, " question"],
    stop: Array,
    n_steps: int,
) -> tuple[nnx.State, Array]:
    """Members after `stop` steps of AdamW on the questions `used`, and their mean loss of every question by step."""
    optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(_LEARNING_RATE, weight_decay=_WEIGHT_DECAY))

    def objective(parameters: nnx.State) -> tuple[Array, Array]:
        each = nnx.merge(graph, parameters).losses(*data)
        return (each * used).sum() / jnp.maximum(used.sum(), 1.0), each

    def one(carry: tuple, step: Array) -> tuple[tuple, Array]:
        now, state = carry
        (_, each), gradient = jax.value_and_grad(objective, has_aux=True)(now)
        update, new_state = optimizer.update(gradient, state, now)
        after = optax.apply_updates(now, update)
        kept = jax.tree.map(lambda a, b: jnp.where(step < stop, a, b), (after, new_state), (now, state))
        return kept, each

    def member(start: nnx.State) -> tuple[nnx.State, Array]:
        (end, _), each = jax.lax.scan(one, (start, optimizer.init(start)), jnp.arange(n_steps))
        return end, each

    ends, each = jax.vmap(member)(members)
    return ends, each.mean(0)


def targets_of(
    vocabulary: Vocabulary, residual: np.ndarray, se: np.ndarray, used: np.ndarray
) -> tuple[np.ndarray, np.ndarray, float]:
    """What the network learns: residuals as scores in units of their spread, and the weight of each.

    Args:
        residual, se, used: Truth minus prediction, its standard error, and the genes that count (condition x gene).

    Returns:
        Scores and weights (condition x program; a weight is 1 / variance, of mean 1), and the unit.
    """
    directions = vocabulary.programs.directions
    scores = np.where(used, residual, 0.0) @ directions.T
    noise = np.where(used, se, 0.0) ** 2 @ (directions**2).T
    signal = np.maximum((scores**2).mean(0) - noise.mean(0), 0.0)
    # Within a program a condition counts by its noise; between programs all lengths are alike.
    within = (signal + noise.mean(0)) / np.maximum(signal + noise, 1e-300)
    weight = np.where((directions != 0).any(1), within, 0.0)
    total = float((weight * scores**2).sum() / max(float(weight.sum()), 1e-300))
    unit = max(float(np.sqrt(total)), 1e-12)
    return scores / unit, weight / max(float(weight.mean()), 1e-300), unit


def fit_residual(
    vocabulary: Vocabulary,
    told: Told,
    residual: Float[np.ndarray, "condition gene"],
    se: Float[np.ndarray, "condition gene"],
    used: np.ndarray,
    fold: np.ndarray,
    n_steps: int,
    seed: int,
) -> EffectResidual:
    """Learn residuals of held-out conditions.

    Args:
        told: The conditions as questions.
        residual: Observed effect minus the prediction that did not know it.
        se, used: Error of the observed effect, and the genes that count.
        fold: Conditions of one fold stay together where the number of steps is chosen.
        n_steps: At most.
        seed: Of the networks' start.
    """
    target, weight, unit = targets_of(vocabulary, residual, se, used)
    n, k = target.shape
    room = -(-n // _ROWS) * _ROWS
    more = ((0, room - n), (0, 0))
    arrays = tuple(jnp.asarray(a, jnp.float32) for a in told.padded(room).arrays)
    data = (arrays, jnp.asarray(np.pad(target, more), jnp.float32), jnp.asarray(np.pad(weight, more), jnp.float32))
    networks = [
        ResidualEffect(
            k,
            vocabulary.n_features,
            told.context.shape[1],
            rngs=nnx.Rngs(rng.seed(seed, "perturbation", "residual", member)),
        )
        for member in range(_N_MEMBERS)
    ]
    graph = nnx.split(networks[0])[0]
    start = jax.tree.map(lambda *leaves: jnp.stack(leaves), *(nnx.state(network) for network in networks))
    part = np.unique(fold, return_inverse=True)[1] % _N_FOLDS
    left_out = np.zeros(n_steps)
    for held in np.unique(part):
        used_rows = np.pad((part != held).astype(np.float32), (0, room - n))
        _, each = _trained(graph, start, data, jnp.asarray(used_rows), jnp.asarray(n_steps), n_steps)
        left_out += np.asarray(each, np.float64)[:, :n][:, part == held].sum(1)
    # The loss of a step is that before its update, so that the first is that of no residual.
    best = int(left_out.argmin())
    everything = jnp.asarray(np.pad(np.ones(n, np.float32), (0, room - n)))
    ends, _ = _trained(graph, start, data, everything, jnp.asarray(best), n_steps)
    members = tuple(nnx.merge(graph, jax.tree.map(lambda leaf, i=i: leaf[i], ends)) for i in range(_N_MEMBERS))
    return EffectResidual(vocabulary, members, unit, best)
