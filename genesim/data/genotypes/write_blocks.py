"""`write_genotype_blocks`: VCF or BCF from blocks of alleles as they are made, with the memory of one block."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Int8

from genesim.data.genotypes.encode_bcf import BcfEncoder, bcf_header
from genesim.data.genotypes.encode_vcf import RecordBlock, header_text, info_type, record_lines
from genesim.data.genotypes.header import CONTIG_NAME
from genesim.data.genotypes.record import ABSENT, ALT, COLUMNS, MISSING
from genesim.errors import InputError, VcfError
from genesim.provenance.atomic import atomic_file
from genesim.provenance.record import Provenance

_TBI_LIMIT = 1 << 29  # bp; a .tbi index cannot hold positions beyond it
_INFO_NAME = re.compile(r"[A-Za-z_][0-9A-Za-z_.]*")
# Compression at level 4 takes a third of the time of the default 6; files are an eighth larger.
_MODE: Any = "wb4"  # pysam's stubs know no level
_INT32 = 1 << 31
_MAX_DONORS = (1 << 24) - 1  # BCF counts donors in 24 bits


def write_genotype_blocks(
    path: str | Path,
    variants: pd.DataFrame,
    donors: pd.Index,
    contig_lengths: dict[str, int | None],
    blocks: Iterable[Int8[np.ndarray, "variant donor 2"]],
    provenance: Provenance | None = None,
    info: pd.DataFrame | None = None,
) -> None:
    """Write phased genotypes block by block; only one block is in memory.

    The format follows the suffix, as in `write_vcf`. BCF is several times faster than text.

    Args:
        path: Where to.
        variants: All variants, as in `Genotypes`, sorted by contig (in the order of `contig_lengths`,
            then of appearance) and position.
        donors: Donor ids.
        contig_lengths: Length in bp of every contig to declare, None where unknown.
        blocks: Alleles of the next variants, coded as in `Genotypes`; together they cover all variants.
            Calls with two copies are written as phased.
        provenance: Adds its header lines.
        info: More INFO fields, as in `write_vcf`.

    Raises:
        VcfError: A suffix, name or INFO column that VCF cannot hold, or variants out of order.
        InputError: Blocks that do not fit the variants and donors.
        ResourceError: The location cannot be written.
    """
    path = Path(path)
    check_writable_names(path, variants, donors, contig_lengths, info)
    contigs = contig_order(variants, contig_lengths)
    rank = variants["contig"].map({contig: i for i, contig in enumerate(contigs)}).to_numpy()
    start = variants["start"].to_numpy()
    back = (np.diff(rank) < 0) | ((np.diff(rank) == 0) & (np.diff(start) < 0))
    if back.any():
        at = int(np.flatnonzero(back)[0]) + 1
        raise VcfError(
            f"variant {at + 1} ('{variants.index[at]}') comes before the one that precedes it",
            where=str(path),
            remedy="sort variants by contig, in the order of contig_lengths, and position",
        )
    write_records(path, donors, contigs, _checked(blocks, variants, donors, info), provenance, info, variants)


def _checked(
    blocks: Iterable[np.ndarray], variants: pd.DataFrame, donors: pd.Index, info: pd.DataFrame | None
) -> Iterator[RecordBlock]:
    """Each block beside its variants, checked as `Genotypes` would."""
    at = 0
    for alleles in blocks:
        end = at + len(alleles)
        if alleles.dtype != np.int8 or alleles.shape[1:] != (len(donors), 2) or end > len(variants):
            raise InputError(
                f"the block of variants {at + 1} to {end} is {alleles.dtype} of shape {alleles.shape}",
                where="genotype blocks",
                remedy=f"give int8 of shape (n, {len(donors)}, 2), for {len(variants)} variants in all",
            )
        if alleles.size and (
            alleles.min() < ABSENT or alleles.max() > ALT or alleles[:, :, 0].min(initial=0) < MISSING
        ):
            raise InputError(
                f"the block of variants {at + 1} to {end} holds codes that have no meaning",
                where="genotype blocks",
                remedy="use 0, 1, -1 (missing) and, in the second copy only, -2 (haploid)",
            )
        table = variants.iloc[at:end]
        phased = (alleles[:, :, 0] != MISSING) & (alleles[:, :, 1] != MISSING)
        yield RecordBlock(table, alleles, phased, info.reindex(table.index) if info is not None else None)
        at = end
    if at != len(variants):
        raise InputError(
            f"the blocks hold {at} variants, the table {len(variants)}",
            where="genotype blocks",
            remedy="give one row of alleles for each variant",
        )


def contig_order(variants: pd.DataFrame, contig_lengths: dict[str, int | None]) -> dict[str, int | None]:
    """Declared contigs, then further ones as they appear."""
    return {c: contig_lengths.get(c) for c in dict.fromkeys([*contig_lengths, *variants["contig"].unique()])}


def write_records(
    path: Path,
    donors: pd.Index,
    contigs: dict[str, int | None],
    blocks: Iterator[RecordBlock],
    provenance: Provenance | None,
    info: pd.DataFrame | None,
    variants: pd.DataFrame,
) -> None:
    """Encode sorted blocks into the file at `path`, which appears when it and its index are complete."""
    import pysam

    text = header_text(donors, contigs, provenance, info)
    if path.name.endswith(".vcf"):
        with atomic_file(path) as temporary, open(temporary, "wb") as plain:
            plain.write(text.encode())
            for block in blocks:
                plain.write(record_lines(block))
        return
    bcf = path.name.endswith(".bcf")
    encode = BcfEncoder(text).records if bcf else record_lines
    longest = max([length or 0 for length in contigs.values()], default=0)
    last = int(variants["start"].max()) if len(variants) else 0
    with atomic_file(path) as temporary:
        with pysam.BGZFile(str(temporary), _MODE, None) as handle:
            handle.write(bcf_header(text) if bcf else text.encode())
            for block in blocks:
                handle.write(encode(block))
        _index(temporary, path, bcf, csi=bcf or max(longest, last) >= _TBI_LIMIT)


def _index(temporary: Path, path: Path, bcf: bool, csi: bool) -> None:
    """Put the index of `temporary` where that of `path` belongs."""
    import pysam

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


def check_writable_names(
    path: Path,
    variants: pd.DataFrame,
    donors: pd.Index,
    contig_lengths: dict[str, int | None],
    info: pd.DataFrame | None,
) -> None:
    """Check the suffix, and every name and INFO value, before anything is written.

    Raises:
        VcfError: What VCF cannot hold.
    """

    def refuse(what: str, value: object) -> VcfError:
        return VcfError(
            f"{what} {value!r} cannot be written in a VCF",
            where=str(path),
            remedy="use names without spaces, tabs, and (in INFO) semicolons, commas or equal signs",
        )

    if not path.name.endswith((".vcf", ".vcf.gz", ".bcf")):
        raise VcfError(
            "the suffix does not tell the format",
            where=str(path),
            remedy="use .vcf.gz, .bcf or .vcf",
        )
    absent = [name for name in COLUMNS if name not in variants.columns]
    if absent:
        raise VcfError(
            f"variants lack the columns {', '.join(absent)}", where=str(path), remedy=f"give {', '.join(COLUMNS)}"
        )
    for donor in donors:
        if not str(donor).strip() or any(c in str(donor) for c in "\t\n\r"):
            raise refuse("donor", donor)
    if not 0 < len(donors) <= _MAX_DONORS:
        raise refuse("a file of this number of donors:", len(donors))
    for contig in contig_order(variants, contig_lengths):
        if not CONTIG_NAME.fullmatch(contig):
            raise refuse("contig", contig)
    for name in ("ref", "alt"):
        for value in variants[name].unique():
            if not re.fullmatch(r"[A-Za-z]+", str(value)):
                raise refuse(name, value)
    for value in variants.index:
        if not str(value) or any(c.isspace() for c in str(value)):
            raise refuse("variant id", value)
    if len(variants) and not 0 <= variants["start"].min() <= variants["start"].max() < _INT32 - 1:
        raise refuse("a position of", "less than 1, or 2^31 or more")
    if info is not None:
        _check_info(info, variants.index, path, refuse)


def _check_info(info: pd.DataFrame, variants: pd.Index, path: Path, refuse: Callable[[str, object], VcfError]) -> None:
    if not info.index.is_unique or not variants.isin(info.index).all():
        raise VcfError("INFO is not given once for every variant", where=str(path), remedy="index `info` by variant id")
    for column in info.columns:
        if not _INFO_NAME.fullmatch(str(column)) or column in ("AC", "AN", "AF"):
            raise refuse("INFO field", column)
        kind = info_type(info[column])
        if kind == "String":
            for value in info[column].dropna().unique():
                if re.search(r"[\s;,=]", str(value)) or not str(value):
                    raise refuse(f"INFO {column}", value)
        elif kind == "Integer" and len(info):
            known = info[column].dropna()
            if len(known) and not -_INT32 + 8 <= known.min() <= known.max() < _INT32:
                raise refuse(f"INFO {column}", "a number beyond 32 bits")
