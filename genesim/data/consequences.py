"""Predicted consequences of a VCF's alleles, as VEP (CSQ) or SnpEff (ANN, LOF, NMD) wrote them into INFO.

Subfields are found by the names that the header lists, in whatever order. Terms are the Sequence Ontology's.
Formats: https://www.ensembl.org/info/docs/tools/vep/vep_formats.html#vcfout and
https://pcingola.github.io/SnpEff/adds/VCFannotationformat_v1.0.pdf.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from genesim.errors import VcfError

# From the most to the least severe, as Ensembl ranks them:
# https://www.ensembl.org/info/genome/variation/prediction/predicted_data.html. Other terms rank last.
_SEVERITY = (
    "transcript_ablation feature_ablation splice_acceptor_variant splice_donor_variant stop_gained "
    "frameshift_variant stop_lost start_lost transcript_amplification feature_elongation feature_truncation "
    "exon_loss_variant inframe_insertion inframe_deletion missense_variant protein_altering_variant "
    "splice_donor_5th_base_variant splice_region_variant splice_donor_region_variant "
    "splice_polypyrimidine_tract_variant incomplete_terminal_codon_variant start_retained_variant "
    "stop_retained_variant synonymous_variant coding_sequence_variant mature_miRNA_variant 5_prime_UTR_variant "
    "3_prime_UTR_variant non_coding_transcript_exon_variant intron_variant NMD_transcript_variant "
    "non_coding_transcript_variant upstream_gene_variant downstream_gene_variant"
)
_RANK = {term: rank for rank, term in enumerate(_SEVERITY.split())}
_RESIDUES = "Ala Arg Asn Asp Cys Gln Glu Gly His Ile Leu Lys Met Phe Pro Ser Thr Trp Tyr Val Sec Ter"
_AMINO_ACIDS = dict(zip(_RESIDUES.split(), "ARNDCQEGHILKMFPSTWYVU*", strict=True))
_SUBSTITUTION = re.compile(r"([A-Za-z*]+?)(\d+)([A-Za-z*=]+)")
_EXON = re.compile(r"(\d+)(?:-\d+)?/(\d+)")
_SYMBOLIC = {"<DEL>": "deletion", "<DUP>": "duplication", "<DUP:TANDEM>": "tandem_duplication", "<INS>": "insertion"}


@dataclass(frozen=True)
class Consequence:
    """What one allele does to one transcript.

    Attributes:
        allele: Which ALT of the record, 1 for the first.
        terms: Sequence Ontology terms.
        gene: Symbol, or the gene_id where there is none.
        exon: Number of the exon and how many there are; None outside exons.
        protein_change: Substitution in one-letter code such as "D578N", "" where there is none.
        escapes_nmd: The annotator says that the transcript escapes nonsense-mediated decay (NMD).
        low_confidence: LOFTEE holds the loss of function for doubtful (LoF=LC).
    """

    allele: int
    terms: tuple[str, ...]
    gene: str
    gene_id: str
    transcript: str
    mane: bool
    canonical: bool
    exon: tuple[int, int] | None
    protein_change: str
    escapes_nmd: bool
    low_confidence: bool

    @property
    def severity(self) -> int:
        """0 is the most severe."""
        return min((_RANK.get(term, len(_RANK)) for term in self.terms), default=len(_RANK))


@dataclass(frozen=True)
class AnnotationFormat:
    """INFO field of the consequences, the names of its subfields in order, and whose convention they follow.

    `has_lof` says whether the header declares SnpEff's LOF and NMD.
    """

    key: str
    names: tuple[str, ...]
    vep: bool
    has_lof: bool


def annotation_format(info: Mapping[str, str], where: str) -> AnnotationFormat:
    """Find CSQ or ANN among a header's INFO descriptions; CSQ is preferred.

    Raises:
        VcfError: Neither is declared, or none lists the subfields that are needed.
    """
    seen = []
    for key in ("CSQ", "ANN"):
        if key not in info:
            continue
        seen.append(key)
        names = _subfields(info[key])
        if "Consequence" in names and {"SYMBOL", "Gene"} & set(names):
            return AnnotationFormat(key, names, True, False)
        if {"Allele", "Annotation", "Gene_Name"} <= set(names):
            return AnnotationFormat(key, names, False, "LOF" in info)
    raise VcfError(
        f"the header's description of {' and '.join(seen)} does not list VEP's or SnpEff's subfields"
        if seen
        else "has no predicted consequences: the header declares neither CSQ nor ANN",
        where=where,
        remedy="annotate it: vep --vcf --symbol --canonical --mane --numbers --hgvs, or snpEff ann",
    )


def _subfields(description: str) -> tuple[str, ...]:
    listed = re.split(r"Format:|annotations:", description)[-1]
    return tuple(name.strip(" '\"\\") for name in listed.split("|"))


def consequences(
    info: Mapping[str, str], ref: str, alts: Sequence[str], form: AnnotationFormat, where: str
) -> tuple[list[Consequence], int]:
    """Every consequence that a record lists, and how many name an allele that the record does not have.

    The latter is what splitting a multi-allelic record leaves behind.

    Raises:
        VcfError: An entry of another number of subfields than the header lists, or whose allele cannot be told.
    """
    found: list[Consequence] = []
    strange = 0
    for entry in filter(None, info.get(form.key, "").split(",")):
        if entry == ".":
            continue
        values = entry.split("|")
        if len(values) != len(form.names):
            raise VcfError(
                f"{form.key} has {len(values)} subfields, and the header lists {len(form.names)}",
                where=where,
                remedy="annotate the file again; an INFO value was cut or edited",
            )
        fields = dict(zip(form.names, (value.strip() for value in values), strict=True))
        at = _allele_of(fields, ref, alts, form, where)
        if at is None:
            strange += 1
        else:
            found.append(_vep(at, fields) if form.vep else _snpeff(at, fields))
    return found, strange


def _allele_of(
    fields: Mapping[str, str], ref: str, alts: Sequence[str], form: AnnotationFormat, where: str
) -> int | None:
    number = fields.get("ALLELE_NUM", "")
    if number.isdecimal():
        return int(number) if 1 <= int(number) <= len(alts) else None
    if "Allele" not in fields:
        if len(alts) == 1:
            return 1
        raise VcfError(
            f"{form.key} does not say which of {len(alts)} alternate alleles it is about",
            where=where,
            remedy="annotate with Allele or ALLELE_NUM (vep --allele_number), or split: bcftools norm -m-",
        )
    return match_allele(fields["Allele"], ref, alts, form.vep)


def match_allele(allele: str, ref: str, alts: Sequence[str], vep: bool) -> int | None:
    """Which ALT (from 1) an annotation's Allele means; None if none, or if it could be several.

    VEP leaves out the first base where an indel record's alleles share it ("-" if nothing is left), and trims
    all that is shared with --minimal. SnpEff writes ALT as it is.
    """
    trimmed = _without_first_base(ref, alts)
    raw = list(alts)
    named = [_SYMBOLIC.get(alt.upper(), alt.strip("<>")) for alt in alts]
    minimal = [_minimal(ref, alt) for alt in alts]
    for spelling in (trimmed, raw, named, minimal) if vep else (raw, named, trimmed, minimal):
        at = [number for number, text in enumerate(spelling, 1) if text.upper() == allele.upper()]
        if at:
            return at[0] if len(at) == 1 else None
    return None


def _without_first_base(ref: str, alts: Sequence[str]) -> list[str]:
    plain = [alt for alt in alts if alt.isalpha()]
    indel = any(len(alt) != len(ref) for alt in plain)
    if not indel or any(alt[0].upper() != ref[0].upper() for alt in plain):
        return list(alts)
    return [(alt[1:] or "-") if alt.isalpha() else alt for alt in alts]


def _minimal(ref: str, alt: str) -> str:
    if not alt.isalpha():
        return alt
    while ref and alt and ref[-1].upper() == alt[-1].upper():
        ref, alt = ref[:-1], alt[:-1]
    while ref and alt and ref[0].upper() == alt[0].upper():
        ref, alt = ref[1:], alt[1:]
    return alt or "-"


def _exon(text: str) -> tuple[int, int] | None:
    found = _EXON.fullmatch(text)
    return (int(found[1]), int(found[2])) if found else None


def protein_substitution(text: str) -> str:
    """A substitution such as "ENSP1:p.Asp578Asn", "p.D578N" or "D578N" as "D578N"; "" for anything else."""
    found = _SUBSTITUTION.fullmatch(text.rsplit(":", 1)[-1].removeprefix("p.").strip("()"))
    if not found:
        return ""
    before, after = (_AMINO_ACIDS.get(residue, residue) for residue in (found[1], found[3]))
    return f"{before}{found[2]}{after}" if len(before) == len(after) == 1 else ""


def _vep(at: int, fields: Mapping[str, str]) -> Consequence:
    get = fields.get
    change = protein_substitution(get("HGVSp", ""))
    before, _, after = get("Amino_acids", "").partition("/")
    if not change and after:
        change = protein_substitution(f"{before}{get('Protein_position', '').partition('/')[0]}{after}")
    # The NMD plugin says it in a field of its own; LOFTEE's END_TRUNC is its 50-bp rule.
    stated = "&".join(get(name, "") for name in ("NMD", "LoF_flags", "LoF_filter"))
    return Consequence(
        allele=at,
        terms=tuple(get("Consequence", "").split("&")),
        gene=get("SYMBOL", "") or get("Gene", ""),
        gene_id=get("Gene", ""),
        transcript=get("Feature", ""),
        mane=bool(get("MANE_SELECT", "")) or "MANE_Select" in get("MANE", ""),
        canonical=get("CANONICAL", "") == "YES",
        exon=_exon(get("EXON", "")),
        protein_change=change,
        escapes_nmd="NMD_escaping_variant" in stated or "END_TRUNC" in stated,
        low_confidence=get("LoF", "") == "LC",
    )


def _snpeff(at: int, fields: Mapping[str, str]) -> Consequence:
    get = fields.get
    terms = tuple(get("Annotation", "").split("&"))
    # SnpEff's rank counts introns where the change is in an intron.
    rank = None if any(term.startswith(("splice_", "intron")) for term in terms) else _exon(get("Rank", ""))
    return Consequence(
        allele=at,
        terms=terms,
        gene=get("Gene_Name", "") or get("Gene_ID", ""),
        gene_id=get("Gene_ID", ""),
        transcript=get("Feature_ID", ""),
        mane=False,
        canonical=False,
        exon=rank,
        protein_change=protein_substitution(get("HGVS.p", "")),
        escapes_nmd=False,
        low_confidence=False,
    )


def representative(found: Sequence[Consequence]) -> list[Consequence]:
    """One consequence an allele and gene: MANE Select's, else the canonical transcript's, else the most severe.

    Of equals the first listed is taken. Consequences that name no gene are left out. A gene is its symbol, for
    merged transcript sets (vep --merged) give one gene an Ensembl and a RefSeq id.
    """
    best: dict[tuple[int, str], Consequence] = {}
    for one in sorted(found, key=lambda c: (not c.mane, not c.canonical, c.severity)):
        if one.gene:
            best.setdefault((one.allele, one.gene), one)
    return list(best.values())


def affected_share(info: Mapping[str, str], key: str, where: str) -> dict[str, float]:
    """SnpEff's LOF or NMD: the share of transcripts affected (0-1), by gene symbol and by gene_id.

    Raises:
        VcfError: An entry that is not "(symbol|id|transcripts|share)".
    """
    shares: dict[str, float] = {}
    for entry in filter(None, info.get(key, "").split(",")):
        if entry == ".":
            continue
        values = entry.strip("()").split("|")
        try:
            share = float(values[3]) if len(values) == 4 else float("nan")
        except ValueError:
            share = float("nan")
        if not 0 <= share <= 1:
            raise VcfError(
                f"{key} has the entry {entry[:60]!r}",
                where=where,
                remedy="it should read (symbol|id|number of transcripts|share affected); run SnpEff again",
            )
        for name in values[:2]:
            shares[name.strip()] = share
    return shares
