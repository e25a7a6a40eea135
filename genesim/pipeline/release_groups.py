"""Scores within groups of donors, for a release: simulated against held-out real donors of the same group."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd

from genesim import rng
from genesim.data.cohort import Cohort
from genesim.data.genotypes import Genotypes
from genesim.evaluate import groups
from genesim.evaluate.donor_attacks import ATTACKS
from genesim.evaluate.group_cells import cell_group_scores
from genesim.evaluate.group_genetics import PlantedPairs, effect_group_scores, ld_group_scores
from genesim.pipeline.evaluate_cells import even_rows
from genesim.pipeline.group_inputs import LEAST_CELLS, donor_means, group_cells, haplotypes_of, planted_pairs
from genesim.release.fairness import SMALLEST_GROUP
from genesim.release.privacy import GROUP_ATTACK
from genesim.release.records import GroupRow

ATTRIBUTES = ("all donors", "ancestry", "sex", "ancestry x sex")
MOST_DONORS, ENOUGH = 1_000, 50
"""Donors a side whose genotypes are compared, or as many as 50 a group: all distances take the square of the number."""
MOST_EFFECTS = 500
_SIDES = {"test": "held-out", "simulated": "simulated", "train": "training"}


def attribute_of(donors: pd.DataFrame, attribute: str) -> pd.Series:
    """Each donor's level of one of `ATTRIBUTES`."""
    if attribute == "all donors":
        return pd.Series("all", index=donors.index)
    parts = [donors[name].astype(str) for name in attribute.split(" x ")]
    return parts[0] if len(parts) == 1 else parts[0] + ", " + parts[1]


def _as_rows(attribute: str, scores: list[groups.GroupScore]) -> list[GroupRow]:
    rows = []
    for score in scores:
        label, unit = groups.LABELS[score.metric]
        rows.append(
            GroupRow(
                attribute=attribute,
                group=score.group,
                metric=score.metric,
                label=label,
                value=score.value.value,
                low=score.value.low,
                high=score.value.high,
                floor=score.floor,
                gap=score.gap.value,
                gap_low=score.gap.low,
                gap_high=score.gap.high,
                n_held_out=score.n_test,
                n_simulated=score.n_simulated,
                unit=unit,
            )
        )
    return rows


def _left_out(what: str, attribute: str, labels: Mapping[str, np.ndarray]) -> list[str]:
    """One sentence for each group that is too small, which says where."""
    notes = []
    for group in groups.groups_with(labels, SMALLEST_GROUP)[1]:
        short = [name for side, name in _SIDES.items() if int((labels[side] == group).sum()) < SMALLEST_GROUP]
        notes.append(
            f"{what}, {attribute} {group}: insufficient, too few donors: fewer than {SMALLEST_GROUP} "
            f"({', '.join(short)})"
        )
    return notes


def _typed(attribute: str) -> str:
    return "cell type" if attribute == "all donors" else f"{attribute} x cell type"


class _Groups:
    """Every donor's level of each attribute, on both the real and the simulated side."""

    def __init__(self, cohort: Cohort, donors: pd.DataFrame) -> None:
        self.of = {name: (attribute_of(cohort.donors, name), attribute_of(donors, name)) for name in ATTRIBUTES}

    def labels(self, attribute: str, owners: Mapping[str, pd.Index]) -> dict[str, np.ndarray]:
        real, made = self.of[attribute]
        return {s: (made if s == "simulated" else real).reindex(ids).to_numpy() for s, ids in owners.items()}


Found = Iterator[tuple[str, groups.GroupScore | str]]
"""Scores with their attribute, and sentences about what is not scored."""


def _genotyped(donors: pd.DataFrame) -> pd.Index:
    return donors.index[donors["has_genotypes"].to_numpy(dtype=bool)]


def _genotype_scores(cohort: Cohort, genotypes: Genotypes, of: _Groups, seed: int) -> Found:
    owners = {
        "test": _genotyped(cohort.donors_of("test")),
        "simulated": genotypes.donors,
        "train": _genotyped(cohort.donors_of("train")),
    }
    group = of.labels(ATTRIBUTES[-1], owners)
    drawn = {}
    for side, ids in owners.items():
        own = group[side].astype(str)
        drawn[side] = ids[even_rows(own, max(MOST_DONORS, ENOUGH * len(set(own))), seed, side)]
    for side, ids in drawn.items():
        if len(ids) < len(owners[side]):
            few = f"{len(ids):,} of {len(owners[side]):,} {_SIDES[side]} donors were compared, even over groups"
            yield ATTRIBUTES[0], f"genotypes: {few}"
    sides = haplotypes_of(cohort, genotypes, drawn)
    haplotypes = {side: g.alleles.transpose(1, 2, 0) for side, g in sides.items()}
    variants = sides["test"].variants
    for attribute in ATTRIBUTES:
        labels = of.labels(attribute, {side: g.donors for side, g in sides.items()})
        yield from ((attribute, note) for note in _left_out("genotypes", attribute, labels))
        if not len(variants):
            continue
        where: dict[str, Any] = {"position": variants["start"].to_numpy(), "contig": variants["contig"].to_numpy()}
        options: dict[str, Any] = {"attribute": attribute, "least": SMALLEST_GROUP, "seed": seed}
        for score in groups.haplotype_group_scores(haplotypes, labels, **options):
            yield attribute, score
        for score in ld_group_scores(haplotypes, labels, **where, **options):
            yield attribute, score


def _mean_scores(
    sides: Mapping[str, ad.AnnData], genes: pd.Index, of: _Groups, seed: int, cell_type: str | None = None
) -> Found:
    """Error of gene means, of all cells or of those of one type."""
    found = {side: donor_means(part, genes, 1 if cell_type is None else LEAST_CELLS) for side, part in sides.items()}
    means = {side: part[0] for side, part in found.items()}
    n_cells = {side: part[1] for side, part in found.items()}
    for attribute in ATTRIBUTES:
        labels = of.labels(attribute, {side: part[2] for side, part in found.items()})
        options: dict[str, Any] = {"least": SMALLEST_GROUP, "seed": seed}
        shown = attribute if cell_type is None else _typed(attribute)
        notes = _left_out("cells", shown, labels)
        if cell_type is not None:
            notes = [note.replace(f"{shown} ", f"{shown} {cell_type}, ", 1) for note in notes]
        yield from ((shown, note) for note in notes)
        for score in groups.expression_group_scores(means, n_cells, labels, attribute=attribute, **options):
            if cell_type is not None:
                group = cell_type if attribute == "all donors" else f"{score.group}, {cell_type}"
                score = replace(score, group=group)
            yield shown, score


def _cell_scores(cohort: Cohort, cells: ad.AnnData, of: _Groups, seed: int) -> Found:
    genes = cohort.cells.var_names[cohort.cells.var_names.isin(cells.var_names)]
    if not len(genes):
        return
    sides = {"test": cohort.cells_of("test"), "simulated": cells, "train": cohort.cells_of("train")}
    yield from _mean_scores(sides, genes, of, seed)
    if min(part.obs["donor"].nunique() for part in sides.values()) < SMALLEST_GROUP:
        return
    key = cohort.info["inputs"]["labels_key"]
    if key is not None:
        label = {side: part.obs[key].astype(str).to_numpy() for side, part in sides.items()}
        for level in sorted(set.intersection(*(set(values) for values in label.values()))):
            of_type = {side: part[label[side] == level] for side, part in sides.items()}
            yield from _mean_scores(of_type, genes, of, seed, level)
    drawn = group_cells(sides, genes, key, seed)
    for attribute in ATTRIBUTES:
        real, made = of.of[attribute]
        levels = {s: {str(d): str(v) for d, v in (made if s == "simulated" else real).items()} for s in drawn}
        options: dict[str, Any] = {"attribute": attribute, "least": SMALLEST_GROUP, "seed": seed}
        for by_type, score in cell_group_scores(drawn, levels, split=key is not None, **options):
            yield _typed(attribute) if by_type else attribute, score


def _fewer_pairs(pairs: PlantedPairs, donors: pd.Index, of: _Groups, seed: int) -> tuple[PlantedPairs, pd.Index]:
    """A draw of donors, even over groups, and of effects, where there are many: scores take thousands of fits."""
    own = of.of[ATTRIBUTES[-1]][1].reindex(donors).astype(str).to_numpy()
    rows = even_rows(own, max(MOST_DONORS, ENOUGH * len(set(own))), seed, "effects")
    order = rng.generator(seed, "evaluate", "groups", "effects").permutation(pairs.dosage.shape[1])
    columns = np.sort(order[:MOST_EFFECTS])
    return PlantedPairs(*(values[np.ix_(rows, columns)] for values in pairs)), donors[rows]


def _effect_scores(cells: ad.AnnData, genotypes: Genotypes, truth: Path, of: _Groups, seed: int) -> Found:
    planted = planted_pairs(cells, genotypes, truth)
    if planted is None:
        return
    pairs, donors = _fewer_pairs(*planted, of, seed)
    for attribute in ATTRIBUTES[1:]:  # all donors are the floor
        labels = of.of[attribute][1].reindex(donors).astype(str).to_numpy()
        for group in sorted(set(labels)):
            if (labels == group).sum() < SMALLEST_GROUP:
                short = f"too few donors: fewer than {SMALLEST_GROUP} (simulated)"
                yield attribute, f"effects, {attribute} {group}: insufficient, {short}"
        options: dict[str, Any] = {"attribute": attribute, "least": SMALLEST_GROUP, "seed": seed}
        for score in effect_group_scores(pairs, labels, **options):
            yield attribute, score


def group_rows(
    cohort: Cohort,
    cells: ad.AnnData,
    genotypes: Genotypes,
    donors: pd.DataFrame,
    seed: int,
    truth: Path | None = None,
) -> tuple[list[GroupRow], list[str]]:
    """Scores by ancestry, sex and both, and by cell type within them, the worst first; and what cannot be scored.

    Args:
        cohort: Real donors, with both sides of the split.
        cells: Simulated cells; `obs["donor"]`.
        genotypes: Simulated genotypes.
        donors: The simulated donors' ancestry and sex.
        seed: Seeds the draws.
        truth: Folder of the simulation's truth tables; None leaves the recovery of effects out.
    """
    of = _Groups(cohort, donors)
    found = [*_genotype_scores(cohort, genotypes, of, seed), *_cell_scores(cohort, cells, of, seed)]
    if truth is not None:
        found += _effect_scores(cells, genotypes, truth, of, seed)
    notes = [item for _, item in found if isinstance(item, str)]
    scores = [(attribute, item) for attribute, item in found if isinstance(item, groups.GroupScore)]
    ordered = groups.worst_first([score for _, score in scores])
    attribute_by = {id(score): attribute for attribute, score in scores}
    rows = [row for score in ordered for row in _as_rows(attribute_by[id(score)], [score])]
    return rows, list(dict.fromkeys(notes))


def attack_rows(audit: Mapping[str, Any]) -> tuple[list[GroupRow], list[str]]:
    """The attacks on donors' cells within groups, from the evaluation's record; and what was not scored, and why."""
    rows: list[GroupRow] = []
    notes: list[str] = []
    for group in audit.get("groups", ()):
        name = f"{group['attribute']} {group['group']}"
        if group["value"] is None:
            notes.append(f"attacks on cells, {name}: {group['verdict']}")
            continue
        if not audit["valid"]:
            notes.append(f"attacks on cells, {name}: the audit is not valid")
            continue
        value, low, high = group["value"], group["low"], group["high"]
        rows.append(
            GroupRow(
                attribute=group["attribute"],
                group=group["group"],
                metric=GROUP_ATTACK,
                label=f"Membership attack on donors, by their cells ({ATTACKS[group['attack']]})",
                value=value,
                low=low,
                high=high,
                floor=0.5,
                gap=value - 0.5,
                gap_low=low - 0.5,
                gap_high=high - 0.5,
                n_held_out=group["n_holdout"],
                n_simulated=0,
                unit="AUC",
            )
        )
    return sorted(rows, key=lambda row: -(row.gap or 0.0)), list(dict.fromkeys(notes))
