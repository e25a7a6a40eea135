"""Figures of predicted perturbations: effects, methods beside each other, doses, cells, and intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float

from genesim.errors import InputError
from genesim.metrics.distribution import pooled_pca
from genesim.metrics.interval import proportion_interval
from genesim.metrics.perturbation import pearson_delta
from genesim.report.figures import (
    FAINT,
    GROUPS,
    INK,
    NULL,
    REAL,
    RULE,
    SIMULATED,
    Figure,
    canvas,
    group_legend,
    shorten,
    square_limits,
    to_svg,
)

METHOD_COLOURS = {"genesim": SIMULATED, "ceiling": REAL}


def _same_length(where: str, **arrays: np.ndarray | Sequence[str] | None) -> None:
    lengths = {name: len(a) for name, a in arrays.items() if a is not None}
    if len(set(lengths.values())) != 1 or 0 in lengths.values():
        raise InputError(
            f"lengths are {lengths}", where=where, remedy="give one value of each to every gene, and at least one gene"
        )


def _labels(axis: Any, places: np.ndarray, names: Sequence[str]) -> None:
    """Names of points, pushed apart on each side of the line of equality so that none covers another."""
    from scipy.optimize import isotonic_regression  # slow to import

    low, high = axis.get_ylim()
    step = (high - low) / 24
    for side in (-1, 1):
        mine = [i for i in range(len(names)) if (side > 0) == bool(places[i, 1] >= places[i, 0])]
        if not mine:
            continue
        mine.sort(key=lambda i: places[i, 1])
        # The heights nearest to the points (least squares) that keep `step` between neighbours.
        stairs = step * np.arange(len(mine))
        heights = isotonic_regression(places[mine, 1] - stairs).x + stairs
        for i, y in zip(mine, heights, strict=True):
            axis.annotate(
                shorten(str(names[i]), 12),
                places[i],
                xytext=(places[i, 0] - side * (high - low) * 0.035, y),
                ha="right" if side > 0 else "left",
                va="center",
                fontsize=7,
                color=INK,
                arrowprops={"arrowstyle": "-", "color": FAINT, "linewidth": 0.4, "shrinkA": 1, "shrinkB": 2},
            )


def predicted_effects(
    predicted: Float[np.ndarray, " gene"],
    observed: Float[np.ndarray, " gene"],
    genes: Sequence[str],
    *,
    low: Float[np.ndarray, " gene"] | None = None,
    high: Float[np.ndarray, " gene"] | None = None,
    used: Bool[np.ndarray, " gene"] | None = None,
    n_labels: int = 10,
    title: str = "Predicted and observed effect",
) -> Figure:
    """Predicted against observed effect of every gene; the largest observed ones are named.

    Args:
        predicted, observed: Change of mean log expression.
        genes: Names.
        low, high: Interval of the prediction, drawn for the named genes.
        used: Genes that count for r; the others (targets) are hollow.
        n_labels: Genes named.
        title: Heading.

    Raises:
        InputError: Arrays of different lengths, or none.
    """
    _same_length("figure of effects", predicted=predicted, observed=observed, genes=genes, low=low, high=high)
    keep = np.ones(len(genes), bool) if used is None else np.asarray(used, bool)
    r = float(pearson_delta(predicted[None], observed[None], keep[None])[0])
    top = np.argsort(-np.abs(np.where(keep, observed, 0.0)), kind="stable")[: min(n_labels, int(keep.sum()))]
    with canvas(width=4.8, height=4.6) as (figure, axis):
        axis.axhline(0, color=RULE, linewidth=0.6)
        axis.axvline(0, color=RULE, linewidth=0.6)
        if low is not None and high is not None:
            axis.vlines(observed[top], low[top], high[top], color=SIMULATED, alpha=0.35, linewidth=1.0)
        rest = np.setdiff1d(np.flatnonzero(keep), top)
        axis.scatter(observed[rest], predicted[rest], s=7, color=NULL, alpha=0.6, linewidths=0, rasterized=True)
        axis.scatter(observed[top], predicted[top], s=20, color=SIMULATED, linewidths=0, zorder=3)
        axis.scatter(observed[~keep], predicted[~keep], s=16, facecolors="none", edgecolors=FAINT, linewidths=0.8)
        # Of the points: wide intervals run out of the frame rather than press the points together.
        square_limits(axis, observed, predicted, margin=0.12)
        _labels(axis, np.column_stack([observed[top], predicted[top]]), [str(genes[i]) for i in top])
        axis.set(xlabel="Observed change of mean log expression", ylabel="Predicted change")
        axis.set_title(f"{shorten(title, 50)}   r = {r:.2f}")
        svg = to_svg(figure)
    lines = " Lines are 95 % intervals of the prediction, cut at the frame." if low is not None else ""
    return Figure(
        "predicted-effects",
        title,
        f"{int(keep.sum()):,} genes; named are the {len(top)} of largest observed change.{lines} "
        "On the dashed line a prediction is right.",
        svg,
    )


def method_strip(
    table: pd.DataFrame, *, names: Mapping[str, str] | None = None, better: Mapping[str, str] | None = None
) -> Figure:
    """Every method's place on every metric, from no change (0) to the ceiling (1).

    Args:
        table: Means over conditions; rows are methods ("no_change", "ceiling" and others), columns metrics. Metrics
            that do not tell the ceiling from no change are left out.
        names: Words for metrics and methods.
        better: "higher" or "lower" by metric: one whose ceiling is worse than no change is left out.

    Raises:
        InputError: No "ceiling" or no "no_change" row.
    """
    missing = [row for row in ("ceiling", "no_change") if row not in table.index]
    if missing:
        raise InputError(f"has no row '{missing[0]}'", where="strip of methods", remedy="give scores with both")
    words = dict(names or {})
    low, high = table.loc["no_change"], table.loc["ceiling"]
    spread = (high - low).astype(float).abs()
    signs = {"higher": 1.0, "lower": -1.0}
    sign = pd.Series({c: signs.get(dict(better or {}).get(c, ""), np.sign(high[c] - low[c])) for c in table.columns})
    shown = [c for c in table.columns if np.isfinite(spread[c]) and sign[c] * (high[c] - low[c]) > 1e-6]
    placed = (table[shown] - low[shown]) / (high[shown] - low[shown])
    methods = [m for m in table.index if m not in ("ceiling", "no_change") and placed.loc[m].notna().any()]
    # genesim is drawn last, on top.
    methods.sort(key=lambda m: m == "genesim")
    colours = {m: METHOD_COLOURS.get(m, GROUPS[i % len(GROUPS)]) for i, m in enumerate(methods)}
    markers = "ovs^DPX*<>"
    floor, top = -0.6, 1.4
    with canvas(width=7.4, height=0.9 + 0.32 * max(len(shown), 2)) as (figure, axis):
        for place, name in ((0, "no change"), (1, "ceiling")):
            axis.axvline(place, color=FAINT, linewidth=0.9)
            axis.text(place, -0.75, name, ha="center", va="bottom", color=FAINT, fontsize=8)
        for y in range(len(shown)):
            axis.axhline(y, color=RULE, linewidth=0.6, zorder=0)
        for i, method in enumerate(methods):
            x = np.clip(placed.loc[method].to_numpy(float), floor, top)
            # A little apart, lest equal methods hide each other.
            offset = 0.5 * (i - (len(methods) - 1) / 2) / max(len(methods), 1)
            height = np.arange(len(shown)) + offset
            axis.plot(
                x,
                height,
                markers[i % len(markers)] if method != "genesim" else "o",
                color=colours[method],
                markersize=8 if method == "genesim" else 5.5,
                markeredgecolor="white",
                markeredgewidth=0.5,
                linestyle="",
                label=shorten(words.get(method, method.replace("_", " ")), 34),
                zorder=4 if method == "genesim" else 3,
                clip_on=False,
            )
        axis.set_yticks(range(len(shown)), [shorten(words.get(c, c.replace("_", " ")), 44) for c in shown])
        axis.tick_params(axis="y", length=0)
        axis.set(xlim=(floor, top), ylim=(max(len(shown), 2) - 0.4, -0.6), xticks=[])
        axis.spines[:].set_visible(False)
        figure.legend(*axis.get_legend_handles_labels(), loc="outside lower center", ncols=4)
        svg = to_svg(figure)
    return Figure(
        "method-strip",
        "Methods, from no change to the ceiling",
        "Left line: no change at all. Right line: one half of the true cells as prediction of the other. A method at "
        "the edge lies beyond it. Read no metric alone: the mean of all perturbations does well on errors and plain "
        "correlations, and does not tell perturbations apart.",
        svg,
    )


def dose_curve(
    dose: Float[np.ndarray, " dose"],
    delta: Float[np.ndarray, "dose gene"],
    low: Float[np.ndarray, "dose gene"],
    high: Float[np.ndarray, "dose gene"],
    genes: Sequence[str],
    *,
    measured: Sequence[float] = (),
    xlabel: str = "Amount",
) -> Figure:
    """Predicted effect by dose, a panel a gene, with the interval as a band.

    Args:
        dose: Ascending.
        delta, low, high: Effect and interval.
        genes: Names, at most six are drawn.
        measured: Doses of the training data, marked below.
        xlabel: Of the axis.

    Raises:
        InputError: Shapes that do not agree.
    """
    if not delta.shape == low.shape == high.shape == (len(dose), len(genes)) or not delta.size:
        raise InputError(
            f"shapes {delta.shape}, {low.shape}, {high.shape} for {len(dose)} doses and {len(genes)} genes",
            where="dose curve",
            remedy="give delta, low and high [dose, gene]",
        )
    n = min(len(genes), 6)
    columns = min(n, 3)
    rows = -(-n // columns)
    with canvas(columns, rows, width=7.2, height=0.5 + 2.0 * rows, sharex=True, sharey=True, squeeze=False) as (
        figure,
        axes,
    ):
        for i, axis in enumerate(axes.ravel()):
            if i >= n:
                axis.set_visible(False)
                continue
            axis.axhline(0, color=RULE, linewidth=0.7)
            axis.fill_between(dose, low[:, i], high[:, i], color=SIMULATED, alpha=0.2, linewidth=0)
            axis.plot(dose, delta[:, i], color=SIMULATED, linewidth=1.6)
            for x in measured:
                axis.axvline(x, ymax=0.05, color=INK, linewidth=1.2)
            axis.set_title(shorten(str(genes[i]), 18))
        for axis in axes[-1]:
            axis.set_xlabel(xlabel)
        for axis in axes[:, 0]:
            axis.set_ylabel("Change of mean log expression")
        svg = to_svg(figure)
    marks = " Ticks at the bottom: doses that were measured." if len(measured) else ""
    return Figure("dose-curve", "Effect by dose", f"Bands are 95 % intervals.{marks}", svg)


def perturbed_cells(
    control: Float[np.ndarray, "control gene"],
    observed: Float[np.ndarray, "cell gene"],
    predicted: Float[np.ndarray, "predicted gene"],
    *,
    method: Literal["umap", "pca"] = "umap",
    seed: int = 0,
) -> Figure:
    """Control, really perturbed and predicted cells in one embedding, fitted on all of them.

    Args:
        control, observed, predicted: log1p of normalised counts.
        method: UMAP of 30 principal components, or the first two components.
        seed: Of both.
    """
    sets = (control, observed, predicted)
    scores = np.vstack(pooled_pca(sets, 30, seed))
    places, name = scores[:, :2], "PC"
    if method == "umap":
        from genesim.report.expression_figures import umap_of

        places, name = umap_of(scores, seed), "UMAP"
    ends = np.cumsum([len(s) for s in sets])
    parts = np.split(places, ends[:-1])
    words = (("Really perturbed", REAL), ("Predicted", SIMULATED))
    with canvas(2, height=3.9, sharex=True, sharey=True) as (figure, axes):
        for axis, part, (title, colour) in zip(axes, parts[1:], words, strict=True):
            axis.scatter(*parts[0].T, s=7, color=NULL, alpha=0.5, linewidths=0, rasterized=True)
            axis.scatter(*part.T, s=8, color=colour, alpha=0.7, linewidths=0, rasterized=True)
            axis.set_title(f"{title}, {len(part):,} cells")
            axis.set(xticks=[], yticks=[], xlabel=f"{name} 1")
        axes[0].set_ylabel(f"{name} 2")
        group_legend(figure, {"control": NULL, "really perturbed": REAL, "predicted": SIMULATED})
        svg = to_svg(figure)
    return Figure(
        "perturbed-cells",
        "Cells: control, perturbed, predicted",
        "One embedding of all three; control cells are grey in both panels. The coloured clouds should cover the same "
        "ground.",
        svg,
    )


def coverage_curve(
    z: Float[np.ndarray, " effect"], *, levels: Sequence[float] = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)
) -> Figure:
    """Share of effects inside their intervals against the level that the intervals promise.

    Args:
        z: Error of each prediction over its standard deviation (interval half-width / 1.96), the noise of the
            observed effect allowed for.
        levels: Nominal coverages.

    Raises:
        InputError: No finite value.
    """
    from scipy.stats import norm

    found = np.abs(z[np.isfinite(z)])
    if not len(found):
        raise InputError("there are no intervals", where="coverage curve", remedy="give finite z of one effect or more")
    nominal = np.asarray(levels, float)
    hits = [(found <= norm.ppf(0.5 + level / 2)).sum() for level in nominal]
    bounds = np.array([proportion_interval(int(k), len(found)) for k in hits])
    with canvas(width=4.4, height=4.0) as (figure, axis):
        axis.fill_between(nominal, bounds[:, 1], bounds[:, 2], color=REAL, alpha=0.2, linewidth=0)
        axis.plot(nominal, bounds[:, 0], "o-", color=REAL, markersize=5, linewidth=1.4)
        square_limits(axis, nominal, bounds[:, 0])
        axis.set(xlabel="Promised coverage", ylabel="Effects inside")
        svg = to_svg(figure)
    return Figure(
        "coverage-curve",
        "Do intervals hold what they promise?",
        f"{len(found):,} effects. Below the dashed line intervals are too narrow, above it too wide. The band is "
        "Wilson's interval, as if genes were independent: they are not.",
        svg,
    )
