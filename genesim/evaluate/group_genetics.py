"""Within a group of donors: is linkage as in real donors of the group, and are planted effects found as well?

Linkage is compared as elsewhere: mean r2 by distance, the same variants and numbers of donors on every side. An
effect gap needs simulated donors only: effects estimated in a group's own donors against the true ones, beside as
many simulated donors of all groups (the floor). Intervals come from halves of the donors.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int, Int8

from genesim import rng
from genesim.evaluate.groups import SIDES, GroupScore, Labels, groups_with, rows_of
from genesim.evaluate.haplotypes import DECAY_BINS
from genesim.metrics.haplotypes import ld_decay
from genesim.metrics.interval import half_sample_intervals

LD, EFFECTS = "ld_decay_error", "group_effect_error"
MOST_LD_VARIANTS = 250
"""Most common variants of a contig whose linkage is compared: a run of neighbours."""
LEAST_EFFECTS = 10
"""Effects that a group needs: a correlation over fewer says nothing."""
LEAST_CARRIED = 5
"""Copies of the rarer allele that an effect needs among a group's donors."""


def _neighbours(real: np.ndarray, contig: np.ndarray, name: str, min_maf: float) -> Int[np.ndarray, " variant"]:
    p = real.mean(axis=0)
    common = np.flatnonzero((contig == name) & (np.minimum(p, 1 - p) >= min_maf))
    start = max(0, (len(common) - MOST_LD_VARIANTS) // 2)
    return common[start : start + MOST_LD_VARIANTS]


def _ld_statistics(
    haplotypes: Mapping[str, np.ndarray], position: np.ndarray, contig: np.ndarray, min_maf: float
) -> Callable[..., dict[str, float]] | None:
    """Mean over contigs of the mean absolute difference of r2 by distance; None without pairs of common variants."""
    real = np.concatenate([haplotypes[side].reshape(-1, len(position)) for side in ("test", "train")])
    runs = [_neighbours(real, contig, name, min_maf) for name in dict.fromkeys(contig.tolist())]
    runs = [run for run in runs if len(run) >= 20]
    if not runs:
        return None

    def decay(side: str, rows: np.ndarray, run: np.ndarray) -> np.ndarray:
        flat = haplotypes[side][rows][:, :, run].reshape(-1, len(run))
        return ld_decay(flat, position[run], bins=DECAY_BINS, common=np.arange(len(run)))

    def error(a: np.ndarray, b: np.ndarray) -> float:
        known = np.isfinite(a) & np.isfinite(b)
        return float(np.abs(a - b)[known].mean()) if known.any() else np.nan

    def statistics(test: np.ndarray, simulated: np.ndarray, train: np.ndarray) -> dict[str, float]:
        errors = []
        for run in runs:
            held = decay("test", test, run)
            errors.append((error(held, decay("simulated", simulated, run)), error(held, decay("train", train, run))))
        value, floor = np.nanmean(errors, axis=0)
        return {"value": float(value), "floor": float(floor), "gap": float(value - floor)}

    return statistics


def ld_group_scores(
    haplotypes: Mapping[str, Int8[np.ndarray, "donor 2 variant"]],
    labels: Labels,
    *,
    position: Int[np.ndarray, " variant"],
    contig: np.ndarray,
    attribute: str,
    least: int,
    seed: int,
    min_maf: float = 0.05,
    n_repeats: int = 40,
    coverage: float = 0.95,
) -> list[GroupScore]:
    """LD decay error within each group that is large enough.

    Args:
        haplotypes: By side of `SIDES`: alleles 0 or 1, same variants.
        labels: The donors' levels by side.
        position: Base pairs, ascending within a contig.
        contig: Contig of each variant.
        attribute: What the levels are of; names the random stream.
        least: Donors that a group needs on every side.
        seed: Seeds the draws.
        min_maf: Smallest minor allele frequency of a variant among the group's real donors.
        n_repeats: Half-samples behind each interval.
        coverage: Of the intervals.
    """
    found = []
    for group in groups_with(labels, least)[0]:
        rows = rows_of(labels, group, seed, attribute)
        equal = {side: haplotypes[side][rows[side]] for side in SIDES}
        statistics = _ld_statistics(equal, np.asarray(position), np.asarray(contig), min_maf)
        if statistics is None:
            continue
        intervals = half_sample_intervals(
            statistics,
            tuple(len(equal[side]) for side in SIDES),
            n_repeats=n_repeats,
            generator=rng.generator(seed, "evaluate", "groups", LD, group),
            coverage=coverage,
        )
        shown = int((labels["test"] == group).sum()), int((labels["simulated"] == group).sum())
        found.append(GroupScore(group, LD, intervals["value"], intervals["floor"].value, intervals["gap"], *shown))
    return found


class PlantedPairs(NamedTuple):
    """Simulated donors at planted variants, a column a pair of variant and gene."""

    dosage: Float[np.ndarray, "donor pair"]
    measured: Float[np.ndarray, "donor pair"]
    """Log2 expression of the gene as the donor's cells show it."""
    truth: Float[np.ndarray, "donor pair"]
    """True log2 fold change of the gene, of all its variants together."""


def _slopes(dosage: np.ndarray, response: np.ndarray) -> Float[np.ndarray, " pair"]:
    """Change of the response an allele, by least squares; NaN without variation."""
    x = dosage - dosage.mean(axis=0)
    variance = (x**2).sum(axis=0)
    return np.divide((x * response).sum(axis=0), variance, out=np.full(len(variance), np.nan), where=variance > 1e-9)


def effect_error(pairs: PlantedPairs, rows: np.ndarray) -> float:
    """1 - r of estimated and true slopes in donors `rows`; NaN where fewer than `LEAST_EFFECTS` effects vary there.

    The true slope is that of the true fold change on the same donors' dosage, so that linked effects and the group's
    own frequencies are in both.
    """
    dosage = pairs.dosage[rows]
    copies = dosage.sum(axis=0)
    used = np.minimum(copies, 2 * len(rows) - copies) >= min(LEAST_CARRIED, len(rows) / 4)
    estimate, truth = (_slopes(dosage[:, used], x[rows][:, used]) for x in (pairs.measured, pairs.truth))
    known = np.isfinite(estimate) & np.isfinite(truth)
    if known.sum() < LEAST_EFFECTS or truth[known].std() < 1e-9 or estimate[known].std() < 1e-9:
        return float("nan")
    return float(1 - np.corrcoef(estimate[known], truth[known])[0, 1])


def effect_group_scores(
    pairs: PlantedPairs,
    labels: np.ndarray,
    *,
    attribute: str,
    least: int,
    seed: int,
    n_repeats: int = 40,
    n_draws: int = 20,
    coverage: float = 0.95,
) -> list[GroupScore]:
    """How much worse planted effects are recovered in a group's donors than in as many donors of all groups.

    Args:
        pairs: Simulated donors at planted variants.
        labels: Each simulated donor's level.
        attribute: What the levels are of; names the random stream.
        least: Simulated donors that a group needs.
        seed: Seeds the draws.
        n_repeats: Half-samples behind each interval.
        n_draws: Draws of donors of all groups, averaged in the floor.
        coverage: Of the intervals.
    """
    found = []
    for group in sorted(set(labels.tolist())):
        rows = np.flatnonzero(labels == group)
        if len(rows) < least:
            continue
        draw = rng.generator(seed, "evaluate", "groups", EFFECTS, attribute, group)
        pools = [np.sort(draw.permutation(len(labels))[: len(rows)]) for _ in range(n_draws)]

        def statistics(part: np.ndarray, rows: np.ndarray = rows, pools: list = pools) -> dict[str, float]:
            value = effect_error(pairs, rows[part])
            floor = float(np.mean([effect_error(pairs, pool[part]) for pool in pools]))
            return {"value": value, "floor": floor, "gap": value - floor}

        intervals = half_sample_intervals(
            statistics, (len(rows),), n_repeats=n_repeats, generator=draw, coverage=coverage
        )
        if np.isfinite(intervals["gap"].value):
            shown = 0, len(rows)
            value, floor, gap = (intervals[name] for name in ("value", "floor", "gap"))
            found.append(GroupScore(group, EFFECTS, value, floor.value, gap, *shown))
    return found
