"""How one step of training is done: by stochastic gradients, or by one pass of EM.

The loop knows only `step(state, minibatch, key) -> (state, info)`. Each builder splits the model once
with `nnx.split`, so that every step is a pure function of arrays and can be scanned and resumed.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jaxtyping import Array, Bool, Float

from genesim.config.model import TrainPlan
from genesim.errors import TrainingError
from genesim.models.base import EmModel, GenerativeModel
from genesim.train.state import Info, TrainState
from genesim.types import Minibatch


@dataclass(frozen=True)
class TrainStep:
    """One way to train a model.

    Attributes:
        name: "gradient" or "em"; part of what a checkpoint is checked against.
        model: The model as it was given; a copy of it is trained.
        init: The state before the first step.
        step: One step; pure, so that it can be compiled.
        evaluate: Summed loss and summed weight of a minibatch, nothing learned; pure.
        finish: The trained model of a state, in evaluation mode.
    """

    name: str
    model: nnx.Module
    init: Callable[[], TrainState]
    step: Callable[[TrainState, Minibatch, jax.Array], tuple[TrainState, Info]]
    evaluate: Callable[[TrainState, Minibatch, jax.Array], tuple[Array, Array]]
    finish: Callable[[TrainState], Any]


def schedule(plan: TrainPlan) -> optax.Schedule:
    """Learning rate by step: linear warm-up over 5 % of the run (500 steps at most), then a cosine to 1 %."""
    warmup = max(1, min(500, plan.n_steps // 20))
    return optax.warmup_cosine_decay_schedule(
        init_value=plan.learning_rate / (warmup + 1),
        peak_value=plan.learning_rate,
        warmup_steps=warmup,
        decay_steps=max(plan.n_steps, warmup + 1),
        end_value=0.01 * plan.learning_rate,
    )


def _optimiser(plan: TrainPlan) -> optax.GradientTransformation:
    def is_matrix(parameters: Any) -> Any:
        # Decay pulls towards zero, which means nothing for biases and scales.
        return jax.tree.map(lambda array: array.ndim > 1, parameters)

    return optax.chain(
        optax.clip_by_global_norm(plan.gradient_clip),
        optax.adamw(schedule(plan), weight_decay=plan.weight_decay, mask=is_matrix),
    )


def _precision(plan: TrainPlan) -> AbstractContextManager[None]:
    """What matrix products are traced under, and their gradients after them: bfloat16 factors, float32 sums.

    Not on a CPU, where XLA (jaxlib 0.10.2) has no such products: it takes float32, or ends the process.
    """
    wanted = plan.precision == "bfloat16" and jax.default_backend() != "cpu"
    return jax.default_matmul_precision("BF16_BF16_F32") if wanted else nullcontext()


def _split(model: nnx.Module) -> tuple[Any, Any, Any]:
    """Graph, parameters and other variables of `model`."""
    graph, parameters, rest = nnx.split(model, nnx.Param, ...)  # type: ignore[misc]
    return graph, parameters, rest


def _weighted_mean(value: Array, weights: Float[Array | np.ndarray, " example"]) -> Array:
    """Mean over the examples of positive weight; a scalar passes unchanged."""
    if value.ndim == 0:
        return value
    weight = jnp.asarray(weights)
    # `where`, not a product alone: padding may be infinite and 0 * inf is NaN.
    weight = weight.reshape(weight.shape + (1,) * (value.ndim - 1))
    total = jnp.sum(jnp.where(weight > 0, value, 0.0) * weight)
    return total / jnp.maximum(jnp.sum(weight * jnp.ones_like(value)), 1e-12)


def _select(keep_new: Bool[Array, ""], new: Any, old: Any) -> Any:
    return jax.tree.map(lambda a, b: jax.lax.select(keep_new, a, b), new, old)


def _all_finite(tree: Any) -> Bool[Array, ""]:
    floats = [leaf for leaf in jax.tree.leaves(tree) if jnp.issubdtype(leaf.dtype, jnp.floating)]
    return jnp.all(jnp.array([jnp.all(jnp.isfinite(leaf)) for leaf in floats]))


def gradient_step(model: GenerativeModel, plan: TrainPlan) -> TrainStep:
    """AdamW (Loshchilov & Hutter 2019) on the weighted mean of the per-example loss.

    Gradients are clipped to a global norm; the learning rate warms up and falls as a cosine. A step
    whose loss or gradient is not finite changes nothing but the step count and has `skipped` = 1. With
    `plan.ema_decay` = d > 0 the average uses min(d, (1 + t) / (10 + t)) at step t, so that it forgets
    the initial values.

    `info`: loss, gradient_norm (before clipping), skipped, and the weighted means of the model's own.
    """
    work = nnx.clone(model)
    work.train()
    graph, parameters, rest = _split(work)
    optimiser = _optimiser(plan)

    def init() -> TrainState:
        average = parameters if plan.ema_decay > 0 else None
        return TrainState(parameters, rest, optimiser.init(parameters), jnp.int32(0), average)

    def objective(
        values: Any, other: Any, minibatch: Minibatch, key: jax.Array, step: Array
    ) -> tuple[Array, tuple[Info, Any]]:
        merged = nnx.merge(graph, values, other, copy=True)
        with _precision(plan):
            loss, diagnostics = merged.loss(minibatch, key, step)
        if loss.shape != minibatch.weight.shape:
            raise TrainingError(
                f"loss has shape {loss.shape}, expected one value an example {minibatch.weight.shape}",
                where=type(model).__name__,
                remedy="return the loss of each example, not its mean",
            )
        means = {name: _weighted_mean(value, minibatch.weight) for name, value in diagnostics.items()}
        _, _, other = _split(merged)
        return _weighted_mean(loss, minibatch.weight), (means, other)

    def step(state: TrainState, minibatch: Minibatch, key: jax.Array) -> tuple[TrainState, Info]:
        (loss, (means, other)), gradient = jax.value_and_grad(objective, has_aux=True)(
            state.parameters, state.rest, minibatch, key, state.step
        )
        norm = optax.global_norm(gradient)
        good = jnp.isfinite(loss) & jnp.isfinite(norm)
        updates, moments = optimiser.update(gradient, state.optimiser, state.parameters)
        moved = optax.apply_updates(state.parameters, updates)
        average = None
        if state.average is not None:
            t = state.step.astype(jnp.float32)
            decay = jnp.minimum(plan.ema_decay, (1 + t) / (10 + t))
            average = jax.tree.map(lambda a, p: decay * a + (1 - decay) * p, state.average, moved)
        new = (moved, other, moments, average)
        old = (state.parameters, state.rest, state.optimiser, state.average)
        moved, other, moments, average = _select(good, new, old)
        info = {
            **means,
            "loss": loss,
            "gradient_norm": norm,
            "skipped": 1 - good.astype(jnp.int32),
        }
        return TrainState(moved, other, moments, state.step + 1, average), info

    def finish(state: TrainState) -> Any:
        merged = nnx.merge(graph, state.best_parameters, state.rest, copy=True)
        merged.eval()
        return merged

    def evaluate(state: TrainState, minibatch: Minibatch, key: jax.Array) -> tuple[Array, Array]:
        # The step of the end: with warm-ups over, losses of different rounds measure the same thing.
        loss, _ = finish(state).loss(minibatch, key, jnp.int32(plan.n_steps))
        return _weighted_mean(loss, minibatch.weight) * minibatch.weight.sum(), minibatch.weight.sum()

    return TrainStep("gradient", model, init, step, evaluate, finish)


def em_step(model: EmModel, minibatch_size: int) -> TrainStep:
    """One pass of expectation-maximisation (Dempster et al. 1977) over the whole data (`WholeStream`).

    Statistics are summed by a scan over chunks of `minibatch_size` rows, so memory stays that of one
    chunk. A pass whose statistics or parameters are not finite changes nothing and has `skipped` = 1.

    `info`: loss (negative log-likelihood an example, in nats, before this pass's maximisation), skipped.

    Raises:
        TrainingError: (when traced) the rows are no multiple of `minibatch_size`.
    """
    work = nnx.clone(model)
    work.eval()
    graph, parameters, rest = _split(work)

    def init() -> TrainState:
        return TrainState(parameters, rest, None, jnp.int32(0), None)

    def finish(state: TrainState) -> Any:
        return nnx.merge(graph, state.parameters, state.rest, copy=True)

    def expect(state: TrainState, minibatch: Minibatch) -> dict[str, Array]:
        n_rows = minibatch.weight.shape[0]
        if n_rows % minibatch_size:
            raise TrainingError(
                f"{n_rows} rows are no multiple of the minibatch size {minibatch_size}",
                where="em_step",
                remedy="give a WholeStream of the same minibatch_size",
            )
        if n_rows == minibatch_size:
            return finish(state).expect(minibatch)
        chunks = jax.tree.map(lambda x: x.reshape(n_rows // minibatch_size, minibatch_size, *x.shape[1:]), minibatch)

        def one(chunk: Minibatch) -> dict[str, Array]:
            return finish(state).expect(chunk)

        shapes = jax.eval_shape(one, jax.tree.map(lambda x: x[0], chunks))
        zero = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)
        total, _ = jax.lax.scan(lambda sums, c: (jax.tree.map(jnp.add, sums, one(c)), None), zero, chunks)
        return total

    def step(state: TrainState, minibatch: Minibatch, key: jax.Array) -> tuple[TrainState, Info]:
        statistics = expect(state, minibatch)
        merged = finish(state)
        merged.maximise(statistics)
        _, moved, other = _split(merged)
        good = _all_finite(statistics) & _all_finite(moved)
        moved, other = _select(good, (moved, other), (state.parameters, state.rest))
        info = {
            "loss": -statistics["log_likelihood"] / jnp.maximum(minibatch.weight.sum(), 1e-12),
            "skipped": 1 - good.astype(jnp.int32),
        }
        return TrainState(moved, other, None, state.step + 1, None), info

    def evaluate(state: TrainState, minibatch: Minibatch, key: jax.Array) -> tuple[Array, Array]:
        return -finish(state).expect(minibatch)["log_likelihood"], minibatch.weight.sum()

    return TrainStep("em", model, init, step, evaluate, finish)


def default_step(model: nnx.Module, plan: TrainPlan) -> TrainStep:
    """The step that fits the kind of `model`.

    Raises:
        TrainingError: The model is neither a `GenerativeModel` nor an `EmModel`.
    """
    if isinstance(model, GenerativeModel):
        return gradient_step(model, plan)
    if isinstance(model, EmModel):
        return em_step(model, plan.minibatch_size)
    raise TrainingError(
        "is trained neither by gradients nor by EM",
        where=type(model).__name__,
        remedy="derive from GenerativeModel or EmModel, or pass `step`",
    )
