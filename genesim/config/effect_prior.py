"""Where effects may be expected before the donors are looked at: distances, tables, scores, annotations."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, PositiveFloat, field_validator

from genesim.config.base import Record

EffectUnit = Literal["log2", "ln", "sd"]


class HarmonisePolicy(Record):
    """How rows of an external table are brought to the variants of the genotypes; every case is counted."""

    palindromes: Literal["drop", "frequency", "keep"] = "drop"
    """A/T and C/G variants, whose strand their alleles do not tell: drop them, keep those whose allele frequencies
    in both places tell it (both minor ones below `max_palindrome_maf`), or take the table's strand as given."""
    max_palindrome_maf: float = Field(0.4, gt=0, lt=0.5)
    frequency_tolerance: float = Field(0.1, gt=0, le=0.1)
    """Largest difference of two allele frequencies that agree."""
    max_mismatch_rate: float = Field(0.3, gt=0, le=1)
    """Largest share of variants at shared positions whose alleles do not fit; beyond it the builds differ."""
    min_match_rate: float = Field(0.01, ge=0, lt=1)
    """Smallest share of either side's positions that the other one has, where both could have them."""


class EffectPriorConfig(Record):
    """Prior of the variant-effect model; the default learns how likely a variant is by its distance to the TSS."""

    tss: Literal["none", "default", "learn"] = "learn"
    """Weight by distance to the TSS: none, the built-in curve, or one learned from this run's donors, which stays flat
    where they show no effect. Learned curves raised R2 of held-out donors from .028 to .036
    (`benchmarks/effect_priors.csv`)."""
    table: Path | None = None
    """External effects (TSV, CSV, parquet): variant, gene, beta, se; optional cell_type, pip, p_value, credible_set."""
    table_unit: EffectUnit = "log2"
    """Unit of its beta per ALT copy: log2 or natural-log fold change, or SDs of expression (see `table_sd`)."""
    table_sd: PositiveFloat | None = None
    """log2 SD of expression that one unit of a beta in SDs stands for."""
    table_share: float = Field(0.8, ge=0, lt=1)
    """Share of the prior mass that follows the table; the rest stays where it was, lest a wrong table rules."""
    kappa: float = Field(1.0, ge=1)
    """Factor on the table's squared standard errors: how much less it counts than data of this run's own."""
    sizes: bool = False
    """Also combine effect sizes with the table's by their precision; needs betas in this run's units."""
    scores: Path | None = None
    """Scores of variants (of a sequence model, say): variant, score, optional gene."""
    score_weight: float = Field(1.0, ge=0)
    """pi is multiplied by exp(score_weight |score|): the sign is not used."""
    weights: Path | None = None
    """Annotation weights: variant, weight (not negative), optional gene; pi is multiplied by them."""
    columns: dict[str, str] = Field(default_factory=dict)
    """Columns of these tables to rename, as `{slope_shrunk: beta}`."""
    fasta: Path | None = None
    """Reference genome, to check the REF alleles of the tables against."""
    harmonise: HarmonisePolicy = HarmonisePolicy()

    @field_validator("columns")
    @classmethod
    def _known(cls, columns: dict[str, str]) -> dict[str, str]:
        if len(set(columns.values())) < len(columns):
            raise ValueError("two columns are given the same name")
        return columns

    @property
    def files(self) -> dict[str, Path]:
        """The files that are read, by what they are."""
        named = {"table": self.table, "scores": self.scores, "weights": self.weights, "fasta": self.fasta}
        return {name: path for name, path in named.items() if path is not None}

    @property
    def is_none(self) -> bool:
        """Whether this is no prior at all."""
        return self.tss == "none" and not self.files
