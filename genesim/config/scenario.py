"""A scenario: the experiment to simulate, declared. It is the ground truth."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt, field_validator, model_validator

from genesim.config.base import Record
from genesim.config.new_variants import NewVariantsScenario


class Pulse(Record):
    """One admixture event: migrants of some ancestries, some generations ago."""

    generations: PositiveInt
    """Generations (meioses) since the people born of it."""
    ancestry: dict[str, PositiveFloat] = Field(min_length=1)
    """Share of the population's copies that each ancestry gave: in all 1 at the oldest pulse, less at later ones."""


class AdmixtureScenario(Record):
    """Donors of one admixed population."""

    pulses: tuple[Pulse, ...] = Field(min_length=1)
    label: str = Field("admixed", min_length=1)
    """What the donors' ancestry is called."""
    genetic_map: Path | None = None
    """Table (.tsv, .csv, .parquet) with the columns contig, pos (1-based) and cM; none is 1.2 cM/Mb."""

    @model_validator(mode="after")
    def _pulses_add_up(self) -> AdmixtureScenario:
        times = [pulse.generations for pulse in self.pulses]
        if len(set(times)) < len(times):
            raise ValueError("two pulses are of one generation")
        for pulse in self.pulses:
            total = sum(pulse.ancestry.values())
            if total > 1 + 1e-9 or (pulse.generations == max(times) and abs(total - 1) > 1e-9):
                raise ValueError(
                    "shares of the oldest pulse must add up to 1, those of a later one to 1 at most "
                    f"({pulse.generations} generations ago: {total:g})"
                )
        return self


class RelativesScenario(Record):
    """Families instead of unrelated donors; a family is of one ancestry."""

    design: Literal["nuclear_families", "half_siblings", "first_cousins"]
    n_children: PositiveInt = 1
    """Children of a nuclear family; other designs have two."""
    genetic_map: Path | None = None
    """Table with the columns contig, pos (1-based) and cM (or cM_female, cM_male); none is 1.2 cM/Mb."""

    @property
    def size(self) -> int:
        """Donors of one family, parents included."""
        return {"nuclear_families": 2 + self.n_children, "half_siblings": 5, "first_cousins": 8}[self.design]


class Population(Record):
    """New donors."""

    n_donors: PositiveInt = 100
    ancestry: dict[str, PositiveFloat] | None = None
    """Share (any positive weights) of donors of each ancestry; none keeps the training cohort's mix."""
    sex: dict[str, PositiveFloat] = Field(default_factory=lambda: {"female": 0.5, "male": 0.5})
    """Share of donors of each sex."""
    admixture: AdmixtureScenario | None = None
    """Every donor is admixed; then `ancestry` stays out, and the truth holds each stretch's ancestry."""
    relatives: RelativesScenario | None = None
    """Donors come in families (n_donors is a multiple of their size), and the truth holds who has what from whom."""
    prefix: str = Field("SIM", min_length=1, pattern=r"^[A-Za-z0-9_-]+$")
    """Donor ids are this prefix and a number."""

    @model_validator(mode="after")
    def _one_law_of_ancestry(self) -> Population:
        if self.ancestry is not None and self.admixture is not None:
            raise ValueError("set either 'ancestry' or 'admixture', not both")
        if self.relatives is not None and self.admixture is not None:
            raise ValueError("set either 'relatives' or 'admixture', not both")
        if self.relatives is not None and self.n_donors % self.relatives.size:
            raise ValueError(f"n_donors is no multiple of {self.relatives.size}, the donors of a family")
        return self


class DeclaredEffect(Record):
    """One causal variant of one gene."""

    gene: str
    variant: str
    """Variant id as the cohort names it."""
    log2_afc: float = Field(ge=-10, le=10)
    """Allelic fold change: log2 of the expression from an ALT over a REF haplotype."""
    cell_type: str | None = None
    """Cell type it acts in; none means all."""


class RandomEffects(Record):
    """Causal variants drawn at random near genes, with declared laws."""

    share_of_genes: float = Field(0.2, gt=0, le=1)
    """Share of the eligible genes (those with a common variant in the window) that get an effect."""
    n_causal: PositiveInt = 1
    """Causal variants of each such gene."""
    law: Literal["normal", "constant"] = "normal"
    sd_log2_afc: PositiveFloat = 0.5
    """SD of the normal law, or the size (random sign) of the constant one, in log2 allelic fold change."""
    window: PositiveInt = 250_000
    """Half-width around the TSS, base pairs."""
    min_maf: float = Field(0.05, gt=0, lt=0.5)
    shared: float = Field(0.7, ge=0, le=1)
    """Probability that an effect acts in all cell types alike; otherwise it acts in one, drawn at random."""


class EffectsScenario(Record):
    """Where the variant effects come from; sources add up, a gene has one source (declared > learned > random)."""

    declared: tuple[DeclaredEffect, ...] = ()
    learned: bool = False
    """One posterior draw of the trained effect model, for its genes with a credible effect."""
    random: RandomEffects | None = None


class Batches(Record):
    """Technical batches planted on top of what the expression model has learned."""

    n: PositiveInt = 1
    sd_log2: NonNegativeFloat = 0.0
    """SD over genes of each batch's log2 fold change; its first batch has none."""


class CellsScenario(Record):
    """Cells of the new donors."""

    n_cells: PositiveInt = 5000
    """Total over all donors."""
    cells_per_donor_cv: NonNegativeFloat = 0.3
    """Coefficient of variation of the number of cells of a donor."""
    composition: dict[str, PositiveFloat] | None = None
    """Share of each cell type (any positive weights); none keeps the training mix."""
    composition_concentration: PositiveFloat | None = 50.0
    """Dirichlet concentration of each donor's composition around the mean; none gives all donors the same."""
    library_size_scale: PositiveFloat = 1.0
    """Factor on the learned library sizes: sequencing depth."""
    batches: Batches = Batches()
    covariates: dict[str, str] = Field(default_factory=dict)
    """Level of each further categorical covariate, one for all cells; those left out keep the training mix."""


class Scenario(Record):
    """What `simulate` runs."""

    name: str = Field("scenario", pattern=r"^[A-Za-z0-9_.-]+$")
    description: str = ""
    population: Population = Population()
    new_variants: NewVariantsScenario | None = None
    """Variants beyond the haplotype models' own: de novo, rare, loss of function."""
    effects: EffectsScenario = EffectsScenario(random=RandomEffects())
    cells: CellsScenario = CellsScenario()

    @field_validator("effects")
    @classmethod
    def _no_repeats(cls, effects: EffectsScenario) -> EffectsScenario:
        seen = [(e.gene, e.variant, e.cell_type) for e in effects.declared]
        if len(set(seen)) < len(seen):
            raise ValueError("a declared effect (gene, variant, cell_type) is repeated")
        return effects

    @model_validator(mode="after")
    def _enough_cells(self) -> Scenario:
        if self.cells.n_cells < self.population.n_donors:
            raise ValueError("cells.n_cells is smaller than population.n_donors: every donor needs a cell")
        return self
