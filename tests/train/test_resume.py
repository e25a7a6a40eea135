from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from train_toys import BernoulliMixture, DroppedOut, NoisyMean, allele_stream, normal_stream, same

from genesim import rng
from genesim.config.model import TrainPlan
from genesim.errors import ArtefactError
from genesim.provenance.manifest import write_manifest
from genesim.train import resume
from genesim.train.checkpoint import read_tree, write_tree
from genesim.train.loop import FitResult, fit
from genesim.train.resume import model_fingerprint

KEY = rng.key(0, "resume")
PLAN = TrainPlan(
    n_steps=60,
    minibatch_size=8,
    learning_rate=0.05,
    ema_decay=0.9,
    steps_per_call=7,
    checkpoint_every=10,
    validate_every=12,
    patience=50,
)


class Interrupted(Exception):
    pass


def interrupt_after(step: int) -> Any:
    def hook(done: int, state: Any, info: Any) -> None:
        if done > step:
            raise Interrupted

    return hook


def run(directory: Path | None, *, plan: TrainPlan = PLAN, **changes: Any) -> FitResult[NoisyMean]:
    arguments = {
        "model": NoisyMean(3),
        "stream": normal_stream(),
        "plan": plan,
        "key": KEY,
        "validation": normal_stream(n=13, seed=1),
        "checkpoint_dir": directory,
        **changes,
    }
    return fit(**arguments)


@pytest.fixture(scope="module")
def unbroken() -> FitResult[NoisyMean]:
    return run(None)


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Checkpoints of a run that was interrupted after its 38th step or so."""
    directory = tmp_path_factory.mktemp("broken")
    with pytest.raises(Interrupted):
        run(directory, hooks=[interrupt_after(38)])
    return directory


def equal(a: FitResult[Any], b: FitResult[Any]) -> bool:
    return (
        same(a.model, b.model)
        and a.history.keys() == b.history.keys()
        and all(np.asarray(a.history[k]).tobytes() == np.asarray(b.history[k]).tobytes() for k in a.history)
        and (a.n_steps, a.best_step, a.skipped) == (b.n_steps, b.best_step, b.skipped)
    )


def test_checkpointing_changes_nothing_and_two_are_kept(tmp_path: Path, unbroken: FitResult[Any]) -> None:
    assert equal(run(tmp_path), unbroken)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["50", "60"]


def test_resume_is_bit_for_bit_the_unbroken_run(tmp_path: Path, broken: Path, unbroken: FitResult[Any]) -> None:
    directory = shutil.copytree(broken, tmp_path / "c")
    assert sorted(p.name for p in directory.iterdir()) == ["20", "30"]
    resumed = run(directory)
    assert equal(resumed, unbroken)
    assert resumed.n_traces == 1


def test_pacing_may_change_between_the_parts(tmp_path: Path, broken: Path, unbroken: FitResult[Any]) -> None:
    directory = shutil.copytree(broken, tmp_path / "c")
    plan = PLAN.model_copy(update={"steps_per_call": 25, "checkpoint_every": 17})
    assert equal(run(directory, plan=plan), unbroken)


def test_a_finished_run_is_read_back_without_training(tmp_path: Path, unbroken: FitResult[Any]) -> None:
    run(tmp_path)
    again = run(tmp_path)
    assert again.n_traces == 0
    assert equal(again, unbroken)


def test_a_run_that_stopped_early_stays_stopped(tmp_path: Path) -> None:
    plan = PLAN.model_copy(update={"patience": 1, "validate_every": 3, "n_steps": 300})
    first = run(tmp_path, plan=plan)
    assert first.n_steps < 300
    again = run(tmp_path, plan=plan)
    assert again.n_traces == 0
    assert equal(again, first)


def test_keys_that_a_model_keeps_resume_exactly(tmp_path: Path) -> None:
    plan = TrainPlan(n_steps=9, checkpoint_every=3, steps_per_call=2)

    def dropped_out(directory: Path | None, **more: Any) -> FitResult[DroppedOut]:
        return fit(DroppedOut(3), normal_stream(), plan, KEY, checkpoint_dir=directory, **more)

    with pytest.raises(Interrupted):
        dropped_out(tmp_path, hooks=[interrupt_after(4)])
    assert sorted(p.name for p in tmp_path.iterdir()) == ["3"]
    assert equal(dropped_out(tmp_path), dropped_out(None))


def test_em_resumes_exactly(tmp_path: Path) -> None:
    plan = TrainPlan(n_steps=9, minibatch_size=8, checkpoint_every=2, steps_per_call=1)

    def em(directory: Path | None, **more: Any) -> FitResult[BernoulliMixture]:
        return fit(BernoulliMixture(2, 6), allele_stream(), plan, KEY, checkpoint_dir=directory, **more)

    with pytest.raises(Interrupted):
        em(tmp_path, hooks=[interrupt_after(4)])
    assert equal(em(tmp_path), em(None))


@pytest.mark.parametrize("damage", ["flip", "truncate", "missing", "no manifest", "half written"])
def test_a_damaged_checkpoint_is_passed_over(
    tmp_path: Path, broken: Path, unbroken: FitResult[Any], damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    directory = shutil.copytree(broken, tmp_path / "c")
    newest = directory / "30"
    victim = newest / "arrays" / "orbax" / "00000" / "0.0"
    victim = victim if victim.exists() else next(newest.glob("arrays/orbax/*/[0-9]*"))
    if damage == "flip":
        data = bytearray(victim.read_bytes())
        data[-1] ^= 1
        victim.write_bytes(bytes(data))
    elif damage == "truncate":
        victim.write_bytes(victim.read_bytes()[:3])
    elif damage == "missing":
        victim.unlink()
    elif damage == "no manifest":
        (newest / "manifest.sha256").unlink()
    else:
        newest.rename(directory / ".tmp-elsewhere-1-30")
    with caplog.at_level("WARNING", logger="genesim"):
        resumed = run(directory)
    assert equal(resumed, unbroken)
    assert ("passed over" in caplog.text) == (damage != "half written")


def test_a_flipped_bit_would_have_changed_the_result(tmp_path: Path, broken: Path, unbroken: FitResult[Any]) -> None:
    """The test above is not vacuous: with the manifest made anew, the damage goes through."""
    directory = shutil.copytree(broken, tmp_path / "c")
    arrays = directory / "30" / "arrays"
    tree = read_tree(arrays)
    tree["state"][0].view(np.uint32)[0] ^= 1 << 15
    shutil.rmtree(arrays)
    write_tree(arrays, tree)
    write_manifest(directory / "30")
    assert not equal(run(directory), unbroken)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"plan": PLAN.model_copy(update={"learning_rate": 0.06})},
            r"learning_rate = 0.05, this one has 0.06",
        ),
        ({"plan": PLAN.model_copy(update={"n_steps": 90})}, r"n_steps = 60, this one has 90"),
        ({"key": rng.key(1, "resume")}, "another seed"),
        ({"stream": normal_stream(seed=9)}, "another data"),
        ({"validation": normal_stream(n=13, seed=2)}, "another validation data"),
        ({"validation": None}, "another validation data"),
        ({"model": NoisyMean(3, seed=1)}, "another model"),
        ({"model": NoisyMean(3, noise=0.02)}, "another model"),
        ({"model": NoisyMean(3, plan=PLAN)}, "another model"),
    ],
)
def test_a_checkpoint_of_another_run_is_refused(
    tmp_path: Path, broken: Path, changes: dict[str, Any], message: str
) -> None:
    directory = shutil.copytree(broken, tmp_path / "c")
    with pytest.raises(ArtefactError, match=message):
        run(directory, **changes)
    assert sorted(p.name for p in directory.iterdir()) == ["20", "30"]


def environment() -> dict[str, str]:
    """Of a child process that can import these tests, and shares their compiled programs."""
    here = Path(__file__).resolve()
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(here.parents[2]), str(here.parent)]),
        "JAX_COMPILATION_CACHE_DIR": str(jax.config.jax_compilation_cache_dir),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }


def test_settings_of_a_model_are_told_apart_and_are_the_same_in_any_process() -> None:
    plans = [None, PLAN, PLAN.model_copy(update={"patience": 3})]
    assert len({model_fingerprint(NoisyMean(3, plan=plan)) for plan in plans}) == 3
    code = "from test_resume import *; print(model_fingerprint(NoisyMean(3, plan=PLAN)))"
    found = subprocess.run([sys.executable, "-c", code], env=environment(), capture_output=True, text=True, check=True)
    assert found.stdout.strip() == model_fingerprint(NoisyMean(3, plan=PLAN))


def test_other_package_versions_are_said(
    tmp_path: Path, broken: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = shutil.copytree(broken, tmp_path / "c")
    monkeypatch.setattr(resume, "versions", lambda: {"jax": "other"})
    with caplog.at_level("WARNING", logger="genesim"):
        run(directory)
    assert "other package versions" in caplog.text


KILLED = """
import os, signal, sys
from pathlib import Path
from genesim.train import resume
from test_resume import run

write = resume.write_tree

def killed_half_way(directory, tree):
    write(directory, tree)
    if len(tree["history"]["loss"]) == 40:
        os.kill(os.getpid(), signal.SIGKILL)

resume.write_tree = killed_half_way
run(Path(sys.argv[1]))
"""


def test_a_run_killed_while_writing_a_checkpoint_resumes_exactly(tmp_path: Path, unbroken: FitResult[Any]) -> None:
    child = subprocess.run(
        [sys.executable, "-c", KILLED, str(tmp_path)], env=environment(), capture_output=True, check=False
    )
    assert child.returncode == -signal.SIGKILL, child.stderr.decode()
    names = sorted(p.name for p in tmp_path.iterdir())
    assert names[1:] == ["20", "30"]
    assert names[0].startswith(".tmp-")
    assert names[0].endswith("-40")
    assert equal(run(tmp_path), unbroken)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["50", "60"]
