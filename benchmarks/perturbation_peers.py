"""Peers of the perturbation benchmark, each in an environment of its own that a variable names.

A peer is left out, with the reason on standard error, where its variable is not set or the task is not one that it
answers. It gets the training cells, the control cells to predict from and the names to predict, as log-normalised
expression, and gives predicted cells back; scoring is the benchmark's. See `benchmarks/peers/*.txt`.
"""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from genesim.console import log
from genesim.evaluate.perturbation import Predicted
from genesim.pipeline.perturbation import Fold, Prepared, log_normalised

FOLDER = Path(__file__).resolve().parent / "peers"


@dataclass(frozen=True)
class Peer:
    """How a peer is started, and what it can answer."""

    script: str
    python: str
    tasks: tuple[str, ...]


PEERS: dict[str, Peer] = {
    "scgen": Peer("scgen_predict.py", "SCGEN_PYTHON", ("kang_cell_type",)),
    "cellflow": Peer("cellflow_predict.py", "CELLFLOW_PYTHON", ("kang_cell_type",)),
}


def peer_predictions(
    name: str, fold: Fold, prepared: Prepared, task: str, seed: int, folder: Path
) -> tuple[list[Predicted | None], float] | None:
    """Predictions of a peer for one fold and its CPU seconds; None where it cannot be asked."""
    peer = PEERS[name]
    if task not in peer.tasks:
        return None
    python = os.environ.get(peer.python)
    if python is None:
        log.warning("%s is left out: $%s names no Python", name, peer.python)
        return None
    folder = folder.with_name(f"{folder.name}-{name}-{seed}")
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "figures.json").exists():
        _write_inputs(fold, prepared, folder, seed)
        flags = "--xla_cpu_multi_thread_eigen=false"
        environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
        environment |= {"OMP_NUM_THREADS": "1", "XLA_FLAGS": flags}
        subprocess.run([python, str(FOLDER / peer.script), str(folder)], check=True, env=environment)
    figures: dict[str, Any] = json.loads((folder / "figures.json").read_text())
    found: list[Predicted | None] = []
    with np.load(folder / "predicted.npz") as arrays:
        for i, held in enumerate(fold.held):
            cells = np.asarray(arrays[f"cells_{i}"], np.float64)
            shown = f"effect_{i}"
            effect = np.asarray(arrays[shown], np.float64) if shown in arrays else cells.mean(0) - held.given.mean(0)
            # A network's log expression may lie below 0, which no cell's does.
            found.append(Predicted(effect, np.maximum(cells, 0.0)))
    return found, float(figures["cpu_s"])


def _write_inputs(fold: Fold, prepared: Prepared, folder: Path, seed: int) -> None:
    """`train.npz` (x, parts, context), `given_<i>` and `ask.json` (parts and context of each condition)."""
    setting = prepared.setting
    train = fold.train
    if setting.library_key is None:
        library = np.asarray(train.X.sum(1), np.float64).ravel()
    else:
        library = train.obs[setting.library_key].to_numpy(np.float64)
    labels = setting.labels
    parts = [labels.name(p) for p in labels.read(train.obs)]
    keys = list(prepared.covariates)
    context = train.obs[keys].astype(str).agg("|".join, axis=1).to_numpy(str) if keys else np.full(len(parts), "all")
    np.savez(
        folder / "train.npz",
        x=log_normalised(train.X, library, fold.reference).astype(np.float32),
        parts=np.array(parts, dtype=str),
        context=np.array(context, dtype=str),
        **{f"given_{i}": held.given.astype(np.float32) for i, held in enumerate(fold.held)},
    )
    asked = [{"name": h.name, "parts": sorted(p), "context": h.context} for h, p in zip(fold.held, fold.parts)]
    ask = {"control": labels.control, "separator": labels.separator, "seed": seed, "conditions": asked}
    (folder / "ask.json").write_text(json.dumps(ask))
