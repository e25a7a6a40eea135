"""Variants beyond the panel: de novo, rare, and loss of function."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, PositiveFloat, PositiveInt, field_validator, model_validator

from genesim.config.base import Record

Consequence = Literal["stop_gained", "frameshift_variant", "splice_donor_variant", "splice_acceptor_variant"]


class Spectrum(Record):
    """Which base becomes which."""

    transition_share: float = Field(0.67, gt=0, lt=1)
    """Share of transitions: 0.67 is a ratio to transversions of about 2, as of human point mutations."""
    cpg_factor: float = Field(1.0, ge=1)
    """How often a CpG's bases make a transition, over another base (about 10 in humans); needs a FASTA. The mean
    rate stays."""


class DeNovo(Record):
    """Point mutations new in each child."""

    rate: PositiveFloat = 1.2e-8
    """Per base, copy and generation (Kong et al. 2012, Nature 488:471)."""
    spectrum: Spectrum = Spectrum()


class RareVariants(Record):
    """Variants that the panel is too small to hold, as many as its site-frequency spectrum foretells."""

    theta: PositiveFloat | None = None
    """Scaled mutation rate (4 Ne mu) a base; none learns it, by frequency class, from the panel."""
    panel_haplotypes: PositiveInt | None = None
    """With theta and without a panel: how many haplotypes the variants are absent from."""
    spectrum: Spectrum = Spectrum()


def _default_kinds() -> dict[Consequence, float]:
    return {
        "stop_gained": 0.4,
        "frameshift_variant": 0.4,
        "splice_donor_variant": 0.1,
        "splice_acceptor_variant": 0.1,
    }


class LossOfFunction(Record):
    """Rare alleles that end a gene's function."""

    genes: dict[str, float] = Field(min_length=1)
    """Cumulative frequency of loss-of-function alleles of each gene (gene_id or gene_name)."""
    kinds: dict[Consequence, PositiveFloat] = Field(default_factory=_default_kinds, min_length=1)
    """Weight of each consequence (Sequence Ontology terms); the default weights are a choice, not a measurement."""
    diversity: PositiveFloat = 2.0
    """Ewens' theta: how many different alleles the carriers of a gene have; large is one each."""
    nmd_efficiency: float = Field(0.8, ge=0, le=1)  # as `data.allele_factors.DosageRules`
    """Share of an allele's mRNA that nonsense-mediated decay removes; stops and frameshifts in the last coding exon, or
    within 50 bases before it, escape. 0 leaves expression as it is."""

    @field_validator("genes")
    @classmethod
    def _frequencies(cls, genes: dict[str, float]) -> dict[str, float]:
        for gene, frequency in genes.items():
            if not 0 < frequency <= 1:
                raise ValueError(f"the frequency of {gene} is {frequency}: it must be above 0 and at most 1")
        return genes


class NewVariantsScenario(Record):
    """What a scenario adds to the variants of the haplotype models; loss of function alone changes expression."""

    de_novo: DeNovo | None = None
    rare: RareVariants | None = None
    """With theta and panel_haplotypes: a trained model does not hold its panel's spectrum."""
    loss_of_function: LossOfFunction | None = None
    annotation: Path | None = None
    """GTF with the coding exons of the genes of `loss_of_function`."""
    fasta: Path | None = None
    """Reference genome; without it REF bases of new variants are drawn, and the truth says so."""

    @model_validator(mode="after")
    def _given(self) -> NewVariantsScenario:
        if self.loss_of_function is not None and self.annotation is None:
            raise ValueError("loss_of_function needs 'annotation', a GTF with coding exons")
        if self.rare is not None and (self.rare.theta is None or self.rare.panel_haplotypes is None):
            raise ValueError("rare needs 'theta' and 'panel_haplotypes' in a scenario")
        return self
