"""One person's predicted expression against the population's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from genesim.report.figures import FAINT, RULE, SIMULATED, Figure, canvas, shorten, to_svg

CAPTION = (
    "Grey: genetic values of the population (light bar 95 %, dark bar 50 %, tick median). "
    "Orange: the person, with the 95 % interval of the prediction. "
    "Not measured expression: held-out R² of such predictions can be as low as 5 %."
)


def _draw(figure: Any, axis: Any, rows: pd.DataFrame, title: str) -> None:
    rows = rows.iloc[::-1]
    y = np.arange(len(rows))
    axis.hlines(y, rows["population_low"], rows["population_high"], color=RULE, linewidth=7, zorder=1)
    axis.hlines(y, rows["population_q25"], rows["population_q75"], color="#aab2ba", linewidth=7, zorder=2)
    axis.scatter(rows["population_median"], y, marker="|", s=55, color=FAINT, zorder=3)
    axis.hlines(y, rows["low"], rows["high"], color=SIMULATED, linewidth=1.4, zorder=4)
    axis.scatter(rows["log2_fold"], y, s=26, color=SIMULATED, zorder=5)
    names = [f"{shorten(str(g), 16)} · {shorten(str(t), 20)}" for g, t in zip(rows["gene"], rows["cell_type"])]
    axis.set_yticks(y, names)
    axis.set_ylim(-0.7, max(len(rows), 1) - 0.3)
    axis.axvline(0, color=FAINT, linewidth=0.7, zorder=0)
    axis.set_xlabel("Predicted log2 fold change against the mean donor (cis effects only)")
    side = axis.secondary_yaxis("right")
    side.set_yticks(y, [f"{p:.0f}" for p in rows["percentile"]])
    side.tick_params(length=0)
    side.spines["right"].set_visible(False)
    side.set_ylabel("Percentile in the population", rotation=270, va="bottom")
    figure.suptitle(title, x=0.01, ha="left", fontsize=10, fontweight="bold")
    figure.supxlabel(
        CAPTION.replace(". Orange", ".\nOrange").replace(". Not", ".\nNot"),
        x=0.01,
        ha="left",
        fontsize=7.5,
        color=FAINT,
    )


def _size(rows: pd.DataFrame) -> float:
    return 0.25 * max(len(rows), 5) + 1.7


def person_genes(rows: pd.DataFrame, title: str) -> Figure:
    """One row a gene and cell type: the population as grey bars of quantiles, the person as a point.

    Args:
        rows: Rows of `PersonPrediction.genes`, the first on top.
        title: Who, and that it is predicted.
    """
    with canvas(height=_size(rows)) as (figure, axis):
        _draw(figure, axis, rows, title)
        svg = to_svg(figure)
    return Figure("person-genes", "Predicted expression of one person", CAPTION, svg)


def write_person_png(rows: pd.DataFrame, title: str, path: Path) -> None:
    """`person_genes` as a PNG, the same bytes every time."""
    with canvas(height=_size(rows)) as (figure, axis):
        _draw(figure, axis, rows, title)
        figure.savefig(path, format="png", dpi=150, metadata={"Software": None, "Title": title})
