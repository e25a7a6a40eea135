"""The scores at a glance: where each metric lies between floor and null."""

from __future__ import annotations

import numpy as np
import pandas as pd

from genesim.report.figures import FAINT, LEVEL_COLOURS, RULE, Figure, canvas, shorten, to_svg

_LOW, _HIGH = -0.25, 1.25


def score_strip(scores: pd.DataFrame) -> Figure:
    """Each metric as a point between floor (0) and null (1), by subject.

    Args:
        scores: A score table's frame (`normalised`, `label`, `subject`, `level`). Rows that cannot be
            placed (no null, or a null as good as the floor) are left out and counted in the caption.
    """
    placed = scores[np.isfinite(scores["normalised"].to_numpy(float))]
    left_out = len(scores) - len(placed)
    labels = [shorten(str(x), 60) for x in placed["label"]]
    subjects = placed["subject"].astype(str).tolist()
    rows: list[float] = []
    heads: list[tuple[float, str]] = []
    at = 0.0
    for i, subject in enumerate(subjects):
        if i == 0 or subject != subjects[i - 1]:
            heads.append((at, subject))
            at += 1
        rows.append(at)
        at += 1
    with canvas(width=7.4, height=0.75 + 0.235 * max(at, 2)) as (figure, axis):
        axis.axvspan(_LOW, 0.05, color="#eaf3ee", linewidth=0)
        for place, name in ((0, "floor"), (1, "null")):
            axis.axvline(place, color=FAINT, linewidth=0.9)
            axis.text(place, -0.75, name, ha="center", va="bottom", color=FAINT, fontsize=8)
        values = placed["normalised"].to_numpy(float)
        for y, value, level in zip(rows, values, placed["level"]):
            colour = LEVEL_COLOURS.get(str(level), FAINT)
            x = float(np.clip(value, _LOW, _HIGH))
            axis.plot([0, x], [y, y], color=RULE, linewidth=3, solid_capstyle="butt", zorder=2)
            marker = ">" if value > _HIGH else "<" if value < _LOW else "o"
            axis.plot([x], [y], marker, color=colour, markersize=6, zorder=3, clip_on=False)
        axis.set_yticks(rows, labels)
        axis.tick_params(axis="y", length=0, labelsize=8, labelcolor="#26323d")
        for y, subject in heads:
            axis.annotate(
                shorten(subject, 50), (0, y), xycoords=("axes fraction", "data"), xytext=(-6, 0),
                textcoords="offset points", ha="right", va="center", fontsize=8.5, fontweight="bold",
            )  # fmt: skip
        axis.set_xlim(_LOW, _HIGH)
        axis.set_ylim(max(at, 2) - 0.4, -0.6)
        axis.set_xticks([])
        axis.spines[:].set_visible(False)
        svg = to_svg(figure)
    what = "1 metric cannot be placed and is" if left_out == 1 else f"{left_out} metrics cannot be placed and are"
    tail = f" {what} only in the table." if left_out else ""
    return Figure(
        "score-strip",
        "From floor to null",
        "Left line: what real data reach against real data. Right line: what a naive generator reaches. "
        f"Arrows lie beyond the frame.{tail}",
        svg,
    )
