from __future__ import annotations

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from train_toys import (
    BernoulliMixture,
    DroppedOut,
    NoisyMean,
    Poisoned,
    allele_stream,
    no_condition,
    normal_stream,
)

from genesim.config.model import TrainPlan
from genesim.errors import TrainingError
from genesim.models.base import GenerativeModel
from genesim.train.step import default_step, em_step, gradient_step, schedule
from genesim.types import Minibatch

KEY = jax.random.key(0)


class Matrix(GenerativeModel):
    """Loss linear in a matrix and a bias: its gradient is known by hand."""

    def __init__(self) -> None:
        self.matrix = nnx.Param(jnp.array([[1.0, -2.0], [0.5, 3.0]]))
        self.bias = nnx.Param(jnp.array([0.3, -0.4]))

    def loss(self, minibatch: Minibatch, key: jax.Array, step: jax.Array):
        x = jnp.asarray(minibatch.values)
        return ((x @ self.matrix[...]) ** 2).sum(axis=1) / 2 + x @ self.bias[...], {}


def reference_adamw(x: np.ndarray, weight: np.ndarray, plan: TrainPlan, n: int) -> tuple[np.ndarray, np.ndarray]:
    """AdamW with clipping as in Loshchilov & Hutter 2019, Algorithm 2, in float64."""
    model = Matrix()
    parameters = [np.asarray(model.matrix[...], float), np.asarray(model.bias[...], float)]
    rate = schedule(plan)
    moments = [(np.zeros_like(p), np.zeros_like(p)) for p in parameters]
    w = weight / weight.sum()
    for t in range(n):
        gradient = [x.T @ (w[:, None] * (x @ parameters[0])), w @ x]
        norm = np.sqrt(sum((g**2).sum() for g in gradient))
        gradient = [g * min(1, plan.gradient_clip / norm) for g in gradient]
        for i, g in enumerate(gradient):
            m = 0.9 * moments[i][0] + 0.1 * g
            v = 0.999 * moments[i][1] + 0.001 * g**2
            moments[i] = (m, v)
            update = (m / (1 - 0.9 ** (t + 1))) / (np.sqrt(v / (1 - 0.999 ** (t + 1))) + 1e-8)
            decay = plan.weight_decay if parameters[i].ndim > 1 else 0.0
            parameters[i] = parameters[i] - float(rate(t)) * (update + decay * parameters[i])
    return parameters[0], parameters[1]


@pytest.mark.parametrize("clip", [0.5, 100.0])
def test_gradient_step_is_adamw_by_hand(clip: float) -> None:
    x = np.random.default_rng(0).normal(size=(5, 2))
    weight = np.array([1, 1, 0, 1, 1], np.float32)
    plan = TrainPlan(n_steps=40, learning_rate=0.05, weight_decay=0.3, gradient_clip=clip)
    minibatch = Minibatch(x.astype(np.float32), no_condition(5), weight)
    train_step = gradient_step(Matrix(), plan)
    state, step = train_step.init(), jax.jit(train_step.step)
    for _ in range(25):
        state, _ = step(state, minibatch, KEY)
    trained = train_step.finish(state)
    matrix, bias = reference_adamw(x, weight.astype(float), plan, 25)
    np.testing.assert_allclose(trained.matrix[...], matrix, atol=2e-4)
    np.testing.assert_allclose(trained.bias[...], bias, atol=2e-4)
    without_decay, _ = reference_adamw(x, weight.astype(float), plan.model_copy(update={"weight_decay": 0.0}), 25)
    assert np.abs(np.asarray(trained.matrix[...]) - without_decay).max() > 1e-2


@pytest.mark.parametrize("n_steps", [1, 30, 20000])
def test_schedule_warms_up_and_falls(n_steps: int) -> None:
    plan = TrainPlan(n_steps=n_steps, learning_rate=0.1)
    rates = np.asarray(jax.jit(jax.vmap(schedule(plan)))(jnp.arange(n_steps + 1)))
    assert (rates > 0).all()
    assert rates.max() <= 0.1 * (1 + 1e-6)
    if n_steps >= 30:
        peak = int(rates.argmax())
        assert rates.max() == pytest.approx(0.1, rel=1e-5)
        assert peak <= max(1, min(500, n_steps // 20))
        assert (np.diff(rates[peak:]) <= 1e-9).all()
        assert rates[-1] == pytest.approx(1e-3, rel=1e-2)


def test_padding_changes_nothing() -> None:
    plan = TrainPlan(n_steps=10)
    train_step = gradient_step(Matrix(), plan)
    values = np.random.default_rng(1).normal(size=(6, 2)).astype(np.float32)
    weight = np.array([1, 1, 1, 1, 0, 0], np.float32)
    other = values.copy()
    other[4:] = 1e3
    step = jax.jit(train_step.step)
    one, info = step(train_step.init(), Minibatch(values, no_condition(6), weight), KEY)
    two, info_two = step(train_step.init(), Minibatch(other, no_condition(6), weight), KEY)
    assert float(info["loss"]) == float(info_two["loss"])
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(two), strict=True):
        assert (np.asarray(a) == np.asarray(b)).all()
    short, info_short = step(train_step.init(), Minibatch(values[:4], no_condition(4), weight[:4]), KEY)
    assert float(info_short["loss"]) == pytest.approx(float(info["loss"]), rel=1e-6)
    np.testing.assert_allclose(train_step.finish(short).matrix[...], train_step.finish(one).matrix[...], rtol=1e-6)


def test_a_step_that_is_not_finite_changes_only_the_count() -> None:
    train_step = gradient_step(Poisoned(2), TrainPlan(n_steps=10, ema_decay=0.9))
    good = Minibatch(np.ones((3, 2), np.float32), no_condition(3), np.ones(3, np.float32))
    bad = replace(good, values=np.array([[1, 1], [2e6, 1], [1, 1]], np.float32))
    step = jax.jit(train_step.step)
    state, info = step(train_step.init(), good, KEY)
    assert int(info["skipped"]) == 0
    after, info = step(state, bad, KEY)
    assert int(info["skipped"]) == 1
    assert int(after.step) == 2
    for a, b in zip(jax.tree.leaves(replace(after, step=0)), jax.tree.leaves(replace(state, step=0)), strict=True):
        assert np.array_equal(np.asarray(a), np.asarray(b))
    moved, info = step(after, good, KEY)
    assert int(info["skipped"]) == 0
    assert (train_step.finish(moved).centre[...] != train_step.finish(after).centre[...]).all()


def test_moving_average_is_what_the_model_gets() -> None:
    stream = normal_stream()
    plan = TrainPlan(n_steps=30, learning_rate=0.1, ema_decay=0.8)
    train_step = gradient_step(NoisyMean(3), plan)
    state, step = train_step.init(), jax.jit(train_step.step)
    expected = np.asarray(NoisyMean(3).centre[...])
    for t in range(30):
        state, _ = step(state, stream(t), jax.random.fold_in(KEY, t))
        decay = min(0.8, (1 + t) / (10 + t))
        expected = decay * expected + (1 - decay) * np.asarray(state.parameters["centre"][...])
    np.testing.assert_allclose(train_step.finish(state).centre[...], expected, rtol=1e-5)
    assert np.abs(np.asarray(state.parameters["centre"][...]) - expected).max() > 1e-3


def test_other_variables_are_carried_and_the_given_model_is_left_alone() -> None:
    model = NoisyMean(3)
    before = np.asarray(model.centre[...]).copy()
    train_step = gradient_step(model, TrainPlan(n_steps=10))
    state, step = train_step.init(), jax.jit(train_step.step)
    for t in range(4):
        state, info = step(state, normal_stream()(t), KEY)
    assert int(train_step.finish(state).n_calls[...]) == 4
    assert int(model.n_calls[...]) == 0
    assert (np.asarray(model.centre[...]) == before).all()
    assert set(info) == {"loss", "gradient_norm", "skipped", "residual"}


def test_dropout_is_on_in_training_and_off_in_the_result() -> None:
    model = DroppedOut(3)
    train_step = gradient_step(model, TrainPlan(n_steps=10))
    state, step = train_step.init(), jax.jit(train_step.step)
    minibatch = normal_stream()(0)
    counts = []
    for _ in range(3):
        state, _ = step(state, minibatch, KEY)
        counts.append(int(train_step.finish(state).dropout.rngs.count[...]))
    assert counts == [1, 2, 3]
    finished = train_step.finish(state)
    assert finished.dropout.deterministic
    assert not model.dropout.deterministic
    loss, _ = finished.loss(minibatch, KEY, jnp.int32(0))
    total, weight = train_step.evaluate(state, minibatch, KEY)
    assert float(total) == pytest.approx(float(loss.sum()), rel=1e-5)
    assert float(weight) == 8


@pytest.mark.parametrize(
    ("precision", "backend", "is_rounded"),
    [("float32", "gpu", False), ("bfloat16", "gpu", True), ("bfloat16", "cpu", False)],
)
def test_precision_is_that_of_every_product_and_its_gradient(
    precision: Any, backend: str, is_rounded: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Read from the traced step; nothing is run, as a CPU cannot."""
    monkeypatch.setattr(jax, "default_backend", lambda: backend)
    train_step = gradient_step(Matrix(), TrainPlan(n_steps=10, precision=precision))
    minibatch = Minibatch(np.ones((4, 2), np.float32), no_condition(4), np.ones(4, np.float32))
    traced = jax.jit(train_step.step).lower(train_step.init(), minibatch, KEY).as_text()
    products = [line for line in traced.splitlines() if "dot_general" in line]
    assert len(products) >= 3  # x @ matrix, x @ bias, and the gradient of the first
    rounded = ["lhs_precision_type = bf16" in line and "accumulation_type = f32" in line for line in products]
    assert rounded == [is_rounded] * len(products)


def test_a_loss_that_is_a_mean_is_refused() -> None:
    class Mean(Matrix):
        def loss(self, minibatch: Minibatch, key: jax.Array, step: jax.Array):
            return super().loss(minibatch, key, step)[0].mean(), {}

    train_step = gradient_step(Mean(), TrainPlan(n_steps=10))
    with pytest.raises(TrainingError, match="the loss of each example"):
        train_step.step(train_step.init(), Minibatch(np.ones((2, 2)), no_condition(2), np.ones(2)), KEY)


def reference_em(x: np.ndarray, frequency: np.ndarray, n_passes: int) -> tuple[np.ndarray, np.ndarray, list[float]]:
    """EM of the Bernoulli mixture, one row and one component at a time, in float64."""
    n, m = x.shape
    k = len(frequency)
    share, likelihoods = np.full(k, 1 / k), []
    for _ in range(n_passes):
        total, one, seen, count = 0.0, np.zeros((k, m)), np.zeros((k, m)), np.zeros(k)
        for row in x:
            joint = share.copy()
            for j in range(k):
                for f, value in enumerate(row):
                    if value >= 0:
                        joint[j] *= frequency[j, f] if value == 1 else 1 - frequency[j, f]
            total += np.log(joint.sum())
            posterior = joint / joint.sum()
            count += posterior
            for j in range(k):
                one[j] += posterior[j] * (row == 1)
                seen[j] += posterior[j] * (row >= 0)
        share, frequency = count / n, (one + 0.5) / (seen + 1.0)
        likelihoods.append(total / n)
    return share, frequency, likelihoods


@pytest.mark.parametrize("size", [8, 100])
def test_em_step_is_em_by_hand_whatever_the_chunks(size: int) -> None:
    stream = allele_stream(minibatch_size=size)
    model = BernoulliMixture(2, 6)
    train_step = em_step(model, size)
    state, step = train_step.init(), jax.jit(train_step.step)
    losses = []
    for t in range(6):
        state, info = step(state, stream(t), KEY)
        losses.append(float(info["loss"]))
    alleles = np.asarray(stream(0).values)[: stream.n_examples]
    share, frequency, likelihoods = reference_em(alleles, np.asarray(model.frequency[...], float), 6)
    np.testing.assert_allclose(losses, -np.array(likelihoods), rtol=1e-5)
    np.testing.assert_allclose(train_step.finish(state).share[...], share, atol=1e-5)
    np.testing.assert_allclose(train_step.finish(state).frequency[...], frequency, atol=1e-5)
    assert losses[-1] < losses[0] - 0.1


def test_em_refuses_rows_that_do_not_divide() -> None:
    train_step = em_step(BernoulliMixture(2, 6), 7)
    with pytest.raises(TrainingError, match="no multiple of the minibatch size 7"):
        train_step.step(train_step.init(), allele_stream(minibatch_size=8)(0), KEY)


def test_em_keeps_the_parameters_of_a_pass_that_is_not_finite() -> None:
    model = BernoulliMixture(2, 6)
    model.frequency[...] = model.frequency[...].at[0, 0].set(jnp.nan)
    train_step = em_step(model, 8)
    after, info = jax.jit(train_step.step)(train_step.init(), allele_stream()(0), KEY)
    assert int(info["skipped"]) == 1
    assert (np.asarray(train_step.finish(after).share[...]) == 0.5).all()


def test_the_step_follows_from_the_kind_of_model() -> None:
    plan = TrainPlan(n_steps=3)
    assert default_step(NoisyMean(2), plan).name == "gradient"
    assert default_step(BernoulliMixture(2, 2), plan).name == "em"
    with pytest.raises(TrainingError, match="Linear"):
        default_step(nnx.Linear(2, 2, rngs=nnx.Rngs(0)), plan)
