"""simulate: a scenario and trained models -> a new cohort's genotypes, cells and truth.

Genotypes can be drawn contig by contig (`simulate_genotypes`), by as many jobs: who the donors are
follows from the scenario and the seed alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from genesim import rng
from genesim.config.base import load
from genesim.config.new_variants import NewVariantsScenario
from genesim.config.scenario import Population, Scenario
from genesim.console import log
from genesim.data.genetic_map import read_genetic_map
from genesim.data.genotypes import Genotypes, concatenate, read_store, write_store
from genesim.data.names import plain_frame
from genesim.data.write import write_parquet
from genesim.errors import ArtefactError, ConfigError
from genesim.estimators.effects import EffectModel
from genesim.estimators.expression import ExpressionModel
from genesim.estimators.haplotypes import HaplotypeModel
from genesim.provenance.atomic import atomic_directory
from genesim.provenance.manifest import verify_manifest
from genesim.provenance.record import Provenance, hash_input
from genesim.simulate.admixture import global_shares
from genesim.simulate.cells import batch_fold_changes, draw_cells
from genesim.simulate.dataset import SimulatedDataset, expression_truth
from genesim.simulate.effects import log2_fold_changes, plant_effects
from genesim.simulate.new_variants import add_new_variants
from genesim.simulate.pedigree import simulate_pedigree
from genesim.simulate.population import check_levels, draw_cell_table, draw_donors

Truth = dict[str, pd.DataFrame]


@dataclass(frozen=True)
class Models:
    """The trained models that a scenario draws from."""

    expression: ExpressionModel
    haplotypes: tuple[HaplotypeModel, ...]
    effects: EffectModel | None = None

    @property
    def methods(self) -> dict[str, str]:
        """Catalog ids by modality."""
        found = {"expression": self.expression.config.method, "haplotypes": self.haplotypes[0].config.method}
        return found | ({} if self.effects is None else {"effects": "susie"})

    @property
    def genes(self) -> pd.DataFrame:
        """Index: genes of the expression model; `contig`, `tss` (0-based) of those that the effect model places."""
        table = pd.DataFrame({"contig": "", "tss": -1}, index=self.expression.genes)
        if self.effects is not None:
            placed = self.effects.genes.loc[self.effects.genes.index.isin(table.index), ["contig", "tss"]]
            table.loc[placed.index, ["contig", "tss"]] = placed
        return table.rename_axis("gene")

    @classmethod
    def load(cls, directory: str | Path) -> Models:
        """Load `expression/`, `haplotypes/` or `haplotypes/<contig>/`, and `effects/` where it is there."""
        directory = Path(directory)
        if not (directory / "expression").is_dir():
            raise ArtefactError("has no expression model", where=str(directory), remedy="train expression first")
        effects = directory / "effects"
        return cls(
            ExpressionModel.load(directory / "expression"),
            tuple(HaplotypeModel.load(path) for path in haplotype_folders(directory)),
            EffectModel.load(effects) if effects.is_dir() else None,
        )


def haplotype_folders(models: str | Path) -> list[Path]:
    """Directories of the haplotype models below `models`: one, or one a contig."""
    root = Path(models) / "haplotypes"
    folders = [root] if (root / "model.json").is_file() else sorted(p.parent for p in root.glob("*/model.json"))
    if not folders:
        raise ArtefactError("has no haplotype model", where=str(models), remedy="train haplotypes first")
    return folders


def _scenario(scenario: Scenario | str | Path) -> Scenario:
    return scenario if isinstance(scenario, Scenario) else load(Scenario, scenario)


def _donors(scenario: Scenario, haplotypes: HaplotypeModel, seed: int) -> pd.DataFrame:
    return draw_donors(scenario.population, haplotypes.ancestry_mix, scenario.cells.batches.n, seed)


def _genotypes(
    donors: pd.DataFrame, models: Models, parts: Sequence[str | Path], population: Population, seed: int
) -> tuple[Genotypes, Truth]:
    """The donors' genotypes: drawn here, or gathered from the stores that one job a contig has written."""
    if not parts:
        drawn = [_draw_genotypes(donors, model, population, seed) for model in models.haplotypes]
        return concatenate([genotypes for genotypes, _ in drawn]), _joined([truth for _, truth in drawn])
    for part in parts:
        verify_manifest(part)
    genotypes = concatenate([read_store(Path(part)) for part in parts])
    if list(genotypes.donors) != list(donors.index):
        raise ArtefactError(
            "the genotype parts are of other donors than this scenario and seed give",
            where=", ".join(map(str, parts)),
            remedy="draw them again with the same scenario and seed",
        )
    return genotypes, _joined([_read_truth(Path(part), population) for part in parts])


def _joined(parts: Sequence[Truth]) -> Truth:
    return {name: pd.concat([part[name] for part in parts], ignore_index=True) for name in parts[0]}


def _read_truth(part: Path, population: Population) -> Truth:
    """The truth tables that `simulate_genotypes` put beside a part."""
    asked = {"local_ancestry": population.admixture, "descent": population.relatives}
    wanted = [name for name, block in asked.items() if block is not None]
    absent = [name for name in wanted if not (part / f"{name}.parquet").is_file()]
    if absent:
        raise ArtefactError(
            f"the genotype part has no {absent[0]}.parquet",
            where=str(part),
            remedy="draw it again with the same scenario and seed",
        )
    return {name: plain_frame(pd.read_parquet(part / f"{name}.parquet")) for name in wanted}


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


def _training_frequencies(models: Models) -> pd.Series:
    return pd.concat([model.variants["frequency"] for model in models.haplotypes])


def _draw_genotypes(
    donors: pd.DataFrame, haplotypes: HaplotypeModel, population: Population, seed: int
) -> tuple[Genotypes, Truth]:
    """Genotypes on one model's contigs, and tables of truth about them by name."""
    admixture, relatives = population.admixture, population.relatives
    if relatives is not None:
        founders = donors[donors["father"] == ""]
        drawn = haplotypes.sample_for(founders["ancestry"], seed=seed, sex=founders["sex"])
        pedigree = donors[["father", "mother", "sex"]].reset_index()
        scale = None if relatives.genetic_map is None else read_genetic_map(relatives.genetic_map)
        genotypes, descent = simulate_pedigree(drawn, pedigree, scale, seed)
        return genotypes, {"descent": descent}
    if admixture is None:
        return haplotypes.sample_for(donors["ancestry"], seed=seed, sex=donors["sex"]), {}
    genotypes, tracts = haplotypes.sample_admixed(
        len(donors),
        admixture.pulses,
        seed=seed,
        donors=list(donors.index),
        genetic_map=None if admixture.genetic_map is None else read_genetic_map(admixture.genetic_map),
        sex=donors["sex"],
    )
    return genotypes, {"local_ancestry": tracts}


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


def simulate_genotypes(
    scenario: Scenario | str | Path,
    haplotypes: HaplotypeModel | str | Path,
    *,
    out: str | Path,
    seed: int = 0,
) -> Genotypes:
    """Draw the scenario's donors on the contigs of one haplotype model into a genotype store at `out`."""
    model = haplotypes if isinstance(haplotypes, HaplotypeModel) else HaplotypeModel.load(haplotypes)
    asked = _scenario(scenario)
    genotypes, truth = _draw_genotypes(_donors(asked, model, seed), model, asked.population, seed)
    with atomic_directory(out) as directory:
        write_store(genotypes, directory)
        for name, table in truth.items():
            write_parquet(table, directory / f"{name}.parquet")
    return genotypes


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
    """
    scenario = _scenario(scenario)
    inputs: dict[str, str] = {}
    if not isinstance(models, Models):
        root = Path(models)
        folders = {"expression": root / "expression", "effects": root / "effects"}
        folders |= {f"haplotypes/{p.name}": p for p in haplotype_folders(root)}
        models = Models.load(models)
        inputs = {name: hash_input(path) for name, path in folders.items() if path.is_dir()}
    donors = _donors(scenario, models.haplotypes[0], seed)
    genotypes, more = _genotypes(donors, models, parts, scenario.population, seed)

    if scenario.population.relatives is not None:
        more["pedigree"] = donors[["father", "mother", "sex"]].reset_index()
    if scenario.new_variants is not None:
        genotypes, more["new_variants"] = _with_new_variants(scenario.new_variants, genotypes, more, seed)

    expression = models.expression
    cell_types = list(expression.cell_types)
    table = draw_cell_table(donors, scenario.cells, expression.composition, seed)
    donors["n_cells"] = table["donor"].value_counts().reindex(donors.index)
    if "local_ancestry" in more:
        donors = donors.join(global_shares(more["local_ancestry"]).add_prefix("share_"))
    genes = models.genes
    if models.effects is None and scenario.effects.random is not None:
        raise ConfigError(
            "random effects need gene positions, which the effect model holds, and there is none",
            where="scenario.effects.random",
            remedy="train effects first, or set it to null",
        )
    # A new variant was in no training donor.
    known = _training_frequencies(models).reindex(genotypes.variants.index, fill_value=0.0)
    variants = genotypes.variants.assign(frequency=known)
    learned = models.effects.sample(seed) if models.effects is not None and scenario.effects.learned else None
    settings = scenario.model_dump(mode="json") | {"models": models.methods}
    effects = plant_effects(scenario.effects, genes, variants, cell_types, seed, learned)
    fold, affected = log2_fold_changes(effects, genotypes, cell_types)
    batches = batch_fold_changes(scenario.cells.batches, len(expression.genes), seed)
    obs = _with_covariates(table, expression, scenario.cells.covariates)
    cell_seed = rng.seed(seed, "simulate", "cells")
    cells = expression.empty_cells(obs)
    cells.X = draw_cells(
        obs,
        table,
        donors.index,
        expression,
        fold,
        affected,
        cell_types,
        batches,
        scenario.cells.library_size_scale,
        cell_seed,
    )
    planted = "planted_batch" if "planted_batch" in obs else "batch"
    if scenario.cells.batches.n == 1:
        del cells.obs[planted]
    truth_genes = genes.assign(has_effect=genes.index.isin(affected))
    for b in range(1, len(batches)):
        truth_genes[f"log2_fold_batch{b + 1}"] = batches[b]
    placed = truth_genes[["contig", "tss", "has_effect"]]
    cells.var = cells.var.drop(columns=placed.columns, errors="ignore").join(placed)
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
