"""Is the evaluator itself right? Generators whose order is known, scored as users' are.

    GENESIM_DATA=path/to/data python benchmarks/ladder.py --seeds 0 1 2 --max-cells 800

On three data sets halved at random, a cell is drawn for each training cell, of its label, and scored against the
held-out half. From best to worst:

| rung | what it is |
| --- | --- |
| `real` | the training half |
| `model` | `ExpressionModel`, one network (`method: vae`; on `kang_2000` regularised, as `auto` chooses there) |
| `copula` | Gaussian copula of the genes of a label |
| `independent` | NB genes of a label, each by itself |
| `poisson` | Poisson genes at the label's mean: no spread beyond sampling |
| `mean_only` | every cell the rounded mean of its label at its depth: no spread |
| `shuffled_genes` | training cells, the genes' names permuted: right spread, wrong genes |
| `memoriser` | training cells with replacement: no worse than `real` by likeness, found by the copying scores |

The copying scores of `real` are those of a half of the held-out cells against the other half, because the training half
is what they look for. `shuffled_genes` has no place among the last ones (it keeps what `mean_only` lacks and the other
way round): it must be worse than `independent`. A pair is ordered rightly where the better rung has the better mean
over seeds, by more than two standard errors of the paired difference ("clear"), else "level" or "wrong"; with one seed
by sign alone. The memoriser is caught where its share of nearer cells, and that of exact copies, is clearly above that
of every rung that cannot copy.

What has to order the ladder are the headline scores, which `genesim.evaluate.catalog.HEADLINE` names and the report
begins with: of the scores of cells the harder classifier AUC (the rungs from best to worst) and the two copying scores
(the memoriser). Other scores are listed beside them as supporting.

Scores are kept in the cache, and the tables are written anew after each data set: a run cut short is taken up again.

`--order-only` judges the rows of a finished `ladder.csv` again and trains nothing.

Writes `ladder.csv` (data set, seed, rung, metric, value), `ladder_order.csv` (data set, role, metric, pair, difference,
verdict), `ladder.png` and `ladder.json`.
"""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from cases import CHOSEN, Case, arguments, cases
from expression import METRIC_SOURCES, badness, resampled, scores
from fits import digest, fit_genesim, sources, to_parts
from record import write_record
from scipy import sparse

from genesim import rng
from genesim.config.evaluate import EvaluateConfig
from genesim.evaluate.catalog import EXPRESSION, HEADLINE
from genesim.evaluate.copying import compare_copying

DATASETS = ("onek1k", "papalexi", "kang_2000")
RUNGS = ("real", "model", "copula", "independent", "poisson", "mean_only", "shuffled_genes", "memoriser")
FITTED = ("model", "copula", "independent")
JUDGED = tuple(name for name in HEADLINE if name in EXPRESSION)
LIKENESS = tuple(name for name in JUDGED if EXPRESSION[name].family == "fidelity")
COPYING = tuple(name for name in JUDGED if EXPRESSION[name].family == "privacy")
SUPPORTING = ("classifier_auc", "mmd2", "mmd2_within_type", "gene_correlation_within_type")
"""Scores that say where a difference lies; none of them alone has to order the ladder."""
PAIRS = [*pairwise(RUNGS[:6]), ("independent", "shuffled_genes")]
CAUGHT = [(rung, "memoriser") for rung in ("real", "model", "copula", "independent", "poisson")]


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


def config_of(dataset: str, rung: str, steps: int, flow_steps: int) -> dict[str, Any]:
    """Changes to ExpressionConfig of one fitted rung."""
    if rung != "model":
        return {"method": rung}
    chosen = {"method": "vae"} | CHOSEN.get(dataset, {})
    plans = {"vae": {"n_steps": steps, "minibatch_size": 128, "learning_rate": 2e-3}}
    plans["flow"] = {"n_steps": flow_steps, "learning_rate": 2e-3, "ema_decay": 0.998, "weight_decay": 0.0}
    return chosen | plans


def drawn(cache: Path, case: Case, rung: str, config: dict[str, Any] | None) -> sparse.csr_matrix:
    """Counts of one cell a training cell, of its label."""
    train = case.counts("train")
    if config is not None:
        labels = {part: case.labels(part) for part in ("train", "test")}
        return fit_genesim(
            cache,
            train,
            labels["train"],
            sample_labels=labels["train"],
            test=case.counts("test"),
            test_labels=labels["test"],
            seed=case.seed,
            config=config,
        ).counts("drawn")
    if rung == "shuffled_genes":
        return sparse.csr_matrix(train[:, rng.generator(case.seed, "benchmark", rung).permutation(train.shape[1])])
    if rung in ("poisson", "mean_only"):
        return poisson(case, rung == "poisson")
    return resampled(case) if rung == "memoriser" else train


def scored(cache: Path, case: Case, rung: str, counts: sparse.csr_matrix, config: EvaluateConfig) -> dict[str, float]:
    """Headline and copying scores of one rung, from the cache where it has them."""
    halves = {part: to_parts(part, case.counts(part)) for part in ("train", "test")}
    key = digest(
        halves["train"] | halves["test"] | to_parts("drawn", counts),
        [rung == "real", case.seed, config.model_dump(mode="json"), sources(METRIC_SOURCES)],
    )
    path = cache / f"ladder_{key}.json"
    if not path.is_file():
        found = scores(case, counts, config)
        if rung == "real":
            held = case.counts("test")
            rows = rng.generator(case.seed, "benchmark", "ladder halves").permutation(held.shape[0])
            one, other = (held[np.sort(part)] for part in (rows[::2], rows[1::2]))
            copies = compare_copying(one, other, case.counts("train"), None, "", case.seed, config)
            found |= {score.metric: score.value for score in copies}
        cache.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({name: float(found[name]) for name in (*SUPPORTING, *JUDGED)}))
    return json.loads(path.read_text())


def order(table: pd.DataFrame) -> pd.DataFrame:
    """A row a data set, metric and pair of rungs: mean difference in badness, its error, the verdict."""
    rows = []
    for (dataset, metric), part in table.groupby(["dataset", "metric"], sort=False):
        bad = part.assign(bad=badness(str(metric), part["value"])).pivot(index="seed", columns="rung", values="bad")
        for better, worse in CAUGHT if metric in COPYING else PAIRS:
            gap = bad[worse] - bad[better]
            if len(gap) == 1:  # no error is known: only the sign
                error, found = np.nan, "as asked, one seed" if gap.mean() > 0 else "reversed, one seed"
            else:
                error = gap.std() / np.sqrt(len(gap))
                found = "clear" if gap.mean() > 2 * error else "wrong" if gap.mean() < -2 * error else "level"
            rows.append(
                {
                    "dataset": dataset,
                    "role": "headline" if metric in JUDGED else "supporting",
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
    """A panel a metric, the headline ones first; rungs from left to right, a line a data set."""
    from matplotlib.figure import Figure

    metrics = [*LIKENESS, COPYING[0], *SUPPORTING]
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


def show(verdicts: pd.DataFrame) -> None:
    """Each pair's verdict by metric, and how many there are of each, by role."""
    pair = ["dataset", "better", "worse"]
    print(verdicts.pivot_table(index=pair, columns="metric", values="verdict", aggfunc="first").to_string())
    print(verdicts.groupby(["role", "metric"], sort=False)["verdict"].value_counts().unstack(fill_value=0).to_string())


def main() -> None:
    parser = arguments(__doc__, list(DATASETS))
    parser.add_argument("--max-cells", type=int, default=2000, help="most cells compared")
    parser.add_argument("--steps", type=int, default=2500, help="training steps of the network")
    parser.add_argument("--flow-steps", type=int, default=2000, help="training steps of its flow")
    parser.add_argument("--order-only", action="store_true", help="judge the rows of ladder.csv again")
    asked = parser.parse_args()
    if asked.order_only:
        table = pd.read_csv(asked.out / "ladder.csv")
        verdicts = order(table)
        verdicts.round(5).to_csv(asked.out / "ladder_order.csv", index=False)
        figure(table, asked.out / "ladder.png")
        show(verdicts)
        return
    asked.out.mkdir(parents=True, exist_ok=True)
    evaluate = EvaluateConfig(max_cells=asked.max_cells, n_bootstrap=5)  # its intervals are not used
    rows = []
    for case in cases(asked.data, asked.datasets, asked.seeds):
        for rung in RUNGS:
            config = config_of(case.name, rung, asked.steps, asked.flow_steps) if rung in FITTED else None
            found = scored(asked.cache, case, rung, drawn(asked.cache, case, rung, config), evaluate)
            rows += [
                {"dataset": case.name, "seed": case.seed, "rung": rung, "metric": name, "value": value}
                for name, value in found.items()
            ]
            print(case.name, case.seed, rung, {m: round(v, 3) for m, v in found.items()}, flush=True)
        table = pd.DataFrame(rows)
        table.round(5).to_csv(asked.out / "ladder.csv", index=False)
        verdicts = order(table)
        verdicts.round(5).to_csv(asked.out / "ladder_order.csv", index=False)
        figure(table, asked.out / "ladder.png")
        settings = {name: getattr(asked, name) for name in ("seeds", "datasets", "max_cells", "steps", "flow_steps")}
        write_record(asked.out / "ladder.json", settings=settings, done=f"{case.name}, seed {case.seed}")
    show(verdicts)


if __name__ == "__main__":
    main()
