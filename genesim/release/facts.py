"""What the papers are written from: the facts of one run, already counted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from genesim.config.release import ReleaseAnswers
from genesim.release.records import Donors, GroupRow, Row, shown


@dataclass(frozen=True)
class ModelFacts:
    """One trained model as its directory describes it; weights are not read.

    Attributes:
        name: "expression", "effects", "haplotypes/22".
        modality: "expression", "haplotypes" or "effects".
        card: As `genesim.models.catalog.card` gives it.
        provenance: As `Provenance.to_dict` gives it.
        sha256: Of its manifest.
        n_genes: Genes it knows; None where it has none.
        n_variants: Variants it knows; None where it has none.
    """

    name: str
    modality: str
    card: Mapping[str, Any]
    provenance: Mapping[str, Any]
    sha256: str
    n_genes: int | None
    n_variants: int | None


@dataclass(frozen=True)
class RunFacts:
    """One run.

    Attributes:
        answers: What the releaser said.
        cohort_sha256: Of the cohort's manifest.
        simulated_sha256: Of the simulation's manifest.
        evaluation_sha256: Of the evaluation's manifest.
        donors: The cohort's: ancestry, sex, split, has_cells, has_genotypes.
        simulated_donors: ancestry, sex, n_cells.
        n_train_cells: Cells of training donors.
        n_variants: Variants of the simulated genotypes.
        n_missing_calls: Of the simulated genotypes.
        n_genes: Genes of the simulated cells.
        n_simulated_cells: Simulated cells.
        cell_types: Simulated cells by cell type.
        info: The cohort's counts and choices, without folders.
        simulation: Provenance of the simulation.
        models: What it was drawn from.
        scores: Every row of the evaluation.
        group_rows: Scores within groups.
        groups_not_scored: Why groups have no scores.
        tables: Names of the truth tables.
        donor_audit: Record of the attacks on donors; empty where an evaluation has none.
    """

    answers: ReleaseAnswers
    cohort_sha256: str
    simulated_sha256: str
    evaluation_sha256: str
    donors: pd.DataFrame
    simulated_donors: pd.DataFrame
    n_train_cells: int
    n_variants: int
    n_missing_calls: int
    n_genes: int
    n_simulated_cells: int
    cell_types: Mapping[str, int]
    info: Mapping[str, Any]
    simulation: Mapping[str, Any]
    models: Sequence[ModelFacts]
    scores: Sequence[Row]
    group_rows: Sequence[GroupRow]
    groups_not_scored: Sequence[str]
    tables: Sequence[str]
    donor_audit: Mapping[str, Any] = field(default_factory=dict)

    def donors_with(self, data: str, split: str) -> pd.DataFrame:
        """Donors of one side of the split that have "cells" or "genotypes"."""
        return self.donors[(self.donors["split"] == split) & self.donors[f"has_{data}"].to_numpy(dtype=bool)]

    @property
    def weakest_first(self) -> list[Row]:
        """Rows by how bad their level is, as the evaluation ordered them within a level."""
        order = {"bad": 0, "middle": 1, "unknown": 2, "near": 3, "good": 4}
        return sorted(self.scores, key=lambda row: order.get(row.level, 2))


def counts(values: pd.Series) -> dict[str, Donors]:
    """Donors by level, as they may be written."""
    found = values.astype(str).value_counts()
    return {str(name): shown(int(found[name])) for name in sorted(found.index)}
