"""Figures of cis effects: one locus, recovery with intervals, reliability of PIPs, and power."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Bool, Float, Int

from genesim.errors import InputError
from genesim.metrics.effects import CalibrationBin, interval_coverage
from genesim.metrics.interval import proportion_interval
from genesim.report.figures import (
    FAINT,
    GROUPS,
    INK,
    NULL,
    REAL,
    SIMULATED,
    Figure,
    canvas,
    shorten,
    square_limits,
    to_svg,
)

MARKERS = "osD^vP"


def locus(
    position: Int[np.ndarray, " variant"],
    p_value: Float[np.ndarray, " variant"],
    pip: Float[np.ndarray, " variant"],
    credible_set: Int[np.ndarray, " variant"],
    *,
    gene: str,
    tss: int,
    contig: str = "",
) -> Figure:
    """One gene's cis window: marginal -log10 p above, posterior inclusion probability below.

    Args:
        position: Base pairs, of every variant tested.
        p_value: Of each variant alone.
        pip: Probability that the variant has an effect.
        credible_set: Number of the credible set, 0 for none.
        gene: Gene shown.
        tss: Transcription start, in the coordinates of `position`.
        contig: For the axis.

    Raises:
        InputError: Arrays of different lengths, or none.
    """
    lengths = {len(position), len(p_value), len(pip), len(credible_set)}
    if len(lengths) != 1 or lengths == {0}:
        raise InputError(
            f"position, p_value, pip and credible_set have lengths "
            f"{[len(position), len(p_value), len(pip), len(credible_set)]}",
            where="locus figure",
            remedy="give one value of each to every variant tested, and at least one variant",
        )
    place = np.asarray(position) / 1e6
    # The smallest positive double: a p-value that underflows is drawn there, not left out.
    strength = -np.log10(np.maximum(np.asarray(p_value, np.float64), np.finfo(np.float64).tiny))
    sets = [int(k) for k in np.unique(credible_set) if k > 0]
    with canvas(1, 2, width=7.0, height=4.2, sharex=True) as (figure, axes):
        for axis, values in zip(axes, (strength, np.asarray(pip))):
            axis.axvline(tss / 1e6, color=FAINT, linewidth=0.9, linestyle=(0, (4, 3)), zorder=1)
            outside = np.asarray(credible_set) == 0
            axis.scatter(
                place[outside], values[outside], s=10, color=NULL, alpha=0.6, linewidths=0, label="no credible set"
            )
            for i, k in enumerate(sets):
                inside = np.asarray(credible_set) == k
                axis.scatter(
                    place[inside],
                    values[inside],
                    s=30,
                    color=GROUPS[i % len(GROUPS)],
                    marker=MARKERS[i % len(MARKERS)],
                    edgecolors="white",
                    linewidths=0.5,
                    zorder=3,
                    label=f"set {k} ({int(inside.sum())})",
                )
        axes[0].set(ylabel=r"$-\log_{10}$ p, one variant alone", ylim=(0, max(1.0, 1.12 * float(np.nanmax(strength)))))
        axes[1].set(ylabel="PIP", ylim=(-0.03, 1.05), xlabel=f"Position{f' on {contig}' if contig else ''}, Mb")
        axes[0].annotate(
            "TSS", (tss / 1e6, 1), xycoords=("data", "axes fraction"), xytext=(3, -2), textcoords="offset points",
            va="top", fontsize=8, color=FAINT,
        )  # fmt: skip
        axes[0].set_title(shorten(gene, 40))
        figure.legend(*axes[0].get_legend_handles_labels(), loc="outside right upper")
        svg = to_svg(figure)
    named = f"{len(sets)} credible set{'' if len(sets) == 1 else 's'}"
    return Figure(
        "locus",
        f"cis effects on {gene}",
        f"{len(place):,} variants, {named}. Many variants in linkage look alike one at a time; the posterior "
        "says which of them are enough to explain the association.",
        svg,
    )


def effect_intervals(
    planted: Float[np.ndarray, " effect"],
    estimated: Float[np.ndarray, " effect"],
    low: Float[np.ndarray, " effect"],
    high: Float[np.ndarray, " effect"],
    found: Bool[np.ndarray, " effect"],
    *,
    unit: str = "log2 allelic fold change",
) -> Figure:
    """Estimated against planted effects with 95 % intervals; effects not found are hollow, on zero.

    Args:
        planted: True effects.
        estimated: Estimates; not read where not found.
        low, high: Bounds of the intervals; not read where not found.
        found: The effect is in a credible set.
        unit: Of all four.
    """
    hit = np.asarray(found, bool)
    inside, n_found = interval_coverage(planted[hit], low[hit], high[hit])
    with canvas(width=4.8, height=4.2) as (figure, axis):
        axis.axhline(0, color=FAINT, linewidth=0.5)
        axis.axvline(0, color=FAINT, linewidth=0.5)
        axis.scatter(
            planted[~hit], np.zeros(int((~hit).sum())), s=16, facecolors="none", edgecolors=NULL, linewidths=0.8,
            label=f"not found ({int((~hit).sum())})",
        )  # fmt: skip
        # Lines, not error bars: an estimate transformed to another scale may lie off its interval's middle.
        axis.vlines(planted[hit], low[hit], high[hit], color=SIMULATED, alpha=0.45, linewidth=1.0)
        axis.scatter(
            planted[hit], estimated[hit], s=16, color=SIMULATED, linewidths=0, zorder=3, label=f"found ({n_found})"
        )
        square_limits(axis, planted, low[hit], high[hit], estimated[hit])
        axis.set(xlabel=f"Planted, {unit}", ylabel=f"Estimated, {unit}")
        axis.legend(loc="upper left")
        svg = to_svg(figure)
    covered = f"{inside:.0%} of the {n_found} intervals hold the planted value. " if n_found else ""
    return Figure(
        "effect-intervals",
        "Planted and recovered variant effects, with intervals",
        f"{covered}An interval is conditional on the planted variant being the causal one; effects of which no "
        "credible set holds the variant stand on zero.",
        svg,
    )


def pip_calibration(bins: Sequence[CalibrationBin]) -> Figure:
    """Share of causal variants against mean PIP, with Wilson's 95 % intervals.

    Args:
        bins: As `metrics.effects.pip_calibration` gives them.

    Raises:
        InputError: No bin.
    """
    if not bins:
        raise InputError("there are no bins", where="calibration of PIPs", remedy="give the PIP of one variant or more")
    mean, share = np.array([b.mean_pip for b in bins]), np.array([b.observed for b in bins])
    bounds = np.array([proportion_interval(round(b.observed * b.n), b.n)[1:] for b in bins])
    with canvas(width=4.6, height=4.2) as (figure, axis):
        axis.vlines(mean, bounds[:, 0], bounds[:, 1], color=REAL, linewidth=1.2)
        axis.plot(mean, share, "o-", color=REAL, ms=5, linewidth=1.0)
        for b, top in zip(bins, bounds[:, 1]):
            axis.annotate(
                f"{b.n:,}", (b.mean_pip, top), xytext=(0, 3), textcoords="offset points", ha="center", fontsize=7,
                color=FAINT,
            )  # fmt: skip
        square_limits(axis, np.array([0.0, 1.0]), margin=0.07)
        axis.set(xlabel="Mean PIP of the bin", ylabel="Share that is causal")
        svg = to_svg(figure)
    return Figure(
        "pip-calibration",
        "Reliability of inclusion probabilities",
        f"{sum(b.n for b in bins):,} variants of simulated data; above each point stands its number. On the "
        "dashed line a PIP is what it says; below it the model is too sure.",
        svg,
    )


def power_curve(
    heritability: Sequence[float],
    found: Mapping[int, Int[np.ndarray, " level"]],
    n_tests: Mapping[int, Int[np.ndarray, " level"]],
) -> Figure:
    """Share of planted effects that are found, by their share of variance and the number of donors.

    Args:
        heritability: Share of the expression's variance that the effect makes, ascending.
        found: Effects found at each heritability, by number of donors.
        n_tests: Effects planted, likewise.

    Raises:
        InputError: Numbers of donors or of levels that do not agree.
    """
    n_levels = len(heritability)
    agree = list(found) == list(n_tests) and all(len(x) == n_levels for x in (*found.values(), *n_tests.values()))
    if not agree or not found or not n_levels:
        raise InputError(
            f"{n_levels} heritabilities, found for donors {list(found)}, tests for donors {list(n_tests)}",
            where="power curve",
            remedy="give `found` and `n_tests` the same donors, with one number for each heritability",
        )
    with canvas(width=5.6, height=3.4) as (figure, axis):
        for i, donors in enumerate(found):
            colour = GROUPS[i % len(GROUPS)]
            share = np.asarray(found[donors]) / np.maximum(n_tests[donors], 1)
            bounds = np.array([proportion_interval(int(k), int(n))[1:] for k, n in zip(found[donors], n_tests[donors])])
            # Steps of a few per cent keep the intervals of different numbers of donors apart.
            x = np.asarray(heritability) * 1.03 ** (i - (len(found) - 1) / 2)
            axis.vlines(x, bounds[:, 0], bounds[:, 1], color=colour, linewidth=1.0, alpha=0.7)
            axis.plot(
                x,
                share,
                "-",
                marker=MARKERS[i % len(MARKERS)],
                ms=4.5,
                color=colour,
                linewidth=1.5,
                label=f"{donors:,}",
            )
        axis.set(xscale="log", ylim=(-0.02, 1.02), ylabel="Share found", xlabel="Heritability of the effect")
        axis.set_xticks(list(heritability), [f"{h:g}" for h in heritability])
        axis.minorticks_off()
        legend = axis.legend(title="Donors", loc="upper left")
        legend.get_title().set(fontsize=8, color=INK)
        svg = to_svg(figure)
    return Figure(
        "power-curve",
        "Power",
        "An effect is found where a credible set of its gene holds its variant. Lines are Wilson's 95 % intervals "
        "over the effects planted.",
        svg,
    )
