"""The benchmark's figure: fidelity against privacy, LD by distance, allele frequencies."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from haplotype_fits import FLOOR, GENESIM, HELD_OUT, PEERS, RESAMPLED
from haplotype_scores import DECAY_BINS

STYLE: dict[str, tuple[str, str]] = {
    FLOOR: ("k", "*"),
    RESAMPLED: ("0.45", "X"),
    "independent_pooled": ("0.6", "v"),
    "independent": ("0.6", "^"),
    "markov": ("C8", "P"),
    "mosaic": ("C1", "s"),
    "hapnest": ("C2", "D"),
    "fastphase": ("C4", "p"),
    "haptools": ("C6", "h"),
    "out_of_africa": ("C5", "<"),
    "anchmm": ("C3", "o"),
}
"""Colour and marker of each method; variants of anchmm are its colour, open."""
N_DOTS = 3_000


def _style(method: str) -> dict[str, Any]:
    colour, marker = STYLE.get(method, ("C3", "o"))
    return {"color": colour, "marker": marker, "mfc": colour if method in STYLE else "none", "ls": "none", "ms": 7}


def _trade_off(axis: Any, mean: pd.DataFrame, x: str, y: str) -> None:
    """A point a method; variants of anchmm are named beside theirs."""
    mean = mean.reindex(columns=[x, y])  # a run of few methods may lack a metric
    for method in mean.index:
        point = mean.loc[method]
        if point.isna().any():
            continue
        axis.plot(point[x], point[y], label=method if method in STYLE else None, zorder=3, **_style(method))
        if method not in STYLE:
            axis.annotate(
                method.removeprefix("anchmm_"),
                point,
                xytext=(4, 4),
                textcoords="offset points",
                fontsize=6,
                color="C3",
            )
    if FLOOR in mean.index and np.isnan(mean.at[FLOOR, x]) and np.isfinite(mean.at[FLOOR, y]):
        axis.axhline(mean.at[FLOOR, y], color="k", lw=0.8, ls="--", zorder=1)
        axis.text(
            0.99, mean.at[FLOOR, y], "floor", transform=axis.get_yaxis_transform(), ha="right", va="bottom", fontsize=7
        )


def _accuracies(axis: Any, mean: pd.DataFrame) -> None:
    """Both sides of the adversary against training haplotypes, with the box that is asked for."""
    from matplotlib.patches import Rectangle

    axis.add_patch(Rectangle((0.42, 0.42), 0.16, 0.16, fc="0.9", ec="0.6", lw=0.8, zorder=0))
    _trade_off(axis, mean, "aa_t_train", "aa_s_train")
    axis.set(xlim=(-0.03, 1.03), ylim=(-0.03, 1.03), xlabel="AA$_T$: real nearer to real than to synthetic")
    axis.set(ylabel="AA$_S$: synthetic nearer to synthetic", title="both sides of the adversary")
    axis.text(0.03, 0.03, "copies", fontsize=7, color="0.4")
    axis.text(0.97, 0.06, "blurred", fontsize=7, color="0.4", ha="right")


def _decay(axis: Any, mean: pd.DataFrame, title: str) -> None:
    """Mean r2 by distance."""
    edges = np.array(DECAY_BINS, float)
    middle = np.sqrt(np.maximum(edges[:-1], 300) * edges[1:]) / 1000
    columns = [f"r2_{a / 1000:g}_{b / 1000:g}kb" for a, b in pairwise(DECAY_BINS)]
    for method in [m for m in mean.index if m != HELD_OUT and m in STYLE]:
        style = _style(method) | {"ls": "-", "lw": 1, "ms": 3.5}
        axis.plot(middle, mean.loc[method, columns], label=method, **style)
    if HELD_OUT in mean.index:
        axis.plot(middle, mean.loc[HELD_OUT, columns], color="k", lw=2.5, alpha=0.35, label="held-out", zorder=1)
    axis.set(xscale="log", yscale="log", xlabel="distance (kb)", title=title)
    axis.set_ylabel("mean r$^2$")


def figure(table: pd.DataFrame, frequencies: Mapping[str, np.ndarray], path: Path) -> None:
    """Draw and write the figure.

    Args:
        table: Scores, as in `haplotypes.csv`.
        frequencies: Allele frequency of each variant of the first panel: `held_out` and generators.
        path: Of the PNG.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import FixedLocator, NullLocator

    everyone = table[table["population"] == "all"]
    panels = list(dict.fromkeys(everyone["panel"]))
    order = list(dict.fromkeys(everyone["method"]))
    numbers = everyone.select_dtypes("number").columns.drop("seed")
    means = {p: everyone[everyone["panel"] == p].groupby("method")[numbers].mean() for p in panels}
    means = {p: mean.reindex([m for m in order if m in mean.index]) for p, mean in means.items()}
    first = means[panels[0]]
    shown = [name for name in frequencies if name != HELD_OUT]
    columns = max(4, len(panels) + len(shown))
    picture = Figure(figsize=(3.7 * columns, 8.2), layout="constrained")
    grid = picture.add_gridspec(2, 4 * columns)
    top = [picture.add_subplot(grid[0, 4 * columns * i // 4 : 4 * columns * (i + 1) // 4]) for i in range(4)]
    below = [picture.add_subplot(grid[1, 4 * i : 4 * i + 4]) for i in range(len(panels) + len(shown))]

    _trade_off(top[0], first, "privacy_loss", "ld_rmse")
    top[0].set(yscale="log", xlabel="privacy loss (0: none, 0.5: copies)", ylabel="LD RMSE", title="LD against privacy")
    top[0].yaxis.set_major_locator(FixedLocator([0.02, 0.03, 0.05, 0.1, 0.2, 0.4]))
    top[0].yaxis.set_major_formatter("{x:g}")
    top[0].yaxis.set_minor_locator(NullLocator())
    top[0].axvspan(-0.03, 0.03, color="0.92", zorder=0)
    _accuracies(top[1], first)
    for axis, metric, which in (
        (top[2], "impute_r2", "MAF $\\geq$ 0.1 %"),
        (top[3], "impute_r2_rare", "MAF 0.2-1 %"),
    ):
        _trade_off(axis, first, "privacy_loss", metric)
        axis.axvspan(-0.03, 0.03, color="0.92", zorder=0)
        axis.margins(y=0.12)
        axis.set(xlabel="privacy loss", ylabel="imputation r$^2$", title=f"as a reference panel, {which}")
    for axis in (top[0], top[2], top[3]):
        # What does not copy lies in the first tenth: linear there, logarithmic beyond.
        axis.set_xscale("symlog", linthresh=0.05, linscale=1.0)
        axis.xaxis.set_major_locator(FixedLocator([-0.03, 0, 0.03, 0.1, 0.2, 0.5]))
        axis.xaxis.set_major_formatter("{x:g}")
        axis.xaxis.set_minor_locator(NullLocator())
    for axis, panel in zip(below, panels):
        _decay(axis, means[panel], f"LD by distance, {panel}")
    real = frequencies.get(HELD_OUT, np.zeros(0))
    rows = np.linspace(0, len(real) - 1, min(N_DOTS, len(real))).astype(int)
    for axis, name in zip(below[len(panels) :], shown):
        axis.plot([0, 1], [0, 1], color="0.7", lw=0.8)
        axis.plot(real[rows], frequencies[name][rows], ".", ms=2, color=_style(name)["color"], rasterized=True)
        axis.set(xlabel="allele frequency, held-out", ylabel=f"allele frequency, {name}", title=f"{panels[0]}, {name}")
    handles: dict[str, Any] = {}
    for axis in picture.axes:
        handles |= {label: handle for handle, label in zip(*axis.get_legend_handles_labels())}
    names = [name for name in (*STYLE, "held-out") if name in handles]
    picture.legend(
        [handles[n] for n in names], names, loc="outside lower center", ncols=min(12, len(names)), fontsize=8
    )
    picture.suptitle(f"Haplotype generators: {panels[0]} above (grey: what is asked), every panel below", fontsize=10)
    picture.savefig(path, dpi=130)


FREQUENCIES_OF = tuple(name for name in (*GENESIM, *PEERS) if name in ("mosaic", "anchmm"))
"""Generators whose frequencies are drawn."""
