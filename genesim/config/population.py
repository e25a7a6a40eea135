"""Who the donors of a scenario are: new ones, by ancestry, sex, age and kinship, or those of the user's VCF."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt, model_validator

from genesim.config.base import Record


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


class AgeLaw(Record):
    """How old donors are, in years."""

    law: Literal["uniform", "normal", "list"] = "uniform"
    low: NonNegativeFloat = 20.0
    """Least age of the uniform law."""
    high: PositiveFloat = 80.0
    """Greatest age of the uniform law."""
    mean: PositiveFloat = 50.0
    """Mean of the normal law, which is cut at 0."""
    sd: PositiveFloat = 15.0
    """SD of the normal law."""
    values: tuple[NonNegativeFloat, ...] = ()
    """Ages that the list law takes with equal probability."""

    @model_validator(mode="after")
    def _complete(self) -> AgeLaw:
        if self.low >= self.high:
            raise ValueError(f"low ({self.low:g}) must be below high ({self.high:g})")
        if self.law == "list" and len(set(self.values)) < 2:
            raise ValueError("the law 'list' needs 'values' of two or more ages")
        return self

    @property
    def moments(self) -> tuple[float, float]:
        """Mean and SD of the law: what an effect "per SD of age" refers to, whoever is drawn."""
        if self.law == "uniform":
            return (self.low + self.high) / 2, (self.high - self.low) / 12**0.5
        if self.law == "normal":
            return self.mean, self.sd
        return float(np.mean(self.values)), float(np.std(self.values))


class Population(Record):
    """New donors, or those of a VCF."""

    n_donors: PositiveInt | None = 100
    """With `vcf`, so many of its donors, taken at random; null, the default there, takes all."""
    ancestry: dict[str, PositiveFloat] | None = None
    """Share (any positive weights) of donors of each ancestry; none keeps the training cohort's mix."""
    sex: dict[str, PositiveFloat] = Field(default_factory=lambda: {"female": 0.5, "male": 0.5})
    """Share of donors of each sex."""
    admixture: AdmixtureScenario | None = None
    """Every donor is admixed; then `ancestry` stays out, and the truth holds each stretch's ancestry."""
    relatives: RelativesScenario | None = None
    """Donors come in families (n_donors is a multiple of their size), and the truth holds who has what from whom."""
    age: AgeLaw | None = None
    """Ages of donors; none leaves age out."""
    vcf: Path | None = None
    """Phased genotypes of a cohort whose cells are to be simulated, instead of new ones."""
    donor_table: Path | None = None
    """Of the donors of `vcf`: columns donor, and optional genotype_id, ancestry, sex, age."""
    prefix: str = Field("SIM", min_length=1, pattern=r"^[A-Za-z0-9_-]+$")
    """Donor ids are this prefix and a number."""

    @model_validator(mode="before")
    @classmethod
    def _all_of_a_vcf(cls, values: Any) -> Any:
        if isinstance(values, dict) and values.get("vcf") is not None and "n_donors" not in values:
            return {**values, "n_donors": None}
        return values

    @model_validator(mode="after")
    def _new_donors_or_given_ones(self) -> Population:
        if self.vcf is None:
            if self.n_donors is None:
                raise ValueError("n_donors is null, which means all donors of 'vcf', and there is none")
            if self.donor_table is not None:
                raise ValueError("donor_table is about the donors of 'vcf', and there is none")
            return self
        drawn = [name for name in ("ancestry", "admixture", "relatives") if getattr(self, name) is not None]
        if drawn:
            raise ValueError(f"'{drawn[0]}' is about new donors: leave it out with 'vcf'")
        return self

    @model_validator(mode="after")
    def _one_law_of_ancestry(self) -> Population:
        if self.ancestry is not None and self.admixture is not None:
            raise ValueError("set either 'ancestry' or 'admixture', not both")
        if self.relatives is not None and self.admixture is not None:
            raise ValueError("set either 'relatives' or 'admixture', not both")
        if self.relatives is not None and (self.n_donors or 0) % self.relatives.size:
            raise ValueError(f"n_donors is no multiple of {self.relatives.size}, the donors of a family")
        return self
