from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from train_toys import BernoulliMixture, NoisyMean, Poisoned, allele_stream, no_condition, normal_stream, same

from genesim import rng
from genesim.config.model import TrainPlan
from genesim.data.stream import ArrayStream
from genesim.errors import ResourceError, TrainingError
from genesim.train import loop
from genesim.train.hooks import LogLoss, MetricsFile
from genesim.train.loop import fit
from genesim.train.step import em_step

KEY = rng.key(0, "loop")
PLAN = TrainPlan(n_steps=37, minibatch_size=8, learning_rate=0.05, ema_decay=0.9, steps_per_call=10)


def test_the_optimum_is_found_and_another_centre_is_told_apart() -> None:
    stream = normal_stream(n=64, minibatch_size=64)
    plan = TrainPlan(n_steps=400, minibatch_size=64, learning_rate=0.1, weight_decay=0.0)
    result = fit(NoisyMean(3), stream, plan, KEY)
    mean = stream(0).values.mean(axis=0)
    np.testing.assert_allclose(result.model.centre[...], mean, atol=0.02)
    assert np.abs(np.asarray(NoisyMean(3).centre[...]) - mean).max() > 0.5
    assert result.history["loss"][-20:].mean() < 0.7 * result.history["loss"][:20].mean()
    assert result.n_steps == result.best_step == len(result.history["loss"]) == 400
    assert result.skipped == 0


def test_everything_is_compiled_once() -> None:
    result = fit(NoisyMean(3), normal_stream(), PLAN, KEY, validation=normal_stream(seed=1), hooks=[LogLoss(5)])
    assert result.n_traces == 1


@pytest.mark.parametrize("steps_per_call", [1, 3, 1000])
def test_grouping_of_steps_never_changes_the_result(steps_per_call: int) -> None:
    whole = fit(NoisyMean(3), normal_stream(), PLAN, KEY)
    grouped = fit(NoisyMean(3), normal_stream(), PLAN.model_copy(update={"steps_per_call": steps_per_call}), KEY)
    assert same(whole.model, grouped.model)
    assert whole.history["loss"].tobytes() == grouped.history["loss"].tobytes()


def test_the_loop_is_the_plain_loop() -> None:
    """Oracle: the documented order of minibatches and keys, one step at a time."""
    from genesim.train.step import gradient_step

    stream = normal_stream()
    train_step = gradient_step(NoisyMean(3), PLAN)
    state = train_step.init()
    for t in range(PLAN.n_steps):
        state, _ = jax.jit(train_step.step)(state, stream(t), jax.random.fold_in(rng.child(KEY, "step"), t))
    result = fit(NoisyMean(3), stream, PLAN, KEY)
    np.testing.assert_allclose(result.model.centre[...], train_step.finish(state).centre[...], rtol=1e-5)


def test_seed_decides_the_result() -> None:
    first = fit(NoisyMean(3), normal_stream(), PLAN, KEY)
    assert same(first.model, fit(NoisyMean(3), normal_stream(), PLAN, KEY).model)
    assert not same(first.model, fit(NoisyMean(3), normal_stream(), PLAN, rng.key(1, "loop")).model)
    assert not same(first.model, fit(NoisyMean(3), normal_stream(seed=4), PLAN, KEY).model)


def test_large_minibatches_limit_the_steps_of_a_call(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = fit(NoisyMean(3), normal_stream(), PLAN, KEY)
    monkeypatch.setattr(loop, "_CALL_BYTES", 500)
    sizes: list[int] = []
    limited = fit(NoisyMean(3), normal_stream(), PLAN, KEY, hooks=[lambda _, __, info: sizes.append(len(info["loss"]))])
    assert max(sizes) == 500 // (8 * 3 * 4 + 8 * 4 + 8 * 4) == 3
    assert same(whole.model, limited.model)


def test_em_raises_the_likelihood_and_finds_the_two_groups() -> None:
    result = fit(BernoulliMixture(2, 6), allele_stream(n=300), TrainPlan(n_steps=25, minibatch_size=8), KEY)
    assert result.n_traces == 1
    assert (np.diff(result.history["loss"]) < 1e-3).all()
    frequency = np.sort(np.asarray(result.model.frequency[...]).mean(axis=1))
    np.testing.assert_allclose(frequency, [0.1, 0.85], atol=0.06)


def test_a_step_can_be_given() -> None:
    result = fit(
        BernoulliMixture(2, 6),
        allele_stream(minibatch_size=15),
        TrainPlan(n_steps=3, minibatch_size=7),
        KEY,
        step=em_step(BernoulliMixture(2, 6, seed=5), 15),
    )
    assert result.n_steps == 3


class Overfits(Poisoned):
    """Nears 1 and passes it: validation around 1 is best on the way, not at the end."""

    def loss(self, minibatch: Any, key: jax.Array, step: jax.Array):
        x = jnp.asarray(minibatch.values)
        return jnp.square(x - self.centre[...]).sum(axis=1), {"centre": self.centre[...].mean()}


def constant_stream(value: float) -> ArrayStream:
    return ArrayStream(np.full((8, 2), value, np.float32), no_condition(8), 8, 0)


def test_early_stopping_returns_the_best_round() -> None:
    plan = TrainPlan(n_steps=400, learning_rate=0.02, steps_per_call=7, validate_every=5, patience=4, weight_decay=0.0)
    result = fit(Overfits(2), constant_stream(5.0), plan, KEY, validation=constant_stream(1.0))
    rounds = result.history["validation_loss"]
    steps = result.history["validation_step"]
    best = int(np.argmin(rounds))
    assert result.best_step == steps[best] < result.n_steps == steps[-1] < 400
    assert len(rounds) - 1 - best == 4
    assert result.model.centre[0] == pytest.approx(1.0, abs=0.11)
    # centre at step s stands in the history as the value before step s + 1
    assert result.history["centre"][result.best_step] == pytest.approx(float(result.model.centre[0]), rel=1e-6)
    assert rounds[best] == pytest.approx(2 * (1 - float(result.model.centre[0])) ** 2, rel=1e-4)
    without = fit(
        Overfits(2),
        constant_stream(5.0),
        plan.model_copy(update={"patience": None}),
        KEY,
        validation=constant_stream(1.0),
    )
    assert without.n_steps == without.best_step == 400
    assert without.model.centre[0] > 2


def test_early_stopping_does_not_depend_on_the_grouping() -> None:
    results = [
        fit(
            NoisyMean(3),
            normal_stream(),
            TrainPlan(n_steps=200, learning_rate=0.1, steps_per_call=n, validate_every=6, patience=2, ema_decay=0.5),
            KEY,
            validation=normal_stream(n=21, seed=1),
        )
        for n in (4, 200)
    ]
    assert results[0].best_step == results[1].best_step < 200
    assert same(results[0].model, results[1].model)


def test_validation_is_the_mean_over_all_rows_once() -> None:
    validation = ArrayStream(np.arange(22.0).reshape(11, 2), no_condition(11), 4, 0)
    plan = TrainPlan(n_steps=1, learning_rate=1e-9, validate_every=1)
    result = fit(Overfits(2), constant_stream(5.0), plan, KEY, validation=validation)
    expected = np.square(np.arange(22.0).reshape(11, 2)).sum(axis=1).mean()
    assert result.history["validation_loss"].tolist() == pytest.approx([expected], rel=1e-5)


def test_validation_of_em_models() -> None:
    result = fit(
        BernoulliMixture(2, 6),
        allele_stream(n=200),
        TrainPlan(n_steps=30, minibatch_size=8, validate_every=2, patience=3),
        KEY,
        validation=allele_stream(n=50),
    )
    assert result.history["validation_loss"][-1] < result.history["validation_loss"][0]


def test_hooks_see_every_step_and_may_stop(tmp_path: Path) -> None:
    seen: list[int] = []

    def stop_at_20(step: int, state: Any, info: Any) -> bool:
        seen.append(step)
        assert int(state.step) == step
        return step >= 20

    result = fit(NoisyMean(3), normal_stream(), PLAN, KEY, hooks=[stop_at_20, MetricsFile(tmp_path / "a" / "m")])
    assert seen == [10, 20]
    assert result.n_steps == 20
    lines = [json.loads(line) for line in (tmp_path / "a" / "m").read_text().splitlines()]
    assert [line["step"] for line in lines] == [10, 20]
    assert lines[1]["loss"] == pytest.approx(float(result.history["loss"][10:].mean()), rel=1e-5)
    (tmp_path / "file").write_text("")
    with pytest.raises(ResourceError, match="metrics cannot be written"):
        fit(NoisyMean(3), normal_stream(), PLAN, KEY, hooks=[MetricsFile(tmp_path / "file" / "m")])


def test_the_loss_is_logged_as_often_as_asked(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO", logger="genesim"):
        result = fit(NoisyMean(3), normal_stream(), PLAN, KEY, hooks=[LogLoss(15)])
    said = [record.getMessage() for record in caplog.records if record.getMessage().startswith("step")]
    assert said == [
        f"step 20: loss {result.history['loss'][10:20].mean():.5g}",
        f"step 37: loss {result.history['loss'][30:37].mean():.5g}",
    ]


def test_a_few_bad_steps_are_skipped_and_counted() -> None:
    values = np.ones((40, 2), np.float32)
    values[7, 0] = 2e6
    stream = ArrayStream(values, no_condition(40), 4, 0)
    plan = TrainPlan(n_steps=100, learning_rate=0.1, steps_per_call=20)
    result = fit(Poisoned(2), stream, plan, KEY)
    assert result.skipped == 10  # one step of each of ten epochs
    np.testing.assert_allclose(result.model.centre[...], 1.0, atol=0.05)


@pytest.mark.parametrize("steps_per_call", [3, 100])
def test_a_loss_that_stays_non_finite_ends_the_run(steps_per_call: int) -> None:
    plan = TrainPlan(n_steps=100, steps_per_call=steps_per_call)
    with pytest.raises(TrainingError, match=r"step 10 of 100.*10 steps in a row.*learning_rate"):
        fit(Poisoned(2), constant_stream(2e6), plan, KEY)
    model = BernoulliMixture(2, 6)
    model.share[...] = jnp.array([jnp.nan, 1.0])
    with pytest.raises(TrainingError, match="not finite"):
        fit(model, allele_stream(), TrainPlan(n_steps=5, minibatch_size=8), KEY)


def test_nothing_to_learn_from_is_refused() -> None:
    empty = ArrayStream(np.zeros((0, 3)), no_condition(0), 8, 0)
    with pytest.raises(TrainingError, match="training data hold no examples"):
        fit(NoisyMean(3), empty, PLAN, KEY)
    with pytest.raises(TrainingError, match="validation data hold no examples"):
        fit(NoisyMean(3), normal_stream(), PLAN, KEY, validation=empty)
    with pytest.raises(TrainingError, match="neither by gradients nor by EM"):
        fit(nnx.Linear(2, 2, rngs=nnx.Rngs(0)), normal_stream(), PLAN, KEY)


def test_fewer_rows_than_a_minibatch() -> None:
    result = fit(NoisyMean(3), normal_stream(n=3, minibatch_size=8), PLAN, KEY)
    assert np.isfinite(result.history["loss"]).all()
