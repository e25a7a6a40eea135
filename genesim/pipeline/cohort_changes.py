"""What a scenario changes in cells beside the genotype: donors, age, sex, disease, state, as shifts and as truth."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from jaxtyping import Float

from genesim.config.scenario import Scenario
from genesim.simulate.cells import Shift
from genesim.simulate.donor_effects import (
    age_scores,
    donor_deviation,
    gene_effects,
    sex_codes,
    typed_gene_effects,
)
from genesim.simulate.effect_sizes import genetic_variance

_KEPT = 64
"""Donors whose deviations stay in memory: a chunk of cells spans a few neighbours."""


@dataclass(frozen=True)
class Covariates:
    """Numbers of donors that effects act by: `age` in SDs, `sex` -1/2 or 1/2, `disease` 0 or 1; as far as given."""

    values: dict[str, Float[np.ndarray, " donor"]]

    @classmethod
    def of(cls, scenario: Scenario, donors: pd.DataFrame) -> Covariates:
        """From the table of donors (`sex`, `age`, `case`)."""
        uses = {effect.of for effect in scenario.composition_effects}
        by_sex = scenario.donor_effects.sex is not None or "sex" in uses
        values = {"sex": sex_codes(donors["sex"], by_sex)}
        if scenario.population.age is not None:
            values["age"] = age_scores(donors["age"].to_numpy(), scenario.population.age)
        if "case" in donors:
            values["disease"] = donors["case"].to_numpy(np.float64)
        return cls(values)


@dataclass
class _Deviations:
    """Deviations of donors, drawn where they are needed."""

    scenario: Scenario
    donors: pd.Index
    n_types: int
    sd: Float[np.ndarray, "type gene"]
    seed: int
    kept: OrderedDict[int, np.ndarray] = field(default_factory=OrderedDict)

    def of(self, donor: int) -> np.ndarray:
        if donor not in self.kept:
            name = str(self.donors[donor])
            drawn = donor_deviation(self.scenario.donor_effects, self.sd, name, self.n_types, self.seed)
            self.kept[donor] = drawn
            if len(self.kept) > _KEPT:
                self.kept.popitem(last=False)
        return self.kept[donor]


def linear_shift(value: Float[np.ndarray, " cell"], effect: Float[np.ndarray, "type gene"], kind: np.ndarray) -> Shift:
    """A cell's number times its type's (one row: everybody's) log2 fold changes."""
    columns = np.flatnonzero(effect.any(axis=0))
    sizes = effect[:, columns]

    def shift(rows: slice) -> tuple[np.ndarray, np.ndarray]:
        mine = sizes[kind[rows]] if len(sizes) > 1 else sizes
        return columns, value[rows, None] * mine

    return shift


@dataclass(frozen=True)
class Changes:
    """Shifts of the cells' log2 rates, and columns of truth about genes.

    Attributes:
        shifts: See `genesim.simulate.cells`.
        genes: Columns by name, as far as the scenario has them.
        disease: log2 fold changes of cases [type, gene].
    """

    shifts: list[Shift]
    genes: dict[str, Float[np.ndarray, " gene"]]
    disease: Float[np.ndarray, "type gene"] | None


def plan_changes(
    scenario: Scenario,
    donors: pd.DataFrame,
    covariates: Covariates,
    genes: pd.Index,
    n_types: int,
    donor: np.ndarray,
    kind: np.ndarray,
    state: Float[np.ndarray, " cell"] | None,
    donor_sd: Float[np.ndarray, "type gene"],
    seed: int,
) -> Changes:
    """Shifts of cells whose donors and types have these codes."""
    law = scenario.donor_effects
    shifts: list[Shift] = []
    columns: dict[str, np.ndarray] = {}
    if law.deviates:
        deviations = _Deviations(scenario, donors.index, n_types, donor_sd, seed)

        def deviate(rows: slice) -> tuple[slice, np.ndarray]:
            found = np.empty((len(donor[rows]), len(genes)), np.float32)
            for code in np.unique(donor[rows]):
                mine = np.flatnonzero(donor[rows] == code)
                drawn = deviations.of(int(code))
                found[mine] = drawn[kind[rows][mine]] if len(drawn) > 1 else drawn
            return slice(None), found

        shifts.append(deviate)
        columns["donor_sd_log2"] = np.sqrt((donor_sd**2).mean(0))
    for name, effects, column in (
        ("age", law.age, "log2_per_sd_age"),
        ("sex", law.sex, "log2_male_over_female"),
    ):
        if effects is not None:
            sizes = gene_effects(effects, genes, seed, name)
            shifts.append(linear_shift(covariates.values[name][donor], sizes[None], kind))
            columns[column] = sizes
    along = scenario.cells.state
    if along is not None and along.expression is not None and state is not None:
        sizes = gene_effects(along.expression, genes, seed, "state")
        # From the middle, so that the learned rates stay those of the mean cell.
        shifts.append(linear_shift(state - 0.5, sizes[None], kind))
        columns["log2_along_state"] = sizes
    changed = None
    if scenario.disease is not None and scenario.disease.expression is not None:
        changed = typed_gene_effects(scenario.disease.expression, genes, n_types, seed, "disease")
        shifts.append(linear_shift(covariates.values["disease"][donor], changed, kind))
    return Changes(shifts, columns, changed)


def genetic_variances(effects: pd.DataFrame, genes: pd.Index, cell_types: list[str]) -> pd.DataFrame:
    """Variance over donors of log2 expression that the static effects make, gene x cell type; NaN of dynamic genes."""
    found = pd.DataFrame(0.0, index=genes, columns=cell_types)
    dynamic = set(effects.loc[effects["log2_afc_slope"] != 0, "gene"])
    for gene, mine in effects.groupby("gene"):
        for name in cell_types:
            here = mine[mine["cell_type"].isin(["*", name])]
            sizes, p = here["log2_afc"].to_numpy(float), here["training_frequency"].to_numpy(float)
            if gene in dynamic:
                found.loc[gene, name] = np.nan
            elif len(here):
                found.loc[gene, name] = genetic_variance(sizes, p)
    return found


def variance_columns(
    effects: pd.DataFrame, genetic: pd.DataFrame, donor_sd: Float[np.ndarray, "type gene"]
) -> pd.DataFrame:
    """`genetic_variance` of each gene, the mean over the types that have an effect, and `h2` where donors deviate."""
    touched = genetic.where(genetic > 0).mean(axis=1)
    known = genetic.notna().all(axis=1)
    table = pd.DataFrame({"genetic_variance": touched.fillna(0.0).where(known)})
    if donor_sd.any():
        found = table["genetic_variance"]
        table["h2"] = found / np.maximum(found + (donor_sd**2).mean(0), 1e-300)
    return table
