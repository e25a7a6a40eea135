"""What a verification returns, and the list of them all.

A check takes `factor`, by which it makes one parameter of the data wrong while still holding genesim to the right one:
1 is the honest check, and must pass; the `wrong` factor that stands beside each must fail, or the check sees nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DRAWN, KNOWN = "#0072B2", "#D55E00"
"""Colours of what genesim gave and of what it must be (Okabe & Ito)."""


@dataclass(frozen=True)
class Outcome:
    """One statistic and where it must lie.

    Attributes:
        statistic: Its value.
        low: Smallest value that is right.
        high: Largest value that is right.
        figure: Reads right or wrong at a glance.
    """

    statistic: float
    low: float
    high: float
    figure: Figure

    @property
    def passed(self) -> bool:
        return bool(self.low <= self.statistic <= self.high)


@dataclass(frozen=True)
class Check:
    """A named verification.

    Attributes:
        name: As on the command line.
        claim: What is shown.
        statistic: What the number is.
        run: Factor (see the module) to outcome.
        wrong: A factor that must fail.
    """

    name: str
    claim: str
    statistic: str
    run: Callable[[float], Outcome]
    wrong: float


CHECKS: dict[str, Check] = {}


def check(
    claim: str, statistic: str, wrong: float
) -> Callable[[Callable[[float], Outcome]], Callable[[float], Outcome]]:
    """Put a function into `CHECKS` under its own name."""

    def register(run: Callable[[float], Outcome]) -> Callable[[float], Outcome]:
        CHECKS[run.__name__] = Check(run.__name__, claim, statistic, run, wrong)
        return run

    return register


def axes(title: str, x: str, y: str) -> tuple[Figure, Any]:
    """A small figure with one set of axes."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.2, 3.4), dpi=110, layout="constrained")
    ax = figure.add_subplot()
    ax.set(title=title, xlabel=x, ylabel=y)
    ax.title.set_fontsize(9)
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)
    return figure, ax


def diagonal(ax: Any, low: float, high: float) -> None:
    """The line on which every point lies where all is right."""
    ax.plot([low, high], [low, high], color=KNOWN, lw=1, zorder=0, label="truth")
