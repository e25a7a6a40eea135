"""The one training loop: it knows `step(state, minibatch, key) -> (state, info)` and no concrete model.

Keys and minibatches are functions of the step's number, so how steps are grouped into compiled calls, and
where a run was interrupted, never changes its result.

With several local devices the examples of a minibatch are divided among them and the state is whole on each; the
result is that of one device up to rounding. EM, whose minibatch never changes, uses one. With several processes
(`distributed`) it is the devices of all of them, and the first process writes the checkpoints.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, Generic, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from genesim import rng
from genesim.config.model import TrainPlan
from genesim.console import log, progress
from genesim.data.stream import Stream
from genesim.errors import TrainingError
from genesim.train import resume
from genesim.train.hooks import Hook
from genesim.train.state import Info, TrainState
from genesim.train.step import TrainStep, default_step
from genesim.types import Minibatch

M = TypeVar("M", bound=nnx.Module)

# Host memory that the minibatches of one call may take; two calls' worth are held at a time.
_CALL_BYTES = 128 * 2**20


@dataclass(frozen=True)
class FitResult(Generic[M]):
    """A finished training run.

    Attributes:
        model: The trained model in evaluation mode (its moving average where the plan asks for one).
        history: `info` of every step by name (arrays of length `n_steps`), and, where there was
            validation, `validation_step` and `validation_loss` of every round.
        n_steps: Steps done, skipped ones included.
        best_step: The step whose parameters the model has.
        skipped: Steps skipped because the loss or its gradient was not finite.
        n_traces: How often the compiled call was traced: 1, or 0 where a finished run was only read back.
    """

    model: M
    history: dict[str, np.ndarray]
    n_steps: int
    best_step: int
    skipped: int
    n_traces: int


def _is_key(leaf: Any) -> bool:
    return isinstance(leaf, jax.Array) and jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)


class _Devices:
    """The devices of a run: one, for which nothing changes, or several that share the examples of a minibatch."""

    def __init__(self, stream: Stream) -> None:
        self._examples: NamedSharding | None = None
        self._processes = jax.process_count() > 1 and not stream.constant
        chosen = jax.local_devices() if jax.config.jax_default_device is None else []  # type: ignore[attr-defined]
        if self._processes:
            chosen = jax.devices()
        if len(chosen) > 1 and not stream.constant:
            mesh = jax.make_mesh((len(chosen),), ("example",), axis_types=(AxisType.Auto,), devices=chosen)
            self._first, self._whole = chosen[0], NamedSharding(mesh, PartitionSpec())
            self._examples = NamedSharding(mesh, PartitionSpec("example"))

    @property
    def writes(self) -> bool:
        """Whether this process is the one that writes checkpoints."""
        return not self._processes or jax.process_index() == 0

    def _spread(self, leaf: Any) -> Any:
        """What every process holds, as one array of all of them."""
        if _is_key(leaf):
            return jax.random.wrap_key_data(self._spread(jax.random.key_data(leaf)), impl=jax.random.key_impl(leaf))
        here = np.asarray(leaf)
        return jax.make_array_from_callback(here.shape, self._whole, lambda index: here[index])

    def _own(self, leaf: Any) -> Any:
        """This process's copy of what all of them hold."""
        if _is_key(leaf):
            return jax.random.wrap_key_data(self._own(jax.random.key_data(leaf)), impl=jax.random.key_impl(leaf))
        return leaf.addressable_data(0)

    def on_all(self, tree: Any) -> Any:
        """`tree` whole on every device."""
        if self._processes:
            return jax.tree.map(self._spread, tree)
        return tree if self._examples is None else jax.device_put(tree, self._whole)

    def given(self, tree: Any) -> Any:
        """Arrays of the host as arguments of what is `compiled`."""
        return jax.tree.map(self._spread, tree) if self._processes else tree

    def on_one(self, tree: Any) -> Any:
        """`tree` on the first device, for whatever comes after training."""
        if self._processes:
            return jax.tree.map(self._own, tree)
        return tree if self._examples is None else jax.device_put(tree, self._first)

    def divided(self, minibatch: Minibatch) -> Minibatch:
        """The dense minibatch, its examples divided, filled up with padding where they do not come out even."""
        minibatch = minibatch.dense()
        if self._examples is None:
            return minibatch
        minibatch = replace(minibatch, stored=None)  # its entries do not come out even
        n_more = -minibatch.weight.shape[0] % self._examples.num_devices
        padded = jax.tree.map(lambda x: jnp.concatenate([x, jnp.repeat(x[-1:], n_more, axis=0)]), minibatch)
        weight = jnp.concatenate([minibatch.weight, jnp.zeros(n_more)])
        return jax.lax.with_sharding_constraint(replace(padded, weight=weight), self._examples)

    def compiled(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """`function` compiled; what it takes and gives is whole on every device."""
        if self._examples is None:
            return jax.jit(function)
        return jax.jit(function, in_shardings=self._whole, out_shardings=self._whole)


class _Calls:
    """The compiled call: up to `capacity` steps in one device loop, whatever their number."""

    def __init__(self, step: TrainStep, stream: Stream, capacity: int, key: jax.Array, devices: _Devices) -> None:
        self.n_traces = 0
        self._stream = stream
        self._capacity = capacity
        self._key = devices.on_all(key)
        self._constant: Any = None
        self._devices = devices
        self._run = devices.compiled(self._traced(step))

    def _traced(self, step: TrainStep) -> Callable[..., tuple[TrainState, Info]]:
        constant, capacity = self._stream.constant, self._capacity
        divided = self._devices.divided
        one_step = jax.jit(step.step)  # traced once for the shapes of `info` and for the loop

        def run(state: TrainState, data: Minibatch, n: Any, key: jax.Array) -> tuple[TrainState, Info]:
            self.n_traces += 1  # runs only while tracing
            first = data if constant else jax.tree.map(lambda x: x[0], data)
            shapes = jax.eval_shape(one_step, state, divided(first), key)[1]
            infos = jax.tree.map(lambda s: jnp.zeros((capacity, *s.shape), s.dtype), shapes)

            def body(i: Any, carry: tuple[TrainState, Info]) -> tuple[TrainState, Info]:
                state, infos = carry
                minibatch = data if constant else jax.tree.map(lambda x: x[i], data)
                # The barriers keep XLA from fusing the step with its surroundings: the arithmetic, and its
                # rounding, is then the same whatever the capacity.
                state, minibatch = jax.lax.optimization_barrier((state, divided(minibatch)))
                done = one_step(state, minibatch, jax.random.fold_in(key, state.step))
                state, info = jax.lax.optimization_barrier(done)
                return state, jax.tree.map(lambda all_, one: all_.at[i].set(one), infos, info)

            # The number of steps is an argument, not a constant: short calls need no second compilation.
            return jax.lax.fori_loop(0, n, body, (state, infos))

        return run

    def data(self, start: int, stop: int) -> Any:
        """Minibatches of the steps [start, stop), stacked and filled up to the capacity."""
        if self._stream.constant:
            if self._constant is None:
                self._constant = jax.device_put(self._stream(start))
            return self._constant
        minibatches = [self._stream(step) for step in range(start, stop)]
        minibatches += minibatches[-1:] * (self._capacity - len(minibatches))
        return self._devices.given(jax.tree.map(lambda *leaves: np.stack(leaves), *minibatches))

    def __call__(self, state: TrainState, data: Any, n: int) -> tuple[TrainState, Info]:
        return self._run(state, data, self._devices.given(np.int32(n)), self._key)


def _capacity(stream: Stream, plan: TrainPlan) -> int:
    if stream.constant:
        return min(plan.steps_per_call, plan.n_steps)
    n_bytes = sum(leaf.nbytes for leaf in jax.tree.leaves(stream(0)))
    return max(1, min(plan.steps_per_call, plan.n_steps, _CALL_BYTES // max(n_bytes, 1)))


def _calls(start: int, n_steps: int, *every: int) -> list[tuple[int, int]]:
    """Step ranges that end at each multiple of each of `every`, and at the end."""
    ends = {n_steps}.union(*(range(e, n_steps, e) for e in every))
    edges = [start, *sorted(end for end in ends if end > start)]
    return list(pairwise(edges))


def _refuse_divergence(history: dict[str, np.ndarray], n_new: int, plan: TrainPlan) -> None:
    """End a run whose loss stays non-finite: a tenth of the steps, 50 at most, in a row."""
    limit = max(1, min(50, plan.n_steps // 10))
    n_seen = max(0, len(history["loss"]) - n_new - limit)  # a run that ended earlier was refused then
    bad = ~np.isfinite(history["loss"][n_seen:])
    if "skipped" in history:
        bad |= history["skipped"][n_seen:] > 0
    run = 0
    for step, is_bad in enumerate(bad, n_seen + 1):
        run = run + 1 if is_bad else 0
        if run == limit:
            raise TrainingError(
                f"the loss or its gradient was not finite in {limit} steps in a row",
                where=f"step {step} of {plan.n_steps}",
                remedy="lower learning_rate or gradient_clip, and check the data for extreme values",
            )


def _append(history: dict[str, np.ndarray], new: Mapping[str, Any]) -> dict[str, np.ndarray]:
    joined = {
        name: np.concatenate([history[name], values]) if name in history else np.asarray(values)
        for name, values in new.items()
    }
    return {**history, **joined}


def _rounds_since_best(losses: np.ndarray) -> int | None:
    """Validation rounds since the lowest loss; None where none was finite."""
    finite = np.where(np.isfinite(losses), losses, np.inf)
    if not len(finite) or np.isinf(finite.min()):
        return None
    return len(finite) - 1 - int(np.argmin(finite))


def _validator(step: TrainStep, validation: Stream, key: jax.Array, devices: _Devices) -> Callable[[TrainState], float]:
    """Weighted mean loss over all of `validation`, under the same keys in every round."""
    key = devices.on_all(key)

    def evaluate(state: TrainState, minibatch: Minibatch, number: Any, key: jax.Array) -> tuple[Any, Any]:
        return step.evaluate(state, devices.divided(minibatch), jax.random.fold_in(key, number))

    compiled = devices.compiled(evaluate)

    def loss(state: TrainState) -> float:
        sums = [
            compiled(state, *devices.given((minibatch, np.int32(i))), key)
            for i, minibatch in enumerate(validation.ordered())
        ]
        totals = np.asarray(jax.device_get(sums), np.float64).sum(axis=0)
        return float(totals[0] / totals[1])

    return loss


def fit(
    model: M,
    stream: Stream,
    plan: TrainPlan,
    key: jax.Array,
    *,
    step: TrainStep | None = None,
    hooks: Sequence[Hook] = (),
    validation: Stream | None = None,
    checkpoint_dir: str | Path | None = None,
) -> FitResult[M]:
    """Train a copy of `model`.

    With `validation` its loss is measured every `plan.validate_every` steps; with `plan.patience` too,
    training ends after that many rounds without improvement and the parameters of the best round are
    returned. With `checkpoint_dir` the run goes on, exactly, from the newest whole checkpoint there.

    Args:
        model: A `GenerativeModel`, an `EmModel`, or anything that `step` was built from. Not changed.
        stream: Training data (`ArrayStream` or `BackedStream` for gradients, `WholeStream` for EM).
        plan: How long and how.
        key: Decides every draw of the training.
        step: How one step is done; chosen by the kind of model where None.
        hooks: Called after every compiled call; one that returns True ends the training.
        validation: Data whose loss is measured, never learned from.
        checkpoint_dir: Folder of this run's checkpoints, made if absent.

    Raises:
        TrainingError: No examples, a loss that stays non-finite, or a model that no step fits.
        ArtefactError: The newest checkpoint is of another plan, model, seed or data.
        ResourceError: A checkpoint cannot be written.
    """
    for name, data in (("training", stream), ("validation", validation)):
        if data is not None and data.n_examples == 0:
            raise TrainingError(
                f"the {name} data hold no examples", where="fit", remedy="check the filters and the split"
            )
    step = step or default_step(model, plan)
    devices = _Devices(stream)
    calls = _Calls(step, stream, _capacity(stream, plan), rng.child(key, "step"), devices)
    validate = None if validation is None else _validator(step, validation, rng.child(key, "validation"), devices)
    now = resume.Progress(step.init(), None, {})
    identity: dict[str, Any] = {}
    if checkpoint_dir is not None:
        checkpoint_dir = Path(checkpoint_dir)
        identity = resume.run_identity(step, stream, plan, key, validation)
        found = resume.newest(checkpoint_dir, now.state, identity)
        if found is not None:
            now = found
            log.info("training goes on from step %d in %s", int(now.state.step), checkpoint_dir)

    now = replace(now, state=devices.on_all(now.state))
    every = [calls._capacity]
    every += [plan.validate_every] if validate is not None else []
    every += [plan.checkpoint_every] if checkpoint_dir is not None else []
    ranges = [] if now.finished else _calls(int(now.state.step), plan.n_steps, *every)
    data = calls.data(*ranges[0]) if ranges else None
    for i, (start, stop) in enumerate(progress(ranges, "training")):
        state, infos = calls(now.state, data, stop - start)
        # The device is at work now; prepare what it needs next before waiting for it.
        data = calls.data(*ranges[i + 1]) if i + 1 < len(ranges) else None
        info = {name: np.asarray(values)[: stop - start] for name, values in infos.items()}
        now = replace(now, state=state, history=_append(now.history, info))
        _refuse_divergence(now.history, stop - start, plan)
        if validate is not None and (stop % plan.validate_every == 0 or stop == plan.n_steps):
            now = _validated(now, validate(state), plan)
        asked = [hook(stop, state, info) for hook in hooks]
        now = replace(now, finished=now.finished or stop == plan.n_steps or any(asked))
        due = now.finished or stop % plan.checkpoint_every == 0
        if checkpoint_dir is not None and due and devices.writes:
            resume.save(checkpoint_dir, now, identity)
        if now.finished:
            break
    best = None if now.best is None else devices.on_one(now.best)
    return _result(step, replace(now, state=devices.on_one(now.state), best=best), plan, calls.n_traces)


def _validated(now: resume.Progress, loss: float, plan: TrainPlan) -> resume.Progress:
    """`now` after one more validation round."""
    round_ = {"validation_step": [int(now.state.step)], "validation_loss": [loss]}
    history = _append(now.history, round_)
    rounds = _rounds_since_best(history["validation_loss"])
    best = replace(now.state, optimiser=None) if rounds == 0 else now.best
    waited = len(history["validation_loss"]) if rounds is None else rounds
    stop = plan.patience is not None and waited >= plan.patience
    return replace(now, history=history, best=best, finished=stop)


def _result(step: TrainStep, now: resume.Progress, plan: TrainPlan, n_traces: int) -> FitResult[Any]:
    chosen = now.state
    if plan.patience is not None and "validation_loss" in now.history:
        if now.best is None:
            raise TrainingError(
                "the validation loss was never finite",
                where=f"step {int(now.state.step)}",
                remedy="lower learning_rate, and check the validation data for extreme values",
            )
        chosen = now.best
    return FitResult(
        model=step.finish(chosen),
        history=now.history,
        n_steps=int(now.state.step),
        best_step=int(chosen.step),
        skipped=int(np.sum(now.history.get("skipped", 0))),
        n_traces=n_traces,
    )
