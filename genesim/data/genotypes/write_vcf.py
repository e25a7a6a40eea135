"""`write_vcf`: `Genotypes` to bgzipped VCF (+ .tbi), BCF (+ .csi) or plain VCF, deterministically."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from genesim.data.coordinates import to_one_based
from genesim.data.genotypes.header import CONTIG_NAME
from genesim.data.genotypes.record import Genotypes, allele_counts
from genesim.errors import VcfError
from genesim.provenance.atomic import atomic_file
from genesim.provenance.record import Provenance

_CHUNK_BYTES = 1 << 24
_TBI_LIMIT = 1 << 29  # bp; a .tbi index cannot hold positions beyond it
_INFO_NAME = re.compile(r"[A-Za-z_][0-9A-Za-z_.]*")


def _call_table() -> np.ndarray:
    """uint8 [first, second, phased, 4]: the text of a call behind its tab; NUL bytes are to be removed."""
    symbols = {-2: b"\0", -1: b".", 0: b"0", 1: b"1"}
    table = np.zeros((4, 4, 2, 4), dtype=np.uint8)
    for first, a in symbols.items():
        for second, b in symbols.items():
            for phased in (0, 1):
                separator = b"\0" if second == -2 else b"|" if phased and first != -1 != second else b"/"
                table[first + 2, second + 2, phased] = np.frombuffer(b"\t" + a + separator + b, np.uint8)
    return table


_CALLS = _call_table()


def write_vcf(
    genotypes: Genotypes,
    path: str | Path,
    provenance: Provenance | None = None,
    info: pd.DataFrame | None = None,
) -> None:
    """Write genotypes, sorted by contig (in the order of `contig_lengths`) and position.

    The format follows the suffix: `.vcf.gz` with its index (`.tbi`; `.csi` where a contig exceeds 2^29 bp),
    `.bcf` with `.csi`, or plain `.vcf`. The index is in place before the data, so none is ever stale.
    A missing call is written `./.`, a haploid one `0` or `1`; INFO has AC, AN and AF.

    Args:
        genotypes: What to write.
        path: Where to.
        provenance: Adds its header lines.
        info: More INFO fields: indexed by variant id, a column each; integers, floats, booleans (flags)
            or strings. Missing values are left out.

    Raises:
        VcfError: A suffix, name or INFO column that VCF cannot hold.
        ResourceError: The location cannot be written.
    """
    path = Path(path)
    if not path.name.endswith((".vcf", ".vcf.gz", ".bcf")):
        raise VcfError(
            "the suffix does not tell the format",
            where=str(path),
            remedy="use .vcf.gz, .bcf or .vcf",
        )
    _check_names(genotypes, info, path)
    header = _header(genotypes, provenance, info)
    if path.name.endswith(".vcf"):
        with atomic_file(path) as temporary, open(temporary, "wb") as handle:
            handle.write(header)
            for piece in _records(genotypes, info):
                handle.write(piece)
        return
    with atomic_file(path) as temporary:
        if path.name.endswith(".vcf.gz"):
            _write_bgzf(temporary, header, _records(genotypes, info))
        else:
            _write_bcf(temporary, header, _records(genotypes, info))
        _index(temporary, path, genotypes)


def _write_bgzf(path: Path, header: bytes, pieces: Iterator[bytes]) -> None:
    import pysam

    with pysam.BGZFile(str(path), "wb", None) as handle:
        handle.write(header)
        for piece in pieces:
            handle.write(piece)


def _write_bcf(path: Path, header: bytes, pieces: Iterator[bytes]) -> None:
    """Encode through a bgzipped text beside the target, which has room for it."""
    import pysam

    with tempfile.TemporaryDirectory(prefix=".tmp-", dir=path.parent) as folder:
        text = Path(folder) / "text.vcf.gz"
        _write_bgzf(text, header, pieces)
        with (
            open(text, "rb") as handle,  # an open handle: htslib looks for no index beside it
            pysam.VariantFile(handle) as source,
            pysam.VariantFile(str(path), "wb", header=source.header) as target,
        ):
            for record in source:
                target.write(record)


def _index(temporary: Path, path: Path, genotypes: Genotypes) -> None:
    """Put the index of `temporary` where that of `path` belongs."""
    import pysam

    bcf = path.suffix == ".bcf"
    longest = max([length or 0 for length in genotypes.contig_lengths.values()], default=0)
    last = int(genotypes.variants["start"].max()) if genotypes.n_variants else 0
    csi = bcf or max(longest, last) >= _TBI_LIMIT
    with atomic_file(f"{path}.{'csi' if csi else 'tbi'}") as index:
        pysam.tabix_index(
            str(temporary),
            preset="bcf" if bcf else "vcf",  # type: ignore[arg-type]  # the stubs lack "bcf"
            index=str(index),
            csi=csi,
            force=True,
            keep_original=True,
        )
        # A reader between these steps finds no file, never a file with another file's index.
        for suffix in (".tbi", ".csi"):
            Path(f"{path}{suffix}").unlink(missing_ok=True)
        path.unlink(missing_ok=True)


def _check_names(genotypes: Genotypes, info: pd.DataFrame | None, path: Path) -> None:
    def refuse(what: str, value: object) -> VcfError:
        return VcfError(
            f"{what} {value!r} cannot be written in a VCF",
            where=str(path),
            remedy="use names without spaces, tabs, and (in INFO) semicolons, commas or equal signs",
        )

    for donor in genotypes.donors:
        if not str(donor).strip() or any(c in str(donor) for c in "\t\n\r"):
            raise refuse("donor", donor)
    if not genotypes.n_donors:
        raise refuse("a file without donors:", 0)
    for contig in _contig_order(genotypes):
        if not CONTIG_NAME.fullmatch(contig):
            raise refuse("contig", contig)
    for name in ("ref", "alt"):
        for value in genotypes.variants[name].unique():
            if not re.fullmatch(r"[A-Za-z]+", str(value)):
                raise refuse(name, value)
    for value in genotypes.variants.index:
        if not str(value) or any(c.isspace() for c in str(value)):
            raise refuse("variant id", value)
    if info is None:
        return
    if not genotypes.variants.index.isin(info.index).all():
        raise VcfError("INFO is not given for every variant", where=str(path), remedy="index `info` by variant id")
    for column in info.columns:
        if not _INFO_NAME.fullmatch(str(column)) or column in ("AC", "AN", "AF"):
            raise refuse("INFO field", column)
        if _info_type(info[column]) == "String":
            for value in info[column].dropna().unique():
                if re.search(r"[\s;,=]", str(value)) or not str(value):
                    raise refuse(f"INFO {column}", value)


def _info_type(column: pd.Series) -> str:
    if pd.api.types.is_bool_dtype(column):
        return "Flag"
    if pd.api.types.is_integer_dtype(column):
        return "Integer"
    return "Float" if pd.api.types.is_float_dtype(column) else "String"


def _header(genotypes: Genotypes, provenance: Provenance | None, info: pd.DataFrame | None) -> bytes:
    lines = ["##fileformat=VCFv4.2", '##FILTER=<ID=PASS,Description="All filters passed">']
    lines += provenance.vcf_header_lines() if provenance else []
    for contig in _contig_order(genotypes):
        length = genotypes.contig_lengths.get(contig)
        lines.append(f"##contig=<ID={contig}{f',length={length}' if length else ''}>")
    lines += [
        '##INFO=<ID=AC,Number=A,Type=Integer,Description="Copies of the alternate allele">',
        '##INFO=<ID=AN,Number=1,Type=Integer,Description="Called copies">',
        '##INFO=<ID=AF,Number=A,Type=Float,Description="Frequency of the alternate allele">',
    ]
    for column in info.columns if info is not None else ():
        kind = _info_type(info[column])  # type: ignore[index]
        number = 0 if kind == "Flag" else 1
        lines.append(f'##INFO=<ID={column},Number={number},Type={kind},Description="{column}">')
    lines.append('##FORMAT=<ID=GT,Number=1,Type=String,Description="Genotype">')
    columns = ["#CHROM", "POS", "ID", "REF", "ALT", "QUAL", "FILTER", "INFO", "FORMAT"]
    lines.append("\t".join([*columns, *map(str, genotypes.donors)]))
    return ("\n".join(lines) + "\n").encode()


def _contig_order(genotypes: Genotypes) -> list[str]:
    return list(dict.fromkeys([*genotypes.contig_lengths, *genotypes.variants["contig"]]))


def _info_texts(info: pd.DataFrame, variants: pd.Index) -> list[str]:
    """INFO text of every variant, each field with the semicolon before it."""
    texts = [""] * len(variants)
    for column in info.columns:
        values = info[column].reindex(variants)
        kind = _info_type(info[column])
        for i, (value, known) in enumerate(zip(values, values.notna(), strict=True)):
            if kind == "Flag":
                texts[i] += f";{column}" if known and value else ""
            elif known:
                texts[i] += f";{column}={value:.6g}" if kind == "Float" else f";{column}={value}"
    return texts


def _records(genotypes: Genotypes, info: pd.DataFrame | None) -> Iterator[bytes]:
    """Record lines, some megabytes at a time."""
    variants = genotypes.variants
    rank = {contig: i for i, contig in enumerate(_contig_order(genotypes))}
    order = np.lexsort((variants["start"].to_numpy(), variants["contig"].map(rank).to_numpy()))
    size = int(np.clip(_CHUNK_BYTES // (4 * max(1, genotypes.n_donors)), 1, 8192))
    for at in range(0, len(order), size):
        rows = order[at : at + size]
        table = variants.iloc[rows]
        alleles = genotypes.alleles[rows]
        n_alternate, n_called = allele_counts(alleles)
        text = _CALLS[alleles[:, :, 0] + 2, alleles[:, :, 1] + 2, genotypes.phased[rows].astype(np.int8)]
        more = _info_texts(info, table.index) if info is not None else [""] * len(rows)
        lines = []
        for i, (contig, position, name, ref, alt, ac, an) in enumerate(
            zip(
                table["contig"],
                to_one_based(table["start"].to_numpy()).tolist(),
                table.index,
                table["ref"],
                table["alt"],
                n_alternate.tolist(),
                n_called.tolist(),
                strict=True,
            )
        ):
            frequency = f"{ac / an:.6g}" if an else "."
            counts = f"AC={ac};AN={an};AF={frequency}{more[i]}"
            front = f"{contig}\t{position}\t{name}\t{ref}\t{alt}\t.\tPASS\t{counts}\tGT"
            lines.append(front.encode() + text[i].tobytes().replace(b"\0", b"") + b"\n")
        yield b"".join(lines)
