"""Can one size of a predicted effect be level with the best baseline on every metric at once?

    python benchmarks/perturbation_frontier.py --data ../shared/data --seeds 0 1 2

For each task of `perturbation.py`, genesim's predicted effects times 0, .25 ... 2, and those of baselines times the
same, are scored on the same folds, with cells by the same count layer. Each scaled prediction is then judged like
genesim in `perturbation_summary.csv`: per metric the difference to the best of the baselines (unscaled, chosen by
looking), paired over conditions, seeds averaged first. "Behind" is by more than one standard error.

`genesim+measured` is the mean of genesim's effect and of the effect as measured in the other replicates.
`other_controls` is no prediction but a null: control cells of the other contexts as they are, for any perturbation.

Writes `perturbation_frontier.csv` (a row a task, source and size: how many metrics are behind, and which),
`perturbation_frontier_scores.csv` (means of the metrics) and `perturbation_frontier.json`.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from perturbation import LOG_SHIFT, MAX_CELLS, PRIORS, TASKS, Task, summary
from record import write_record

from genesim.console import log, setup
from genesim.evaluate.perturbation import PERTURBATION_METRICS, HeldOut, Panel, Predicted
from genesim.pipeline.perturbation import (
    Fold,
    Prepared,
    baseline_predictions,
    log_normalised,
    model_predictions,
    shifted_cells,
)
from genesim.provenance.atomic import atomic_file

ALPHAS = (0.0, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0)
SCALED = ("mean_effect", "measured", "other_contexts", "additive")
"""Baselines that are scaled too, where a task has them."""


def other_controls(fold: Fold, prepared: Prepared) -> list[Predicted | None]:
    """Training control cells of the other levels of what is left out, in place of each condition's cells."""
    control = np.array([not parts for parts in prepared.setting.labels.read(fold.train.obs)])
    key = prepared.setting.library_key
    rows = fold.train[control]
    library = np.asarray(rows.X.sum(1)).ravel() if key is None else rows.obs[key].to_numpy(np.float64)
    cells = log_normalised(rows.X, library, fold.reference)
    elsewhere = rows.obs[str(prepared.setting.key)].astype(str).to_numpy()
    found: list[Predicted | None] = []
    for held in fold.held:
        # A context is named by its covariates, of which the one that is left out is one.
        there = cells[[level not in held.context.split("|") for level in elsewhere]][:MAX_CELLS]
        found.append(Predicted(there.mean(0) - held.given.mean(0), there) if len(there) > 1 else None)
    return found


def sources(fold: Fold, prepared: Prepared, task: Task, data: Path, seed: int) -> dict[str, list[Predicted | None]]:
    """Predictions of baselines and of the model, of one fold."""
    made = baseline_predictions(fold, seed, log_shift=LOG_SHIFT)
    made["genesim"] = list(model_predictions(fold, prepared, seed=seed))
    if task.priors:
        given = {key: str(data / "priors" / file) for key, file in PRIORS.items()}
        made["genesim_priors"] = list(model_predictions(fold, prepared, priors=given, seed=seed))
    if "measured" in made:
        pairs = zip(made["genesim"], made["measured"], strict=True)
        made["genesim+measured"] = [
            None if own is None or measured is None else Predicted((own.effect + measured.effect) / 2)
            for own, measured in pairs
        ]
    if prepared.setting.task == "context":
        made["other_controls"] = other_controls(fold, prepared)
    return made


def scaled(
    folds: Sequence[Fold], held: Sequence[HeldOut], predicted: Sequence[Predicted], alpha: float, seed: int
) -> list[Predicted]:
    """`predicted` times alpha, with cells; `held` are the conditions of `folds` in order."""
    of = [fold for fold in folds for _ in fold.held]
    return [
        Predicted(alpha * p.effect, h.given if alpha == 0 else shifted_cells(fold, h, alpha * p.effect, seed))
        for fold, h, p in zip(of, held, predicted, strict=True)
    ]


def run(name: str, data: Path, seed: int) -> pd.DataFrame:
    """Scores by condition of every baseline as it is (size NaN) and of every source at every size."""
    task = TASKS[name]
    prepared = Prepared(task.cells(data), task.setting, max_given=MAX_CELLS, seed=seed)
    folds = list(prepared.folds())
    held = [h for fold in folds for h in fold.held]
    left_out = [",".join(fold.split.names) for fold in folds for _ in fold.held]
    parts = [sources(fold, prepared, task, data, seed) for fold in folds]
    panel = Panel(held, prepared.basis(), max_cells=MAX_CELLS, seed=seed)
    frames = []

    def add(source: str, alpha: float, predicted: Sequence[Predicted]) -> None:
        table = panel.score(predicted)
        table.insert(0, "source", source)
        table.insert(1, "alpha", alpha)
        table.insert(2, "left_out", left_out)
        frames.append(table)

    for source in dict.fromkeys(key for part in parts for key in part):
        each = [p for part in parts for p in part.get(source, [None])]
        whole = [p for p in each if p is not None]
        if len(whole) != len(held):
            continue
        ours = source.startswith("genesim")
        if not ours:
            add(source, np.nan, whole)
        if ours or source in SCALED:
            for alpha in ALPHAS:
                add(source, alpha, scaled(folds, held, whole, alpha, seed))
        log.info("%s, seed %d: %s scored", name, seed, source)
    table = pd.concat(frames, ignore_index=True)
    table.insert(0, "task", name)
    table.insert(1, "seed", seed)
    return table


def judged(table: pd.DataFrame) -> Iterator[dict[str, object]]:
    """A row a source and size: metrics behind the best baseline by more than one standard error."""
    as_is = table["alpha"].isna() & (table["source"] != "other_controls")
    baselines = table[as_is].rename(columns={"source": "method"})
    others = table[~as_is]
    for (source, alpha), rows in others.groupby(["source", "alpha"], sort=False, dropna=False):
        own = rows.assign(method="genesim").drop(columns="source")
        found = summary(pd.concat([baselines, own], ignore_index=True))
        behind = found.loc[found["reached_baseline"] == "no", "metric"]
        ahead = found.loc[found["ahead_of_baseline"] > found["se_baseline"], "metric"]
        yield {
            "task": rows["task"].iloc[0],
            "source": source,
            "alpha": alpha,
            "n_metrics": len(found),
            "n_behind": len(behind),
            "n_ahead": len(ahead),
            "behind": " ".join(behind),
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("GENESIM_DATA", "../shared/data")))
    parser.add_argument("--tasks", nargs="+", choices=list(TASKS), default=list(TASKS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--name", default="perturbation_frontier", help="of the files written")
    parser.add_argument("--out", type=Path, default=Path(__file__).resolve().parent)
    given = parser.parse_args()
    setup()
    verdicts, means = [], []
    for name in given.tasks:
        table = pd.concat([run(name, given.data, seed) for seed in given.seeds], ignore_index=True)
        verdicts += list(judged(table))
        columns = list(PERTURBATION_METRICS)
        means.append(table.groupby(["task", "source", "alpha"], sort=False, dropna=False)[columns].mean().reset_index())
        files = (("", pd.DataFrame(verdicts)), ("_scores", pd.concat(means, ignore_index=True)))
        for suffix, frame in files:
            with atomic_file(given.out / f"{given.name}{suffix}.csv") as temporary:
                frame.to_csv(temporary, index=False, float_format="%.4f")
        settings = {k: str(v) for k, v in vars(given).items() if k not in ("data", "out", "name")}
        write_record(given.out / f"{given.name}.json", settings={**settings, "max_cells": MAX_CELLS, "alphas": ALPHAS})
        sys.stdout.write(pd.DataFrame(verdicts).drop(columns="behind").to_string(index=False) + "\n")


if __name__ == "__main__":
    main()
