"""Held-out perturbations: genesim beside every closed-form baseline, a ceiling, and peers, on the same folds.

    python benchmarks/perturbation.py --data ../shared/data --seeds 0 1 2
    python benchmarks/perturbation.py --tasks norman_double --seeds 0                    # the quickest look

| task | left out in turn | predicted from |
| --- | --- | --- |
| kang_cell_type | a cell type's stimulated cells (7 types, 2,000 genes) | its own controls |
| papalexi_target | a CRISPR target (25), its cells in all replicates | controls |
| papalexi_replicate | one of 3 replicates, controls too | controls of the other replicates |
| norman_double | a pair of genes both of which were measured alone (5) | controls |
| mcfaline_line | one of 3 glioma lines | its own controls |

Half of the controls of each context are trained on and predicted from, the other half serve the true effect (see
`genesim/evaluate/perturbation.py`). Of a target that no one measured a model without priors knows little: there
`genesim_priors` is a second row, with Hallmark and Reactome gene sets and CollecTRI. A seed decides that half, the
counts and the model's folds. Writes `perturbation.csv` (a row a task, seed and method: means over conditions),
`perturbation_summary.csv` (genesim against the best baseline and the best peer of each metric, paired over
conditions) and `perturbation.json`. A finished task and seed is kept in `--cache` and is not run again; delete the
folder after a change of the code.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice, product
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
from cases import kang_2000
from perturbation_peers import PEERS, peer_predictions
from record import write_record

from genesim.console import log, setup
from genesim.data.expression import read_expression
from genesim.data.perturbation_split import Labels
from genesim.evaluate.catalog import METRICS
from genesim.evaluate.perturbation import PERTURBATION_METRICS
from genesim.pipeline.perturbation import (
    Prepared,
    Setting,
    baseline_predictions,
    model_predictions,
    score_methods,
)
from genesim.provenance.atomic import atomic_file

MAX_CELLS = 400
MODELS = ("genesim", "genesim_priors")
PRIORS = {
    "hallmark": "human_hallmark_v2025.gmt",
    "reactome": "human_reactome_v2025.gmt",
    "collectri": "collectri.csv",
}
LOG_SHIFT = ("mean_effect", "measured", "other_contexts", "additive")


def _norman(data: Path, dataset: str) -> ad.AnnData:
    cells = read_expression(data / "perturbation" / "norman_mcfaline.h5ad")
    return cells[(cells.obs["dataset"] == dataset).to_numpy()].copy()


@dataclass(frozen=True)
class Task:
    """One question: its cells, and what is left out."""

    cells: Callable[[Path], ad.AnnData]
    setting: Setting
    priors: bool = False


def _papalexi(data: Path) -> ad.AnnData:
    return read_expression(data / "perturbation" / "papalexi_thp1.h5ad")


_CONDITION = Labels("condition")
_TARGET = Labels("guide", "non-targeting", target="target")
TASKS: dict[str, Task] = {
    "norman_double": Task(
        lambda data: _norman(data, "norman19"), Setting("combination", _CONDITION, library_key="ncounts")
    ),
    "mcfaline_line": Task(
        lambda data: _norman(data, "mcfaline23"),
        Setting("context", _CONDITION, ("cell_type",), key="cell_type", library_key="ncounts"),
    ),
    "kang_cell_type": Task(
        lambda data: kang_2000(data)[0],
        Setting("context", _CONDITION, ("cell_type",), key="cell_type", library_key="n_counts"),
    ),
    "papalexi_replicate": Task(_papalexi, Setting("replicate", _TARGET, key="bio_rep")),
    "papalexi_target": Task(_papalexi, Setting("perturbation", _TARGET), priors=True),
}


def run(name: str, data: Path, seed: int, peers: list[str], cache: Path, most: int | None = None) -> pd.DataFrame:
    """Scores of every method by condition, of the first `most` folds."""
    task = TASKS[name]
    prepared = Prepared(task.cells(data), task.setting, max_given=MAX_CELLS, seed=seed)
    held, left_out, predicted, seconds = [], [], {}, {}
    for number, fold in enumerate(islice(prepared.folds(), most)):
        made = dict(baseline_predictions(fold, seed, log_shift=LOG_SHIFT))
        started = time.process_time()
        made["genesim"] = list(model_predictions(fold, prepared, seed=seed))
        seconds["genesim"] = seconds.get("genesim", 0.0) + time.process_time() - started
        if task.priors:
            started = time.process_time()
            given = {key: str(data / "priors" / file) for key, file in PRIORS.items()}
            made["genesim_priors"] = list(model_predictions(fold, prepared, priors=given, seed=seed))
            seconds["genesim_priors"] = seconds.get("genesim_priors", 0.0) + time.process_time() - started
        for peer in peers:
            found = peer_predictions(peer, fold, prepared, name, seed, cache / f"{name}-{number}")
            if found is not None:
                made[peer], cpu = found
                seconds[peer] = seconds.get(peer, 0.0) + cpu
        for method in {*made, *predicted}:
            before = predicted.setdefault(method, [None] * len(held))
            before += made.get(method, [None] * len(fold.held))
        held += fold.held
        left_out += [",".join(fold.split.names)] * len(fold.held)
        log.info("%s, seed %d: without %s", name, seed, ", ".join(fold.split.names))
    order = [m for m in predicted if m not in (*MODELS, *PEERS)]
    order += [m for m in (*PEERS, *MODELS) if m in predicted]
    table = score_methods(
        held, {m: predicted[m] for m in order}, left_out, prepared.basis(), max_cells=MAX_CELLS, seed=seed
    )
    table.insert(0, "task", name)
    table.insert(1, "seed", seed)
    table["cpu_s"] = table["method"].map(seconds)
    return table


def better(metric: str, values: np.ndarray) -> np.ndarray:
    """Values turned so that more is better: towards the target where there is one."""
    info = METRICS[metric]
    if info.direction == "target":
        return -np.abs(values - float(info.target or 0.0))
    return values if info.direction == "higher" else -values


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """genesim against the best baseline and the best peer: differences paired over conditions, seeds averaged first.

    `reached`: genesim is not behind the best of all baselines (chosen by looking at these very scores) by more than
    one standard error of the paired difference; where all agree to rounding the difference is 0 and it is reached.
    """
    rows = []
    keys = ["context", "condition", "left_out"]
    for model, (task, metric) in product(MODELS, _pairs(table)):
        part = table[table["task"] == task]
        wide = part.pivot_table(metric, keys, "method", aggfunc="mean", observed=True)
        wide = wide.loc[wide[model].notna()] if model in wide else wide.iloc[:0]
        if not len(wide):
            continue
        gains = pd.DataFrame(better(metric, wide.to_numpy(float)), wide.index, wide.columns)
        row: dict[str, object] = {
            "task": task,
            "model": model,
            "metric": metric,
            "n_conditions": len(wide),
            "n_seeds": part["seed"].nunique(),
            "genesim": wide[model].mean(),
            "ceiling": wide["ceiling"].mean() if "ceiling" in wide else np.nan,
            "no_change": wide["no_change"].mean() if "no_change" in wide else np.nan,
        }
        groups = {
            "baseline": [c for c in wide if c not in ("ceiling", *MODELS, *PEERS)],
            "peer": [c for c in wide if c in PEERS],
        }
        for kind, methods in groups.items():
            usable = [m for m in methods if wide[m].notna().all()]
            if not usable:
                continue
            best = str(gains[usable].mean().idxmax())
            difference = gains[model] - gains[best]
            se = difference.std(ddof=1) / np.sqrt(len(difference)) if len(difference) > 1 else np.nan
            ahead = difference.mean()
            row |= {f"best_{kind}": best, kind: wide[best].mean(), f"ahead_of_{kind}": ahead, f"se_{kind}": se}
            row[f"reached_{kind}"] = "yes" if ahead >= -max(np.nan_to_num(se), 1e-9) else "no"
        rows.append(row)
    return pd.DataFrame(rows)


def _pairs(table: pd.DataFrame) -> list[tuple[str, str]]:
    return [
        (task, metric)
        for task in dict.fromkeys(table["task"])
        for metric in PERTURBATION_METRICS
        if metric != "effect_coverage"  # no baseline gives intervals
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("GENESIM_DATA", "../shared/data")))
    parser.add_argument("--tasks", nargs="+", choices=list(TASKS), default=list(TASKS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--peers", nargs="*", choices=list(PEERS), default=[], help="see benchmarks/README.md")
    parser.add_argument("--folds", type=int, help="only the first ones of each task, where a peer takes long")
    parser.add_argument("--name", default="perturbation", help="of the files written")
    parser.add_argument("--cache", type=Path, default=Path(".cache/benchmarks/perturbation"))
    parser.add_argument("--out", type=Path, default=Path(__file__).resolve().parent)
    given = parser.parse_args()
    setup()
    given.cache.mkdir(parents=True, exist_ok=True)
    tables = []
    for seed in given.seeds:
        for name in given.tasks:
            asked = [peer for peer in given.peers if name in PEERS[peer].tasks]
            part = "" if given.folds is None else f"-{given.folds}folds"
            kept = given.cache / f"{name}-{seed}-{'-'.join(asked) or 'alone'}{part}.parquet"
            if not kept.exists():
                table = run(name, given.data, seed, asked, given.cache, given.folds)
                with atomic_file(kept) as temporary:
                    table.to_parquet(temporary)
            tables.append(pd.read_parquet(kept))
            write(pd.concat(tables, ignore_index=True), given)


def write(table: pd.DataFrame, given: argparse.Namespace) -> None:
    """The two tables and the record, after every task: a run cut short has whole tasks."""
    columns = [*PERTURBATION_METRICS, "cpu_s"]
    groups = table.groupby(["task", "seed", "method"], sort=False, observed=True)
    means = groups[columns].mean()
    means.insert(0, "n_conditions", groups.size())
    for name, frame in ((f"{given.name}.csv", means.reset_index()), (f"{given.name}_summary.csv", summary(table))):
        with atomic_file(given.out / name) as temporary:
            frame.to_csv(temporary, index=False, float_format="%.4f")
    settings = {k: str(v) for k, v in vars(given).items() if k not in ("data", "out", "cache", "name")}
    write_record(given.out / f"{given.name}.json", settings={**settings, "max_cells": MAX_CELLS})
    sys.stdout.write(means["pearson_delta"].unstack("method").round(3).to_string() + "\n")


if __name__ == "__main__":
    main()
