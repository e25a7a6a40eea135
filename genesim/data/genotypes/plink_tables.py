"""The text tables of PLINK file sets: donors (.fam, .psam) and variants (.bim, .pvar).

Formats: https://www.cog-genomics.org/plink/2.0/formats. Contig codes are kept as they are written.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from genesim.data.genotypes.header import contig_line
from genesim.data.genotypes.source import Record
from genesim.errors import VcfError

_ABSENT = (b"0", b".")


def companion(path: Path, suffixes: tuple[str, ...], all_suffixes: tuple[str, ...]) -> Path:
    """The file of the set of `path` (one of its files, or their prefix) that has one of `suffixes`.

    Raises:
        VcfError: There is none.
    """
    prefix = next((str(path)[: -len(s)] for s in all_suffixes if path.name.endswith(s)), str(path))
    for suffix in suffixes:
        if (found := Path(prefix + suffix)).is_file():
            return found
    raise VcfError(
        f"the file set has no {' or '.join(suffixes)} file",
        where=prefix,
        remedy=f"put {Path(prefix).name}{suffixes[0]} beside the others",
    )


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """Numbered lines (from 1) without their ends, of a plain or zstd-compressed file."""
    import pyarrow as pa

    number, rest = 0, b""
    try:
        with pa.input_stream(str(path), compression="zstd" if path.name.endswith(".zst") else None) as stream:
            # Not `read`, which keeps its piece for ever where the stream is damaged (pyarrow 26).
            while piece := stream.read_buffer(1 << 20).to_pybytes():
                *lines, rest = (rest + piece).split(b"\n")
                for line in lines:
                    number += 1
                    yield number, line.rstrip(b"\r")
            if rest.strip():
                yield number + 1, rest.rstrip(b"\r")
    except (OSError, pa.ArrowException) as error:
        raise VcfError(
            f"cannot be read ({error})", where=str(path), remedy="copy or write the file set again"
        ) from error


def _bad(path: Path, number: int, found: str, remedy: str = "correct the line") -> VcfError:
    return VcfError(f"line {number} {found}", where=str(path), remedy=remedy)


def read_donors(path: Path) -> tuple[str, ...]:
    """The IIDs of a .fam or .psam.

    Raises:
        VcfError: Lines without an IID, or no donors, or an IID that is repeated.
    """
    at: int | None = 1  # a .fam, or a .psam without a header line: FID IID ...
    donors: dict[str, int] = {}
    for number, line in _lines(path):
        if line.startswith(b"##") or not line.strip():
            continue
        if line.startswith((b"#FID", b"#IID")):
            names = line[1:].split()
            if b"IID" not in names:
                raise _bad(path, number, "names no IID column")
            at = names.index(b"IID")
            continue
        fields = line.split()
        if at is None or len(fields) <= at:
            raise _bad(path, number, f"has {len(fields)} columns and no IID")
        try:
            name = fields[at].decode("utf-8")
        except UnicodeDecodeError as error:
            raise _bad(path, number, "has an IID that is not UTF-8") from error
        if name in donors:
            raise _bad(
                path,
                number,
                f"repeats donor {name} of line {donors[name]}",
                "give every donor an IID of its own (`plink2 --update-ids`)",
            )
        donors[name] = number
    if not donors:
        raise VcfError("lists no donors", where=str(path), remedy="write the file set again")
    return tuple(donors)


def _position(path: Path, number: int, raw: bytes) -> int:
    # A negative position is PLINK's way to leave a variant out.
    if not raw.removeprefix(b"-").isdigit():
        raise _bad(path, number, f"has the position {raw[:20]!r}")
    return int(raw[:18])


def read_bim(path: Path) -> Iterator[Record]:
    """Variants of a .bim: A2 is REF, A1 is ALT.

    Raises:
        VcfError: A line that is no variant.
    """
    for number, line in _lines(path):
        fields = line.split()
        if len(fields) != 6:
            raise _bad(path, number, f"has {len(fields)} columns, not 6")
        contig, name, _, raw_position, alternate, ref = fields
        yield _bim_record(path, number, contig, raw_position, name, ref, alternate)


def _bim_record(
    path: Path, number: int, contig: bytes, raw_position: bytes, name: bytes, ref: bytes, alternate: bytes
) -> Record:
    if b"," in alternate:
        raise _bad(path, number, f"has the allele {alternate[:20]!r}", "PLINK 1 holds two alleles a variant")
    position = _position(path, number, raw_position)
    if alternate in _ABSENT or ref in _ABSENT:
        alternate = b"."  # an allele that nobody has is not known
    return Record(contig, position, name, ref, alternate, placed=contig != b"0" and position > 0)


def read_pvar(path: Path) -> Iterator[Record]:
    """Variants of a .pvar, plain or zstd-compressed, with or without a header line.

    Raises:
        VcfError: A line that is no variant, or a header line without the columns.
    """
    columns: list[int] | None = None
    filter_at: int | None = None
    n_columns = 0
    for number, line in _lines(path):
        if line.startswith(b"##"):
            continue
        if line.startswith(b"#"):
            names = line.split(b"\t") if b"\t" in line else line.split()
            wanted = (b"#CHROM", b"POS", b"ID", b"REF", b"ALT")
            if any(name not in names for name in wanted):
                raise _bad(path, number, "does not name #CHROM, POS, ID, REF and ALT")
            columns, n_columns = [names.index(name) for name in wanted], len(names)
            filter_at = names.index(b"FILTER") if b"FILTER" in names else None
            continue
        fields = line.split(b"\t") if b"\t" in line else line.split()
        if columns is None:  # the layout of a .bim, with or without the column of cM
            if len(fields) not in (5, 6):
                raise _bad(path, number, f"has {len(fields)} columns, and there is no header line")
            contig, name, *_, raw_position, alternate, ref = fields
            yield _bim_record(path, number, contig, raw_position, name, ref, alternate)
            continue
        if len(fields) != n_columns:
            raise _bad(path, number, f"has {len(fields)} columns, the header line {n_columns}")
        contig, raw_position, name, ref, alternate = (fields[i] for i in columns)
        position = _position(path, number, raw_position)
        passed = filter_at is None or fields[filter_at] in (b"PASS", b".")
        yield Record(contig, position, name, ref, alternate, passed, placed=contig != b"0" and position > 0)


def read_pvar_contigs(path: Path) -> dict[str, int | None]:
    """Contigs that the header declares, with their lengths in bp."""
    lengths: dict[str, int | None] = {}
    for _, line in _lines(path):
        if not line.startswith(b"##"):
            break
        if found := contig_line(line):
            lengths.setdefault(*found)
    return lengths
