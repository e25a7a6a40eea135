"""Within a group of donors: can cells be told from real ones, and do they teach cell types as well as real ones do?

Two gaps by group, and by cell type within it. The classifier gap: how much better simulated cells are told from
held-out cells of their type than training cells are. The typing gap: how many more held-out cells are labelled wrongly
after learning from simulated cells than after learning from training cells. Both classifiers are linear discriminants
(Fisher 1936, Annals of Eugenics 7:179), because these are refitted from sums over donors: intervals come from halves
of the donors with every classifier fitted anew. Donors are the unit: a classifier never scores a donor that it was
fitted on, and as many training as simulated donors take part.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from genesim import rng
from genesim.evaluate.groups import SIDES, GroupScore
from genesim.metrics.interval import Interval, half_sample_intervals

AUC, ERROR = "group_classifier_auc", "group_typing_error"
N_FOLDS = 5
RIDGE = 0.1
"""Added to the covariance of standardised features."""
LEAST_CELLS = 10
"""Cells that a cell type needs on each side of a group."""
CELLS_A_DONOR = 60
"""Most cells of a donor that take part: a draw."""


@dataclass(frozen=True)
class GroupCells:
    """Cells of one side.

    Attributes:
        features: Principal components of log-normalised expression, fitted on all sides together [cell, component].
        labels: Cell type of each cell; one and the same where there are none.
        donors: Donor of each cell.
    """

    features: Float[np.ndarray, "cell component"]
    labels: np.ndarray
    donors: np.ndarray

    def of(self, donors: Sequence[str] | np.ndarray) -> GroupCells:
        rows = np.flatnonzero(np.isin(self.donors, donors))
        return GroupCells(self.features[rows], self.labels[rows], self.donors[rows])


def draw_cells(donors: np.ndarray, seed: int, side: str) -> Int[np.ndarray, " cell"]:
    """Rows of at most `CELLS_A_DONOR` cells a donor, in order."""
    order = rng.generator(seed, "evaluate", "groups", "cells", side).permutation(len(donors))
    _, codes = np.unique(donors[order], return_inverse=True)
    first = np.argsort(codes, kind="stable")
    starts = np.concatenate([[0], np.cumsum(np.bincount(codes))[:-1]])
    rank = np.arange(len(first)) - starts[codes[first]]
    return np.sort(order[first[rank < CELLS_A_DONOR]])


@dataclass(frozen=True)
class _Moments:
    """Number, sum and sum of outer products of the features of each donor's cells, by cell type."""

    n: Float[np.ndarray, "type donor"]
    total: Float[np.ndarray, "type donor f"]
    outer: Float[np.ndarray, "type donor f f"]

    @classmethod
    def of(cls, x: np.ndarray, label: np.ndarray, donor: np.ndarray, n_labels: int, n_donors: int) -> _Moments:
        f = x.shape[1]
        n, total = np.zeros((n_labels, n_donors)), np.zeros((n_labels, n_donors, f))
        outer = np.zeros((n_labels, n_donors, f, f))
        for t in range(n_labels):
            for d in range(n_donors):
                part = x[(label == t) & (donor == d)]
                n[t, d], total[t, d], outer[t, d] = len(part), part.sum(axis=0), part.T @ part
        return cls(n, total, outer)

    def pooled(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Numbers [type], means [type, f] and scatter about them [type, f, f] of the cells of donors `rows`."""
        n = self.n[:, rows].sum(axis=1)
        mean = self.total[:, rows].sum(axis=1) / np.maximum(n, 1)[:, None]
        return n, mean, self.outer[:, rows].sum(axis=1) - n[:, None, None] * mean[:, :, None] * mean[:, None, :]


def told_apart(real: np.ndarray, other: np.ndarray) -> tuple[float, int]:
    """Pairs in which the other cell scores higher, ties 1/2; and all pairs."""
    ordered = np.sort(real)
    below, through = (np.searchsorted(ordered, other, side=side) for side in ("left", "right"))
    return float((below + through).sum() / 2), len(real) * len(other)


class _Group:
    """One group's cells, ready to be classified with any part of the donors."""

    def __init__(self, sides: Mapping[str, GroupCells], types: np.ndarray, seed: int, group: str) -> None:
        self.types = types
        self.names = {side: np.unique(cells.donors) for side, cells in sides.items()}
        pool = np.vstack([cells.features for cells in sides.values()])
        centre, scale = pool.mean(axis=0), np.maximum(pool.std(axis=0), 1e-9)
        self.fold: dict[str, np.ndarray] = {}
        self.x: dict[str, np.ndarray] = {}
        self.code: dict[str, tuple[np.ndarray, np.ndarray]] = {}
        self.moments: dict[str, _Moments] = {}
        for side, cells in sides.items():
            kept = np.isin(cells.labels, types)
            z = (cells.features[kept] - centre) / scale
            # Squares, so that a difference of spread is seen as well as one of place.
            x = np.hstack([z, (z**2 - 1) / np.sqrt(2)])
            label = np.searchsorted(types, cells.labels[kept])
            donor = np.searchsorted(self.names[side], cells.donors[kept])
            n = len(self.names[side])
            self.x[side], self.code[side] = x, (label, donor)
            self.moments[side] = _Moments.of(x, label, donor, len(types), n)
            draw = rng.generator(seed, "evaluate", "groups", "folds", group, side)
            self.fold[side] = draw.permutation(n) % N_FOLDS
        held = self.moments["test"].n.sum(axis=1)
        self.share = held / held.sum()

    def _cells(self, side: str, donors: np.ndarray, label: int) -> np.ndarray:
        labels, donor = self.code[side]
        return self.x[side][(labels == label) & np.isin(donor, donors)]

    def aucs(self, other: str, rows_test: np.ndarray, rows: np.ndarray) -> Float[np.ndarray, " type"]:
        """How well cells of side `other` are told from held-out ones of their type, by donors out of fold."""
        hits, pairs = np.zeros(len(self.types)), np.zeros(len(self.types))
        sides = (("test", rows_test), (other, rows))
        for fold in range(N_FOLDS):
            fit = [self.moments[side].pooled(r[self.fold[side][r] != fold]) for side, r in sides]
            held = [r[self.fold[side][r] == fold] for side, r in sides]
            if min(map(len, held)) == 0:
                continue
            (n0, mean0, scatter0), (n1, mean1, scatter1) = fit
            for t in np.flatnonzero((n0 >= 2) & (n1 >= 2)).tolist():
                covariance = (scatter0[t] + scatter1[t]) / (n0[t] + n1[t]) + RIDGE * np.eye(mean0.shape[1])
                direction = np.linalg.solve(covariance, mean1[t] - mean0[t])
                a, b = (self._cells(side, h, t) @ direction for (side, _), h in zip(sides, held, strict=True))
                found = told_apart(a, b)
                hits[t] += found[0]
                pairs[t] += found[1]
        return np.divide(hits, pairs, out=np.full(len(hits), np.nan), where=pairs > 0)

    def errors(self, learned: str, rows_test: np.ndarray, rows: np.ndarray) -> Float[np.ndarray, " type"]:
        """Share of held-out cells of each type that are labelled wrongly after learning from side `learned`."""
        n, mean, scatter = self.moments[learned].pooled(rows)
        known = np.flatnonzero(n > 0)
        covariance = scatter.sum(axis=0) / n.sum() + RIDGE * np.eye(mean.shape[1])
        direction = np.linalg.solve(covariance, mean[known].T)
        constant = 0.5 * (mean[known].T * direction).sum(axis=0)
        found = np.full(len(self.types), np.nan)
        for t in range(len(self.types)):
            x = self._cells("test", rows_test, t)
            if len(x):
                found[t] = np.mean(known[(x @ direction - constant).argmax(axis=1)] != t)
        return found

    def statistics(self, test: np.ndarray, simulated: np.ndarray, train: np.ndarray) -> dict[str, float]:
        """Value, floor and gap of each metric, over all types and by type, on parts of the donors."""
        result: dict[str, float] = {}
        makers = {AUC: self.aucs} | ({ERROR: self.errors} if len(self.types) > 1 else {})
        for metric, maker in makers.items():
            value, floor = maker("simulated", test, simulated), maker("train", test, train)
            weight = self.share if metric == AUC else np.ones(len(self.types))
            both = np.isfinite(value) & np.isfinite(floor)  # a half of the donors may lack a type
            if both.any():
                value_of, floor_of = (float(np.average(x[both], weights=weight[both])) for x in (value, floor))
                result |= {
                    f"{metric} value": value_of,
                    f"{metric} floor": floor_of,
                    f"{metric} gap": value_of - floor_of,
                }
            for t in np.flatnonzero(both):
                a, b = float(value[t]), float(floor[t])
                result |= {f"{metric} value {t}": a, f"{metric} floor {t}": b, f"{metric} gap {t}": a - b}
        return result


def _usable_types(sides: Mapping[str, GroupCells]) -> np.ndarray:
    levels = np.unique(sides["test"].labels)
    return np.array([v for v in levels if all((c.labels == v).sum() >= LEAST_CELLS for c in sides.values())])


def donors_of_type(cells: GroupCells, label: str) -> int:
    """Donors with a cell of a type."""
    return len(np.unique(cells.donors[cells.labels == label]))


def _of_group(
    group: str, sides: Mapping[str, GroupCells], split: bool, least: int, seed: int, n_repeats: int, coverage: float
) -> Iterator[tuple[bool, GroupScore]]:
    types = _usable_types(sides)
    if not len(types):
        return
    own = _Group(sides, types, seed, group)
    found = half_sample_intervals(
        own.statistics,
        tuple(len(own.names[side]) for side in SIDES),
        n_repeats=n_repeats,
        generator=rng.generator(seed, "evaluate", "groups", "cells", group),
        coverage=coverage,
    )

    def score(name: str, metric: str, suffix: str, shown: tuple[int, int]) -> Iterator[GroupScore]:
        keys = [f"{metric} {part}{suffix}" for part in ("value", "floor", "gap")]
        if keys[0] in found:
            value, floor, gap = (found[key] for key in keys)
            yield GroupScore(name, metric, _within(value), floor.value, gap, *shown)

    shown = len(own.names["test"]), len(own.names["simulated"])
    for metric in (AUC, ERROR):
        yield from ((False, s) for s in score(group, metric, "", shown))
    if not split or len(types) < 2:
        return
    for t, label in enumerate(types):
        n_with = {side: donors_of_type(cells, label) for side, cells in sides.items()}
        if min(n_with.values()) < least:
            continue
        name = str(label) if group == "all" else f"{group}, {label}"
        for metric in (AUC, ERROR):
            shown = n_with["test"], n_with["simulated"]
            yield from ((True, s) for s in score(name, metric, f" {t}", shown))


def _within(interval: Interval) -> Interval:
    """Cut at the ends of a share's range."""
    return Interval(interval.value, max(interval.low, 0.0), min(interval.high, 1.0))


def cell_group_scores(
    cells: Mapping[str, GroupCells],
    groups: Mapping[str, Mapping[str, str]],
    *,
    attribute: str,
    least: int,
    split: bool,
    seed: int,
    n_repeats: int = 40,
    coverage: float = 0.95,
) -> list[tuple[bool, GroupScore]]:
    """Classifier and typing gap within each group that is large enough, and by cell type within it.

    Args:
        cells: By side of `SIDES`.
        groups: By side: each donor's level. Donors that are not named take no part.
        attribute: What the levels are of; names the random stream.
        least: Donors with cells that a group, or a cell type within it, needs on every side.
        split: Whether to score cell types within the groups as well.
        seed: Seeds draws, folds and halves.
        n_repeats: Half-samples of donors behind each interval.
        coverage: Of the intervals.

    Returns:
        Whether a score is of one cell type within its group, and the score.
    """
    found: list[tuple[bool, GroupScore]] = []
    for group in sorted(set(groups["test"].values())):
        own = {s: np.array(sorted(d for d, v in groups[s].items() if v == group), str) for s in SIDES}
        own = {s: np.intersect1d(names, cells[s].donors) for s, names in own.items()}
        if min(map(len, own.values())) < least:
            continue
        n = min(len(own["simulated"]), len(own["train"]))
        for side in ("simulated", "train"):  # errors depend on how many donors there are to learn from
            draw = rng.generator(seed, "evaluate", "groups", "cells", attribute, group, side)
            own[side] = np.sort(draw.permutation(own[side])[:n])
        sides = {side: cells[side].of(own[side]) for side in SIDES}
        found += _of_group(group, sides, split, least, seed, n_repeats, coverage)
    return found
