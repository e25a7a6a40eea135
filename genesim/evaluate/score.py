"""One score with its floor and null. A number alone says nothing: every row has both.

The floor is what real data reach against real data (for privacy: what a generator that cannot copy reaches;
for planted truth: what the true expression reaches). The null is what a naive generator reaches (for
privacy: the training data themselves; for truth: shuffled donors).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from genesim.errors import InputError
from genesim.evaluate.catalog import METRICS, Direction, MetricInfo
from genesim.metrics.interval import Interval

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
        stratum: Part of the data that was judged, such as "cell type: B cells"; empty for all of it.
    """

    subject: str
    metric: str
    value: float
    low: float
    high: float
    floor: float
    null: float
    n: int
    stratum: str = ""

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


def scored(
    subject: str, metric: str, interval: Interval, floor: float, null: float, n: int, stratum: str = ""
) -> Score:
    """A score whose interval is cut at the ends of the metric's range."""
    value, low, high = interval
    if METRICS[metric].unit in _UNIT_RANGE:
        low, high = max(low, 0.0), min(high, 1.0)
    return Score(subject, metric, float(value), float(low), float(high), float(floor), float(null), int(n), stratum)
