"""`read_genotypes`: VCF, BCF, PLINK 1, PLINK 2 and VCF Zarr to `Genotypes`, with one set of policies."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from genesim.config.inputs import GenotypePolicy
from genesim.data.coordinates import to_one_based
from genesim.data.genotypes.collect import Collector
from genesim.data.genotypes.read_plink1 import Plink1Source, is_plink1
from genesim.data.genotypes.read_plink2 import Plink2Source, is_plink2
from genesim.data.genotypes.read_vcf import VcfSource
from genesim.data.genotypes.read_zarr import ZarrSource, is_zarr
from genesim.data.genotypes.record import Genotypes
from genesim.data.genotypes.region import select
from genesim.data.genotypes.sites import SiteFilter
from genesim.data.genotypes.source import Source
from genesim.errors import JoinError, VcfError

REPORT = (
    "records", "contigs_renamed", "filtered_records", "records_without_genotypes",
    "records_without_alternate", "unplaced_records", "multiallelic_split", "multiallelic_dropped",
    "symbolic_alleles_dropped", "duplicate_variants", "records_with_dosages",
    "half_missing_calls", "haploid_calls", "missing_calls", "variants_too_missing", "variants_too_rare",
)  # fmt: skip
"""Names of the counts in `Genotypes.report`; of calls, those of variants that the later policies saw."""


def open_source(path: Path, policy: GenotypePolicy) -> Source:
    """The reader of a file, told by its content, or by its suffix where it is one of PLINK's.

    Raises:
        VcfError: A path that is not there, or a file that cannot be used.
    """
    if is_zarr(path):
        return ZarrSource(path)
    one, two = is_plink1(path), is_plink2(path)
    if one and two:
        raise VcfError(
            "is the prefix of both a .bed and a .pgen",
            where=str(path),
            remedy="give one of the files instead of the prefix",
        )
    if one:
        return Plink1Source(path)
    return Plink2Source(path, policy) if two else VcfSource(path)


def input_files(path: str | Path) -> list[Path]:
    """Every file that `read_genotypes` would read, in a fixed order."""
    source = open_source(Path(path), GenotypePolicy())
    return sorted(source.files)


def read_genotypes(
    path: str | Path,
    region: str | None = None,
    donors: Sequence[str] | None = None,
    contigs: Sequence[str] | None = None,
    policy: GenotypePolicy | None = None,
) -> Genotypes:
    """Read the genotypes of a VCF or BCF file, a PLINK 1 or PLINK 2 file set, or a VCF Zarr store.

    A VCF is streamed once, with every BGZF block verified; an index beside it is never used.
    PLINK 1 holds no phase: every call is unphased, and its A2 allele is taken as REF, as PLINK 2 does; check
    it against a reference genome where effects will be compared. PLINK formats store a haploid call as
    homozygous. A homozygote of PLINK 2 is phased where the file holds phases. VCF Zarr is as bio2zarr writes it.

    Args:
        path: `.vcf`, bgzipped `.vcf.gz` or `.bcf`, told apart by content; any of `.bed`, `.bim`, `.fam`, or of
            `.pgen`, `.pvar`, `.pvar.zst`, `.psam`, or their common prefix; a VCF Zarr directory or `.zip`.
        region: `chr2:108,000,000-111,000,000`, 1-based and closed; keeps records that overlap it.
        donors: Donors to read, in this order; None reads all. PLINK's are the IIDs.
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
    policy = policy or GenotypePolicy()
    source = open_source(Path(path), policy)
    selection = select(region, contigs, source.contig_lengths, source.contigs, source.where)
    names, chosen = _choose_donors(source.donors, donors, source.where)
    lengths = dict(source.contig_lengths)
    sites = SiteFilter(selection, policy, lengths, source.where, source.sort)
    collector = Collector(policy, source.where)
    source.read_into(sites, collector, chosen)

    kept = collector.finish()
    counts: Counter[str] = source.counts + sites.counts + collector.counts
    report = {name: counts[name] for name in REPORT}
    if kept is None:
        told = ", ".join(f"{name} {n}" for name, n in report.items() if n) or "no records"
        raise VcfError(
            f"no variant is left ({told})",
            where=source.where,
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


def _choose_donors(present: tuple[str, ...], wanted: Sequence[str] | None, where: str) -> tuple[pd.Index, np.ndarray]:
    names = pd.Index(list(present) if wanted is None else [str(name) for name in wanted], dtype=object)
    at = pd.Index(list(present), dtype=object).get_indexer(names)
    unknown = [str(name) for name in names[at < 0]]
    if unknown:
        raise JoinError(
            f"{len(unknown)} donors are not in the file: {', '.join(unknown[:8])}"
            f"{' ...' if len(unknown) > 8 else ''}; it has {', '.join(present[:3])}"
            f"{' ...' if len(present) > 3 else ''}",
            where=where,
            remedy="name donors as the file does (column genotype_id of the donor table)",
        )
    if not len(names) or not names.is_unique:
        raise JoinError(
            "no donor is asked for" if not len(names) else "a donor is asked for twice",
            where=where,
            remedy="give every donor once",
        )
    return names, at


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
