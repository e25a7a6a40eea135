"""Effects of a scenario on expression: of variants, of donors, of age and sex, along a state, on composition."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt, field_validator, model_validator

from genesim.config.base import Record

Shape = Literal["linear", "sigmoid", "peak"]
"""How an effect changes along the state t in [0, 1]: t, a logistic step at 1/2, or 4t(1 - t)."""


class DeclaredEffect(Record):
    """One causal variant of one gene."""

    gene: str
    variant: str
    """Variant id as the cohort names it."""
    log2_afc: float = Field(ge=-10, le=10)
    """Allelic fold change: log2 of the expression from an ALT over a REF haplotype; of a dynamic effect, at state 0."""
    cell_type: str | None = None
    """Cell type it acts in; none means all."""
    log2_afc_slope: float = Field(0.0, ge=-10, le=10)
    """What is added to it along the state: log2_afc + log2_afc_slope * shape(t)."""
    shape: Shape = "linear"


class DynamicLaw(Record):
    """Some of the random effects change along the cells' state."""

    share: float = Field(0.5, gt=0, le=1)
    """Probability that an effect does."""
    sd_log2_afc: PositiveFloat = 0.5
    """SD of the normal law of the slope, the change of log2 allelic fold change from one end to the other (to the
    middle, of a peak)."""
    shape: Shape = "linear"


class RandomEffects(Record):
    """Causal variants drawn at random near genes, with declared laws."""

    share_of_genes: float = Field(0.2, gt=0, le=1)
    """Share of the eligible genes (those with a common variant in the window) that get an effect."""
    n_causal: PositiveInt = 1
    """Causal variants of each such gene."""
    law: Literal["normal", "laplace", "t", "constant"] = "normal"
    """Of sizes: all have the SD below; "t" is Student's, "constant" has random signs."""
    sd_log2_afc: PositiveFloat = 0.5
    """SD of the sizes in log2 allelic fold change, before `h2` scales them."""
    degrees_of_freedom: float = Field(4.0, gt=2)
    """Of the law "t"; its variance is finite above 2."""
    window: PositiveInt = 250_000
    """Half-width around the TSS, base pairs."""
    min_maf: float = Field(0.05, gt=0, lt=0.5)
    tss_decay: PositiveFloat | None = None
    """Causal variants are chosen with probability proportional to exp(-distance to the TSS / this), base pairs;
    none chooses evenly."""
    shared: float = Field(0.7, ge=0, le=1)
    """Probability that an effect acts in all cell types; otherwise it acts in one, drawn at random."""
    effect_correlation: float | None = Field(None, ge=0, le=1)
    """Correlation of a shared effect's sizes between any two cell types; none makes them the same size."""
    h2: float | None = Field(None, gt=0, lt=1)
    """Share of the variance of a gene's donor-level log2 expression that its effects make: each gene's sizes are
    scaled to it. The other share is `donor_effects.donor_sd_log2`."""
    dynamic: DynamicLaw | None = None

    @model_validator(mode="after")
    def _laws_agree(self) -> RandomEffects:
        if self.effect_correlation is not None and self.law == "constant":
            raise ValueError("effect_correlation needs sizes that vary: law is 'constant'")
        if self.h2 is not None and self.dynamic is not None:
            raise ValueError("set either 'h2' or 'dynamic': a dynamic effect's variance changes with the state")
        return self


class EffectsScenario(Record):
    """Where the variant effects come from; sources add up, a gene has one source (declared > learned > random)."""

    declared: tuple[DeclaredEffect, ...] = ()
    learned: bool = False
    """One posterior draw of the trained effect model, for its genes with a credible effect."""
    random: RandomEffects | None = None
    trans: bool = False
    """Genes that a donor's loss-of-function alleles knock down change others as the trained perturbation model says.
    The truth calls it model-derived."""

    @field_validator("declared")
    @classmethod
    def _no_repeats(cls, declared: tuple[DeclaredEffect, ...]) -> tuple[DeclaredEffect, ...]:
        seen = [(e.gene, e.variant, e.cell_type) for e in declared]
        if len(set(seen)) < len(seen):
            raise ValueError("a declared effect (gene, variant, cell_type) is repeated")
        return declared

    @property
    def is_dynamic(self) -> bool:
        """Whether an effect changes along the state."""
        random = self.random is not None and self.random.dynamic is not None
        return random or any(effect.log2_afc_slope for effect in self.declared)


class GeneEffects(Record):
    """Effects of something on the expression of some genes."""

    share_of_genes: float = Field(0.1, gt=0, le=1)
    """Share of all genes that it changes."""
    sd_log2: PositiveFloat = 0.5
    """SD of the normal law of the log2 fold change (per SD of age; male over female; case over control; from one end
    of the state to the other)."""


class TypedGeneEffects(GeneEffects):
    """Effects that may act in one cell type only."""

    shared: float = Field(0.5, ge=0, le=1)
    """Probability that a changed gene changes alike in all cell types; otherwise in one, drawn at random."""


class DonorEffects(Record):
    """What makes donors differ in expression besides their genotypes."""

    donor_sd_log2: NonNegativeFloat | Literal["learned"] = 0.0
    """SD over donors of a gene's log2 expression around what genotype, age, sex and disease make of it. "learned" takes
    each gene's and cell type's from the effect model: what the planted effects leave of the variance over donors."""

    @property
    def deviates(self) -> bool:
        """Whether donors differ beyond genotype, age, sex and disease."""
        return self.donor_sd_log2 == "learned" or self.donor_sd_log2 > 0

    type_correlation: float = Field(1.0, ge=0, le=1)
    """Correlation of that deviation between any two cell types of a donor; at 1 it is the same in all."""
    age: GeneEffects | None = None
    sex: GeneEffects | None = None


class CompositionEffect(Record):
    """What shifts the share of a cell type."""

    cell_type: str
    of: Literal["genotype", "age", "sex", "disease"]
    log_odds: float = Field(ge=-10, le=10)
    """Natural-log odds of the type against the types without effects: per ALT allele, per SD of age, male over
    female, or case over control."""
    variant: str | None = None
    """Of a genotype: the variant's id; none draws a common one."""

    @model_validator(mode="after")
    def _variant_of_genotype(self) -> CompositionEffect:
        if self.variant is not None and self.of != "genotype":
            raise ValueError(f"'variant' goes with of: genotype, not with of: {self.of}")
        return self
