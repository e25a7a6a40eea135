"""Genotypes of a scenario's donors: drawn here or contig by contig, of the user's VCF, or taken by case status."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from genesim.config.base import load
from genesim.config.population import Population
from genesim.config.scenario import Scenario
from genesim.data.genetic_map import read_genetic_map
from genesim.data.genotypes import Genotypes, concatenate, read_store, write_store
from genesim.data.names import plain_frame
from genesim.data.write import write_parquet
from genesim.errors import ArtefactError, ConfigError
from genesim.estimators.haplotypes import HaplotypeModel
from genesim.pipeline.models import haplotype_folders
from genesim.provenance.atomic import atomic_directory
from genesim.provenance.manifest import verify_manifest
from genesim.simulate.ascertain import take
from genesim.simulate.disease import Liability, plan_disease
from genesim.simulate.pedigree import simulate_pedigree
from genesim.simulate.population import ancestry_weights, assign_batches, draw_donors

Truth = dict[str, pd.DataFrame]


def read_scenario(scenario: Scenario | str | Path) -> Scenario:
    """The record, or its YAML file."""
    return scenario if isinstance(scenario, Scenario) else load(Scenario, scenario)


def all_variants(haplotypes: Sequence[HaplotypeModel]) -> pd.DataFrame:
    """Variants of the models with their training frequency."""
    return pd.concat([model.variants for model in haplotypes])


def plan_liability(scenario: Scenario, variants: pd.DataFrame, seed: int) -> Liability | None:
    """The scenario's disease, where it has one: it follows from scenario, variants and seed alone."""
    if scenario.disease is None:
        return None
    return plan_disease(scenario.disease, variants, scenario.population, seed)


def scenario_donors(
    scenario: Scenario, haplotypes: Sequence[HaplotypeModel], seed: int, liability: Liability | None = None
) -> pd.DataFrame:
    """Who the donors are: it follows from scenario, seed and models alone, so every job finds the same ones.

    Args:
        haplotypes: Any one of the models; all of them where donors are taken by case status.
        liability: Of the disease that they are taken by.
    """
    population, disease, n_batches = scenario.population, scenario.disease, scenario.cells.batches.n
    mix = haplotypes[0].ancestry_mix
    if disease is None or not disease.is_sampled:
        return draw_donors(population, mix, n_batches, seed)
    planned = liability or plan_disease(disease, all_variants(haplotypes), population, seed)
    needed = [part for model in haplotypes if (part := _with_variants(model, planned.variants.index)) is not None]

    def risk_of(people: pd.DataFrame) -> np.ndarray:
        return sum(
            (planned.risk(_drawn(people, model, population, seed)[0]) for model in needed), np.zeros(len(people))
        )

    weights = ancestry_weights(population, mix)
    donors = take(population, weights, disease, planned, risk_of, seed)
    donors.insert(2, "batch", assign_batches(len(donors), n_batches, seed))
    return donors


def _with_variants(model: HaplotypeModel, variants: pd.Index) -> HaplotypeModel | None:
    """The model of those contigs that hold some of the variants."""
    parts = [part for part in model.contigs if part.variants.index.isin(variants).any()]
    if not parts:
        return None
    return HaplotypeModel(parts, model.ancestry_mix, model.config, model.seed, model.contig_lengths)


def draw_genotypes(
    donors: pd.DataFrame, haplotypes: HaplotypeModel, population: Population, seed: int
) -> tuple[Genotypes, Truth]:
    """Genotypes on one model's contigs, and tables of truth about them by name."""
    if "candidate" not in donors:
        return _drawn(donors, haplotypes, population, seed)
    # Genotypes are drawn by the candidate's id, and carry the donor's.
    people = donors.set_index("candidate")
    genotypes, truth = _drawn(people, haplotypes, population, seed)
    names = dict(zip(people.index, donors.index, strict=True))
    renamed = {name: table.assign(donor=table["donor"].map(names)) for name, table in truth.items()}
    return replace(genotypes, donors=donors.index), renamed


def _drawn(
    donors: pd.DataFrame, haplotypes: HaplotypeModel, population: Population, seed: int
) -> tuple[Genotypes, Truth]:
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


def gather_genotypes(
    donors: pd.DataFrame,
    haplotypes: Sequence[HaplotypeModel],
    parts: Sequence[str | Path],
    population: Population,
    seed: int,
) -> tuple[Genotypes, Truth]:
    """The donors' genotypes: drawn here, or gathered from the stores that one job a contig has written."""
    if not parts:
        drawn = [draw_genotypes(donors, model, population, seed) for model in haplotypes]
        truth = _joined([part for _, part in drawn])
        return concatenate(drawn.pop(0)[0] for _ in haplotypes), truth
    for part in parts:
        verify_manifest(part)
    genotypes = concatenate(read_store(Path(part)) for part in parts)
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


def simulate_genotypes(
    scenario: Scenario | str | Path,
    haplotypes: HaplotypeModel | str | Path,
    *,
    out: str | Path,
    seed: int = 0,
    models: Sequence[HaplotypeModel] | str | Path | None = None,
) -> Genotypes:
    """Draw the scenario's donors on the contigs of one haplotype model into a genotype store at `out`.

    Args:
        models: The haplotype models of all contigs, or the directory of trained models: needed where donors are taken
            by case status, which genotypes of all contigs decide.

    Raises:
        ConfigError: They are needed and not given, or the donors are of a VCF, which needs no drawing.
    """
    model = haplotypes if isinstance(haplotypes, HaplotypeModel) else HaplotypeModel.load(haplotypes)
    asked = read_scenario(scenario)
    if asked.population.vcf is not None:
        raise ConfigError(
            "the donors are those of a VCF: there is nothing to draw",
            where="scenario.population.vcf",
            remedy="run simulate without parts",
        )
    everything: Sequence[HaplotypeModel] = [model]
    if asked.disease is not None and asked.disease.is_sampled:
        if models is None:
            raise ConfigError(
                "who is taken by case status depends on all contigs, and there is one",
                where="simulate_genotypes",
                remedy="pass models=, the directory of all trained models",
            )
        loaded = isinstance(models, str | Path)
        everything = [HaplotypeModel.load(p) for p in haplotype_folders(models)] if loaded else list(models)  # type: ignore[arg-type]
    donors = scenario_donors(asked, everything, seed)
    genotypes, truth = draw_genotypes(donors, model, asked.population, seed)
    with atomic_directory(out) as directory:
        write_store(genotypes, directory)
        for name, table in truth.items():
            write_parquet(table, directory / f"{name}.parquet")
    return genotypes
