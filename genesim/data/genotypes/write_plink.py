"""`write_plink`: `Genotypes` to a PLINK 2 (.pgen, .pvar, .psam) or PLINK 1 (.bed, .bim, .fam) file set."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from genesim.data.coordinates import to_one_based
from genesim.data.genotypes.encode_vcf import RecordBlock
from genesim.data.genotypes.record import ABSENT, MISSING, Genotypes
from genesim.data.genotypes.write_blocks import check_writable_names, contig_order
from genesim.data.genotypes.write_vcf import sorted_blocks
from genesim.errors import VcfError
from genesim.provenance.atomic import atomic_file
from genesim.provenance.record import Provenance, write_sidecar


def write_plink(genotypes: Genotypes, path: str | Path, provenance: Provenance | None = None) -> None:
    """Write genotypes, sorted as `write_vcf` sorts them.

    `.pgen` keeps the phase of heterozygotes (through pgenlib); `.bed` keeps none, and ALT is its A1, REF its A2.
    Both hold a haploid call as homozygous, as PLINK does. The genotype file appears last.

    Args:
        genotypes: What to write.
        path: `prefix.pgen` or `prefix.bed`; the other two files go beside it.
        provenance: Adds its header lines to a .pvar, or a JSON beside a .bed.

    Raises:
        VcfError: A suffix or name that PLINK cannot hold, or no variant.
        ResourceError: The location cannot be written.
    """
    path = Path(path)
    if path.suffix not in (".pgen", ".bed"):
        raise VcfError("the suffix does not tell the format", where=str(path), remedy="use .pgen or .bed")
    check_names(genotypes, path)
    contigs = contig_order(genotypes.variants, genotypes.contig_lengths)
    lines = list(_variant_lines(genotypes, contigs, path.suffix == ".bed"))
    if path.suffix == ".bed":
        tables = {
            ".bim": lines,
            ".fam": [f"0\t{donor}\t0\t0\t0\t-9" for donor in genotypes.donors],
        }
        write = _write_bed
    else:
        head = ["##fileformat=VCFv4.2", *(provenance.vcf_header_lines() if provenance else [])]
        head += [f"##contig=<ID={c}{f',length={n}' if n else ''}>" for c, n in contigs.items()]
        tables = {
            ".pvar": [*head, "#CHROM\tPOS\tID\tREF\tALT", *lines],
            ".psam": ["#IID", *map(str, genotypes.donors)],
        }
        write = _write_pgen
    with ExitStack() as published:
        # Left in reverse order: the genotype file is renamed after its tables.
        data = published.enter_context(atomic_file(path))
        for suffix, rows in tables.items():
            table = published.enter_context(atomic_file(path.with_suffix(suffix)))
            table.write_text("\n".join(rows) + "\n")
        write(data, genotypes, sorted_blocks(genotypes, contigs, None))
    if provenance and path.suffix == ".bed":
        write_sidecar(provenance, path)


def check_names(genotypes: Genotypes, path: Path) -> None:
    """Refuse what VCF or PLINK's tables, which split at any blank, cannot hold."""
    check_writable_names(path.with_suffix(".vcf"), genotypes.variants, genotypes.donors, genotypes.contig_lengths, None)
    spaced = [str(donor) for donor in genotypes.donors if len(str(donor).split()) != 1 or str(donor) == "0"]
    if spaced or not genotypes.n_variants:
        raise VcfError(
            f"donor {spaced[0]!r} cannot be written in a PLINK table" if spaced else "there is no variant to write",
            where=str(path),
            remedy="use donor ids without blanks, other than '0'" if spaced else "give at least one variant",
        )


def _variant_lines(genotypes: Genotypes, contigs: dict[str, int | None], bim: bool) -> Iterator[str]:
    for block in sorted_blocks(genotypes, contigs, None):
        table = block.variants
        for contig, position, name, ref, alt in zip(
            table["contig"],
            to_one_based(table["start"].to_numpy()).tolist(),
            table.index,
            table["ref"],
            table["alt"],
            strict=True,
        ):
            if bim:
                yield f"{contig}\t{name}\t0\t{position}\t{alt}\t{ref}"
            else:
                yield f"{contig}\t{position}\t{name}\t{ref}\t{alt}"


def _diploid(block: RecordBlock) -> np.ndarray:
    """Alleles with a haploid call doubled and a call with a missing copy wholly missing."""
    alleles = block.alleles.copy()
    alleles[:, :, 1] = np.where(alleles[:, :, 1] == ABSENT, alleles[:, :, 0], alleles[:, :, 1])
    alleles[(alleles == MISSING).any(axis=2)] = MISSING
    return alleles


def _write_bed(path: Path, genotypes: Genotypes, blocks: Iterator[RecordBlock]) -> None:
    code = np.array([0b11, 0b10, 0b00, 0b01], dtype=np.uint8)  # of 0, 1, 2 copies of A1; last: missing
    n = genotypes.n_donors
    with open(path, "wb") as handle:
        handle.write(b"\x6c\x1b\x01")
        for block in blocks:
            codes = np.zeros((len(block.alleles), -(-n // 4) * 4), dtype=np.uint8)
            copies = _diploid(block).sum(axis=2)
            codes[:, :n] = code[np.where(copies < 0, 3, copies)]
            four = codes.reshape(len(codes), -1, 4) << np.array([0, 2, 4, 6], dtype=np.uint8)
            handle.write(np.bitwise_or.reduce(four, axis=2).tobytes())


def _write_pgen(path: Path, genotypes: Genotypes, blocks: Iterator[RecordBlock]) -> None:
    import pgenlib

    with pgenlib.PgenWriter(
        str(path).encode(),
        sample_ct=genotypes.n_donors,
        variant_ct=genotypes.n_variants,
        nonref_flags=False,
        hardcall_phase_present=True,
    ) as writer:
        for block in blocks:
            alleles = _diploid(block).astype(np.int32).reshape(len(block.alleles), -1)
            alleles[alleles == MISSING] = -9
            writer.append_partially_phased_batch(alleles, block.phased.astype(np.uint8))
