"""Generators of other projects, each run in its own environment, their results kept in a cache.

    SCVI_PYTHON=path/to/scvi/bin/python python benchmarks/peers.py --cache .cache/benchmarks

fits scVI on every data set and seed that the cache lacks. A result is keyed by the data, the settings and the rows
asked for, so that a second run fits nothing; the times in it are those of the first.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from cases import MAKERS, Case, arguments, cases
from scipy import sparse

from genesim import rng

SCRIPT = Path(__file__).resolve().parent / "peers" / "scvi_fit.py"
SCVI_SETTINGS: dict[str, Any] = {
    "version": 1,  # raise it when scvi_fit.py changes its results
    "gene_likelihood": "nb",
    "early_stopping": True,
    "max_epochs": None,
    "threads": 1,
    "n_latent_draws": 8,
    "rates": False,
}


@dataclass(frozen=True)
class ScviFit:
    """What one fit of scVI gave.

    Attributes:
        figures: Times (s), epochs, steps, cells/s, peak memory (MB), held-out scores (nats a cell).
        pp: Posterior predictive counts, one row a `pp_rows`; None where none were asked for.
        prior: Counts from the prior, one row a `prior_rows`; None where none were asked for.
        rates: Normalised expression of the training cells (rows sum to 1); None where not asked for.
    """

    figures: dict[str, float]
    pp: sparse.csr_matrix | None
    prior: sparse.csr_matrix | None
    rates: np.ndarray | None


def scvi_python() -> str | None:
    """Python of the scVI environment: `$SCVI_PYTHON`; says why where it is absent."""
    found = os.environ.get("SCVI_PYTHON")
    if not found:
        print("scVI skipped: $SCVI_PYTHON does not name the Python of an scVI environment", file=sys.stderr)
    elif not Path(found).is_file():
        print(f"scVI skipped: $SCVI_PYTHON names {found}, which is not a file", file=sys.stderr)
    else:
        return found
    return None


def _parts(name: str, counts: sparse.csr_matrix) -> dict[str, np.ndarray]:
    counts = sparse.csr_matrix(counts)
    return {
        f"{name}_data": counts.data.astype(np.int32),
        f"{name}_indices": counts.indices.astype(np.int32),
        f"{name}_indptr": counts.indptr.astype(np.int32),
        f"{name}_shape": np.asarray(counts.shape, np.int64),
    }


def _read(arrays: Any, name: str) -> sparse.csr_matrix | None:
    if f"{name}_data" not in arrays:
        return None
    parts = tuple(arrays[f"{name}_{part}"] for part in ("data", "indices", "indptr"))
    return sparse.csr_matrix(parts, shape=tuple(arrays[f"{name}_shape"]))


def digest(arrays: dict[str, np.ndarray], settings: dict[str, Any]) -> str:
    """Twenty hexadecimal digits of the arrays' bytes and the settings."""
    found = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
    for name in sorted(arrays):
        found.update(f"{name} {arrays[name].dtype} {arrays[name].shape}".encode())
        found.update(np.ascontiguousarray(arrays[name]).tobytes())
    return found.hexdigest()[:20]


def fit_scvi(
    cache: Path,
    train: sparse.csr_matrix,
    labels: np.ndarray,
    *,
    test: sparse.csr_matrix | None = None,
    test_labels: np.ndarray | None = None,
    pp_rows: np.ndarray | None = None,
    prior_rows: np.ndarray | None = None,
    seed: int,
    **changes: Any,
) -> ScviFit | None:
    """scVI fitted on `train`, from the cache where it holds the same question; None (and why) where it cannot run.

    Args:
        cache: Folder of finished fits.
        train: Counts, cell x gene.
        labels: Label of each training cell: scVI's batch.
        test: Held-out counts to score; None scores none.
        test_labels: Their labels, all among `labels`.
        pp_rows: Training cells to draw one posterior predictive cell of, each.
        prior_rows: Training cells whose label and library size one prior cell takes, each.
        seed: Seed of the fit and of the draws.
        changes: Settings that differ from `SCVI_SETTINGS`.

    Raises:
        subprocess.CalledProcessError: scVI failed; its message is on standard error.
    """
    settings = SCVI_SETTINGS | {"seed": seed} | changes
    empty = np.arange(0)
    arrays = {
        **_parts("train", train),
        **_parts("test", train[:0] if test is None else test),
        "train_labels": np.asarray(labels, str),
        "test_labels": np.asarray([] if test_labels is None else test_labels, str),
        "pp_rows": np.asarray(empty if pp_rows is None else pp_rows, np.int64),
        "prior_rows": np.asarray(empty if prior_rows is None else prior_rows, np.int64),
    }
    stem = cache / f"scvi_{digest(arrays, settings)}"
    if not stem.with_suffix(".json").is_file():
        python = scvi_python()
        if python is None:
            return None
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache) as work:
            folder = Path(work)
            np.savez(folder / "input.npz", **arrays)
            (folder / "settings.json").write_text(json.dumps(settings))
            names = ["input.npz", "settings.json", "output.npz", "output.json"]
            environment = os.environ | {"OMP_NUM_THREADS": str(settings["threads"]), "PYTHONPATH": ""}
            subprocess.run([python, str(SCRIPT), *names], cwd=folder, env=environment, check=True)
            (folder / "output.npz").replace(stem.with_suffix(".npz"))
            (folder / "output.json").replace(stem.with_suffix(".json"))  # last: its presence means complete
    figures = json.loads(stem.with_suffix(".json").read_text())["figures"]
    with np.load(stem.with_suffix(".npz")) as found:
        return ScviFit(figures, _read(found, "pp"), _read(found, "prior"), found.get("rates"))


def scvi_rows(case: Case) -> dict[str, np.ndarray]:
    """Training cells that the draws of a whole data set take: each once, and a bootstrap of them within each label.

    Both leave each label its number of training cells.
    """
    labels, random = case.labels("train"), rng.generator(case.seed, "benchmark", "scvi", "prior")
    prior = np.arange(len(labels))
    for label in np.unique(labels):
        inside = np.flatnonzero(labels == label)
        prior[inside] = random.choice(inside, len(inside))
    return {"pp_rows": np.arange(len(labels)), "prior_rows": prior}


def scvi_of_case(cache: Path, case: Case) -> ScviFit | None:
    """scVI fitted on a data set's training half and scored on its test half."""
    return fit_scvi(
        cache,
        case.counts("train"),
        case.labels("train"),
        test=case.counts("test"),
        test_labels=case.labels("test"),
        seed=case.seed,
        **scvi_rows(case),
    )


def main() -> None:
    asked = arguments(__doc__, list(MAKERS)).parse_args()
    for case in cases(asked.data, asked.datasets, asked.seeds):
        found = scvi_of_case(asked.cache, case)
        if found is not None:
            print(case.name, case.seed, {name: round(value, 3) for name, value in found.figures.items()}, flush=True)


if __name__ == "__main__":
    main()
