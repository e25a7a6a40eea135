"""Figure of planted beside recovered variant effects, with power and false discoveries."""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from genesim.metrics.interval import Interval, proportion_interval
from genesim.report.figures import FAINT, NULL, REAL, SIMULATED, Figure, canvas, square_limits, to_svg

MOST_BINS = 5
LEAST_IN_BIN = 4


def effect_recovery(
    planted: Float[np.ndarray, " effect"],
    estimated: Float[np.ndarray, " effect"],
    found: Bool[np.ndarray, " effect"] | None = None,
    *,
    false_discovery: Interval | None = None,
    unit: str = "log2 fold change per allele",
) -> Figure:
    """Estimated against planted effect sizes, and the share found by size: power.

    Args:
        planted: True effects.
        estimated: Estimates, of all planted effects.
        found: The effect was found (credible set or threshold); those not found are hollow. None draws no power.
        false_discovery: Share of calls that tag no planted effect, for the caption.
        unit: Of both.
    """
    hit = np.ones(len(planted), bool) if found is None else np.asarray(found, bool)
    columns = 1 if found is None or not len(planted) else 2
    with canvas(columns, width=4.8 if columns == 1 else 7.4, height=4.0, squeeze=False) as (figure, axes):
        axis = axes[0, 0]
        axis.axhline(0, color=FAINT, linewidth=0.5)
        axis.axvline(0, color=FAINT, linewidth=0.5)
        if (~hit).any():
            axis.scatter(
                planted[~hit],
                estimated[~hit],
                s=16,
                facecolors="none",
                edgecolors=NULL,
                linewidths=0.8,
                label=f"not found ({int((~hit).sum())})",
                rasterized=True,
            )
        axis.scatter(
            planted[hit],
            estimated[hit],
            s=18,
            color=SIMULATED,
            alpha=0.8,
            linewidths=0,
            label=f"found ({int(hit.sum())})",
            rasterized=True,
        )
        square_limits(axis, planted, estimated)
        axis.set(xlabel=f"Planted, {unit}", ylabel=f"Estimated, {unit}")
        axis.legend(loc="upper left")
        if columns == 2:
            _power(axes[0, 1], np.abs(planted), hit, unit)
        svg = to_svg(figure)
    return Figure(
        "effect-recovery",
        "Planted and recovered variant effects",
        "Each point is a planted effect, estimated from the simulated data alone. All planted effects are shown, found "
        f"or not, so that selection does not flatter the picture.{_words(hit, columns == 2, false_discovery)}",
        svg,
    )


def _power(axis: Any, size: np.ndarray, hit: np.ndarray, unit: str) -> None:
    """Share found in bins of equal numbers of effects, with Wilson's intervals."""
    n_bins = int(np.clip(len(size) // LEAST_IN_BIN, 1, MOST_BINS))
    for rows in np.array_split(np.argsort(size, kind="stable"), n_bins):
        share, low, high = proportion_interval(int(hit[rows].sum()), len(rows))
        middle = float(np.median(size[rows]))
        axis.hlines(share, size[rows].min(), size[rows].max(), color=REAL, alpha=0.35, linewidth=3)
        axis.vlines(middle, low, high, color=REAL, linewidth=1.2)
        axis.plot([middle], [share], "o", color=REAL, ms=5)
    axis.set(xlim=(0, None), ylim=(-0.03, 1.03), xlabel=f"Size planted, {unit}", ylabel="Share found")
    axis.set_title("Power")


def _words(hit: np.ndarray, with_power: bool, false_discovery: Interval | None) -> str:
    said = ""
    if with_power:
        said += f" Right: power by size, {int(hit.sum())} of {len(hit)} found in all; lines are 95 % intervals."
    if false_discovery is not None:
        fdr = false_discovery
        said += f" False discoveries: {fdr.value:.0%} of the calls [{fdr.low:.0%}, {fdr.high:.0%}]."
    return said
