"""simulate: a scenario and trained models -> a new cohort's genotypes, cells and truth.

Genotypes can be drawn contig by contig (`simulate_genotypes`), by as many jobs: who the donors are
follows from the scenario, the seed and the models alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from genesim import rng
from genesim.config.new_variants import NewVariantsScenario
from genesim.config.scenario import Scenario
from genesim.console import log
from genesim.data.genotypes import Genotypes
from genesim.errors import ConfigError
from genesim.estimators.expression import ExpressionModel
from genesim.pipeline.cohort_changes import Covariates, genetic_variances, plan_changes, variance_columns
from genesim.pipeline.cohort_genotypes import (
    Truth,
    gather_genotypes,
    plan_liability,
    read_scenario,
    scenario_donors,
    simulate_genotypes,
)
from genesim.pipeline.cohort_genotypes import draw_genotypes as _draw_genotypes
from genesim.pipeline.cohort_trans import trans_effects, trans_shift
from genesim.pipeline.cohort_vcf import read_cohort, take_given
from genesim.pipeline.models import Models, haplotype_folders
from genesim.provenance.record import Provenance, hash_input
from genesim.simulate.admixture import global_shares
from genesim.simulate.cells import CellPlan, Shift, batch_fold_changes
from genesim.simulate.composition import composition_shift, plant_composition
from genesim.simulate.dataset import SimulatedDataset, expression_truth
from genesim.simulate.disease import Liability, status
from genesim.simulate.donor_effects import deviation_sd, deviation_tables, typed_table
from genesim.simulate.dynamic import DynamicEffects
from genesim.simulate.effects import log2_fold_changes, plant_effects
from genesim.simulate.lof_effects import loss_of_function_effects, lost_shares
from genesim.simulate.new_variants import add_new_variants
from genesim.simulate.population import check_levels, draw_cells_of_donors
from genesim.simulate.state import draw_state

__all__ = ["Models", "_draw_genotypes", "haplotype_folders", "simulate", "simulate_genotypes"]

_NOT_OF_CELLS = ["candidate", "risk", "liability", "case"]
"""Columns of donors that obs does not carry."""


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


def _with_new_variants(
    asked: NewVariantsScenario, genotypes: Genotypes, truth: Truth, seed: int
) -> tuple[Genotypes, pd.DataFrame]:
    return add_new_variants(
        genotypes,
        de_novo=asked.de_novo,
        rare=asked.rare,
        loss_of_function=asked.loss_of_function,
        pedigree=truth.get("pedigree"),
        ibd=truth.get("descent"),
        annotation=asked.annotation,
        fasta=asked.fasta,
        seed=seed,
    )


def _loaded(models: Models | str | Path, need_haplotypes: bool) -> tuple[Models, dict[str, str]]:
    """The models, and hashes of the folders that they were read from."""
    if isinstance(models, Models):
        return models, {}
    root = Path(models)
    folders = {name: root / name for name in ("expression", "effects", "perturbation")}
    if need_haplotypes or (root / "haplotypes").is_dir():
        folders |= {f"haplotypes/{p.name}": p for p in haplotype_folders(root)}
    inputs = {name: hash_input(path) for name, path in folders.items() if path.is_dir()}
    return Models.load(root, need_haplotypes), inputs


def _cohort(
    scenario: Scenario, models: Models, parts: Sequence[str | Path], seed: int
) -> tuple[Genotypes, pd.DataFrame, Truth, pd.Series, Liability | None]:
    """Genotypes, donors, tables about the genotypes, frequencies of ALT by variant, and the disease."""
    variants = models.variants
    if scenario.population.vcf is None:
        liability = plan_liability(scenario, variants, seed)
        donors = scenario_donors(scenario, models.haplotypes, seed, liability)
        genotypes, truth = gather_genotypes(donors, models.haplotypes, parts, scenario.population, seed)
        return genotypes, donors, truth, variants["frequency"], liability
    if parts:
        raise ConfigError(
            "genotype parts are given, and the donors are those of a VCF",
            where="scenario.population.vcf",
            remedy="leave out the parts",
        )
    genotypes, donors, frequency = read_cohort(scenario, variants, seed)
    liability = plan_liability(scenario, genotypes.variants.assign(frequency=frequency), seed)
    if liability is not None and scenario.disease is not None and scenario.disease.is_sampled:
        genotypes, donors = take_given(scenario, genotypes, donors, liability, seed)
    return genotypes, donors, {}, frequency, liability


def _with_status(donors: pd.DataFrame, genotypes: Genotypes, scenario: Scenario, liability: Liability) -> pd.DataFrame:
    ids = pd.Index(donors["candidate"]) if "candidate" in donors else donors.index
    scores = liability.scores(liability.risk(genotypes), donors, scenario.population, ids)
    return donors.join(scores).assign(case_status=status(scores["case"].to_numpy()))


def _disease_tables(scenario: Scenario, liability: Liability) -> Truth:
    disease = scenario.disease
    about = {
        "threshold": liability.threshold,
        "prevalence": disease.prevalence if disease else np.nan,
        "h2_liability": disease.h2_liability if disease else np.nan,
        "sd_chance": liability.sd_chance,
    }
    return {"disease_variants": liability.variants.reset_index(), "disease": pd.DataFrame([about])}


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


def simulate(
    scenario: Scenario | str | Path,
    models: Models | str | Path,
    seed: int = 0,
    *,
    parts: Sequence[str | Path] = (),
    out: str | Path | None = None,
) -> SimulatedDataset:
    """Play out a scenario.

    Args:
        scenario: The record, or its YAML file.
        models: Trained models, or the directory that holds them.
        parts: Genotype stores of `simulate_genotypes`; without them genotypes are drawn here.
        out: Directory to write; nothing is written without one.

    Raises:
        ConditionError: An ancestry, cell type or covariate level was not in training.
        ConfigError: The scenario needs a model that is not there, or cannot be met.
    """
    scenario = read_scenario(scenario)
    models, inputs = _loaded(models, need_haplotypes=scenario.population.vcf is None)
    if scenario.population.vcf is not None:
        inputs["vcf"] = hash_input(scenario.population.vcf)
    genotypes, donors, more, known, liability = _cohort(scenario, models, parts, seed)
    if liability is not None:
        donors = _with_status(donors, genotypes, scenario, liability)
        more |= _disease_tables(scenario, liability)
    if scenario.population.relatives is not None:
        more["pedigree"] = donors[["father", "mother", "sex"]].reset_index()
    if scenario.new_variants is not None:
        genotypes, more["new_variants"] = _with_new_variants(scenario.new_variants, genotypes, more, seed)

    expression = models.expression
    cell_types, genes = list(expression.cell_types), models.genes
    if models.effects is None and scenario.effects.random is not None:
        raise ConfigError(
            "random effects need gene positions, which the effect model holds, and there is none",
            where="scenario.effects.random",
            remedy="train effects first, or set it to null",
        )
    # A new variant was in no training donor.
    frequency = known.reindex(genotypes.variants.index, fill_value=0.0)
    variants = genotypes.variants.assign(frequency=frequency)
    covariates = Covariates.of(scenario, donors)
    shift = None
    if scenario.composition_effects:
        planted = plant_composition(scenario.composition_effects, variants, list(expression.composition), seed)
        shift = composition_shift(planted, list(expression.composition), genotypes, covariates.values)
        more["composition_effects"] = planted
    of_cells = donors.drop(columns=_NOT_OF_CELLS, errors="ignore")
    table, composition = draw_cells_of_donors(of_cells, scenario.cells, expression.composition, seed, shift)
    more["composition"] = _composition_table(composition, table)
    donors["n_cells"] = table["donor"].value_counts().reindex(donors.index)
    if "local_ancestry" in more:
        donors = donors.join(global_shares(more["local_ancestry"]).add_prefix("share_"))
    learned = models.effects.sample(seed) if models.effects is not None and scenario.effects.learned else None
    declared_sd = scenario.donor_effects.donor_sd_log2
    lost = None
    if "new_variants" in more:
        lost, unknown = loss_of_function_effects(more["new_variants"], genes.index)
        if unknown:
            log.warning("loss of function of genes that the expression model lacks: %s", ", ".join(unknown))
    effects = plant_effects(
        scenario.effects,
        genes,
        variants,
        cell_types,
        seed,
        learned,
        0.0 if declared_sd == "learned" else declared_sd,
        lost,
    )
    genetic = genetic_variances(effects, genes.index, cell_types)
    learned_sd = None if models.effects is None else models.effects.donor_sd
    donor_sd = deviation_sd(scenario.donor_effects, expression.genes, cell_types, learned_sd, genetic)
    fold, affected = log2_fold_changes(effects, genotypes, cell_types)
    batches = batch_fold_changes(scenario.cells.batches, len(expression.genes), seed)

    donor = donors.index.get_indexer(pd.Index(table["donor"]))
    kind = pd.Index(cell_types).get_indexer(pd.Index(table["cell_type"]))
    batch = table["batch"].str.removeprefix("batch").astype(int).to_numpy() - 1
    columns = expression.genes.get_indexer(pd.Index(affected))
    state = None
    if scenario.cells.state is not None:
        state = draw_state(scenario.cells.state, table.index, seed)
        table[scenario.cells.state.name] = state
        more["states"] = pd.DataFrame({"cell": table.index, "state": state})
    shifts: list[Shift] = [lambda rows: (columns, fold[donor[rows], kind[rows]])]
    dynamic = DynamicEffects.of(effects, genotypes, cell_types)
    if dynamic.genes and state is not None:
        shifts.append(_dynamic_shift(dynamic, expression.genes, donor, kind, state))
    changes = plan_changes(
        scenario, donors, covariates, expression.genes, len(cell_types), donor, kind, state, donor_sd, seed
    )
    if scenario.effects.trans:
        shares = lost_shares(effects, genotypes)
        more["trans"], folds = trans_effects(shares, models.perturbation, expression, cell_types, seed)
        if folds:
            shifts.append(trans_shift(folds, donors.index, donor, kind))
    obs = _with_covariates(table, expression, scenario.cells.covariates)
    cells = expression.empty_cells(obs)
    plan = CellPlan(
        obs,
        expression,
        lambda rows: batches[batch[rows]],
        [*shifts, *changes.shifts],
        scenario.cells.library_size_scale,
        scenario.cells.pseudo_trans,
        rng.seed(seed, "simulate", "cells"),
    )
    cells.X, library = plan.draw()
    donors["mean_library_size"] = np.bincount(donor, library, len(donors)) / np.bincount(donor, minlength=len(donors))
    planted_batch = "planted_batch" if "planted_batch" in obs else "batch"
    if scenario.cells.batches.n == 1:
        del cells.obs[planted_batch]
    truth_genes = genes.assign(has_effect=genes.index.isin(affected))
    for b in range(1, len(batches)):
        truth_genes[f"log2_fold_batch{b + 1}"] = batches[b]
    placed = truth_genes[["contig", "tss", "has_effect"]]
    cells.var = cells.var.drop(columns=placed.columns, errors="ignore").join(placed)
    truth_genes = truth_genes.join(variance_columns(effects, genetic, donor_sd)).assign(**changes.genes)
    if changes.disease is not None:
        more["disease_effects"] = typed_table(changes.disease, expression.genes, cell_types)
    streamed = {}
    if scenario.donor_effects.deviates:
        streamed["donor_deviation"] = lambda: deviation_tables(
            scenario.donor_effects, donor_sd, list(donors.index), cell_types, expression.genes, seed
        )
    settings = scenario.model_dump(mode="json") | {"models": models.methods}
    if scenario.population.vcf is not None:
        settings["vcf_report"] = dict(genotypes.report)
    dataset = SimulatedDataset(
        cells=cells,
        genotypes=genotypes,
        effects=effects,
        donors=donors,
        genes=truth_genes,
        expression=expression_truth(fold, donors.index, cell_types, affected),
        more_truth=more,
        scenario=scenario,
        provenance=Provenance("simulate", seed, settings, inputs, synthetic=True),
        streamed_truth=streamed,
        true_rates=plan.true_rates if scenario.truth.rates else None,
    )
    if out is not None:
        dataset.write(out)
        log.info(
            "simulated: %d cells of %d donors, %d variants: %s",
            cells.n_obs,
            len(donors),
            genotypes.n_variants,
            out,
        )
    return dataset
