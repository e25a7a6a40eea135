"""One score with its floor and null, and the table of them. A number alone says nothing: every row has both.

The floor is what real data reach against real data (for privacy: what a generator that cannot copy reaches;
for planted truth: what the true expression reaches). The null is what a naive generator reaches (for
privacy: the training data themselves; for truth: shuffled donors).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

import pandas as pd

from genesim.errors import InputError
from genesim.evaluate.catalog import HEADLINE, METRICS, Direction, MetricInfo
from genesim.metrics.interval import Interval
from genesim.report.tables import number

Level = Literal["good", "near", "middle", "bad", "unknown"]
_UNIT_RANGE = {"AUC", "KS", "share", "balanced accuracy"}
_COPY_WORDS: dict[str, str] = {
    "at the floor": "no sign of copying",
    "close to the floor": "leans slightly to training data",
    "between floor and null": "leans to training data",
    "no better than the null": "copies training data",
    "worse than the null": "copies training data",
    "at the floor, as the null is": "no sign of copying; weak test here",
    "short of the floor; the null does not separate": "leans to training data; weak test here",
}
# An attack tells people of the training set from others; whether anything is copied it does not say.
_MEMBER_WORDS: dict[str, str] = {
    "at the floor": "no sign of training donors",
    "close to the floor": "training donors are slightly recognised",
    "between floor and null": "training donors are partly recognised",
    "no better than the null": "training donors are recognised",
    "worse than the null": "training donors are recognised",
    "at the floor, as the null is": "no sign of training donors; weak test here",
    "short of the floor; the null does not separate": "training donors are partly recognised; weak test here",
    "too few": "inconclusive: too few donors",
}
_PRIVACY_WORDS = {"copies": _COPY_WORDS, "members": _MEMBER_WORDS}


@dataclass(frozen=True)
class Score:
    """One metric of one subject.

    Attributes:
        subject: What was judged, such as "expression" or "haplotypes 22".
        metric: Key of `genesim.evaluate.catalog.METRICS`.
        value: The simulated data's value.
        low: Lower end of its interval.
        high: Upper end of its interval.
        floor: What the best attainable reference reaches; NaN where there is none.
        null: What the naive reference reaches; NaN where there is none.
        n: Number of cells, haplotypes or effects behind `value`.
    """

    subject: str
    metric: str
    value: float
    low: float
    high: float
    floor: float
    null: float
    n: int

    def __post_init__(self) -> None:
        if self.metric not in METRICS:
            raise InputError(
                f"'{self.metric}' is not a known metric",
                where=f"score of {self.subject}",
                remedy=f"known metrics: {', '.join(METRICS)}",
            )

    @property
    def info(self) -> MetricInfo:
        return METRICS[self.metric]

    @property
    def direction(self) -> Direction:
        return self.info.direction

    @property
    def target(self) -> float | None:
        return self.info.target

    @property
    def unit(self) -> str:
        return self.info.unit

    def _beyond(self, value: float) -> float:
        """How far `value` is on the bad side of the floor; negative where it is better than the floor.

        With a target, anything between floor and target is as good as the floor, on either side it is worse.
        """
        if self.direction == "lower":
            return value - self.floor
        if self.direction == "higher":
            return self.floor - value
        target = self.floor if self.target is None else self.target
        low, high = min(self.floor, target), max(self.floor, target)
        return max(low - value, value - high, 0.0)

    @property
    def normalised(self) -> float:
        """0 at the floor, 1 at the null; NaN where the null is no worse than the floor within noise."""
        gap = self._beyond(self.null)
        return self._beyond(self.value) / gap if gap > max(self._noise, 1e-12) else math.nan

    @property
    def _noise(self) -> float:
        width = (self.high - self.low) / 2
        return width if math.isfinite(width) else 0.0

    @property
    def _words(self) -> str:
        words = self._placed
        few = self.n < self.info.least_n
        return "too few" if few and words in ("at the floor", "at the floor, as the null is") else words

    @property
    def _placed(self) -> str:
        if not math.isfinite(self.value):
            return "not available"
        if not math.isfinite(self.floor):
            return "no floor to compare with"
        excess, noise = self._beyond(self.value), self._noise
        at_floor = excess <= noise or math.isclose(self.value, self.floor, abs_tol=1e-12)
        if not math.isfinite(self.null):
            return "at the floor" if at_floor else "away from the floor; no null given"
        if not math.isfinite(x := self.normalised):
            return "at the floor, as the null is" if at_floor else "short of the floor; the null does not separate"
        margin = noise / self._beyond(self.null)
        if at_floor and x + margin >= 1:
            return "too noisy to place"
        near = x <= 0.05 and self.info.family != "privacy"  # any copy is one too many
        if near or (at_floor and x <= 1 / 3):
            return "at the floor"
        if x <= 1 / 3:
            return "close to the floor"
        if x - margin > 1:
            return "worse than the null"
        if x >= 0.9 or x + margin >= 1:
            return "no better than the null"
        return "between floor and null"

    @property
    def verdict(self) -> str:
        """Plain words: where the value lies between floor and null, given its interval."""
        words = self._words
        if self.info.least_n and not math.isfinite(self.floor):
            return "says nothing: a planted control failed"
        return _PRIVACY_WORDS[self.info.finds].get(words, words) if self.info.family == "privacy" else words

    @property
    def level(self) -> Level:
        """The verdict as one of five levels, for colours and counts."""
        words = self._words
        levels: dict[str, Level] = {
            "at the floor": "good",
            "at the floor, as the null is": "good",
            "close to the floor": "near",
            "between floor and null": "middle",
            "short of the floor; the null does not separate": "middle",
            "no better than the null": "bad",
            "worse than the null": "bad",
        }
        return levels.get(words, "unknown")


def scored(subject: str, metric: str, interval: Interval, floor: float, null: float, n: int) -> Score:
    """A score whose interval is cut at the ends of the metric's range."""
    value, low, high = interval
    if METRICS[metric].unit in _UNIT_RANGE:
        low, high = max(low, 0.0), min(high, 1.0)
    return Score(subject, metric, float(value), float(low), float(high), float(floor), float(null), int(n))


_COLUMNS = ("subject", "metric", "value", "low", "high", "floor", "null", "n")


class ScoreTable:
    """Scores in the order they were made."""

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

    def __getitem__(self, key: str | tuple[str, str]) -> Score:
        """The score of a metric, or of (subject, metric) where several subjects have it."""
        subject, metric = key if isinstance(key, tuple) else (None, key)
        found = [s for s in self.scores if s.metric == metric and subject in (None, s.subject)]
        if len(found) != 1:
            raise InputError(
                f"{len(found)} scores match {key!r}",
                where="score table",
                remedy="name one of: " + ", ".join(f"({s.subject}, {s.metric})" for s in self.scores),
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
                "headline": s.metric in HEADLINE,
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
                metric=str(row["metric"]),
                **{name: float(row[name]) for name in numbers},
                n=int(row["n"]),
            )
            for row in frame[list(_COLUMNS)].to_dict("records")
        )

    def counts(self) -> dict[str, int]:
        """Number of scores by level, best first."""
        found = Counter(s.level for s in self.scores)
        levels: tuple[Level, ...] = ("good", "near", "middle", "bad", "unknown")
        return {level: found[level] for level in levels}

    def text(self) -> str:
        """The table for a terminal: value and interval, floor, null, verdict in words."""
        lines: list[str] = []
        head = ("", "value", "interval", "floor", "null", "verdict")
        rows = [
            (
                s.info.label,
                number(s.value),
                f"[{number(s.low)}, {number(s.high)}]" if math.isfinite(s.low + s.high) else "",
                number(s.floor),
                number(s.null),
                s.verdict,
            )
            for s in self.scores
        ]
        widths = [max((len(row[i]) for row in [head, *rows]), default=0) for i in range(6)]

        def line(cells: tuple[str, ...]) -> str:
            first, *middle, last = cells
            body = "  ".join(cell.rjust(width) for cell, width in zip(middle, widths[1:-1]))
            return f"  {first.ljust(widths[0])}  {body}  {last}".rstrip()

        subject = None
        for score, row in zip(self.scores, rows):
            if score.subject != subject:
                subject = score.subject
                lines += ["" if lines else None, subject, line(head)]  # type: ignore[list-item]
            lines.append(line(row))
        return "\n".join(text for text in lines if text is not None)

    __str__ = text
