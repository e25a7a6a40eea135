"""Scores within groups of donors, for a release: simulated against held-out real donors of the same group."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd

from genesim.data.cohort import Cohort
from genesim.data.genotypes import Genotypes
from genesim.data.ploidy import kind_of
from genesim.evaluate import groups
from genesim.evaluate.donor_attacks import ATTACKS
from genesim.metrics.expression import log_normalise
from genesim.release.fairness import SMALLEST_GROUP
from genesim.release.privacy import GROUP_ATTACK
from genesim.release.records import GroupRow

ATTRIBUTES = ("all donors", "ancestry", "sex", "ancestry x sex")
MOST_VARIANTS = 5_000
_SIDES = {"test": "held-out", "simulated": "simulated", "train": "training"}


def attribute_of(donors: pd.DataFrame, attribute: str) -> pd.Series:
    """Each donor's level of one of `ATTRIBUTES`."""
    if attribute == "all donors":
        return pd.Series("all", index=donors.index)
    parts = [donors[name].astype(str) for name in attribute.split(" x ")]
    return parts[0] if len(parts) == 1 else parts[0] + ", " + parts[1]


def _haplotypes(cohort: Cohort, made: Genotypes) -> dict[str, Genotypes]:
    """Held-out, simulated and training donors at autosomal variants that all of them are called at."""
    known = made.variants.index.isin(cohort.genotypes.variants.index)
    autosomal = np.array([kind_of(str(contig)) == "autosome" for contig in made.variants["contig"]], dtype=bool)
    ids = list(made.variants.index[known & autosomal])
    sides = {
        "test": cohort.genotypes_of("test").subset(variants=ids),
        "simulated": made.subset(variants=ids),
        "train": cohort.genotypes_of("train").subset(variants=ids),
    }
    called = np.flatnonzero(np.all([(g.alleles >= 0).all(axis=(1, 2)) for g in sides.values()], axis=0))
    if len(called) > MOST_VARIANTS:
        called = called[np.linspace(0, len(called) - 1, MOST_VARIANTS).astype(int)]
    return {side: g.subset(variants=called) for side, g in sides.items()}


def _donor_means(cells: ad.AnnData, genes: pd.Index) -> tuple[np.ndarray, np.ndarray, pd.Index]:
    """Of donors with cells: mean log-normalised expression [donor, gene], numbers of cells, and who they are."""
    codes, donors = pd.factorize(cells.obs["donor"].astype(str))
    logs = log_normalise(cells[:, genes].X)
    n_cells = np.bincount(codes, minlength=len(donors))
    means = np.stack([np.asarray(logs[codes == k].mean(axis=0)).ravel() for k in range(len(donors))])
    return means, n_cells, pd.Index(donors)


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
            f"{what}, {attribute} {group}: insufficient, fewer than {SMALLEST_GROUP} donors ({', '.join(short)})"
        )
    return notes


def group_rows(
    cohort: Cohort, cells: ad.AnnData, genotypes: Genotypes, donors: pd.DataFrame, seed: int
) -> tuple[list[GroupRow], list[str]]:
    """Scores by ancestry, sex and both, the worst first; and the groups that cannot be scored, with the reason.

    Args:
        cohort: Real donors, with both sides of the split.
        cells: Simulated cells; `obs["donor"]`.
        genotypes: Simulated genotypes.
        donors: The simulated donors' ancestry and sex.
        seed: Seeds the draws.
    """
    scores: list[tuple[str, groups.GroupScore]] = []
    notes: list[str] = []
    sides = _haplotypes(cohort, genotypes)
    haplotypes = {side: g.alleles.transpose(1, 2, 0) for side, g in sides.items()}
    genes = cohort.cells.var_names[cohort.cells.var_names.isin(cells.var_names)]
    found = {
        "test": _donor_means(cohort.cells_of("test"), genes),
        "simulated": _donor_means(cells, genes),
        "train": _donor_means(cohort.cells_of("train"), genes),
    }
    means, n_cells = ({side: part[i] for side, part in found.items()} for i in (0, 1))
    for attribute in ATTRIBUTES:
        real, made = attribute_of(cohort.donors, attribute), attribute_of(donors, attribute)

        def labels_of(owners: Mapping[str, pd.Index], real: pd.Series = real, made: pd.Series = made) -> dict:
            return {s: (made if s == "simulated" else real).reindex(ids).to_numpy() for s, ids in owners.items()}

        genotyped = labels_of({side: g.donors for side, g in sides.items()})
        with_cells = labels_of({side: part[2] for side, part in found.items()})
        notes += _left_out("genotypes", attribute, genotyped) + _left_out("cells", attribute, with_cells)
        options = {"attribute": attribute, "least": SMALLEST_GROUP, "seed": seed}
        if haplotypes["test"].shape[2]:
            scores += [(attribute, s) for s in groups.haplotype_group_scores(haplotypes, genotyped, **options)]  # type: ignore[arg-type]
        if len(genes):
            scores += [(attribute, s) for s in groups.expression_group_scores(means, n_cells, with_cells, **options)]  # type: ignore[arg-type]
    ordered = groups.worst_first([score for _, score in scores])
    attribute_by = {id(score): attribute for attribute, score in scores}
    rows = [row for score in ordered for row in _as_rows(attribute_by[id(score)], [score])]
    return rows, notes


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
