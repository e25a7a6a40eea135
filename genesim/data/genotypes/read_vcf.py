"""VCF (plain or bgzipped) and BCF, every record checked before it is used.

Text is parsed here and BCF by htslib through pysam. cyvcf2 is not used: it crashes the process on some
malformed records (a POS that is no number, an empty FORMAT key).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from genesim.data.genotypes.calls import CallParser, genotype_row
from genesim.data.genotypes.collect import Collector
from genesim.data.genotypes.header import open_records
from genesim.data.genotypes.preflight import file_kind
from genesim.data.genotypes.rows import TextRows
from genesim.data.genotypes.sites import SiteFilter
from genesim.data.genotypes.source import Source


class VcfSource(Source):
    """A VCF or BCF; it is streamed once, with every BGZF block verified, and an index is never used.

    Raises:
        VcfError: A file or header that cannot be used.
    """

    sort = "sort it: bcftools sort -Oz -o sorted.vcf.gz"

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.where = str(path)
        self._path = path
        self.files = (path,)
        self._kind = file_kind(path)
        header, self._lines = open_records(path, self._kind)
        self.donors = header.donors
        self.contig_lengths = header.contig_lengths

    def contigs(self) -> Iterator[str]:
        lines = open_records(self._path, self._kind)[1]
        return (line.partition(b"\t")[0].decode("utf-8", "replace") for line in lines)

    def read_into(self, sites: SiteFilter, collector: Collector, chosen: np.ndarray) -> None:
        rows = TextRows(CallParser(self.donors, self.where), collector, len(self.donors), chosen)
        for number, line in enumerate(self._lines, 1):
            fields = line.split(b"\t", 9)
            if len(fields) < 10 or not fields[1].isdigit():
                raise sites.fail(
                    f"record {number}",
                    f"has {len(fields)} columns" if len(fields) < 10 else f"has the position {fields[1][:20]!r}",
                )
            contig, position, name, ref, alternates, _, filters, _, file_format, samples = fields
            site = sites.admit(
                number,
                contig,
                int(position[:18]),
                name,
                ref,
                alternates,
                passed=filters in (b"PASS", b"."),
                has_genotypes=b"GT" in file_format.split(b":"),
            )
            if sites.done:
                break
            if site is not None and (row := genotype_row(file_format, samples)) is not None:
                rows.add(site, row)
        rows.flush()
