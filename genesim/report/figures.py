"""A figure of the report: an SVG with its words, drawn the same way, byte for byte, every time.

matplotlib is imported inside functions, and without pyplot, so that no window system is ever asked for.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np

REAL, SIMULATED, NULL = "#1d5f8a", "#d1742a", "#8c949c"
INK, FAINT, RULE = "#26323d", "#6b7682", "#d5dae0"
LEVEL_COLOURS = {
    "good": "#2e7d5b",
    "near": "#7a9a3a",
    "middle": "#c58a1b",
    "bad": "#b5442f",
    "unknown": "#7d8791",
}
# Okabe and Ito's colours, told apart by colour-blind readers, then darker ones for more groups.
GROUPS = (
    "#0072b2",
    "#e69f00",
    "#009e73",
    "#cc79a7",
    "#56b4e9",
    "#d55e00",
    "#8a7f00",
    "#5d4a9c",
    "#7f3b1f",
    "#2f4858",
    "#b3568f",
    "#4f7d2c",
)
OTHER = "#aab2ba"
_STYLE: dict[str, Any] = {
    "svg.hashsalt": "genesim",
    "svg.fonttype": "path",
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "text.color": INK,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "figure.facecolor": "white",
    "savefig.dpi": 130,
}


@dataclass(frozen=True)
class Figure:
    """A drawn figure.

    Attributes:
        name: Anchor in the page: letters, digits and hyphens.
        title: Heading.
        caption: What to look at, in one or two sentences; also the text for readers who see no image.
        svg: The image.
    """

    name: str
    title: str
    caption: str
    svg: str = field(repr=False)

    def titled(self) -> str:
        """The image with its title and caption inside, for a file that stands alone."""
        from markupsafe import escape

        start = self.svg.index(">", self.svg.index("<svg")) + 1
        words = f"<title>{escape(self.title)}</title><desc>{escape(self.caption)}</desc>"
        return f"{self.svg[:start]}{words}{self.svg[start:]}"

    def _repr_svg_(self) -> str:
        """What a notebook shows."""
        return self.svg


@contextmanager
def canvas(
    columns: int = 1, rows: int = 1, *, width: float = 7.4, height: float = 3.2, **options: Any
) -> Iterator[tuple[Any, Any]]:
    """Yield a matplotlib figure and its axes (as `subplots` gives them) in the report's style."""
    import matplotlib
    from matplotlib.figure import Figure as Canvas

    # From the defaults, so that a user's own matplotlibrc does not change the report.
    defaults: dict[str, Any] = {
        k: v for k, v in dict(matplotlib.rcParamsDefault).items() if "backend" not in k and k != "toolbar"
    }
    settings: Any = defaults | _STYLE
    with matplotlib.rc_context(settings):
        figure = Canvas(figsize=(width, height), layout="constrained")
        yield figure, figure.subplots(rows, columns, **options)


def to_svg(figure: Any) -> str:
    """The figure as SVG text: no date, fixed identifiers. Call it inside `canvas`."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    return text[text.index("<svg") :]


def group_colours(labels: Sequence[str] | np.ndarray) -> dict[str, str]:
    """A colour a label, most frequent first; labels beyond the palette share one grey."""
    names, counts = np.unique(np.asarray(labels, str), return_counts=True)
    ordered = [str(name) for name in names[np.argsort(-counts, kind="stable")]]
    return {name: GROUPS[i] if i < len(GROUPS) else OTHER for i, name in enumerate(ordered)}


def group_legend(figure: Any, colours: dict[str, str]) -> None:
    """Legend of groups below the axes; groups beyond the palette become one entry."""
    from matplotlib.lines import Line2D

    shown = {name: colour for name, colour in colours.items() if colour != OTHER}
    rest = len(colours) - len(shown)
    if rest:
        shown[f"{rest} others"] = OTHER
    handles = [
        Line2D([], [], marker="o", linestyle="", markersize=5, color=colour, label=shorten(name, 34))
        for name, colour in shown.items()
    ]
    most = 6 if max(len(name) for name in shown) <= 12 else 3
    figure.legend(handles=handles, loc="outside lower center", ncols=min(most, len(handles)))


def shorten(text: str, most: int = 24) -> str:
    """`text` cut to `most` characters, and safe from matplotlib's mathematics mode."""
    cut = text if len(text) <= most else text[: most - 1] + "…"
    return cut.replace("$", r"\$")


def square_limits(axes: Any, *values: np.ndarray, margin: float = 0.05) -> tuple[float, float]:
    """Same limits on both axes over all finite `values`, with the line of equality drawn."""
    pool = np.concatenate([np.ravel(v) for v in values])
    pool = pool[np.isfinite(pool)]
    low, high = (float(pool.min()), float(pool.max())) if pool.size else (0.0, 1.0)
    pad = (high - low) * margin or 0.5
    limits = low - pad, high + pad
    axes.plot(limits, limits, color=FAINT, linewidth=0.8, linestyle=(0, (4, 3)), zorder=1)
    axes.set_xlim(limits)
    axes.set_ylim(limits)
    axes.set_aspect("equal")
    return limits
