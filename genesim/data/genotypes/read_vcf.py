"""`read_genotypes`: VCF (plain or bgzipped) and BCF to `Genotypes`, every record checked before it is used.

Text is parsed here and BCF by htslib through pysam. cyvcf2 is not used: it crashes the process on some
malformed records (a POS that is no number, an empty FORMAT key).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from genesim.config.inputs import GenotypePolicy
from genesim.data.coordinates import to_one_based, to_zero_based
from genesim.data.genotypes.calls import CallParser, genotype_row
from genesim.data.genotypes.collect import Collector
from genesim.data.genotypes.header import CONTIG_NAME, VcfHeader, open_records
from genesim.data.genotypes.preflight import file_kind
from genesim.data.genotypes.record import Genotypes
from genesim.data.genotypes.region import Selection, select
from genesim.errors import JoinError, VcfError

REPORT = (
    "records", "contigs_renamed", "filtered_records", "records_without_genotypes",
    "records_without_alternate", "multiallelic_split", "multiallelic_dropped",
    "symbolic_alleles_dropped", "duplicate_variants",
    "half_missing_calls", "haploid_calls", "missing_calls", "variants_too_missing", "variants_too_rare",
)  # fmt: skip
"""Names of the counts in `Genotypes.report`; of calls, those of variants that the later policies saw."""

_BASES = re.compile(rb"[ACGTURYKMSWBDHVN]+", re.IGNORECASE)
_SYMBOLIC = re.compile(rb"\*|<[^<>\s]+>|[^\s]*[\[\]][^\s]*|\.[A-Z]+|[A-Z]+\.", re.IGNORECASE)


def read_genotypes(
    path: str | Path,
    region: str | None = None,
    donors: Sequence[str] | None = None,
    contigs: Sequence[str] | None = None,
    policy: GenotypePolicy | None = None,
) -> Genotypes:
    """Read the genotypes of a VCF or BCF file.

    The file is streamed once, with every BGZF block verified; an index beside it is never used.

    Args:
        path: `.vcf`, bgzipped `.vcf.gz`, or `.bcf`; told apart by content.
        region: `chr2:108,000,000-111,000,000`, 1-based and closed; keeps records that overlap it.
        donors: Donors to read, in this order; None reads all.
        contigs: Contigs to read; None or empty reads all. `22` finds `chr22` where that is unambiguous.
        policy: What to do with records that are not plain biallelic calls; counted in `report`.

    Returns:
        Genotypes with ids from the file where they are unique, else `contig_pos_ref_alt` (1-based).
        Alleles are in upper case; contigs keep the file's names.

    Raises:
        VcfError: A file that is damaged, unsorted or malformed, or that leaves no variant.
        JoinError: Donors or contigs that the file does not have.
        ConfigError: A region that cannot be read.
    """
    path = Path(path)
    policy = policy or GenotypePolicy()
    kind = file_kind(path)
    header, lines = open_records(path, kind)

    def present() -> Iterator[str]:
        return (line.partition(b"\t")[0].decode("utf-8", "replace") for line in open_records(path, kind)[1])

    selection = select(region, contigs, header.contig_lengths, present, str(path))
    names, chosen = _choose_donors(header.donors, donors, path)
    parser = CallParser(header.donors, str(path))
    collector = Collector(policy, parser, len(header.donors), chosen, str(path))
    lengths = dict(header.contig_lengths)
    counts: Counter[str] = Counter(contigs_renamed=selection.n_renamed)
    _read_records(lines, header, selection, policy, collector, lengths, counts, path)

    kept = collector.finish()
    counts.update(collector.report)
    report = {name: counts[name] for name in REPORT}
    if kept is None:
        told = ", ".join(f"{name} {n}" for name, n in report.items() if n) or "no records"
        raise VcfError(
            f"no variant is left ({told})",
            where=str(path),
            remedy="check the region, the donors and the genotype policy",
        )
    alleles, phased, table = kept
    return Genotypes(
        alleles=alleles,
        phased=phased,
        variants=name_variants(table),
        donors=names,
        contig_lengths=lengths,
        report=report,
    )


def _choose_donors(present: tuple[str, ...], wanted: Sequence[str] | None, path: Path) -> tuple[pd.Index, np.ndarray]:
    names = pd.Index(list(present) if wanted is None else [str(name) for name in wanted], dtype=object)
    at = pd.Index(list(present), dtype=object).get_indexer(names)
    unknown = [str(name) for name in names[at < 0]]
    if unknown:
        raise JoinError(
            f"{len(unknown)} donors are not in the file: {', '.join(unknown[:8])}"
            f"{' ...' if len(unknown) > 8 else ''}; it has {', '.join(present[:3])}"
            f"{' ...' if len(present) > 3 else ''}",
            where=str(path),
            remedy="name donors as the VCF does (column genotype_id of the donor table)",
        )
    if not len(names) or not names.is_unique:
        raise JoinError(
            "no donor is asked for" if not len(names) else "a donor is asked for twice",
            where=str(path),
            remedy="give every donor once",
        )
    return names, at


@dataclass
class _Place:
    """Where the reading is, to notice records out of order and repeated variants."""

    raw: bytes = b""
    contig: str = ""
    position: int = 0
    finished: set[bytes] = field(default_factory=set)
    seen: set[tuple[bytes, bytes]] = field(default_factory=set)


def _fail(path: Path, record: str, found: str, remedy: str = "correct or remove the record") -> VcfError:
    return VcfError(f"{record} {found}", where=str(path), remedy=remedy)


def _read_records(
    lines: Iterator[bytes],
    header: VcfHeader,
    selection: Selection,
    policy: GenotypePolicy,
    collector: Collector,
    lengths: dict[str, int | None],
    counts: Counter[str],
    path: Path,
) -> None:
    """Pass the wanted records on to `collector`, counting what the record-level policies drop."""
    place = _Place()
    sort = "sort it: bcftools sort -Oz -o sorted.vcf.gz"
    for number, line in enumerate(lines, 1):
        fields = line.split(b"\t", 9)
        if len(fields) < 10 or not fields[1].isdigit():
            raise _fail(
                path,
                f"record {number}",
                f"has {len(fields)} columns" if len(fields) < 10 else f"has the position {fields[1][:20]!r}",
            )
        raw_contig, raw_position, raw_name, ref, alternates, _, filters, _, file_format, samples = fields
        position = int(raw_position[:18])
        if raw_contig != place.raw:
            if selection.end is not None and place.contig in (selection.contigs or ()):
                return
            contig = _text(raw_contig, path, number)
            if not CONTIG_NAME.fullmatch(contig):
                raise _fail(path, f"record {number}", f"has the contig name {contig[:40]!r}")
            if raw_contig in place.finished:
                raise _fail(path, f"record {number} ({contig}:{position})", "comes back to an earlier contig", sort)
            if place.raw:
                place.finished.add(place.raw)
            place.raw, place.contig = raw_contig, contig
            place.seen.clear()
            lengths.setdefault(contig, None)
        elif position != place.position:
            if position < place.position:
                raise _fail(
                    path,
                    f"record {number} ({place.contig}:{position})",
                    f"comes after position {place.position}: the file is not sorted",
                    sort,
                )
            place.seen.clear()
        place.position = position

        start = to_zero_based(position)
        if selection.contigs is not None:
            if place.contig not in selection.contigs or start + len(ref) <= selection.start:
                continue
            if selection.end is not None and start >= selection.end:
                return
        counts["records"] += 1
        record = f"record {number} ({place.contig}:{position})"
        if policy.filters == "pass" and filters not in (b"PASS", b"."):
            counts["filtered_records"] += 1
            continue
        kept, n_alternate = _plain_alleles(ref, alternates, policy, counts, path, record)
        if not kept:
            continue
        if position < 1 or position > (lengths[place.contig] or position):
            raise _fail(path, record, f"lies outside its contig (1 to {lengths[place.contig] or 'its end'})")
        ref = ref.upper()
        row = genotype_row(file_format, samples)
        if row is None:
            counts["records_without_genotypes"] += 1
            continue
        fresh = []
        for i, alternate in kept:
            if (ref, alternate) in place.seen:
                counts["duplicate_variants"] += 1
            else:
                place.seen.add((ref, alternate))
                fresh.append((i, alternate.decode()))
        if len(fresh) < len(kept) and policy.duplicates == "error":
            raise _fail(path, record, "repeats a variant", "set genotypes.duplicates to 'drop'")
        if not fresh:
            continue
        collector.add(
            place.contig,
            start,
            _text(raw_name, path, number),
            ref.decode(),
            fresh,
            n_alternate,
            row,
            record,
        )


def _text(raw: bytes, path: Path, number: int) -> str:
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise _fail(path, f"record {number}", "has a name that is not UTF-8") from error
    if not text or any(c.isspace() for c in text):
        raise _fail(path, f"record {number}", "has a name that is empty or holds spaces")
    return text


def _plain_alleles(
    ref: bytes, alternates: bytes, policy: GenotypePolicy, counts: Counter[str], path: Path, record: str
) -> tuple[list[tuple[int, bytes]], int]:
    """Alternate alleles to keep (number from 1, upper-case bases), and how many the record lists."""
    if alternates == b".":
        counts["records_without_alternate"] += 1
        return [], 0
    if not _BASES.fullmatch(ref):
        raise _fail(path, record, f"has the reference allele {ref[:20].decode('utf-8', 'replace')!r}")
    listed = alternates.split(b",")
    if len(listed) > 1 and policy.multiallelic == "error":
        raise _fail(path, record, "is multiallelic", "set genotypes.multiallelic to 'split' or 'drop'")
    kept: list[tuple[int, bytes]] = []
    for number, alternate in enumerate(listed, 1):
        if alternate.upper() == ref.upper():
            raise _fail(path, record, "lists its reference allele as alternate")
        if _BASES.fullmatch(alternate):
            kept.append((number, alternate.upper()))
        elif _SYMBOLIC.fullmatch(alternate):
            if policy.symbolic == "error":
                raise _fail(path, record, "has a symbolic allele", "set genotypes.symbolic to 'drop'")
            counts["symbolic_alleles_dropped"] += 1
        else:
            raise _fail(path, record, f"has the alternate allele {alternate[:20].decode('utf-8', 'replace')!r}")
    if len(listed) > 1 and policy.multiallelic == "drop":
        counts["multiallelic_dropped"] += 1
        return [], len(listed)
    counts["multiallelic_split"] += len(listed) > 1
    return kept, len(listed)


def name_variants(table: pd.DataFrame) -> pd.DataFrame:
    """Variants indexed by unique id: the file's own (`name`) where unique, else `contig_pos_ref_alt`.

    Args:
        table: Columns `contig`, `start` (0-based), `name` ('.' for none), `ref`, `alt`.
    """
    columns = (table["contig"], to_one_based(table["start"]), table["ref"], table["alt"])
    made = np.array([f"{c}_{p}_{r}_{a}" for c, p, r, a in zip(*columns, strict=True)], dtype=object)
    own = table["name"].to_numpy(dtype=object)
    # An own id that reads like another variant's made id would not be unique once that one is used.
    clashing = (own != made) & table["name"].isin(set(made)).to_numpy()
    usable = (own != ".") & ~table["name"].duplicated(keep=False).to_numpy() & ~clashing
    variants = table[["contig", "start", "ref", "alt"]].copy()
    for name in ("contig", "ref", "alt"):
        variants[name] = variants[name].to_numpy(dtype=object)
    variants["start"] = variants["start"].astype(np.int64)
    variants.index = pd.Index(np.where(usable, own, made), dtype=object, name="variant")
    return variants
