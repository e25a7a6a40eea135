"""What a scenario changes in cells beside the genotype: donors, age, sex, disease, state, as shifts and as truth."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from jaxtyping import Float

from genesim.config.scenario import DonorEffects, Scenario
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
    learned: Float[np.ndarray, "type gene"] | None
    seed: int
    kept: OrderedDict[int, np.ndarray] = field(default_factory=OrderedDict)

    def of(self, donor: int) -> np.ndarray:
        if donor not in self.kept:
            name = str(self.donors[donor])
            law = self.scenario.donor_effects
            drawn = donor_deviation(law, name, self.n_types, self.n_genes, self.seed, self.learned)
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
    learned_sd: Float[np.ndarray, "type gene"] | None = None,
) -> Changes:
    """Shifts of cells whose donors and types have these codes."""
    law = scenario.donor_effects
    shifts: list[Shift] = []
    columns: dict[str, np.ndarray] = {}
    if law.deviates:
        deviations = _Deviations(scenario, donors.index, n_types, len(genes), learned_sd, seed)

        def deviate(rows: slice) -> tuple[slice, np.ndarray]:
            found = np.empty((len(donor[rows]), len(genes)), np.float32)
            for code in np.unique(donor[rows]):
                mine = np.flatnonzero(donor[rows] == code)
                drawn = deviations.of(int(code))
                found[mine] = drawn[kind[rows][mine]] if len(drawn) > 1 else drawn
            return slice(None), found

        shifts.append(deviate)
        columns["donor_sd_log2"] = mean_sd(law, len(genes), learned_sd)
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


def mean_sd(
    law: DonorEffects, n_genes: int, learned: Float[np.ndarray, "type gene"] | None
) -> Float[np.ndarray, " gene"]:
    """SD of the donors' deviations, its square averaged over cell types."""
    if learned is not None:
        return np.sqrt((learned**2).mean(0))
    return np.full(n_genes, float(law.donor_sd_log2))


def genetic_variances(effects: pd.DataFrame, genes: pd.Index, cell_types: list[str]) -> pd.DataFrame:
    """Variance over donors of log2 expression that the static effects make, gene x cell type.

    NaN of dynamic genes, and 0 in the types in which a gene has no effect.
    """
    found = pd.DataFrame(0.0, index=genes, columns=cell_types)
    dynamic = set(effects.loc[effects["log2_afc_slope"] != 0, "gene"])
    for name, mine in effects.groupby("gene"):
        for cell_type in cell_types:
            here = mine[mine["cell_type"].isin([ALL_TYPES, cell_type])]
            if len(here):
                sizes, p = here["log2_afc"].to_numpy(float), here["training_frequency"].to_numpy(float)
                found.loc[str(name), cell_type] = genetic_variance(sizes, p)
    found.loc[sorted(dynamic)] = np.nan
    return found


def variance_columns(
    genetic: pd.DataFrame,
    fold: Float[np.ndarray, "donor type affected"],
    affected: list[str],
    donor_sd: Float[np.ndarray, " gene"],
) -> pd.DataFrame:
    """`genetic_variance` of each gene, over the types in which it has an effect, and `h2` where donors deviate."""
    known = genetic.notna().all(axis=1)
    expected = genetic.where(genetic > 0).mean(axis=1).fillna(0.0).where(known)
    # Over cell types in which a gene has an effect, as above.
    spread = fold.var(axis=0, dtype=np.float64) if len(fold) else np.zeros(fold.shape[1:])
    acts = (fold != 0).any(axis=0)
    n_acting = np.maximum(acts.sum(axis=0), 1)
    realised = pd.Series((spread * acts).sum(axis=0) / n_acting, index=pd.Index(affected, dtype=object))
    table = pd.DataFrame({"genetic_variance": expected})
    table["genetic_variance_donors"] = realised.reindex(genetic.index).fillna(0.0).to_numpy()
    if donor_sd.any():
        table["h2"] = expected / np.maximum(expected + donor_sd**2, 1e-300)
    return table
