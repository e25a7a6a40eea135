"""The donors of a scenario with their genotypes: new or given, taken by status, with new variants and a disease."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from genesim.config.new_variants import NewVariantsScenario
from genesim.config.scenario import Scenario
from genesim.data.genotypes import Genotypes
from genesim.errors import ConfigError
from genesim.pipeline.cohort_genotypes import Truth, gather_genotypes, plan_liability, scenario_donors
from genesim.pipeline.cohort_vcf import read_cohort, take_given
from genesim.pipeline.models import Models
from genesim.simulate.admixture import global_shares
from genesim.simulate.disease import Liability, status
from genesim.simulate.new_variants import add_new_variants


@dataclass(frozen=True)
class SimulatedCohort:
    """Donors and genotypes.

    Attributes:
        genotypes: Of all donors, new variants included.
        donors: Index donor; what is known of them so far.
        variants: Of the genotypes, with the `frequency` of ALT in training (0 of new variants).
        truth: Tables by name.
    """

    genotypes: Genotypes
    donors: pd.DataFrame
    variants: pd.DataFrame
    truth: Truth


def simulate_cohort(scenario: Scenario, models: Models, parts: Sequence[str | Path], seed: int) -> SimulatedCohort:
    """Draw, gather or read the donors of a scenario."""
    genotypes, donors, truth, known, liability = _cohort(scenario, models, parts, seed)
    if liability is not None:
        donors = _with_status(donors, genotypes, scenario, liability)
        truth |= _disease_tables(scenario, liability)
    if scenario.population.relatives is not None:
        truth["pedigree"] = donors[["father", "mother", "sex"]].reset_index()
    if scenario.new_variants is not None:
        genotypes, truth["new_variants"] = _with_new_variants(scenario.new_variants, genotypes, truth, seed)
    # A new variant was in no training donor.
    frequency = known.reindex(genotypes.variants.index, fill_value=0.0)
    return SimulatedCohort(genotypes, donors, genotypes.variants.assign(frequency=frequency), truth)


def with_shares(donors: pd.DataFrame, truth: Truth) -> pd.DataFrame:
    """Donors with the share of each ancestry in their genome, where they are admixed."""
    if "local_ancestry" not in truth:
        return donors
    return donors.join(global_shares(truth["local_ancestry"]).add_prefix("share_"))


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
