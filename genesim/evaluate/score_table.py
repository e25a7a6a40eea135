"""Scores as a table: looked up, counted, written, printed."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator

import pandas as pd

from genesim.errors import InputError
from genesim.evaluate.catalog import HEADLINE
from genesim.evaluate.score import Level, Score
from genesim.report.tables import number

_COLUMNS = ("subject", "stratum", "metric", "value", "low", "high", "floor", "null", "n")


class ScoreTable:
    """Scores in the order they were made.

    Those of a whole data set are counted and printed; those within its strata are in the frame, and in `within`.
    """

    def __init__(self, scores: Iterable[Score] = ()) -> None:
        self.scores: tuple[Score, ...] = tuple(scores)

    def __iter__(self) -> Iterator[Score]:
        return iter(self.scores)

    def __len__(self) -> int:
        return len(self.scores)

    def __add__(self, other: ScoreTable) -> ScoreTable:
        return ScoreTable((*self.scores, *other.scores))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ScoreTable) and self.to_frame().equals(other.to_frame())

    __hash__ = None  # type: ignore[assignment]

    @property
    def overall(self) -> ScoreTable:
        """The scores of whole data sets."""
        return ScoreTable(s for s in self.scores if not s.stratum)

    @property
    def within(self) -> ScoreTable:
        """The scores within a cell type, a batch or a held-out donor."""
        return ScoreTable(s for s in self.scores if s.stratum)

    def __getitem__(self, key: str | tuple[str, str] | tuple[str, str, str]) -> Score:
        """The score of a metric, of (subject, metric) where several have it, or of (subject, metric, stratum)."""
        subject, metric, stratum = (None, key, "") if isinstance(key, str) else (*key, "")[:3]
        found = [s for s in self.scores if s.metric == metric and subject in (None, s.subject) and s.stratum == stratum]
        if len(found) != 1:
            raise InputError(
                f"{len(found)} scores match {key!r}",
                where="score table",
                remedy="name one of: " + ", ".join(f"({s.subject}, {s.metric})" for s in self.overall),
            )
        return found[0]

    def to_frame(self) -> pd.DataFrame:
        """One row a score; the columns after `n` are derived from the ones before and the catalog."""
        rows = [
            {
                **{name: getattr(s, name) for name in _COLUMNS},
                "unit": s.unit,
                "direction": s.direction,
                "target": math.nan if s.target is None else s.target,
                "normalised": s.normalised,
                "verdict": s.verdict,
                "level": s.level,
                "family": s.info.family,
                "label": s.info.label,
                "headline": s.metric in HEADLINE and not s.stratum,
                "meaning": s.info.meaning,
            }
            for s in self.scores
        ]
        derived = ("unit", "direction", "target", "normalised", "verdict", "level", "family", "label", "headline")
        return pd.DataFrame(rows, columns=[*_COLUMNS, *derived, "meaning"])

    @classmethod
    def from_frame(cls, frame: pd.DataFrame) -> ScoreTable:
        """Read back what `to_frame` gave; the verdict is derived again, never trusted.

        Raises:
            InputError: A column is missing or a metric is unknown.
        """
        # A table of an earlier version has no strata; a CSV has nothing where they are empty.
        stratum = frame["stratum"].fillna("") if "stratum" in frame.columns else ""
        frame = frame.assign(stratum=stratum)
        missing = [name for name in _COLUMNS if name not in frame.columns]
        if missing:
            raise InputError(
                f"has no column {', '.join(missing)}",
                where="score table",
                remedy="give a table that `genesim evaluate` wrote",
            )
        numbers = ("value", "low", "high", "floor", "null")
        return cls(
            Score(
                subject=str(row["subject"]),
                stratum=str(row["stratum"]),
                metric=str(row["metric"]),
                **{name: float(row[name]) for name in numbers},
                n=int(row["n"]),
            )
            for row in frame[list(_COLUMNS)].to_dict("records")
        )

    def counts(self) -> dict[str, int]:
        """Number of scores of whole data sets by level, best first."""
        found = Counter(s.level for s in self.scores if not s.stratum)
        levels: tuple[Level, ...] = ("good", "near", "middle", "bad", "unknown")
        return {level: found[level] for level in levels}

    def text(self) -> str:
        """The table for a terminal: value and interval, floor, null, verdict in words; of strata the first metric."""
        blocks: dict[str, list[tuple[str, Score]]] = {}
        for score in self.overall:
            blocks.setdefault(score.subject, []).append((score.info.label, score))
        first = {s.subject: s.metric for s in reversed(self.within.scores)}
        for score in self.within:
            if score.metric == first[score.subject]:
                blocks.setdefault(f"{score.subject}, within: {score.info.label}", []).append((score.stratum, score))
        head = ("", "value", "interval", "floor", "null", "verdict")
        tables = {
            title: [
                head,
                *(
                    (
                        label,
                        number(s.value),
                        f"[{number(s.low)}, {number(s.high)}]" if math.isfinite(s.low + s.high) else "",
                        number(s.floor),
                        number(s.null),
                        s.verdict,
                    )
                    for label, s in rows
                ),
            ]
            for title, rows in blocks.items()
        }
        widths = [max((len(row[i]) for rows in tables.values() for row in rows), default=0) for i in range(6)]

        def line(cells: tuple[str, ...]) -> str:
            first, *middle, last = cells
            body = "  ".join(cell.rjust(width) for cell, width in zip(middle, widths[1:-1]))
            return f"  {first.ljust(widths[0])}  {body}  {last}".rstrip()

        return "\n\n".join("\n".join([title, *map(line, rows)]) for title, rows in tables.items())

    __str__ = text
