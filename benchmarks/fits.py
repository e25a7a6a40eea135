"""One fit of a generator in a process of its own, its result kept in a cache keyed by the data and the settings.

A process of its own gives each fit its own peak memory and lets a peer run in another environment. A second run of
the same question fits nothing; the times in the cache are those of the first.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy import sparse

import genesim

PACKAGE = Path(genesim.__file__).resolve().parent
SCRIPT = Path(__file__).resolve().parent / "fit_genesim.py"
MODEL_SOURCES = (
    "models/expression/*.py",
    "models/base.py",
    "estimators/expression*.py",
    "estimators/covariates.py",
    "nn/*.py",
    "train/*.py",
    "config/model.py",
    "data/expression.py",
    "data/stream.py",
    "types.py",
    "rng.py",
)
"""Files of the package that decide what a fit of `ExpressionModel` draws."""
BASELINES_VERSION = 3  # raise it when the draws of `independent` or `copula` change


@dataclass(frozen=True)
class Fit:
    """What one fit gave.

    Attributes:
        figures: Times (s), steps, peak memory (MB), held-out scores (nats a cell).
        arrays: Results by name, CSR counts in parts.
    """

    figures: dict[str, float]
    arrays: dict[str, np.ndarray]

    def counts(self, name: str) -> sparse.csr_matrix:
        """Drawn counts [cell, gene]."""
        return from_parts(self.arrays, name)


def sources(patterns: Iterable[str]) -> str:
    """Twelve hexadecimal digits of the contents of genesim's files that match."""
    found = hashlib.sha256()
    for path in sorted(path for pattern in patterns for path in PACKAGE.glob(pattern)):
        found.update(str(path.relative_to(PACKAGE)).encode() + path.read_bytes())
    return found.hexdigest()[:12]


def to_parts(name: str, counts: sparse.csr_matrix) -> dict[str, np.ndarray]:
    """CSR counts as int32 arrays, to be written without pickle."""
    counts = sparse.csr_matrix(counts)
    return {f"{name}_{part}": np.asarray(getattr(counts, part), np.int32) for part in ("data", "indices", "indptr")} | {
        f"{name}_shape": np.asarray(counts.shape, np.int64)
    }


def from_parts(arrays: Any, name: str) -> sparse.csr_matrix:
    """CSR counts [cell, gene] of `to_parts`."""
    parts = tuple(arrays[f"{name}_{part}"] for part in ("data", "indices", "indptr"))
    return sparse.csr_matrix(parts, shape=tuple(arrays[f"{name}_shape"]))


def digest(arrays: dict[str, np.ndarray], settings: Any) -> str:
    """Twenty hexadecimal digits of the arrays' bytes and of anything JSON can say."""
    found = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
    for name in sorted(arrays):
        found.update(f"{name} {arrays[name].dtype} {arrays[name].shape}".encode())
        found.update(np.ascontiguousarray(arrays[name]).tobytes())
    return found.hexdigest()[:20]


def run(
    cache: Path,
    prefix: str,
    command: list[str] | None,
    arrays: dict[str, np.ndarray],
    settings: dict[str, Any],
    environment: dict[str, str],
) -> Fit | None:
    """`command input.npz settings.json output.npz output.json`, or its result from the cache.

    Without a command only the cache is looked at; None where it lacks the result.

    Raises:
        subprocess.CalledProcessError: The fit failed; its message is on standard error.
    """
    stem = cache / f"{prefix}_{digest(arrays, settings)}"
    if not stem.with_suffix(".json").is_file():
        if command is None:
            return None
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache.resolve()) as work:
            folder = Path(work)
            np.savez(folder / "input.npz", **arrays)  # type: ignore[arg-type]
            (folder / "settings.json").write_text(json.dumps(settings))
            names = ("input.npz", "settings.json", "output.npz", "output.json")
            files = [str(folder / name) for name in names]
            subprocess.run([*command, *files], cwd=folder, env=os.environ | environment, check=True)
            (folder / "output.npz").replace(stem.with_suffix(".npz"))
            (folder / "output.json").replace(stem.with_suffix(".json"))  # last: its presence means complete
    with np.load(stem.with_suffix(".npz")) as found:
        return Fit(json.loads(stem.with_suffix(".json").read_text())["figures"], dict(found))


def fit_genesim(
    cache: Path,
    train: sparse.csr_matrix,
    labels: np.ndarray,
    *,
    sample_labels: np.ndarray | None = None,
    test: sparse.csr_matrix | None = None,
    test_labels: np.ndarray | None = None,
    rates: bool = False,
    seed: int,
    config: dict[str, Any],
) -> Fit:
    """`ExpressionModel` fitted on `train`.

    Args:
        cache: Folder of finished fits.
        train: Counts, cell x gene.
        labels: Label of each training cell.
        sample_labels: Labels of the cells to draw (array `drawn`); None draws none.
        test: Held-out counts to score; None scores none.
        test_labels: Their labels, all among `labels`.
        rates: Also the denoised training cells (arrays `rates`, and `latent_rates` without own counts; rows sum to 1).
        seed: Seed of the fit and of the draws.
        config: Changes to `ExpressionConfig`.
    """
    baseline = config.get("method") in ("copula", "independent")
    settings = {
        "seed": seed,
        "config": config,
        "rates": rates,
        "code": str(BASELINES_VERSION) if baseline else sources(MODEL_SOURCES),
    }
    arrays = {
        **to_parts("train", train),
        **to_parts("test", train[:0] if test is None else test),
        "train_labels": np.asarray(labels, str),
        "test_labels": np.asarray([] if test_labels is None else test_labels, str),
        "sample_labels": np.asarray([] if sample_labels is None else sample_labels, str),
    }
    # One thread, as the peers have; the fit finds this very package, whatever is installed.
    environment = {
        "OMP_NUM_THREADS": "1",
        "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false",
        "PYTHONPATH": str(PACKAGE.parent),
    }
    found = run(cache, "genesim", [sys.executable, str(SCRIPT)], arrays, settings, environment)
    assert found is not None
    return found
