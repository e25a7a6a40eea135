"""Is the simulation worse for some groups of donors than for others?

Within each group simulated donors are compared with held-out real ones. The floor is what as many real training
donors of the same group reach; the gap is how far the simulation is behind that. The unit is the donor, and
intervals come from halves of the donors (delete-half jackknife). A group with fewer donors than `least` on any
side is not scored: its figure would be noise that looks like a finding.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int8

from genesim import rng
from genesim.metrics.distribution import roc_auc
from genesim.metrics.expression import gene_mean_error
from genesim.metrics.haplotypes import allele_frequency_rmse
from genesim.metrics.interval import Interval, half_sample_intervals

SIDES = ("test", "simulated", "train")
LABELS = {
    "allele_frequency_rmse": ("Allele frequency error", "RMSE"),
    "donor_membership_auc": ("Membership attack on donors, by their nearest simulated haplotype", "AUC"),
    "gene_mean_rmse": ("Gene mean error, donors' cells", "log1p"),
    "group_classifier_auc": ("Cells told from held-out cells of their type", "AUC"),
    "group_typing_error": ("Cell typing errors, learned from simulated cells", "share"),
    "ld_decay_error": ("LD decay error", "r²"),
    "group_effect_error": ("Planted effects missed", "1 - r"),
}
Labels = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class GroupScore:
    """One metric in one group.

    Attributes:
        group: Level of the attribute.
        metric: Key of `LABELS`.
        value: The simulated donors'.
        floor: As many real training donors'; .5 for the attack, which is chance.
        gap: value - floor; above 0 is worse.
        n_test: Held-out donors.
        n_simulated: Simulated donors.
    """

    group: str
    metric: str
    value: Interval
    floor: float
    gap: Interval
    n_test: int
    n_simulated: int


def groups_with(labels: Labels, least: int) -> tuple[list[str], list[str]]:
    """Levels with at least `least` donors on each side, and the other levels of the simulated and real donors."""
    every = sorted({str(v) for side in SIDES for v in labels[side]})
    enough = [g for g in every if all(int((labels[side] == g).sum()) >= least for side in SIDES)]
    return enough, [g for g in every if g not in enough]


def _frequency_statistics(haplotypes: Mapping[str, np.ndarray]) -> Callable[..., dict[str, float]]:
    def flat(side: str, rows: np.ndarray) -> np.ndarray:
        part = haplotypes[side][rows]
        return part.reshape(-1, part.shape[-1])

    def statistics(test: np.ndarray, simulated: np.ndarray, train: np.ndarray) -> dict[str, float]:
        real = flat("test", test)
        value = allele_frequency_rmse(real, flat("simulated", simulated))
        floor = allele_frequency_rmse(real, flat("train", train))
        return {"value": value, "floor": floor, "gap": value - floor}

    return statistics


def _expression_statistics(
    means: Mapping[str, np.ndarray], n_cells: Mapping[str, np.ndarray]
) -> Callable[..., dict[str, float]]:
    def mean(side: str, rows: np.ndarray) -> np.ndarray:
        return np.average(means[side][rows], axis=0, weights=n_cells[side][rows])

    def statistics(test: np.ndarray, simulated: np.ndarray, train: np.ndarray) -> dict[str, float]:
        real = mean("test", test)
        value = gene_mean_error(real, mean("simulated", simulated))
        floor = gene_mean_error(real, mean("train", train))
        return {"value": value, "floor": floor, "gap": value - floor}

    return statistics


def nearest_of_donors(
    donors: Int8[np.ndarray, "donor 2 variant"], simulated: Int8[np.ndarray, "donor 2 variant"]
) -> Float[np.ndarray, " donor"]:
    """Smallest Hamming distance of either haplotype of a donor to any simulated haplotype."""
    queries, references = (x.reshape(-1, x.shape[-1]).astype(np.float32) for x in (donors, simulated))
    distance = queries.sum(axis=1)[:, None] + references.sum(axis=1) - 2 * (queries @ references.T)
    return np.rint(distance.min(axis=1)).reshape(len(donors), 2).min(axis=1)


def _attack_statistics(haplotypes: Mapping[str, np.ndarray]) -> Callable[..., dict[str, float]]:
    """The released donors stay as they are; members and others vary."""
    near = {side: -nearest_of_donors(haplotypes[side], haplotypes["simulated"]) for side in ("test", "train")}

    def statistics(test: np.ndarray, train: np.ndarray) -> dict[str, float]:
        value = float(roc_auc(near["test"][test], near["train"][train])[0])
        return {"value": value, "floor": 0.5, "gap": value - 0.5}

    return statistics


def _scores(
    group: str,
    metric: str,
    statistics: Callable[..., dict[str, float]],
    sizes: tuple[int, ...],
    shown: tuple[int, int],
    n_repeats: int,
    coverage: float,
    seed: int,
) -> GroupScore:
    found = half_sample_intervals(
        statistics,
        sizes,
        n_repeats=n_repeats,
        generator=rng.generator(seed, "evaluate", "groups", metric, group),
        coverage=coverage,
    )
    return GroupScore(group, metric, found["value"], found["floor"].value, found["gap"], *shown)


def rows_of(labels: Labels, group: str, seed: int, attribute: str) -> dict[str, np.ndarray]:
    """Donors of a group by side; as many training as simulated ones, because errors depend on how many there are."""
    rows = {side: np.flatnonzero(labels[side] == group) for side in SIDES}
    n = min(len(rows["simulated"]), len(rows["train"]))
    for side in ("simulated", "train"):
        draw = rng.generator(seed, "evaluate", "groups", attribute, group, side)
        rows[side] = np.sort(draw.permutation(rows[side])[:n])
    return rows


def haplotype_group_scores(
    haplotypes: Mapping[str, Int8[np.ndarray, "donor 2 variant"]],
    labels: Labels,
    *,
    attribute: str,
    least: int,
    seed: int,
    n_repeats: int = 40,
    coverage: float = 0.95,
) -> list[GroupScore]:
    """Allele frequency error and membership attack within each group that is large enough.

    Args:
        haplotypes: By side of `SIDES`: alleles 0 or 1, same variants.
        labels: The donors' levels by side.
        attribute: What the levels are of; names the random stream.
        least: Donors that a group needs on every side.
        seed: Seeds the draws.
        n_repeats: Half-samples behind each interval.
        coverage: Of the intervals.
    """
    found: list[GroupScore] = []
    for group in groups_with(labels, least)[0]:
        every = {side: np.flatnonzero(labels[side] == group) for side in SIDES}
        rows = rows_of(labels, group, seed, attribute)
        equal = {side: haplotypes[side][rows[side]] for side in SIDES}
        whole = {side: haplotypes[side][every[side]] for side in SIDES}
        shown = len(every["test"]), len(every["simulated"])
        sizes = tuple(len(equal[side]) for side in SIDES)
        rest = (n_repeats, coverage, seed)
        found.append(_scores(group, "allele_frequency_rmse", _frequency_statistics(equal), sizes, shown, *rest))
        attacked = (len(whole["test"]), len(whole["train"]))
        found.append(_scores(group, "donor_membership_auc", _attack_statistics(whole), attacked, shown, *rest))
    return found


def expression_group_scores(
    means: Mapping[str, Float[np.ndarray, "donor gene"]],
    n_cells: Mapping[str, np.ndarray],
    labels: Labels,
    *,
    attribute: str,
    least: int,
    seed: int,
    n_repeats: int = 40,
    coverage: float = 0.95,
) -> list[GroupScore]:
    """Error of gene means within each group that is large enough.

    Args:
        means: By side: each donor's mean log-normalised expression over the donor's cells.
        n_cells: By side: cells of each donor.
        labels: The donors' levels by side.
        attribute: What the levels are of; names the random stream.
        least: Donors that a group needs on every side.
        seed: Seeds the draws.
        n_repeats: Half-samples behind each interval.
        coverage: Of the intervals.
    """
    found: list[GroupScore] = []
    for group in groups_with(labels, least)[0]:
        rows = rows_of(labels, group, seed, attribute)
        statistics = _expression_statistics(
            {side: means[side][rows[side]] for side in SIDES}, {side: n_cells[side][rows[side]] for side in SIDES}
        )
        shown = int((labels["test"] == group).sum()), int((labels["simulated"] == group).sum())
        sizes = tuple(len(rows[side]) for side in SIDES)
        found.append(_scores(group, "gene_mean_rmse", statistics, sizes, shown, n_repeats, coverage, seed))
    return found


def worst_first(scores: Sequence[GroupScore]) -> list[GroupScore]:
    """By metric in the order of `LABELS`, and within a metric the largest gap first."""
    order = list(LABELS)
    return sorted(scores, key=lambda s: (order.index(s.metric), -s.gap.value if np.isfinite(s.gap.value) else np.inf))
