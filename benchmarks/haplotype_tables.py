"""From scores to a summary over seeds, and to what was asked of genesim."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from haplotype_fits import FLOOR, HELD_OUT, RESAMPLED

KEYS = ["panel", "population", "method", "seed"]
HIGHER = ("af_r", "three_point_r", "impute_r2", "impute_r2_rare", "impute_r2_low", "impute_r2_common", "test_ll")
HALF = ("aa_t_train", "aa_s_train", "aa_t_test", "aa_s_test", "classifier_auc", "membership_auc")
ZERO = ("privacy_loss",)


class Bar(NamedTuple):
    """What is asked of a draw on `chr15_10k`.

    Attributes:
        name: Row of the table.
        value: From a row of scores and the floor's row.
        limit: Bound of the value.
        at_least: Whether the value must not be below it.
    """

    name: str
    value: Callable[[pd.Series, pd.Series], float]
    limit: float
    at_least: bool = False


def _is(metric: str) -> Callable[[pd.Series, pd.Series], float]:
    return lambda row, floor: float(row[metric])


def _off(metric: str, aim: float) -> Callable[[pd.Series, pd.Series], float]:
    return lambda row, floor: abs(float(row[metric]) - aim)


BARS = (
    Bar("ld_rmse", _is("ld_rmse"), 0.030),
    *(Bar(f"|r2_error_{b}|", _off(f"r2_error_{b}", 0), 0.03) for b in ("0_1kb", "1_10kb", "10_100kb", "100_500kb")),
    Bar("three_point_r", _is("three_point_r"), 0.70, True),
    *(Bar(f"pc{k}_w_train", _is(f"pc{k}_w_train"), 0.03) for k in (1, 2, 3, 4)),
    *(Bar(f"|{side} - 0.5|", _off(side, 0.5), 0.08) for side in ("aa_t_train", "aa_s_train", "aa_t_test", "aa_s_test")),
    Bar("privacy_loss", _is("privacy_loss"), 0.03),
    Bar("membership_auc", _is("membership_auc"), 0.53),
    Bar("exact_copies", _is("exact_copies"), 0),
    Bar(
        "tract_kb_q95_train - tract_kb_q95_test",
        lambda row, floor: float(row["tract_kb_q95_train"] - row["tract_kb_q95_test"]),
        0,
    ),
    Bar("impute_r2", _is("impute_r2"), 0.60, True),
    Bar("impute_r2_rare", _is("impute_r2_rare"), 0.18, True),
    Bar("test_ll", _is("test_ll"), -249, True),
    Bar(
        "classifier_auc above the floor",
        lambda row, floor: float(row["classifier_auc"] - floor["classifier_auc"]),
        0.05,
    ),
)


def bars(table: pd.DataFrame, panel: str = "chr15_10k") -> pd.DataFrame:
    """A row a method and bar: value (mean over seeds), its SD, the floor's and the resampled training set's.

    An aim that the training half itself, or training haplotypes drawn with replacement, misses is one that the
    sampling noise of so many haplotypes decides. Empty without the panel or its floor.
    """
    part = table[(table["panel"] == panel) & (table["population"] == "all")]
    rows = [
        {"method": row["method"], "seed": row["seed"], "bar": bar.name, "value": bar.value(row, floor)}
        for _, row in part[part["method"] != HELD_OUT].iterrows()
        for _, floor in part[(part["method"] == FLOOR) & (part["seed"] == row["seed"])].iterrows()
        for bar in BARS
    ]
    if not rows:
        return pd.DataFrame()
    values = pd.DataFrame(rows).pivot_table(index=["method", "bar"], columns="seed", values="value", dropna=False)
    mean, sd = values.mean(axis=1), values.std(axis=1)
    found: list[dict[str, Any]] = []
    for method in dict.fromkeys(part["method"]):
        for bar in BARS:
            if method in (FLOOR, RESAMPLED, HELD_OUT) or np.isnan(mean.get((method, bar.name), np.nan)):
                continue
            value = mean[method, bar.name]
            found.append(
                {
                    "panel": panel,
                    "method": method,
                    "bar": bar.name,
                    "asked": ("at least " if bar.at_least else "at most ") + f"{bar.limit:g}",
                    "value": value,
                    "sd": sd[method, bar.name],
                    "floor": mean.get((FLOOR, bar.name), np.nan),
                    "resampled": mean.get((RESAMPLED, bar.name), np.nan),
                    "reached": bool(value >= bar.limit if bar.at_least else value <= bar.limit),
                }
            )
    return pd.DataFrame(found)


def _badness(metric: str, values: pd.Series) -> pd.Series | None:
    """What the best method has least of; None for figures that have no better side by themselves."""
    if metric in HIGHER:
        return -values
    if metric in HALF:
        return (values - 0.5).abs()
    if metric.startswith("r2_error") or metric in ZERO:
        return values.abs()
    lower = ("af_rmse", "ld_rmse", "pc", "membership_tpr", "exact_copies", "spectrum", "fit_", "sample_", "peak_rss")
    return values if metric.startswith(lower) else None


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """A row a panel, population and metric: mean and SD over seeds of every method, and the best generator."""
    methods = list(dict.fromkeys(table["method"]))
    metrics = [name for name in table.columns if name not in (*KEYS, "n_variants", "n_haplotypes")]
    rows = []
    for (panel, population), group in table.groupby(["panel", "population"], sort=False):
        mean = group.groupby("method")[metrics].mean().reindex(methods)
        sd = group.groupby("method")[metrics].std().reindex(methods)
        for metric in metrics:
            if mean[metric].isna().all():
                continue
            row: dict[str, Any] = {"panel": panel, "population": population, "metric": metric}
            row["n_seeds"] = group["seed"].nunique()
            row |= {name: mean.at[name, metric] for name in methods}
            row |= {f"{name}_sd": sd.at[name, metric] for name in methods}
            rank = _badness(metric, mean[metric].drop([FLOOR, HELD_OUT, RESAMPLED], errors="ignore").dropna())
            row["best"] = "" if rank is None or rank.empty else rank.idxmin()
            rows.append(row)
    return pd.DataFrame(rows)
