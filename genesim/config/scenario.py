"""A scenario: the experiment to simulate, declared. It is the ground truth."""

from __future__ import annotations

from pydantic import Field, model_validator

from genesim.config.base import Record
from genesim.config.cells import Batches, CellsScenario, StateScenario
from genesim.config.disease import Disease
from genesim.config.effects import (
    CompositionEffect,
    DeclaredEffect,
    DonorEffects,
    DynamicLaw,
    EffectsScenario,
    GeneEffects,
    RandomEffects,
    TypedGeneEffects,
)
from genesim.config.new_variants import NewVariantsScenario
from genesim.config.population import AdmixtureScenario, AgeLaw, Population, Pulse, RelativesScenario

__all__ = [
    "AdmixtureScenario",
    "AgeLaw",
    "Batches",
    "CellsScenario",
    "CompositionEffect",
    "DeclaredEffect",
    "Disease",
    "DonorEffects",
    "DynamicLaw",
    "EffectsScenario",
    "GeneEffects",
    "Population",
    "Pulse",
    "RandomEffects",
    "RelativesScenario",
    "Scenario",
    "StateScenario",
    "TruthScenario",
    "TypedGeneEffects",
]


class TruthScenario(Record):
    """Truth that is large, and so is written on request only."""

    rates: bool = False
    """Each cell's true rates, `truth/rates.h5ad`: dense, 4 bytes a cell and gene before compression."""


class Scenario(Record):
    """What `simulate` runs."""

    name: str = Field("scenario", pattern=r"^[A-Za-z0-9_.-]+$")
    description: str = ""
    population: Population = Population()
    new_variants: NewVariantsScenario | None = None
    """Variants beyond the haplotype models' own: de novo, rare, loss of function."""
    effects: EffectsScenario = EffectsScenario(random=RandomEffects())
    donor_effects: DonorEffects = DonorEffects()
    composition_effects: tuple[CompositionEffect, ...] = ()
    disease: Disease | None = None
    cells: CellsScenario = CellsScenario()
    truth: TruthScenario = TruthScenario()

    @model_validator(mode="after")
    def _enough_cells(self) -> Scenario:
        if self.population.n_donors is not None and self.cells.n_cells < self.population.n_donors:
            raise ValueError("cells.n_cells is smaller than population.n_donors: every donor needs a cell")
        return self

    @model_validator(mode="after")
    def _what_effects_need(self) -> Scenario:
        random, donors, disease = self.effects.random, self.donor_effects, self.disease
        if random is not None and random.h2 is not None and (donors.donor_sd_log2 == "learned" or not donors.deviates):
            raise ValueError("effects.random.h2 is a share of variance: set donor_effects.donor_sd_log2 to a number")
        planted = self.new_variants is not None and self.new_variants.loss_of_function is not None
        if self.effects.trans and not planted:
            raise ValueError("effects.trans follow from lost genes: set new_variants.loss_of_function")
        if self.effects.is_dynamic and self.cells.state is None:
            raise ValueError("dynamic effects need a state to change along: set cells.state")
        uses = {effect.of for effect in self.composition_effects}
        if "disease" in uses and disease is None:
            raise ValueError("composition_effects name the disease, and there is none: set 'disease'")
        by_age = donors.age is not None or "age" in uses or (disease is not None and bool(disease.age))
        if by_age and self.population.age is None:
            raise ValueError("effects of age need population.age")
        by_sex = donors.sex is not None or "sex" in uses or (disease is not None and bool(disease.sex))
        if by_sex and self.population.vcf is None and set(self.population.sex) - {"female", "male"}:
            raise ValueError("effects of sex need population.sex of female and male only")
        return self

    @model_validator(mode="after")
    def _disease_can_be(self) -> Scenario:
        disease, population = self.disease, self.population
        if disease is None:
            return self
        shares = [population.sex.get(level, 0.0) for level in ("female", "male")]
        male = shares[1] / sum(shares) if sum(shares) else 0.0
        explained = disease.h2_liability + disease.age**2 + disease.sex**2 * male * (1 - male)
        if explained >= 1:
            raise ValueError(
                f"disease: risk, age and sex make {explained:.3g} of the liability's variance, which is 1: lower them"
            )
        if disease.is_sampled:
            if population.relatives is not None:
                raise ValueError("case/control sampling of relatives is not possible: leave out one of them")
            n = population.n_donors
            if n is None:
                raise ValueError("case/control sampling needs population.n_donors")
            if not 0 < disease.cases_of(n) < n:
                raise ValueError(f"disease asks for {disease.cases_of(n)} cases of {n} donors: leave some of each")
        return self
