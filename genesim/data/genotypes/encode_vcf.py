"""The text form of a VCF: header and record lines. `encode_bcf` gives the binary form of the same records."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Bool, Int8

from genesim.data.coordinates import to_one_based
from genesim.data.genotypes.record import allele_counts
from genesim.provenance.record import Provenance


@dataclass(frozen=True)
class RecordBlock:
    """Neighbouring records to write.

    Attributes:
        variants: Indexed by id; columns `contig`, `start` (0-based), `ref`, `alt`.
        alleles, phased: As in `Genotypes`.
        info: More INFO fields, a row each variant; None for none.
    """

    variants: pd.DataFrame
    alleles: Int8[np.ndarray, "variant donor 2"]
    phased: Bool[np.ndarray, "variant donor"]
    info: pd.DataFrame | None = None


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


def info_type(column: pd.Series) -> str:
    """The VCF type of an INFO column."""
    if pd.api.types.is_bool_dtype(column):
        return "Flag"
    if pd.api.types.is_integer_dtype(column):
        return "Integer"
    return "Float" if pd.api.types.is_float_dtype(column) else "String"


def header_text(
    donors: Iterable[str],
    contig_lengths: dict[str, int | None],
    provenance: Provenance | None,
    info: pd.DataFrame | None,
) -> str:
    """Header lines of a file with these donors, contigs (in this order) and INFO columns."""
    lines = ["##fileformat=VCFv4.2", '##FILTER=<ID=PASS,Description="All filters passed">']
    lines += provenance.vcf_header_lines() if provenance else []
    for contig, length in contig_lengths.items():
        lines.append(f"##contig=<ID={contig}{f',length={length}' if length else ''}>")
    lines += [
        '##INFO=<ID=AC,Number=A,Type=Integer,Description="Copies of the alternate allele">',
        '##INFO=<ID=AN,Number=1,Type=Integer,Description="Called copies">',
        '##INFO=<ID=AF,Number=A,Type=Float,Description="Frequency of the alternate allele">',
    ]
    for column in info.columns if info is not None else ():
        kind = info_type(info[column])  # type: ignore[index]
        number = 0 if kind == "Flag" else 1
        lines.append(f'##INFO=<ID={column},Number={number},Type={kind},Description="{column}">')
    lines.append('##FORMAT=<ID=GT,Number=1,Type=String,Description="Genotype">')
    columns = ["#CHROM", "POS", "ID", "REF", "ALT", "QUAL", "FILTER", "INFO", "FORMAT"]
    lines.append("\t".join([*columns, *map(str, donors)]))
    return "\n".join(lines) + "\n"


def _info_texts(info: pd.DataFrame) -> list[str]:
    """INFO text of every variant, each field with the semicolon before it."""
    texts = [""] * len(info)
    for column in info.columns:
        values = info[column]
        kind = info_type(values)
        for i, (value, known) in enumerate(zip(values, values.notna(), strict=True)):
            if kind == "Flag":
                texts[i] += f";{column}" if known and value else ""
            elif known:
                texts[i] += f";{column}={value:.6g}" if kind == "Float" else f";{column}={value}"
    return texts


def record_lines(block: RecordBlock) -> bytes:
    """The lines of a block."""
    table, alleles = block.variants, block.alleles
    n_alternate, n_called = allele_counts(alleles)
    text = _CALLS[alleles[:, :, 0] + 2, alleles[:, :, 1] + 2, block.phased.astype(np.int8)]
    more = _info_texts(block.info) if block.info is not None else [""] * len(table)
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
    return b"".join(lines)
