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
from genesim.simulate.effect_sizes import ALL_TYPES, genetic_variance

_KEPT = 4
"""Donors whose deviations stay in memory: the last of a chunk of cells is often the first of the next."""


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
    n_genes: int
    seed: int
    kept: OrderedDict[int, np.ndarray] = field(default_factory=OrderedDict)

    def of(self, donor: int) -> np.ndarray:
        if donor not in self.kept:
            name = str(self.donors[donor])
            drawn = donor_deviation(self.scenario.donor_effects, name, self.n_types, self.n_genes, self.seed)
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
    seed: int,
) -> Changes:
    """Shifts of cells whose donors and types have these codes."""
    law = scenario.donor_effects
    shifts: list[Shift] = []
    columns: dict[str, np.ndarray] = {}
    if law.donor_sd_log2:
        deviations = _Deviations(scenario, donors.index, n_types, len(genes), seed)

        def deviate(rows: slice) -> tuple[slice, np.ndarray]:
            found = np.empty((len(donor[rows]), len(genes)), np.float32)
            for code in np.unique(donor[rows]):
                mine = np.flatnonzero(donor[rows] == code)
                drawn = deviations.of(int(code))
                found[mine] = drawn[kind[rows][mine]] if len(drawn) > 1 else drawn
            return slice(None), found

        shifts.append(deviate)
        columns["donor_sd_log2"] = np.full(len(genes), law.donor_sd_log2)
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


def variance_columns(
    effects: pd.DataFrame,
    fold: Float[np.ndarray, "donor type affected"],
    affected: list[str],
    genes: pd.Index,
    cell_types: list[str],
    donor_sd: float,
) -> pd.DataFrame:
    """`genetic_variance` of each gene by its static effects (NaN of dynamic genes), and `h2` where donors deviate."""
    found = dict.fromkeys(genes, 0.0)
    dynamic = set(effects.loc[effects["log2_afc_slope"] != 0, "gene"])
    for name, mine in effects.groupby("gene"):
        gene = str(name)
        if gene in dynamic:
            found[gene] = np.nan
            continue
        variances = []
        for cell_type in cell_types:
            here = mine[mine["cell_type"].isin([ALL_TYPES, cell_type])]
            if len(here):
                sizes, p = here["log2_afc"].to_numpy(float), here["training_frequency"].to_numpy(float)
                variances.append(genetic_variance(sizes, p))
        found[gene] = float(np.mean(variances))
    # Over cell types in which a gene has an effect, as above.
    spread = fold.var(axis=0, dtype=np.float64) if len(fold) else np.zeros(fold.shape[1:])
    acts = (fold != 0).any(axis=0)
    n_acting = np.maximum(acts.sum(axis=0), 1)
    realised = pd.Series((spread * acts).sum(axis=0) / n_acting, index=pd.Index(affected, dtype=object))
    table = pd.DataFrame({"genetic_variance": pd.Series(found, dtype=np.float64)}, index=genes)
    table["genetic_variance_donors"] = realised.reindex(genes).fillna(0.0).to_numpy()
    if donor_sd:
        table["h2"] = table["genetic_variance"] / (table["genetic_variance"] + donor_sd**2)
    return table
