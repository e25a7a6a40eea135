"""The papers as Markdown for a reader. Names come from users' files, so none of them can write markup or HTML."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Sequence

from genesim.release.records import Answer, DataSheet, Governance, GroupRow, ModelCard, Row
from genesim.report.tables import number, text

_SPECIAL = re.compile(r"([\\`*_{}\[\]|~#!])")


def plain(value: object) -> str:
    """A value as Markdown that shows it and nothing else: one line, no markup, no HTML."""
    words = " ".join(text(value).split())
    return _SPECIAL.sub(r"\\\1", html.escape(words, quote=False))


def table(heads: Sequence[str], rows: Iterable[Sequence[object]]) -> list[str]:
    """Lines of a table; every cell is escaped."""
    lines = [f"| {' | '.join(heads)} |", f"| {' | '.join('---' for _ in heads)} |"]
    return lines + [f"| {' | '.join(plain(cell) for cell in row)} |" for row in rows]


def _number(value: float | None) -> str:
    return number(float("nan") if value is None else value)


def _scores(rows: Sequence[Row]) -> list[str]:
    if not rows:
        return ["No row of the evaluation is about this model."]
    return table(
        ("score", "value", "interval", "floor", "null", "verdict"),
        [
            (
                row.label,
                _number(row.value),
                f"{_number(row.low)} to {_number(row.high)}",
                _number(row.floor),
                _number(row.null),
                row.verdict,
            )
            for row in rows
        ],
    )


WORST_SHOWN = 5
"""Groups of each metric in a card; fairness.json has all of them."""


def _groups(rows: Sequence[GroupRow]) -> list[str]:
    """The worst groups of each metric."""
    if not rows:
        return ["No group of donors was scored for this model; fairness.json says which had too few donors."]
    shown: list[GroupRow] = []
    for metric in dict.fromkeys(row.metric for row in rows):
        shown += [row for row in rows if row.metric == metric][:WORST_SHOWN]
    lines = table(
        ("score", "group", "value", "floor", "gap", "interval of the gap"),
        [
            (
                row.label,
                f"{row.attribute}: {row.group}",
                _number(row.value),
                _number(row.floor),
                _number(row.gap),
                f"{_number(row.gap_low)} to {_number(row.gap_high)}",
            )
            for row in shown
        ],
    )
    return [*lines, "", f"The {WORST_SHOWN} worst groups of each score; above 0 is worse. All are in fairness.json."]


def card(record: ModelCard) -> str:
    """A model card."""
    training = record.training
    facts = {
        "method": record.method,
        "fitted by": record.fitted_by.replace("_", " "),
        "sources": "; ".join(record.citations) or "none",
        "genesim": record.versions.get("genesim", "unknown"),
        "seed": record.seed,
        "SHA-256 of the model": record.model_sha256,
        "SHA-256 of the cohort": training.cohort_sha256,
        "privacy mechanism": record.privacy_mechanism,
    }
    sizes = {
        "training donors": training.n_donors,
        "held-out donors": training.held_out_donors,
        "training cells": training.n_cells,
        "genes": training.n_genes,
        "variants": training.n_variants,
        **{f"training donors of ancestry {name}": n for name, n in training.ancestry.items()},
        **{f"training donors of sex {name}": n for name, n in training.sex.items()},
    }
    lines = [f"# Model card: {plain(record.name)}", "", plain(record.title) + ".", ""]
    lines += table(("what", ""), facts.items())
    lines += ["", "## Trained on", "", *table(("what", "number"), sizes.items())]
    for head, entries in (
        ("Meant for", record.intended_uses),
        ("Not fit for", record.uses_to_avoid),
        ("Limits", record.limits),
    ):
        lines += ["", f"## {head}", "", *[f"- {plain(entry)}" for entry in entries]]
    lines += ["", "## Scores, weakest first", ""]
    if record.modality == "effects":
        lines += ["Planted effects found again in the simulated data; they do not judge effects in real donors.", ""]
    lines += [*_scores(record.scores), ""]
    lines += ["Floor: what real data reach against real data. Null: what a naive generator reaches.", ""]
    lines += ["## By group of donors, worst first", "", *_groups(record.groups), ""]
    return "\n".join(lines)


def _question(item: Answer) -> list[str]:
    if item.answer is None:
        said = "**Not answered.**"
    else:
        said = plain(item.answer) + ("" if item.file is None else f" ({plain(item.file)})")
    return [f"**{plain(item.question)}** ({plain(item.id)})", "", said, ""]


def data_sheet(record: DataSheet) -> str:
    """The data sheet, section by section."""
    lines = ["# Data sheet", "", "After Gebru et al. 2018, Datasheets for Datasets; questions shortened.", ""]
    if record.not_answered:
        lines += [f"{len(record.not_answered)} of {len(record.items)} questions are not answered.", ""]
    section = None
    for item in record.items:
        if item.section != section:
            section = item.section
            lines += [f"## {plain(section)}", ""]
        lines += _question(item)
    return "\n".join(lines)


def governance(record: Governance) -> str:
    """The table of what is asked and which file answers."""
    lines = ["# Which file answers what", "", plain(record.statement), ""]
    for part in record.texts:
        lines += [f"## {plain(part.name)}", "", plain(part.source), ""]
        rows = [(i.id, i.asks, i.status, ", ".join(i.files) or "–", i.note or "–") for i in part.items]
        lines += [*table(("", "asks for", "here", "files", "note"), rows), ""]
    return "\n".join(lines)


def readme(title: str, conclusion: str, files: dict[str, str], not_answered: Sequence[str]) -> str:
    """The bundle's first page."""
    lines = [
        f"# {plain(title)}",
        "",
        "Everything under data/ is simulated: no record is a real donor's. Models learned from real donors: traces of "
        f"those can remain. Privacy tests: {plain(conclusion)}; privacy.json says which were run, and which were not.",
        "",
    ]
    lines += table(("file", "what"), files.items())
    if not_answered:
        lines += ["", f"Not answered: {plain(', '.join(not_answered))}."]
    lines += [
        "",
        "## Check this bundle",
        "",
        "    genesim validate .             everything: files, log, approval",
        "    sha256sum -c manifest.sha256   the files alone, without genesim",
        "",
        "`genesim validate . --hash HASH` also compares with the release hash that whoever released it made known. "
        "Without that hash a check shows damage and careless edits, not a forger who makes the whole bundle anew.",
        "",
    ]
    return "\n".join(lines)
