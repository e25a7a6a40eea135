"""`write_vcf`: `Genotypes` to bgzipped VCF (+ .tbi), BCF (+ .csi) or plain VCF, deterministically."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from genesim.data.genotypes.encode_vcf import RecordBlock
from genesim.data.genotypes.record import Genotypes
from genesim.data.genotypes.write_blocks import check_writable_names, contig_order, write_records
from genesim.provenance.record import Provenance

_CHUNK_BYTES = 1 << 24


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
    variants, lengths = genotypes.variants, genotypes.contig_lengths
    check_writable_names(path, variants, genotypes.donors, lengths, info)
    contigs = contig_order(variants, lengths)
    blocks = sorted_blocks(genotypes, contigs, info)
    write_records(path, genotypes.donors, contigs, blocks, provenance, info, variants)


def sorted_blocks(
    genotypes: Genotypes, contigs: dict[str, int | None], info: pd.DataFrame | None
) -> Iterator[RecordBlock]:
    """Sorted records, some megabytes at a time."""
    variants = genotypes.variants
    rank = {contig: i for i, contig in enumerate(contigs)}
    order = np.lexsort((variants["start"].to_numpy(), variants["contig"].map(rank).to_numpy()))
    size = int(np.clip(_CHUNK_BYTES // (4 * max(1, genotypes.n_donors)), 1, 8192))
    for at in range(0, len(order), size):
        rows = order[at : at + size]
        table = variants.iloc[rows]
        yield RecordBlock(
            table,
            genotypes.alleles[rows],
            genotypes.phased[rows],
            info.reindex(table.index) if info is not None else None,
        )
