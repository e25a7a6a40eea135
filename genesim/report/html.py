"""The report: one HTML page that needs nothing else, runs one script known by its hash, and asks for nothing."""

from __future__ import annotations

import base64
import hashlib
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from genesim.errors import InputError
from genesim.provenance.atomic import atomic_file
from genesim.provenance.record import versions
from genesim.report.figures import Figure
from genesim.report.tables import Table, as_table, number, text

LEVELS = {
    "good": "at the floor",
    "near": "close to the floor",
    "middle": "between floor and null",
    "bad": "no better than the null",
    "unknown": "cannot be placed",
}
_FAMILIES = {
    "fidelity": "Likeness",
    "usefulness": "Usefulness",
    "privacy": "Privacy",
    "truth": "Recovery of planted truth",
}
_NEEDED = (
    "subject",
    "metric",
    "value",
    "low",
    "high",
    "floor",
    "null",
    "n",
    "unit",
    "normalised",
    "verdict",
    "level",
    "family",
    "label",
    "headline",
    "meaning",
)
# Places on the strip of a score row: floor and null, and the ends of the frame.
_FLOOR_X, _NULL_X, _LOW_X, _HIGH_X = 28.0, 112.0, 8.0, 132.0


def _place(row: Mapping[str, Any]) -> dict[str, Any]:
    """Where a score lies on its strip, in the strip's own units."""
    at, level = float(row["normalised"]), str(row["level"])
    if not math.isfinite(at):
        return {"at": None, "level": level, "words": "not between floor and null"}
    width = abs(float(row["null"]) - float(row["floor"]))
    half = (float(row["high"]) - float(row["low"])) / 2 / width if width > 0 else 0.0
    half = half if math.isfinite(half) else 0.0

    def x(value: float) -> float:
        return round(min(max(_FLOOR_X + value * (_NULL_X - _FLOOR_X), _LOW_X), _HIGH_X), 1)

    raw = _FLOOR_X + at * (_NULL_X - _FLOOR_X)
    beyond = raw > _HIGH_X or raw < _LOW_X
    return {
        "at": x(at),
        "low": x(at - half),
        "high": x(at + half),
        "level": level,
        "beyond": beyond,
        "arrow": "M126 6 L136 12 L126 18 Z" if raw > _HIGH_X else "M14 6 L4 12 L14 18 Z",
        "words": f"{at:.2f} of the way from floor to null",
    }


def _row(row: Mapping[str, Any]) -> dict[str, Any]:
    low, high = float(row["low"]), float(row["high"])
    return {
        **{key: text(row[key]) for key in ("subject", "label", "meaning", "unit", "verdict")},
        "level": row["level"] if row["level"] in LEVELS else "unknown",
        "value": number(float(row["value"])),
        "interval": f"[{number(low)}, {number(high)}]" if math.isfinite(low + high) else "",
        "floor": number(float(row["floor"])),
        "null": number(float(row["null"])),
        "place": _place(row),
        "order": {
            **{key: _order(row[key]) for key in ("value", "floor", "null")},
            "place": _order(row["normalised"]),
            "level": list(LEVELS).index(row["level"]) if row["level"] in LEVELS else len(LEVELS),
        },
    }


def _within(rows: Sequence[Mapping[str, Any]]) -> dict[str, tuple[list[str], list[tuple[str, str, list[Any]]]]]:
    """By subject: the metrics, and for each stratum its name, its n and a cell a metric (None: no score)."""
    found = {}
    for subject, own in _groups(rows, "subject").items():
        metrics = list(_groups(own, "label"))
        table = []
        for stratum, scores in _groups(own, "stratum").items():
            of = {str(row["label"]): _row(row) for row in scores}
            table.append((text(stratum), _sizes(scores), [of.get(metric) for metric in metrics]))
        found[text(subject)] = ([text(metric) for metric in metrics], table)
    return found


def _order(value: Any) -> str:
    """What a cell is sorted by: the number in full, nothing where it is missing."""
    return repr(float(value)) if math.isfinite(float(value)) else ""


def _groups(rows: Iterable[Mapping[str, Any]], key: str) -> dict[str, list[Mapping[str, Any]]]:
    found: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        found.setdefault(str(row[key]), []).append(row)
    return found


def _card(name: str, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """One family of metrics: a sentence, the shares of levels, and the weakest row."""
    counts, start = [], 0
    for level in LEVELS:
        n = sum(row["level"] == level for row in rows)
        if n:
            counts.append({"level": level, "n": n, "start": start})
        start += n
    good = sum(row["level"] in ("good", "near") for row in rows)
    if name == "privacy":
        bad = sum(row["level"] in ("middle", "bad") for row in rows)
        unplaced = len(rows) - good - bad
        seen = f"{good} of {len(rows)} tests" if unplaced else "any test over all donors"
        head = f"{bad} of {len(rows)} tests see training data" if bad else f"No sign of training data in {seen}"
    else:
        head = f"{good} of {len(rows)} at or close to the floor"
    order = ("near", "middle", "bad")
    weak = [row for row in rows if row["level"] in order]
    worst = max(weak, key=lambda row: (order.index(row["level"]), _finite(row["normalised"])), default=None)
    return {
        "name": _FAMILIES.get(name, name),
        "headline": head,
        "counts": counts,
        "weakest": None if worst is None else _row(worst),
    }


def _sizes(rows: Sequence[Mapping[str, Any]]) -> str:
    sizes = sorted({int(row["n"]) for row in rows})
    return f"{sizes[0]:,}" if len(sizes) == 1 else f"{sizes[0]:,} to {sizes[-1]:,}"


def _finite(value: Any) -> float:
    return float(value) if math.isfinite(float(value)) else 0.0


def _figures(figures: Iterable[Figure]) -> list[dict[str, str]]:
    shown, used = [], set()
    for figure in figures:
        anchor = re.sub(r"[^a-z0-9-]+", "-", figure.name.lower()).strip("-") or "figure"
        while anchor in used:
            anchor += "-x"
        used.add(anchor)
        # As an image the SVG cannot run scripts or fetch anything, whatever it holds.
        encoded = base64.b64encode(figure.svg.encode()).decode()
        shown.append(
            {
                "anchor": f"figure-{anchor}",
                "title": text(figure.title),
                "caption": text(figure.caption),
                "source": f"data:image/svg+xml;base64,{encoded}",
            }
        )
    return shown


def _hash(source: str) -> str:
    """A source of a content security policy: this text, and no other."""
    return f"sha256-{base64.b64encode(hashlib.sha256(source.encode()).digest()).decode()}"


def render_report(
    *,
    title: str,
    scores: pd.DataFrame,
    summary: Mapping[str, Any] | None = None,
    figures: Sequence[Figure] = (),
    provenance: Mapping[str, Any] | None = None,
    tables: Mapping[str, Table] | None = None,
    command: str = "",
) -> str:
    """The page as text; see `write_report`."""
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup

    missing = [name for name in _NEEDED if name not in scores.columns]
    if missing and len(scores):
        raise InputError(
            f"has no column {', '.join(missing)}",
            where="score table of the report",
            remedy="give a table that `genesim evaluate` wrote",
        )
    summary, tables = summary or {}, dict(tables or {})
    if provenance:
        tables["Provenance"] = provenance
    environment = Environment(
        loader=PackageLoader("genesim.report", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    loader: Any = environment.loader
    css, script = (loader.get_source(environment, name)[0].strip() for name in ("report.css", "report.js"))
    policy = (
        f"default-src 'none'; img-src data:; style-src '{_hash(css)}'; script-src '{_hash(script)}'; "
        "base-uri 'none'; form-action 'none'"
    )
    every: list[Any] = scores.to_dict("records")
    rows = [row for row in every if not row.get("stratum")]
    families = _groups(rows, "family")
    ordered = [name for name in _FAMILIES if name in families]
    ordered += [name for name in families if name not in _FAMILIES]
    subjects = _groups(rows, "subject")
    return environment.get_template("report.html.j2").render(
        title=text(title),
        lead=text(summary.get("lead", "")),
        facts=[
            (text(k), f"{v:,}" if isinstance(v, int) else text(v)) for k, v in dict(summary.get("counts", {})).items()
        ],
        real=[text(line) for line in summary.get("real", ())],
        simulated=[text(line) for line in summary.get("simulated", ())],
        synthetic=bool(summary.get("simulated")),
        headlines=[_row(row) for row in rows if row["headline"]],
        cards=[_card(name, families[name]) for name in ordered],
        key=list(LEVELS.items()),
        subjects=[(text(name), _sizes(group), [_row(row) for row in group]) for name, group in subjects.items()],
        within=_within([row for row in every if row.get("stratum")]),
        figures=_figures(figures),
        tables=[(text(name), *as_table(value)) for name, value in tables.items()],
        policy=Markup(policy),
        css=Markup(css),
        script=Markup(script),
        command="\n".join(text(line) for line in command.splitlines()),
        version=versions()["genesim"],
    )


def write_report(
    path: str | Path,
    *,
    title: str,
    scores: pd.DataFrame,
    summary: Mapping[str, Any] | None = None,
    figures: Sequence[Figure] = (),
    provenance: Mapping[str, Any] | None = None,
    tables: Mapping[str, Table] | None = None,
    command: str = "",
) -> Path:
    """Write the report, whole or not at all. The same arguments give the same bytes.

    Args:
        path: The HTML file.
        title: Heading.
        scores: Frame of a `genesim.evaluate.ScoreTable`.
        summary: `lead` (a sentence), `counts` (name -> number), `real` and `simulated` (lists of sentences:
            what in the data is measured, what is made up).
        figures: In order.
        provenance: A provenance record as a dictionary.
        tables: Scenario, configuration, logs: nested dictionaries or frames, by heading.
        command: Shell commands that make the report again, one a line; shown with a button that copies them.

    Raises:
        InputError: The score table lacks columns.
        ResourceError: The file cannot be written.
    """
    page = render_report(
        title=title,
        scores=scores,
        summary=summary,
        figures=figures,
        provenance=provenance,
        tables=tables,
        command=command,
    )
    with atomic_file(path) as temporary:
        temporary.write_text(page, encoding="utf-8")
    return Path(path)
