"""What a privacy audit found, as records: each attack with its controls, and a verdict in plain words."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd

from genesim.evaluate.donor_attacks import ATTACKS
from genesim.evaluate.score import Score, scored
from genesim.metrics.interval import Interval
from genesim.metrics.membership import smallest_detectable_auc
from genesim.report.tables import number

DETECTABLE = 0.6
"""AUC that has to be detectable before a failed attack counts as evidence: about 64 donors on each side."""
Level = Literal["good", "bad", "unknown"]


def verdict_of(
    interval: Interval,
    chance: float,
    seen: float,
    n: tuple[int, int],
    valid: bool,
    least: int,
) -> tuple[str, Level]:
    """Plain words for an attack's success, and the level.

    Args:
        interval: Success with its interval.
        chance: Of an attack that knows nothing.
        seen: Success that chance does not reach. A finding has to exceed it as well as have `chance` below its
            interval, because the bootstrap's intervals are too short with few donors.
        n: Training and held-out donors.
        valid: Whether the planted controls were as they have to be.
        least: Donors that each side needs.
    """
    detectable = smallest_detectable_auc(*n)
    if not valid:
        return "says nothing: a planted control failed", "unknown"
    if interval.low > chance and interval.value >= seen:
        return "training donors are recognised", "bad"
    if min(n) < least or detectable > DETECTABLE:
        return f"inconclusive: too few donors, an AUC below {detectable:.2f} would go unseen", "unknown"
    return f"no sign of training donors; an AUC of {detectable:.2f} would be seen", "good"


@dataclass(frozen=True)
class AttackRow:
    """One attack's success.

    Attributes:
        attack: Key of `ATTACKS`.
        figure: "auc", or "tpr" at 1 % false positives.
        value: Over all donors, with `low` and `high` from resampled donors.
        floor: The planted honest generator's; of the white box, the planted honest model's.
        null: The planted memoriser's.
        chance: Of an attack that knows nothing.
        n_train: Training donors judged.
        n_holdout: Held-out donors judged.
        verdict: Plain words.
        level: For colours and counts.
    """

    attack: str
    figure: str
    value: float
    low: float
    high: float
    floor: float
    null: float
    chance: float
    n_train: int
    n_holdout: int
    verdict: str
    level: Level


@dataclass(frozen=True)
class Control:
    """One attack on a planted generator: "memoriser" has to be exposed, "honest" has to be at .5."""

    kind: str
    attack: str
    value: float
    low: float
    high: float
    passed: bool


@dataclass(frozen=True)
class CopyCheck:
    """Are cells handed out whole? Distances to the closest record show nothing else: not that a donor is safe.

    Attributes:
        n_exact: Simulated cells that equal a training cell in every gene.
        n_simulated: Simulated cells looked at.
        to_train: Median distance of a simulated cell to the nearest training cell, on principal components.
        to_holdout: The same to as many held-out cells.
    """

    n_exact: int
    n_simulated: int
    to_train: float
    to_holdout: float


@dataclass(frozen=True)
class GroupAttack:
    """One attack within one group; NaN where the group has too few donors."""

    attribute: str
    group: str
    attack: str
    value: float
    low: float
    high: float
    n_train: int
    n_holdout: int
    verdict: str

    @classmethod
    def too_small(cls, attribute: str, group: str, n: tuple[int, int]) -> GroupAttack:
        """A group that is listed, not scored."""
        return cls(attribute, group, "", math.nan, math.nan, math.nan, *n, "inconclusive: too few donors")


@dataclass(frozen=True)
class DonorAudit:
    """What the attacks on the donors found.

    Attributes:
        rows: Two an attack: AUC and TPR.
        controls: Every attack on the planted generators.
        invalid: Why the attacks on simulated cells say nothing; empty where they are valid.
        invalid_white_box: Why the attack with the model's likelihood says nothing: it has planted models of its own.
        copies: The check for copied cells.
        groups: Attacks within groups, by attack, worst first.
        curves: ROC by attack: false- and true-positive rates.
        n_train: Training donors judged.
        n_holdout: Held-out donors judged.
        fpr: False-positive rate of the TPR rows.
        coverage: Of each interval; the attacks share 5 %.
        min_donors: Donors that a side needs.
    """

    rows: tuple[AttackRow, ...]
    controls: tuple[Control, ...]
    invalid: tuple[str, ...]
    copies: CopyCheck
    groups: tuple[GroupAttack, ...]
    curves: Mapping[str, tuple[np.ndarray, np.ndarray]]
    n_train: int
    n_holdout: int
    fpr: float
    coverage: float
    min_donors: int
    invalid_white_box: tuple[str, ...] = ()

    @property
    def valid(self) -> bool:
        """Whether the planted memoriser was exposed and the planted honest generator was not."""
        return not self.invalid

    def why_invalid(self, attack: str) -> tuple[str, ...]:
        """Why an attack says nothing, by the controls planted for it; empty where they are as they have to be."""
        return self.invalid_white_box if attack == "white_box" else self.invalid

    @property
    def smallest_detectable_auc(self) -> float:
        """AUC that chance exceeds once in 40 with so many donors."""
        return smallest_detectable_auc(self.n_train, self.n_holdout)

    @property
    def conclusion(self) -> Literal["not valid", "training donors are recognised", "inconclusive", "no sign"]:
        """The worst verdict there is. "no sign" means in the attacks that were made, and no more."""
        levels = {row.level for row in self.rows}  # a row whose controls failed is "unknown"
        if "bad" in levels:
            return "training donors are recognised"
        if not self.valid:
            return "not valid"
        return "inconclusive" if "unknown" in levels else "no sign"

    def scores(self, subject: str = "donors") -> list[Score]:
        """AUCs for the table of scores.

        n is twice the smaller side. Floor and null are absent where the controls planted for an attack failed.
        """
        found = []
        for row in self.rows:
            if row.figure == "auc":
                failed = self.why_invalid(row.attack)
                ends = (math.nan, math.nan) if failed else (max(row.floor, 0.5), row.null)
                interval = Interval(row.value, row.low, row.high)
                n = 2 * min(row.n_train, row.n_holdout)
                found.append(scored(subject, f"donor_attack_{row.attack}", interval, *ends, n))
        return found

    def to_frame(self) -> pd.DataFrame:
        """One row an attack and figure."""
        frame = pd.DataFrame([asdict(row) for row in self.rows])
        frame.insert(1, "label", [ATTACKS[name] for name in frame["attack"]])
        return frame

    def to_dict(self) -> dict[str, Any]:
        """Everything, for JSON; no donor is named. Numbers that are not finite are None."""

        def plain(value: Any) -> Any:
            if isinstance(value, dict):
                return {k: plain(v) for k, v in value.items()}
            if isinstance(value, list | tuple):
                return [plain(v) for v in value]
            return None if isinstance(value, float) and not math.isfinite(value) else value

        def hidden(n: int) -> int | str:
            return "<5" if 0 < n < 5 else n  # so few could be singled out

        record = {k: v for k, v in asdict(self).items() if k != "curves"}
        for group in record["groups"]:
            group |= {side: hidden(group[side]) for side in ("n_train", "n_holdout")}
        record["curves"] = {
            name: {"fpr": np.round(fpr, 4).tolist(), "tpr": np.round(tpr, 4).tolist()}
            for name, (fpr, tpr) in self.curves.items()
        }
        extra = {"valid": self.valid, "conclusion": self.conclusion}
        return plain({**extra, "smallest_detectable_auc": self.smallest_detectable_auc, **record})

    def text(self) -> str:
        """The audit for a terminal."""
        lines = [
            f"donor privacy audit: {self.conclusion} ({self.n_train} training, {self.n_holdout} held-out donors)",
            *(f"  not valid: {reason}" for reason in self.invalid),
            *(f"  white box not valid: {reason}" for reason in self.invalid_white_box),
            f"  copies: {self.copies.n_exact} of {self.copies.n_simulated} simulated cells equal a training cell",
        ]
        for row in self.rows:
            name = f"{ATTACKS[row.attack]}, {'AUC' if row.figure == 'auc' else f'TPR at {self.fpr:.0%} FPR'}"
            interval = f"{number(row.value)} [{number(row.low)}, {number(row.high)}]"
            lines.append(
                f"  {name:<46} {interval:<22} honest {number(row.floor)}  memoriser {number(row.null)}  {row.verdict}"
            )
        return "\n".join(lines)

    __str__ = text
