"""Generators of other projects, each run in its own environment.

    SCVI_PYTHON=path/to/scvi/bin/python python benchmarks/peers.py --cache .cache/benchmarks

fits scVI on every data set and seed that the cache lacks.
"""

from __future__ import annotations

import math
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
from cases import MAKERS, Case, arguments, cases
from fits import Fit, run, to_parts
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
LONG_STEPS = 4000
"""Steps of the longer fits. By default scVI makes few steps on few cells (about 700 on 350 cells), too few for its
dispersions to leave their random start, and a comparison with that alone would flatter every other method."""


def scvi_python() -> str | None:
    """Python of the scVI environment, `$SCVI_PYTHON`; None where it is absent."""
    found = os.environ.get("SCVI_PYTHON", "")
    return found if Path(found).is_file() else None


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
) -> Fit | None:
    """scVI fitted on `train`; None (with the reason on standard error) where neither cache nor scVI is there.

    Args:
        cache: Folder of finished fits.
        train: Counts, cell x gene.
        labels: Label of each training cell: scVI's batch.
        test: Held-out counts to score; None scores none.
        test_labels: Their labels, all among `labels`.
        pp_rows: Training cells to draw one posterior predictive cell of, each (array `pp`).
        prior_rows: Training cells whose label and library size one prior cell takes, each (array `prior`).
        seed: Seed of the fit and of the draws.
        changes: Settings that differ from `SCVI_SETTINGS`.
    """
    settings = SCVI_SETTINGS | {"seed": seed} | changes
    empty = np.arange(0)
    arrays = {
        **to_parts("train", train),
        **to_parts("test", train[:0] if test is None else test),
        "train_labels": np.asarray(labels, str),
        "test_labels": np.asarray([] if test_labels is None else test_labels, str),
        "pp_rows": np.asarray(empty if pp_rows is None else pp_rows, np.int64),
        "prior_rows": np.asarray(empty if prior_rows is None else prior_rows, np.int64),
    }
    python = scvi_python()
    command = None if python is None else [python, str(SCRIPT)]
    environment = {"OMP_NUM_THREADS": str(settings["threads"]), "PYTHONPATH": ""}
    found = run(cache, "scvi", command, arrays, settings, environment)
    if found is None:
        print("scVI skipped: $SCVI_PYTHON does not name the Python of an scVI environment", file=sys.stderr)
    return found


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


def scvi_changes(n_train: int, long: bool) -> dict[str, Any] | None:
    """Changes to `SCVI_SETTINGS`: none, or with `long` those of a fit of `LONG_STEPS` steps without early stopping.

    None where a long fit is asked for but scVI's own 400 epochs make as many steps.
    """
    if not long:
        return {}
    # scVI holds a tenth of the cells out for early stopping; minibatches have 128 cells.
    n_epochs = math.ceil(LONG_STEPS / math.ceil(0.9 * n_train / 128))
    return {"early_stopping": False, "max_epochs": n_epochs} if n_epochs > 400 else None


def scvi_of_case(cache: Path, case: Case, long: bool = False) -> Fit | None:
    """scVI fitted on a data set's training half and scored on its test half; None where `scvi_changes` gives None."""
    changes = scvi_changes(case.train.n_obs, long)
    if changes is None:
        return None
    return fit_scvi(
        cache,
        case.counts("train"),
        case.labels("train"),
        test=case.counts("test"),
        test_labels=case.labels("test"),
        seed=case.seed,
        **scvi_rows(case),
        **changes,
    )


def main() -> None:
    parser = arguments(__doc__, list(MAKERS))
    parser.add_argument("--long", action="store_true", help="the longer fits of small data sets instead")
    asked = parser.parse_args()
    for case in cases(asked.data, asked.datasets, asked.seeds):
        found = scvi_of_case(asked.cache, case, asked.long)
        if found is not None:
            print(case.name, case.seed, {name: round(value, 3) for name, value in found.figures.items()}, flush=True)


if __name__ == "__main__":
    main()
