"""fairness.json: who is represented, and for whom the simulation is worst."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

from genesim.release.facts import RunFacts
from genesim.release.records import Fairness, Group, GroupRow, shown

SMALLEST_GROUP = 20
"""Donors that a group needs among training, held-out and simulated ones to be scored."""


def log_ratio(k: int, n: int, k0: int, n0: int) -> tuple[float, float, float]:
    """log((k/n) / (k0/n0)) with its 95 % interval (Katz et al. 1978, Biometrics 34:469); NaN where a count is 0."""
    if min(k, n, k0, n0) == 0:
        return math.nan, math.nan, math.nan
    value = math.log(k * n0 / (n * k0))
    error = math.sqrt(1 / k - 1 / n + 1 / k0 - 1 / n0)
    return value, value - 1.96 * error, value + 1.96 * error


def _groups(facts: RunFacts) -> list[Group]:
    real, made = facts.donors, facts.simulated_donors
    train, held = real[real["split"] == "train"], real[real["split"] == "test"]

    def table(frame: pd.DataFrame) -> pd.Series:
        return frame[["ancestry", "sex"]].astype(str).value_counts()

    n = {"train": table(train), "held": table(held), "made": table(made)}
    keys = sorted(set().union(*(set(counts.index) for counts in n.values())))
    found = []
    for key in keys:
        k = {side: int(counts.get(key, 0)) for side, counts in n.items()}
        hidden = 0 < k["train"] < 5  # a ratio would give the count away
        value, low, high = (math.nan,) * 3 if hidden else log_ratio(k["made"], len(made), k["train"], len(train))
        found.append(
            Group(
                ancestry=key[0],
                sex=key[1],
                n_train=shown(k["train"]),
                n_held_out=shown(k["held"]),
                n_simulated=k["made"],
                log_ratio=value,
                low=low,
                high=high,
                enough=min(k.values()) >= SMALLEST_GROUP,
            )
        )
    # Least represented first; those without a ratio before all others, for nothing is known of them.
    return sorted(found, key=lambda g: -np.inf if g.log_ratio is None else g.log_ratio)


def fairness(facts: RunFacts) -> Fairness:
    """The fairness paper. Groups that are too small to be scored are listed, never averaged into others."""
    worst: dict[str, GroupRow] = {}
    for row in facts.group_rows:
        kept = worst.get(row.metric)
        if row.gap is not None and (kept is None or kept.gap is None or row.gap > kept.gap):
            worst[row.metric] = row
    return Fairness(
        attributes="ancestry and sex as the donor table gives them; nothing is inferred from genotypes",
        smallest_group=SMALLEST_GROUP,
        groups=tuple(_groups(facts)),
        rows=tuple(facts.group_rows),
        worst={metric: f"{row.attribute}: {row.group}" for metric, row in worst.items()},
        not_scored=tuple(facts.groups_not_scored),
    )
