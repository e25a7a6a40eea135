"""A VCF header's donors and contigs, and the records as text lines whatever the container."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

from genesim.data.genotypes.preflight import Kind, bgzf_blocks, text_lines
from genesim.errors import VcfError

_FIXED = ("#CHROM", "POS", "ID", "REF", "ALT", "QUAL", "FILTER", "INFO", "FORMAT")
CONTIG_NAME = re.compile(r"[0-9A-Za-z!#$%&+./:;?@^_|~-][0-9A-Za-z!#$%&*+./:;=?@^_|~-]*")
"""What the VCF specification (4.3, section 1.4.7) allows as the name of a contig."""

_CONTIG = re.compile(r"##contig=<(.*)>\s*$")
_ID = re.compile(r"(?:^|,)ID=([^,]+)")
_LENGTH = re.compile(r"(?:^|,)length=(\d+)(?:,|$)")
_INFO = re.compile(r'##INFO=<ID=([^,]+),.*Description="(.*)"')


def contig_line(raw: bytes) -> tuple[str, int | None] | None:
    """Name and length in bp of a `##contig` line; None of another line."""
    found = _CONTIG.match(raw.decode("utf-8", "replace"))
    name = _ID.search(found[1]) if found else None
    if not found or not name:
        return None
    length = _LENGTH.search(found[1])
    return name[1], int(length[1]) if length else None


@dataclass(frozen=True)
class VcfHeader:
    """Donors, and declared contigs with their lengths in bp (None where not given), in file order.

    `info` has the Description of every INFO field; annotators list the order of their subfields there.
    """

    donors: tuple[str, ...]
    contig_lengths: dict[str, int | None]
    info: dict[str, str] = field(default_factory=dict)


def parse_header(lines: list[bytes], path: Path) -> VcfHeader:
    """Read the donors and contigs of a header, whose last line is the one of column names.

    Raises:
        VcfError: Columns that are missing or misnamed, no donors, or repeated or unreadable donor names.
    """
    where = str(path)
    lengths: dict[str, int | None] = {}
    info: dict[str, str] = {}
    for raw in lines[:-1]:
        if declared := contig_line(raw):
            lengths.setdefault(*declared)
        elif described := _INFO.match(raw.decode("utf-8", "replace")):
            info.setdefault(described[1], described[2])
    try:
        columns = lines[-1].decode("utf-8").split("\t")
    except UnicodeDecodeError as error:
        raise VcfError(
            "the donor names are not UTF-8", where=where, remedy="rename them (`bcftools reheader -s`)"
        ) from error
    for at, expected in enumerate(_FIXED[:8]):
        if at >= len(columns) or columns[at] != expected:
            raise VcfError(
                f"column {at + 1} of the header line is {columns[at] if at < len(columns) else 'absent'!r}, "
                f"not {expected!r}",
                where=where,
                remedy="write the #CHROM line with the eight fixed columns, separated by tabs",
            )
    if len(columns) < 10 or columns[8] != "FORMAT":
        raise VcfError(
            "holds sites only: there are no donor columns",
            where=where,
            remedy="give a VCF with genotypes (GT) of donors",
        )
    donors = tuple(columns[9:])
    repeated = [name for name, n in Counter(donors).items() if n > 1]
    if repeated:
        raise VcfError(
            f"donors are repeated in the header: {', '.join(repeated[:8])}",
            where=where,
            remedy="give every donor one column (`bcftools reheader -s` renames, `bcftools view -s` drops)",
        )
    if not all(name.strip() for name in donors):
        raise VcfError("a donor has no name", where=where, remedy="name every column of the #CHROM line")
    return VcfHeader(donors, lengths, info)


def open_records(path: Path, kind: Kind) -> tuple[VcfHeader, Iterator[bytes]]:
    """The header, and every record as its VCF line.

    Raises:
        VcfError: A header that cannot be used; while records are drawn, damaged data.
    """
    lines = text_lines(path, kind) if kind in ("text", "bgzf") else _bcf_lines(path, kind)
    head: list[bytes] = []
    for line in lines:
        if not head and not line.startswith(b"##fileformat=VCF"):
            raise VcfError(
                f"is not a VCF: it starts with {line[:16]!r}",
                where=str(path),
                remedy="a VCF's first line is '##fileformat=VCFv4.2' or another version",
            )
        if not line.startswith(b"#"):
            lines = chain([line], lines)
            break
        head.append(line)
        if not line.startswith(b"##"):
            break
    if not head or head[-1].startswith(b"##"):
        raise VcfError("the header has no #CHROM line", where=str(path), remedy="add the line that names the columns")
    return parse_header(head, path), lines


def _bcf_lines(path: Path, kind: Kind) -> Iterator[bytes]:
    """Header and records of a BCF, as VCF lines written by htslib."""
    import pysam

    if kind == "bgzf-bcf":
        for _ in bgzf_blocks(path):  # htslib words a damaged block poorly, and not always as an error
            pass  # reading a block checks it
    number = 0
    said = pysam.set_verbosity(0)
    try:
        # An open handle instead of a path: no index beside the file is ever looked at.
        with open(path, "rb") as handle, pysam.VariantFile(handle) as file:
            yield from str(file.header).encode().splitlines()
            for record in file:
                number += 1
                yield str(record).encode().rstrip(b"\n")
    except (OSError, ValueError, RuntimeError, UnicodeError) as error:
        after = f" after record {number}" if number else ""
        raise VcfError(
            f"htslib cannot read the BCF{after} ({error})",
            where=str(path),
            remedy="write the file again (`bcftools view -Ob`)",
        ) from error
    finally:
        pysam.set_verbosity(said)
