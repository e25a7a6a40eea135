"""What an allele leaves of a gene: expression and functional protein of its haplotype, relative to a normal copy."""

from __future__ import annotations

import os
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from genesim.data.consequences import Consequence, protein_substitution
from genesim.errors import ConfigError, InputError

_LOSS = "stop_gained frameshift_variant splice_acceptor_variant splice_donor_variant start_lost"
LOSS_OF_FUNCTION = frozenset(_LOSS.split())
_LOST = frozenset(("transcript_ablation", "feature_ablation"))
_GAINED = frozenset(("transcript_amplification",))
# Terms of a copy-number change that covers a part of the gene, or none of it.
_OF_A_PART = (
    "feature_elongation feature_truncation exon_loss_variant upstream_gene_variant downstream_gene_variant "
    "intergenic_variant intergenic_region"
)
_PART = frozenset(_OF_A_PART.split())
_INTRON = frozenset(("intron_variant", "non_coding_transcript_variant", "NMD_transcript_variant"))


@dataclass(frozen=True)
class DosageRules:
    """How consequences become dosage.

    Attributes:
        nmd_efficiency: Share of an allele's mRNA that nonsense-mediated decay (NMD) removes, 0-1.
        low_confidence: Also count what LOFTEE holds for doubtful (LoF=LC).

    Raises:
        ConfigError: An efficiency outside 0-1.
    """

    # Our default. Efficiency varies by gene, transcript position and tissue (Rivas 2015, Science 348:666;
    # Lindeboom 2016, Nat Genet 48:1112): 0.8 leaves a heterozygote 0.6 of normal, 1 is complete decay.
    nmd_efficiency: float = 0.8
    # gnomAD counts high-confidence alleles only (Karczewski 2020, Nature 581:434).
    low_confidence: bool = False
    # Not settings: the other copy does not make up for the loss (Rivas 2015, no dosage compensation of NMD
    # targets); PTCs in the last exon escape (Nagy & Maquat 1998, Trends Biochem Sci 23:198); and missense
    # alleles leave mRNA and function as they are, unless a table of the user says otherwise.

    def __post_init__(self) -> None:
        if not 0 <= self.nmd_efficiency <= 1:
            raise ConfigError(
                f"nmd_efficiency is {self.nmd_efficiency}", where="DosageRules", remedy="give a share from 0 to 1"
            )


@dataclass(frozen=True)
class AlleleFactor:
    """Expression and function (share of functional protein) of a haplotype with the allele, 1 normal, 0 none."""

    expression: float
    function: float
    mechanism: str


@dataclass(frozen=True)
class GivenFactors:
    """A user's factors of alleles, by variant ("contig:position:ref:alt", 1-based) or gene and protein change."""

    by_variant: Mapping[str, float] = field(default_factory=dict)
    by_change: Mapping[tuple[str, str], float] = field(default_factory=dict)

    def of(self, variant: str, consequence: Consequence, leading: bool) -> float | None:
        """The factor of an allele of a gene; one given by variant goes to the gene that it changes most (`leading`)."""
        if leading and variant in self.by_variant:
            return self.by_variant[variant]
        for gene in (consequence.gene, consequence.gene_id):
            if (given := self.by_change.get((gene, consequence.protein_change))) is not None:
                return given
        return None


def given_factors(table: pd.DataFrame | str | os.PathLike[str] | None) -> GivenFactors:
    """Read a table of alleles: `factor` (what is left, >= 0) or `probability` (of loss of function; 1 - it is left).

    Alleles are named in a column `variant` ("contig:position:ref:alt", 1-based), or in `gene` (symbol or gene_id)
    and `protein_change` ("p.Asp578Asn" or "D578N").

    Args:
        table: A frame, or the path of a TSV or CSV.

    Raises:
        InputError: Columns that are missing or contradict each other, values out of range, repeated alleles.
    """
    if table is None:
        return GivenFactors()
    where = "missense table"
    if not isinstance(table, pd.DataFrame):
        where = os.fspath(table)
        try:
            table = pd.read_csv(where, sep="," if ".csv" in Path(where).suffixes else "\t", dtype=str)
        except (OSError, ValueError, EOFError, zlib.error) as error:
            raise InputError(f"cannot be read ({error})", where=where, remedy="give a TSV or CSV") from error
    columns = set(table.columns)
    value = [name for name in ("factor", "probability") if name in columns]
    by_variant, by_change = "variant" in columns, {"gene", "protein_change"} <= columns
    if len(value) != 1 or by_variant == by_change:
        raise InputError(
            f"has the columns {', '.join(map(str, table.columns))}",
            where=where,
            remedy="give 'factor' or 'probability', and 'variant' or 'gene' with 'protein_change'",
        )
    numbers = pd.to_numeric(table[value[0]], errors="coerce").to_numpy(np.float64)
    top = 1.0 if value[0] == "probability" else np.inf
    bad = np.flatnonzero(~(np.isfinite(numbers) & (numbers >= 0) & (numbers <= top)))
    if len(bad):
        raise InputError(
            f"row {bad[0] + 1} has the {value[0]} {table[value[0]].iloc[bad[0]]!r}",
            where=where,
            remedy="give numbers from 0 to 1" if value[0] == "probability" else "give numbers >= 0",
        )
    factors = (1 - numbers if value[0] == "probability" else numbers).tolist()
    if by_variant:
        keys = table["variant"].astype(str).tolist()
        _unrepeated(keys, where)
        return GivenFactors(by_variant=dict(zip(keys, factors, strict=True)))
    changes = [protein_substitution(text) for text in table["protein_change"].astype(str)]
    if "" in changes:
        row = changes.index("")
        raise InputError(
            f"row {row + 1} has the protein change {table['protein_change'].iloc[row]!r}",
            where=where,
            remedy="write substitutions as p.Asp578Asn or D578N",
        )
    pairs = list(zip(table["gene"].astype(str), changes, strict=True))
    _unrepeated(pairs, where)
    return GivenFactors(by_change=dict(zip(pairs, factors, strict=True)))


def _unrepeated(keys: list, where: str) -> None:
    repeated = pd.Index(keys)[pd.Index(keys).duplicated()]
    if len(repeated):
        raise InputError(f"allele {repeated[0]!r} is repeated", where=where, remedy="give every allele one row")


def copies_of(alt: str) -> float | None:
    """Copies of the gene on a haplotype with a symbolic allele: 0 of <DEL>, 2 of <DUP>, n of <CNn>; else None."""
    name = alt.upper().strip("<>").partition(":")[0] if alt.startswith("<") else ""
    if name[:2] == "CN" and name[2:].isdecimal():
        return float(name[2:])
    return {"DEL": 0.0, "DUP": 2.0}.get(name)


def covers_gene(consequence: Consequence) -> bool:
    """Whether a copy-number change takes in the whole gene (transcript), by its terms."""
    terms = frozenset(consequence.terms)
    if terms & (_LOST | _GAINED):
        return True
    return consequence.exon is None and not terms & _PART and not terms <= _INTRON


def allele_factor(
    consequence: Consequence, alt: str, rules: DosageRules, lof: float | None, nmd: float | None
) -> AlleleFactor | None:
    """Expression and function left by an allele; None where the rules see no change.

    NMD is expected of every loss-of-function term, except where the annotator says that the transcript escapes,
    where the change is in the last exon, or where SnpEff has LOF for the gene and no NMD. What escapes keeps its
    mRNA and makes no functional protein. SnpEff's shares of affected transcripts multiply the losses.

    Args:
        alt: The allele as the record writes it.
        lof: Share of the gene's transcripts with SnpEff's LOF; None without the tag.
        nmd: The same of NMD.
    """
    terms = frozenset(consequence.terms)
    copies = copies_of(alt)
    if covers_gene(consequence) and (copies is not None or terms & (_LOST | _GAINED)):
        left = copies if copies is not None else 0.0 if terms & _LOST else 2.0
        # A copy too many makes more protein, all of it functional.
        return None if left == 1 else AlleleFactor(left, left, "deletion" if left < 1 else "duplication")
    if not terms & LOSS_OF_FUNCTION or (consequence.low_confidence and not rules.low_confidence):
        return None
    last = consequence.exon is not None and consequence.exon[0] == consequence.exon[1]
    # SnpEff's tags, where it set one, rest on its own 50-bp rule and so count for more than the exon's number.
    escapes = consequence.escapes_nmd or (nmd is None and (lof is not None or last))
    share = 1.0 if lof is None else lof
    if escapes:
        return AlleleFactor(1.0, 1 - share, "nmd_escape")
    return AlleleFactor(1 - rules.nmd_efficiency * (1.0 if nmd is None else nmd), 1 - share, "nmd")
