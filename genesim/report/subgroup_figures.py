"""Figures of groups of donors: is the simulation worse for some than for others?"""

from __future__ import annotations

import numpy as np
import pandas as pd

from genesim.errors import InputError
from genesim.report.figures import FAINT, REAL, RULE, Figure, canvas, shorten, to_svg

BEHIND = "#b5442f"
NEEDED = ("group", "label", "gap", "gap_low", "gap_high", "n_held_out", "n_simulated")
MOST_GROUPS, MOST_OF_MANY = 14, 7
"""Groups drawn of a metric: of many metrics fewer, the worst ones."""
MANY = 4
"""Panels above which they stand in two columns."""


def subgroups(table: pd.DataFrame) -> Figure:
    """The gap to the floor of each group of donors, a panel a metric, the worst group first.

    Args:
        table: A row a group and metric: `group`, `label` of the metric, `gap` (value - floor, above 0 is worse) with
            `gap_low` and `gap_high`, `n_held_out` and `n_simulated` donors (0: such donors take no part). At most 14
            groups a metric are drawn, of more than four metrics at most 7.

    Raises:
        InputError: Columns are missing, or there is no row.
    """
    missing = [name for name in NEEDED if name not in table.columns]
    if missing or not len(table):
        raise InputError(
            f"has no column {', '.join(missing)}" if missing else "has no row",
            where="table of groups",
            remedy="give the rows of `genesim.pipeline.release_groups.group_rows`, one or more",
        )
    metrics = [
        part.sort_values("gap", ascending=False, kind="stable") for _, part in table.groupby("label", sort=False)
    ]
    many = len(metrics) > MANY
    most = MOST_OF_MANY if many else MOST_GROUPS
    parts = [part.head(most) for part in metrics]
    columns = 2 if many else 1
    # Panels of a row are as high as the fuller one needs.
    lines = [max(len(part) for part in parts[i : i + columns]) for i in range(0, len(parts), columns)]
    with canvas(
        columns,
        len(lines),
        width=9.6 if many else 7.0,
        height=0.9 * len(lines) + 0.26 * sum(lines),
        squeeze=False,
        height_ratios=[n + 0.6 for n in lines],
    ) as (figure, axes):
        for axis in axes.ravel()[len(parts) :]:
            axis.set_axis_off()
        for i, (axis, part) in enumerate(zip(axes.ravel(), parts)):
            y = np.arange(len(part))
            gap, low, high = (part[name].to_numpy(float) for name in ("gap", "gap_low", "gap_high"))
            colours = np.where(low > 0, BEHIND, REAL)
            axis.axvline(0, color=FAINT, linewidth=0.9)
            axis.hlines(y, 0, gap, color=RULE, linewidth=3, zorder=1)
            axis.hlines(y, low, high, color=colours, linewidth=1.2, zorder=2)
            axis.scatter(gap, y, s=34, c=colours, linewidths=0, zorder=3)
            words = [
                f"{shorten(str(g), 30)} ({' / '.join(f'{n:,}' if n else '–' for n in counts)})"
                for g, *counts in zip(part["group"], part["n_held_out"], part["n_simulated"])
            ]
            axis.set_yticks(y, words)
            axis.tick_params(axis="y", length=0)
            axis.set_ylim(lines[i // columns] - 0.4, -0.6)
            axis.set_title(shorten(str(part["label"].iloc[0]), 40 if many else 70))
            axis.set_xlabel("Gap to the floor")
        svg = to_svg(figure)
    behind = int((table["gap_low"] > 0).sum())
    left = f" Of each metric the {most} worst are drawn." if any(len(part) > most for part in metrics) else ""
    return Figure(
        "subgroups",
        "Groups of donors",
        "How far the simulation is behind as many real donors of the same group (planted effects: behind as many "
        "simulated donors of all groups); 0 is level, right is worse, the "
        f"worst group stands first. Brackets: held-out / simulated donors. In {behind} of {len(table)} rows the "
        f"interval lies wholly above 0 (red).{left} Groups with too few donors are left out, not passed.",
        svg,
    )
