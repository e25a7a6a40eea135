"""Is the evaluator itself right? Generators whose order is known, scored as users' are.

    GENESIM_DATA=path/to/data python benchmarks/ladder.py --seeds 0 1 2

On three data sets halved at random, a cell is drawn for each training cell, of its label, and scored against the
held-out half. From best to worst:

| rung | what it is |
| --- | --- |
| `real` | the training half |
| `model` | `ExpressionModel`, one network (`method: vae`) |
| `copula` | Gaussian copula of the genes of a label |
| `independent` | NB genes of a label, each by itself |
| `poisson` | Poisson genes at the label's mean: no spread beyond sampling |
| `mean_only` | every cell the rounded mean of its label at its depth: no spread |
| `shuffled_genes` | training cells, the genes' names permuted: right spread, wrong genes |
| `memoriser` | training cells with replacement: no worse than `real` by likeness, found by the copying scores |

`shuffled_genes` has no place among the last ones (it keeps what `mean_only` lacks and the other way round): it must be
worse than `independent`. A pair is ordered rightly where the better rung has the better mean over seeds, by more than
two standard errors of the paired difference ("clear"), else "level" or "wrong".

Writes `ladder.csv` (data set, seed, rung, metric, value), `ladder_order.csv` (data set, metric, pair, difference,
verdict), `ladder.png` and `ladder.json`.
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
from cases import Case, arguments, cases
from expression import badness, resampled, scores
from fits import fit_genesim
from record import write_record
from scipy import sparse

from genesim import rng
from genesim.config.evaluate import EvaluateConfig
from genesim.evaluate.catalog import EXPRESSION

DATASETS = ("onek1k", "papalexi", "kang_2000")
RUNGS = ("real", "model", "copula", "independent", "poisson", "mean_only", "shuffled_genes", "memoriser")
FITTED = {"model": {"method": "vae"}, "copula": {"method": "copula"}, "independent": {"method": "independent"}}
HEADLINE = ("classifier_auc", "classifier_auc_harder", "mmd2", "mmd2_within_type", "gene_correlation_within_type")
COPYING = ("nearest_neighbour_share", "exact_copies_cells")
PAIRS = [*pairwise(RUNGS[:6]), ("independent", "shuffled_genes")]


def poisson(case: Case, spread: bool) -> sparse.csr_matrix:
    """Counts at the mean share of each gene in the label times the training cell's library: drawn, or rounded."""
    random, counts, labels = rng.generator(case.seed, "benchmark", "ladder"), case.counts("train"), case.labels("train")
    library = np.asarray(counts.sum(1)).ravel()
    out = np.zeros(counts.shape, np.float32)
    for label in np.unique(labels):
        inside = np.flatnonzero(labels == label)
        share = np.asarray(counts[inside].sum(0)).ravel() / max(library[inside].sum(), 1.0)
        mean = library[inside, None] * share
        out[inside] = random.poisson(mean) if spread else np.rint(mean)
    return sparse.csr_matrix(out)


def drawn(cache: Path, case: Case, rung: str) -> sparse.csr_matrix:
    """Counts of one cell a training cell, of its label."""
    train = case.counts("train")
    if rung in FITTED:
        labels = {part: case.labels(part) for part in ("train", "test")}
        return fit_genesim(
            cache,
            train,
            labels["train"],
            sample_labels=labels["train"],
            test=case.counts("test"),
            test_labels=labels["test"],
            seed=case.seed,
            config=FITTED[rung],
        ).counts("drawn")
    if rung == "shuffled_genes":
        return sparse.csr_matrix(train[:, rng.generator(case.seed, "benchmark", rung).permutation(train.shape[1])])
    if rung in ("poisson", "mean_only"):
        return poisson(case, rung == "poisson")
    return resampled(case) if rung == "memoriser" else train


def order(table: pd.DataFrame) -> pd.DataFrame:
    """A row a data set, headline metric and pair of rungs: mean difference in badness, its error, the verdict."""
    rows = []
    for (dataset, metric), part in table[table["metric"].isin(HEADLINE)].groupby(["dataset", "metric"], sort=False):
        bad = part.assign(bad=badness(str(metric), part["value"])).pivot(index="seed", columns="rung", values="bad")
        for better, worse in PAIRS:
            gap = bad[worse] - bad[better]
            error = gap.std() / np.sqrt(len(gap))
            found = "clear" if gap.mean() > 2 * error else "wrong" if gap.mean() < -2 * error else "level"
            rows.append(
                {
                    "dataset": dataset,
                    "metric": metric,
                    "better": better,
                    "worse": worse,
                    "gap": gap.mean(),
                    "se": error,
                    "n_seeds": len(gap),
                    "verdict": found,
                }
            )
    return pd.DataFrame(rows)


def figure(table: pd.DataFrame, path: Path) -> None:
    """A panel a headline metric and the copying share; rungs from left to right, a line a data set."""
    from matplotlib.figure import Figure

    metrics = [*HEADLINE, COPYING[0]]
    picture = Figure(figsize=(11, 6.2), layout="constrained")
    axes = picture.subplots(2, 3).ravel()
    for axis, metric in zip(axes, metrics, strict=True):
        for i, (dataset, part) in enumerate(table[table["metric"] == metric].groupby("dataset", sort=False)):
            found = part.groupby("rung")["value"].agg(["mean", "std"]).reindex(list(RUNGS))
            axis.errorbar(
                range(len(RUNGS)), found["mean"], yerr=found["std"], fmt="o-", ms=4, lw=1, color=f"C{i}", label=dataset
            )
        axis.set_title(EXPRESSION[metric].label, fontsize=9)
        axis.set_xticks(range(len(RUNGS)), [r.replace("_", " ") for r in RUNGS], rotation=40, ha="right", fontsize=8)
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].legend(fontsize=8, frameon=False)
    picture.savefig(path, dpi=110)


def main() -> None:
    parser = arguments(__doc__, list(DATASETS))
    parser.add_argument("--max-cells", type=int, default=2000, help="most cells compared")
    asked = parser.parse_args()
    asked.out.mkdir(parents=True, exist_ok=True)
    evaluate = EvaluateConfig(max_cells=asked.max_cells, n_bootstrap=5)  # its intervals are not used
    rows = []
    for case in cases(asked.data, asked.datasets, asked.seeds):
        for rung in RUNGS:
            found = scores(case, drawn(asked.cache, case, rung), evaluate)
            rows += [
                {"dataset": case.name, "seed": case.seed, "rung": rung, "metric": name, "value": value}
                for name, value in found.items()
                if name in (*HEADLINE, *COPYING)
            ]
            print(case.name, case.seed, rung, {m: round(found[m], 3) for m in (*HEADLINE, *COPYING)}, flush=True)
    table = pd.DataFrame(rows)
    table.round(5).to_csv(asked.out / "ladder.csv", index=False)
    verdicts = order(table)
    verdicts.round(5).to_csv(asked.out / "ladder_order.csv", index=False)
    figure(table, asked.out / "ladder.png")
    write_record(asked.out / "ladder.json", settings={"max_cells": asked.max_cells, "model": FITTED["model"]})
    print(
        verdicts.pivot_table(index=["dataset", "better", "worse"], columns="metric", values="verdict", aggfunc="first")
    )


if __name__ == "__main__":
    main()
