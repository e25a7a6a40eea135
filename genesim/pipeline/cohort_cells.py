"""Cells of a simulated cohort: who has which cells, what is planted in them, and the plan to draw them by."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Float, Int
from scipy import sparse

from genesim import rng
from genesim.config.scenario import Scenario
from genesim.console import log
from genesim.errors import ConfigError
from genesim.estimators.expression import ExpressionModel
from genesim.pipeline.cohort import SimulatedCohort
from genesim.pipeline.cohort_changes import Covariates, genetic_variances, mean_sd, plan_changes, variance_columns
from genesim.pipeline.cohort_state import cell_states
from genesim.pipeline.cohort_trans import trans_effects, trans_shift
from genesim.pipeline.models import Models
from genesim.simulate.cells import CellPlan, CellSource, Shift, batch_fold_changes
from genesim.simulate.composition import composition_shift, plant_composition
from genesim.simulate.donor_effects import deviation_sd, learned_sd, typed_table
from genesim.simulate.dynamic import DynamicEffects
from genesim.simulate.effects import log2_fold_changes, plant_effects
from genesim.simulate.lof_effects import loss_of_function_effects, lost_shares
from genesim.simulate.population import check_levels, draw_cells_of_donors

_NOT_OF_CELLS = ["candidate", "risk", "liability", "case"]
"""Columns of donors that obs does not carry."""


@dataclass(frozen=True)
class WithinDonors:
    """A `CellSource` of cells of one donor: the training cells were many donors', which the model took for noise.

    Without it, cells whose donors deviate as the training donors did would hold the variance over donors twice.

    Attributes:
        model: Draws cells.
        between: Variance over donors relative to the squared mean rate, to leave out of the noise.
        kind: Code of each cell's type.
    """

    model: ExpressionModel
    between: Float[np.ndarray, "type gene"]
    kind: Int[np.ndarray, " cell"]

    @property
    def genes(self) -> pd.Index:
        return self.model.genes

    def draw_rates(self, obs: pd.DataFrame, seed: int, first: int) -> tuple[np.ndarray, np.ndarray]:
        """As `CellSource` says."""
        return self.model.draw_rates(obs, seed, first)

    def draw_counts(
        self, rates: np.ndarray, library: np.ndarray, obs: pd.DataFrame, seed: int, first: int, fold: np.ndarray
    ) -> sparse.csr_matrix:
        """As `CellSource` says, with `between` left to `fold`."""
        between = self.between[self.kind[first : first + len(obs)]]
        return self.model.draw_counts(rates, library, obs, seed, first, fold, between)


@dataclass(frozen=True)
class PlannedCells:
    """Cells that are ready to be drawn, with all of their truth.

    Attributes:
        plan: Draws them.
        obs: One row a cell.
        donor: Code of each cell's donor.
        effects, fold, affected: See `genesim.simulate.effects`.
        genes: Truth by gene.
        truth: Further tables by name.
        learned_sd: SD of the donors' deviations, where it is learned.
    """

    plan: CellPlan
    obs: pd.DataFrame
    donor: np.ndarray
    effects: pd.DataFrame
    fold: Float[np.ndarray, "donor type gene"]
    affected: list[str]
    genes: pd.DataFrame
    truth: dict[str, pd.DataFrame]
    learned_sd: Float[np.ndarray, "type gene"] | None


def plant(
    scenario: Scenario, models: Models, cohort: SimulatedCohort, seed: int
) -> tuple[pd.DataFrame, np.ndarray, list[str]]:
    """Causal variants, log2 fold changes [donor, type, affected gene], and the affected genes.

    Raises:
        ConfigError: Random effects without positions of genes.
    """
    genes, cell_types = models.genes, list(models.expression.cell_types)
    if models.effects is None and scenario.effects.random is not None:
        raise ConfigError(
            "random effects need gene positions, which the effect model holds, and there is none",
            where="scenario.effects.random",
            remedy="train effects first, or set it to null",
        )
    learned = models.effects.sample(seed) if models.effects is not None and scenario.effects.learned else None
    lost = None
    if "new_variants" in cohort.truth:
        lost, unknown = loss_of_function_effects(cohort.truth["new_variants"], genes.index)
        if unknown:
            log.warning("loss of function of genes that the expression model lacks: %s", ", ".join(unknown))
    declared = scenario.donor_effects.donor_sd_log2
    donor_sd = 0.0 if declared == "learned" else declared
    effects = plant_effects(scenario.effects, genes, cohort.variants, cell_types, seed, learned, donor_sd, lost)
    return effects, *log2_fold_changes(effects, cohort.genotypes, cell_types)


def plan_cells(scenario: Scenario, models: Models, cohort: SimulatedCohort, seed: int) -> PlannedCells:
    """Decide all but the counts."""
    expression, donors = models.expression, cohort.donors
    cell_types, genes = list(expression.cell_types), expression.genes
    truth: dict[str, pd.DataFrame] = {}
    covariates = Covariates.of(scenario, donors)
    composition = list(expression.composition)
    moved = None
    if scenario.composition_effects:
        truth["composition_effects"] = plant_composition(
            scenario.composition_effects, cohort.variants, composition, seed
        )
        moved = composition_shift(truth["composition_effects"], composition, cohort.genotypes, covariates.values)
    of_cells = donors.drop(columns=_NOT_OF_CELLS, errors="ignore")
    table, shares = draw_cells_of_donors(of_cells, scenario.cells, expression.composition, seed, moved)
    truth["composition"] = _composition_table(shares, table)

    effects, fold, affected = plant(scenario, models, cohort, seed)
    genetic = genetic_variances(effects, genes, cell_types)
    donor = donors.index.get_indexer(pd.Index(table["donor"]))
    kind = pd.Index(cell_types).get_indexer(pd.Index(table["cell_type"]))
    own_sd = None
    source: CellSource = expression
    if scenario.donor_effects.donor_sd_log2 == "learned":
        total_sd = learned_sd(None if models.effects is None else models.effects.donor_sd, genes, cell_types)
        own_sd = deviation_sd(total_sd, genetic)
        source = WithinDonors(expression, np.expm1((np.log(2) * total_sd) ** 2), kind)
    batch = table["batch"].str.removeprefix("batch").astype(int).to_numpy() - 1
    columns = genes.get_indexer(pd.Index(affected))
    shifts: list[Shift] = [lambda rows: (columns, fold[donor[rows], kind[rows]])]
    obs = _with_covariates(table, expression, scenario.cells.covariates)
    cell_seed = rng.seed(seed, "simulate", "cells")
    state = None
    if scenario.cells.state is not None:
        state = cell_states(scenario.cells.state, expression, obs, seed, cell_seed)
        obs[scenario.cells.state.name] = state
        truth["states"] = pd.DataFrame({"cell": table.index, "state": state})
        dynamic = DynamicEffects.of(effects, cohort.genotypes, cell_types)
        if dynamic.genes:
            shifts.append(_dynamic_shift(dynamic, genes, donor, kind, state))
    changes = plan_changes(scenario, donors, covariates, genes, len(cell_types), donor, kind, state, seed, own_sd)
    shifts += changes.shifts
    if changes.disease is not None:
        truth["disease_effects"] = typed_table(changes.disease, genes, cell_types)
    if scenario.effects.trans:
        lost = lost_shares(effects, cohort.genotypes)
        truth["trans"], folds = trans_effects(lost, models.perturbation, expression, cell_types, seed)
        if folds:
            shifts.append(trans_shift(folds, donors.index, donor, kind))
    batches = batch_fold_changes(scenario.cells.batches, len(genes), seed)
    plan = CellPlan(
        obs,
        source,
        lambda rows: batches[batch[rows]],
        shifts,
        scenario.cells.library_size_scale,
        scenario.cells.pseudo_trans,
        cell_seed,
    )
    about = models.genes
    about = about.assign(has_effect=about.index.isin(affected))
    for b in range(1, len(batches)):
        about[f"log2_fold_batch{b + 1}"] = batches[b]
    deviation = mean_sd(scenario.donor_effects, len(genes), own_sd)
    more = variance_columns(genetic, fold, affected, deviation)
    about = about.join(more).assign(**changes.genes)
    return PlannedCells(plan, obs, donor, effects, fold, affected, about, truth, own_sd)


def _with_covariates(table: pd.DataFrame, expression: ExpressionModel, covariates: Mapping[str, str]) -> pd.DataFrame:
    """The cell table under the expression model's own column names, with the scenario's covariate levels."""
    known = [name for name in expression.covariates.levels if name != expression.labels_key]
    check_levels(list(covariates), known, "covariate")
    obs = table.assign(**covariates)
    if expression.labels_key is not None:
        obs[expression.labels_key] = table["cell_type"]
    if expression.batch_key == "batch":
        # The learned batches keep their column; the planted ones go beside them.
        obs = obs.rename(columns={"batch": "planted_batch"})
    return obs


def _composition_table(shares: pd.DataFrame, cells: pd.DataFrame) -> pd.DataFrame:
    counted = pd.crosstab(cells["donor"], cells["cell_type"])
    counted = counted.reindex(index=shares.index, columns=shares.columns, fill_value=0)
    index = pd.MultiIndex.from_product([shares.index, shares.columns], names=["donor", "cell_type"])
    columns = {"share": shares.to_numpy().reshape(-1), "n_cells": counted.to_numpy().reshape(-1)}
    return pd.DataFrame(columns, index=index).reset_index()


def _dynamic_shift(
    dynamic: DynamicEffects, genes: pd.Index, donor: np.ndarray, kind: np.ndarray, state: np.ndarray
) -> Shift:
    columns = genes.get_indexer(pd.Index(dynamic.genes))
    return lambda rows: (columns, dynamic.shift(donor[rows], kind[rows], state[rows]))
