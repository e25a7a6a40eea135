"""Checkpoints of a run, and going on from the newest whole one.

A checkpoint is a directory `<checkpoint_dir>/<step>/` of `{checkpoint.json, arrays/, manifest.sha256}`. It
says which run it belongs to: going on under another plan, model, seed or data would be silently wrong.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import nnx

from genesim.config.base import Record
from genesim.config.model import TrainPlan
from genesim.console import log
from genesim.data.stream import Stream
from genesim.errors import ArtefactError
from genesim.provenance.atomic import atomic_directory
from genesim.provenance.manifest import verify_manifest
from genesim.provenance.record import versions
from genesim.train.checkpoint import read_tree, to_numpy, write_tree
from genesim.train.state import TrainState, like
from genesim.train.step import TrainStep

SCHEMA = "genesim-checkpoint-1"
_DESCRIPTION = "checkpoint.json"
_KEPT = 2
# They change when work is done, never its result.
_PACING = {"steps_per_call", "checkpoint_every"}
_SCALARS = (bool, int, float, str, type(None))


@dataclass(frozen=True)
class Progress:
    """Where a run stands.

    Attributes:
        state: The last state.
        best: State of the best validation round (its optimiser left out), or None.
        history: `info` of every step, and `validation_step`, `validation_loss` of every round.
        finished: Whether training has ended.
    """

    state: TrainState
    best: TrainState | None
    history: dict[str, np.ndarray]
    finished: bool = False


def _setting(value: Any) -> str | None:
    """Text of a plain setting, the same in every process; None for anything else (arrays, functions)."""
    if isinstance(value, Record):
        return repr(value)
    if isinstance(value, dict):
        value = tuple(value.items())
    if isinstance(value, tuple | list):
        parts = [_setting(item) for item in value]
        return None if None in parts else f"({', '.join(map(str, parts))})"
    return repr(value) if isinstance(value, _SCALARS) else None


def model_fingerprint(model: nnx.Module) -> str:
    """SHA-256 of the class, its plain settings and the initial values of its variables."""
    digest = hashlib.sha256(f"{type(model).__module__}.{type(model).__qualname__}".encode())
    for path, module in nnx.iter_modules(model):
        named = ((name, _setting(value)) for name, value in sorted(vars(module).items()))
        settings = [pair for pair in named if pair[1] is not None]
        digest.update(f"{path}{type(module).__qualname__}{settings}".encode())
    for path, leaf in jax.tree_util.tree_leaves_with_path(nnx.state(model)):
        array = to_numpy(leaf)
        digest.update(f"{jax.tree_util.keystr(path)}{array.dtype}{array.shape}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def run_identity(
    step: TrainStep, stream: Stream, plan: TrainPlan, key: jax.Array, validation: Stream | None
) -> dict[str, Any]:
    """What must agree between a checkpoint and the run that goes on from it, JSON-ready."""
    return {
        "plan": {name: value for name, value in plan.model_dump().items() if name not in _PACING},
        "step": step.name,
        "model": model_fingerprint(step.model),
        "seed": to_numpy(key).tolist(),
        "data": stream.fingerprint,
        "validation data": None if validation is None else validation.fingerprint,
    }


def _names(state: TrainState) -> list[str]:
    return [jax.tree_util.keystr(path) for path, _ in jax.tree_util.tree_leaves_with_path(state)]


def save(directory: Path, progress: Progress, identity: dict[str, Any]) -> None:
    """Write `<directory>/<step>/` atomically, then remove all but the newest two checkpoints.

    Raises:
        ResourceError: It cannot be written.
    """
    described = {
        "schema": SCHEMA,
        "identity": identity,
        "versions": versions(),
        "finished": progress.finished,
        "leaves": _names(progress.state),
    }
    tree = {
        "state": [to_numpy(leaf) for leaf in jax.tree.leaves(progress.state)],
        "best": [] if progress.best is None else [to_numpy(leaf) for leaf in jax.tree.leaves(progress.best)],
        "history": progress.history,
    }
    with atomic_directory(directory / str(int(progress.state.step))) as temporary:
        write_tree(temporary / "arrays", tree)
        (temporary / _DESCRIPTION).write_text(json.dumps(described, indent=1, sort_keys=True) + "\n")
    for old in _steps(directory)[_KEPT:]:
        shutil.rmtree(directory / str(old), ignore_errors=True)


def _steps(directory: Path) -> list[int]:
    """Steps that have a checkpoint directory, newest first."""
    if not directory.is_dir():
        return []
    return sorted((int(p.name) for p in directory.iterdir() if p.name.isdigit() and p.is_dir()), reverse=True)


def _refuse_other_run(found: dict[str, Any], expected: dict[str, Any], where: str) -> None:
    expected = json.loads(json.dumps(expected))
    remedy = "give an empty checkpoint directory, or repeat the run as it was"
    old, new = found["plan"], expected["plan"]
    for name in sorted(set(old) | set(new)):
        if old.get(name) != new.get(name):
            raise ArtefactError(
                f"belongs to a run with {name} = {old.get(name)!r}, this one has {new.get(name)!r}",
                where=where,
                remedy=remedy,
            )
    for name in expected:
        if found.get(name) != expected[name]:
            raise ArtefactError(f"belongs to a run with another {name}", where=where, remedy=remedy)


def _restore(template: TrainState, leaves: list[np.ndarray], where: str) -> TrainState:
    expected, shape = jax.tree.flatten(template)
    names = _names(template)
    if len(expected) != len(leaves):
        raise ArtefactError(
            f"holds {len(leaves)} arrays, the run has {len(expected)}",
            where=where,
            remedy="give an empty checkpoint directory",
        )
    return jax.tree.unflatten(shape, [like(a, b, f"{where}: {name}") for a, b, name in zip(expected, leaves, names)])


def newest(directory: Path, template: TrainState, identity: dict[str, Any]) -> Progress | None:
    """The newest checkpoint that is whole; damaged ones are passed over with a warning.

    Raises:
        ArtefactError: It belongs to another run, or to another version of the format.
    """
    for step in _steps(directory):
        path = directory / str(step)
        try:
            verify_manifest(path)
            described = json.loads((path / _DESCRIPTION).read_text())
            tree = read_tree(path / "arrays") if described.get("schema") == SCHEMA else {}
        except (ArtefactError, OSError, ValueError) as error:
            log.warning("checkpoint passed over: %s", error)
            continue
        where = str(path)
        if described.get("schema") != SCHEMA:
            raise ArtefactError(
                f"has schema {described.get('schema')!r}, this version reads {SCHEMA!r}",
                where=where,
                remedy="give an empty checkpoint directory",
            )
        _refuse_other_run(described["identity"], identity, where)
        if described["leaves"] != _names(template):
            raise ArtefactError(
                "holds other arrays than this run", where=where, remedy="give an empty checkpoint directory"
            )
        if described["versions"] != versions():
            log.warning("%s was written with other package versions: the result may differ", where)
        best = replace(template, optimiser=None)
        return Progress(
            state=_restore(template, tree["state"], where),
            best=_restore(best, tree["best"], where) if tree["best"] else None,
            history=tree["history"],
            finished=described["finished"],
        )
    return None
