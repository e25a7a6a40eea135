"""Generators of cells compared in one run, on equal cells and by the same metrics: genesim, its baselines and scVI.

    SCVI_PYTHON=path/to/scvi/bin/python GENESIM_DATA=path/to/data python benchmarks/expression.py --seeds 0 1 2

Writes to `--out`: `expression.csv` (a row a data set, seed, generator and metric), `expression_summary.csv` (mean and
SD over seeds, normalised scores, best generator), `expression_bars.csv` (genesim against what was asked of it, the
same of resampled training cells beside it), `expression.png` and `expression.json` (command, commit, versions,
settings). See benchmarks/README.md for every column. Fits and scores are kept in `--cache`: a run goes on where it
was, and fits again only what changed (data, settings, or the source files of genesim's expression model).
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from cases import MAKERS, Case, arguments, cases
from fits import MODEL_SOURCES, digest, fit_genesim, sources, to_parts
from peers import scvi_of_case
from record import write_record
from scipy import sparse

from genesim import rng
from genesim.config.evaluate import EvaluateConfig
from genesim.config.model import ExpressionConfig
from genesim.evaluate.catalog import EXPRESSION
from genesim.evaluate.copying import compare_copying
from genesim.evaluate.expression import compare_expression
from genesim.evaluate.score import Score

METRIC_SOURCES = (
    "metrics/expression.py",
    "metrics/cell_sums.py",
    "metrics/copies.py",
    "metrics/distribution.py",
    "metrics/downstream.py",
    "evaluate/cells.py",
    "evaluate/expression.py",
    "evaluate/expression_hand.py",
    "evaluate/expression_sums.py",
    "evaluate/copying.py",
    "config/evaluate.py",
)
PARTS = ("train", "test")
FLOOR, NULL, RESAMPLED = "real", "independent", "resampled"
NORMALISED = (
    "mmd2",
    "mmd2_within_type",
    "gene_correlation_within_type",
    "gene_mean_rmse",
    "ks_gene_mean",
    "ks_gene_variance",
    "ks_zero_fraction",
    "ks_log_library",
    "ks_detected_genes",
)
"""Metrics whose bar is a share of the way from the floor to the null."""
REUSE = {FLOOR, RESAMPLED, "scvi_pp", "scvi_long_pp"}
"""Rows that are training cells, or latents and library sizes of training cells: no new cells in the full sense."""
GENERATORS = (FLOOR, RESAMPLED, NULL, "copula", "scvi_prior", "scvi_long_prior", "scvi_pp", "scvi_long_pp", "genesim")
COSTS = ("n_train", "fit_cpu_s", "fit_wall_s", "sample_cpu_s", "sample_wall_s", "peak_rss_mb", "held_out_negative_elbo")
"""Figures of a fit that the summary compares as well (lower is better)."""


def configs(variants: Path | None) -> dict[str, dict[str, Any]]:
    """Changes to ExpressionConfig of each genesim generator, those of the user's file added."""
    found: dict[str, dict[str, Any]] = {
        NULL: {"method": "independent"},
        "copula": {"method": "copula"},
        "genesim": {},
    }
    if variants is not None:
        found |= json.loads(variants.read_text())
    for changes in found.values():
        ExpressionConfig.model_validate(changes)
    return found


def drawn(
    cache: Path, case: Case, generator: str, config: dict[str, Any] | None
) -> tuple[sparse.csr_matrix, dict[str, float]] | None:
    """Counts of one cell a training cell, of its label, and the figures of the fit; None where scVI has none."""
    if generator == FLOOR:
        return case.counts("train"), {}
    if generator == RESAMPLED:
        return resampled(case), {}
    if config is not None:
        parts = {part: case.counts(part) for part in PARTS}
        labels = {part: case.labels(part) for part in parts}
        found = fit_genesim(
            cache,
            parts["train"],
            labels["train"],
            sample_labels=labels["train"],
            test=parts["test"],
            test_labels=labels["test"],
            seed=case.seed,
            config=config,
        )
        return found.counts("drawn"), found.figures
    fit = scvi_of_case(cache, case, long="long" in generator)
    if fit is None:
        return None
    kind = generator.removeprefix("scvi_").removeprefix("long_")
    figures = {name: value for name, value in fit.figures.items() if "_sample_" not in name}
    figures |= {f"sample_{unit}_s": fit.figures[f"{kind}_sample_{unit}_s"] for unit in ("wall", "cpu")}
    return fit.counts(kind), figures


def resampled(case: Case) -> sparse.csr_matrix:
    """Training cells with replacement within their labels: what a draw costs where nothing had to be learned."""
    random, labels = rng.generator(case.seed, "benchmark", RESAMPLED), case.labels("train")
    rows = np.arange(len(labels))
    for label in np.unique(labels):
        inside = np.flatnonzero(labels == label)
        rows[inside] = random.choice(inside, len(inside))
    return case.counts("train")[rows]


def matched(case: Case, most: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows of training and of test cells with the same number of each label, at most about `most` cells each.

    Row i of every generator's draw has the label of training cell i, so the same rows serve all of them, and no
    difference of composition enters a score.
    """
    random = rng.generator(case.seed, "benchmark", "matched")
    train, test = case.labels("train"), case.labels("test")
    share = min(1.0, most / min(len(train), len(test)))
    rows: tuple[list[np.ndarray], list[np.ndarray]] = ([], [])
    for label in np.unique(train):
        inside = [np.flatnonzero(labels == label) for labels in (train, test)]
        n = round(share * min(map(len, inside)))
        for found, cells in zip(rows, inside):
            found.append(random.choice(cells, n, replace=False))
    return np.sort(np.concatenate(rows[0])), np.sort(np.concatenate(rows[1]))


def scores(case: Case, counts: sparse.csr_matrix, config: EvaluateConfig) -> dict[str, float]:
    """Every metric of `genesim.evaluate` of one draw [train cell, gene] against the held-out cells."""
    rows, rows_test = matched(case, config.max_cells)
    found = compare_expression(
        case.counts("test")[rows_test],
        counts[rows],
        case.labels("test")[rows_test],
        case.labels("train")[rows],
        seed=case.seed,
        config=config,
    )
    # Copies are looked for in all training cells.
    copies = compare_copying(case.counts("test"), counts, case.counts("train"), None, "", case.seed, config)
    return found | {score.metric: score.value for score in copies} | {"n_cells": len(rows)}


def row(
    cache: Path, case: Case, generator: str, config: dict[str, Any] | None, evaluate: EvaluateConfig
) -> dict[str, float] | None:
    """Scores and figures of one generator on one divided data set, from the cache where it has them."""
    found = drawn(cache, case, generator, config)
    if found is None:
        return None
    counts, figures = found
    halves = {part: to_parts(part, case.counts(part)) | {f"{part}_labels": case.labels(part)} for part in PARTS}
    settings = [case.seed, evaluate.model_dump(mode="json"), sources(METRIC_SOURCES)]
    name = digest(halves["train"] | halves["test"] | to_parts("drawn", counts), settings)
    path = cache / f"scores_{name}.json"
    if not path.is_file():
        cache.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial")
        partial.write_text(json.dumps(scores(case, counts, evaluate)))
        partial.replace(path)
    return json.loads(path.read_text()) | figures | {"n_train": case.train.n_obs}


def badness(metric: str, values: pd.Series) -> pd.Series:
    """What the best generator has least of."""
    info = EXPRESSION.get(metric)
    if info is None or info.direction == "lower":
        return values
    return -values if info.direction == "higher" else (values - info.target).abs()


def normalised(metric: str, value: float, floor: float, null: float, noise: float = 0.0) -> float:
    """0 at the floor, 1 at the null; NaN where the null is no worse than the floor within `noise`."""
    return Score("", metric, value, value - noise, value + noise, floor, null, 1).normalised


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """A row a data set and metric: mean and SD over seeds, normalised mean and SD, best generators.

    For privacy the floor is the null generator, which cannot copy, and the null the training cells themselves.
    """
    wanted = table[table["metric"].isin([*EXPRESSION, *COSTS])]
    order = list(dict.fromkeys(table["generator"]))
    rows = []
    for (dataset, metric), group in wanted.groupby(["dataset", "metric"], sort=False):
        values = group.pivot(index="seed", columns="generator", values="value").reindex(columns=order)
        mean, sd = values.mean(), values.std()
        metric = str(metric)
        found: dict[str, Any] = {"dataset": dataset, "metric": metric, "n_seeds": len(values)}
        found |= {name: mean[name] for name in order} | {f"{name}_sd": sd[name] for name in order}
        if metric in EXPRESSION:
            ends = (NULL, FLOOR) if EXPRESSION[metric].family == "privacy" else (FLOOR, NULL)
            for name in order:
                if name in ends or not set(ends) <= set(order):
                    continue
                noise = 0.0 if math.isnan(sd[name]) else sd[name]
                found[f"{name}_normalised"] = normalised(metric, mean[name], mean[ends[0]], mean[ends[1]], noise)
                by_seed = [normalised(metric, v[name], v[ends[0]], v[ends[1]]) for _, v in values.iterrows()]
                found[f"{name}_normalised_sd"] = float(pd.Series(by_seed).std())
        rank = badness(metric, mean.drop([FLOOR, RESAMPLED], errors="ignore")).dropna()
        new = rank[[name for name in rank.index if name not in REUSE]]
        found["best"] = rank.idxmin() if len(rank) else ""
        found["best_of_new_cells"] = new.idxmin() if len(new) else ""
        rows.append(found)
    return pd.DataFrame(rows)


def bars(mean: pd.DataFrame) -> list[dict[str, Any]]:
    """What was asked of genesim on one data set, and whether it is reached; a row of the summary a metric.

    A normalised score is undefined where the null is no worse than the floor; there the bar is the null itself.
    """
    rows = []

    def bar(metric: str, kind: str, limit: float, found: dict[str, float], least: bool = False) -> None:
        reached = found["genesim"] >= limit if least else found["genesim"] <= limit
        rows.append({"metric": metric, "bar": kind, "limit": limit, **found, "reached": reached})

    def less(metric: str, base: str, sign: float = 1.0) -> dict[str, float]:
        return {name: sign * (mean.loc[metric, name] - mean.loc[metric, base]) for name in ("genesim", RESAMPLED)}

    large = mean.loc["n_train", FLOOR] >= 3000
    for metric, limit in (
        ("classifier_auc", 0.05 if large else 0.12),
        ("classifier_auc_harder", 0.1 if large else 0.22),
    ):
        bar(metric, "above the floor", limit, less(metric, FLOOR))
    for metric in NORMALISED:
        found = {name: mean.loc[metric, f"{name}_normalised"] for name in ("genesim", RESAMPLED)}
        if math.isnan(found["genesim"]):
            bar(metric, "above the null (at the floor)", mean.loc[metric, f"{FLOOR}_sd"], less(metric, NULL))
        else:
            bar(metric, "floor 0, null 1", 0.1, found)
    slope = mean.loc["log_fold_change_slope"]
    share = {name: slope[name] / slope[FLOOR] for name in ("genesim", RESAMPLED)}
    bar("log_fold_change_slope", "share of the floor", 0.95, share, least=True)
    bar("train_on_synthetic", "below train on real", 0.02, less("train_on_synthetic", FLOOR, -1.0))
    bar("nearest_neighbour_share", "above a generator that cannot copy", 0.02, less("nearest_neighbour_share", NULL))
    return rows


def figure(wide: pd.DataFrame, generators: list[str], path: Path) -> None:
    """Normalised scores: a panel a data set, a line a metric, a colour a generator; 0 is the floor, 1 the null."""
    from matplotlib.figure import Figure

    shown = [name for name in generators if f"{name}_normalised" in wide]
    datasets = list(dict.fromkeys(wide["dataset"]))
    metrics = [m for m in EXPRESSION if m in set(wide["metric"])]
    picture = Figure(figsize=(1.6 + 2.2 * len(datasets), 0.9 + 0.32 * len(metrics)), layout="constrained")
    axes = picture.subplots(1, len(datasets), sharey=True, squeeze=False)[0]
    low, high = -0.3, 1.6
    for axis, dataset in zip(axes, datasets):
        part = wide[wide["dataset"] == dataset].set_index("metric").reindex(metrics)
        for i, name in enumerate(shown):
            at = np.arange(len(metrics)) + 0.14 * (i - (len(shown) - 1) / 2)
            x = part[f"{name}_normalised"].clip(low, high)
            error = part[f"{name}_normalised_sd"].fillna(0.0)
            axis.errorbar(x, at, xerr=error, fmt="o", ms=4, lw=0.8, label=name, color=f"C{i}")
        for end, style in ((0.0, "-"), (1.0, "--")):
            axis.axvline(end, color="0.6", lw=0.8, ls=style, zorder=0)
        axis.set(title=dataset, xlim=(low, high + 0.05), xlabel="0 floor, 1 null")
        axis.title.set_fontsize(9)
    axes[0].set_yticks(range(len(metrics)), [EXPRESSION[m].label for m in metrics], fontsize=7)
    axes[0].invert_yaxis()
    picture.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=len(shown), fontsize=8)
    picture.savefig(path, dpi=150)


def main() -> None:
    parser = arguments(__doc__, list(MAKERS))
    parser.add_argument("--generators", nargs="+", default=list(GENERATORS))
    parser.add_argument("--variants", type=Path, help="JSON of further genesim generators: name to config changes")
    parser.add_argument("--max-cells", type=int, default=2000, help="most cells compared")
    asked = parser.parse_args()
    settings = configs(asked.variants)
    unknown = [name for name in asked.generators if name not in settings and name not in GENERATORS]
    if unknown:
        parser.error(f"unknown generators {', '.join(unknown)}; known: {', '.join({*GENERATORS, *settings})}")
    asked.out.mkdir(parents=True, exist_ok=True)
    evaluate = EvaluateConfig(max_cells=asked.max_cells, n_bootstrap=5)  # its intervals are not used
    rows: list[dict[str, Any]] = []
    for case in cases(asked.data, asked.datasets, asked.seeds):
        for generator in asked.generators:
            found = row(asked.cache, case, generator, settings.get(generator), evaluate)
            if found is None:
                continue
            start = {"dataset": case.name, "seed": case.seed, "generator": generator}
            rows += [start | {"metric": name, "value": value} for name, value in found.items()]
            shown = {name: round(found[name], 3) for name in ("classifier_auc", "classifier_auc_harder")}
            print(case.name, case.seed, generator, shown, flush=True)
        # Every data set's end leaves whole files behind.
        table = pd.DataFrame(rows)
        table.round(5).to_csv(asked.out / "expression.csv", index=False)
        wide = summary(table)
        wide.round(4).to_csv(asked.out / "expression_summary.csv", index=False)
        if {FLOOR, RESAMPLED, NULL, "genesim"} <= set(asked.generators):
            groups = wide.groupby("dataset", sort=False)
            asked_of = [{"dataset": name, **bar} for name, part in groups for bar in bars(part.set_index("metric"))]
            pd.DataFrame(asked_of).round(4).to_csv(asked.out / "expression_bars.csv", index=False)
    figure(wide, asked.generators, asked.out / "expression.png")
    described = {name: settings[name] for name in asked.generators if name in settings}
    default = ExpressionConfig().model_dump(mode="json")
    code = {"model": sources(MODEL_SOURCES), "metrics": sources(METRIC_SOURCES)}
    write_record(asked.out / "expression.json", variants=described, default=default, sources=code)


if __name__ == "__main__":
    main()
