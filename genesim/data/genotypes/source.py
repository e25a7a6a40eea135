"""What every genotype format offers the reader, and the way that formats of arrays share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int16

from genesim.data.genotypes.calls import split_allele
from genesim.data.genotypes.collect import CHUNK_BYTES, Collector, Variant
from genesim.data.genotypes.sites import Site, SiteFilter
from genesim.errors import VcfError


class Source(ABC):
    """A file that was opened and checked as far as its donors and contigs.

    Attributes:
        where: The file, for errors.
        files: Every file that is read.
        sort: How to sort such a file, for errors.
        donors: In file order.
        contig_lengths: Declared contigs with their lengths in bp, None where unknown.
        counts: What the format itself leaves out of a reading, by name.
    """

    where: str
    files: tuple[Path, ...]
    sort: str
    donors: tuple[str, ...]
    contig_lengths: dict[str, int | None]

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()

    @abstractmethod
    def contigs(self) -> Iterator[str]:
        """The contig of every record (or each once)."""

    @abstractmethod
    def read_into(self, sites: SiteFilter, collector: Collector, chosen: np.ndarray) -> None:
        """Pass every record that `sites` admits on to `collector`, with the calls of the chosen donors.

        Args:
            chosen: Positions of donors in the file, in the order to keep.
        """


class Record(NamedTuple):
    """A record as a format of arrays lists it; bytes as a VCF would have them. Not `placed`: it has no position."""

    contig: bytes
    position: int
    name: bytes
    ref: bytes
    alternates: bytes
    passed: bool = True
    placed: bool = True


class ArraySource(Source):
    """A format that lists its records apart from their calls, which are read by row."""

    @abstractmethod
    def records(self) -> Iterable[Record]:
        """Every record in file order."""

    @abstractmethod
    def calls(
        self, rows: np.ndarray, chosen: np.ndarray, sites: list[Site]
    ) -> tuple[Int16[np.ndarray, "record donor 2"], Bool[np.ndarray, "record donor"]]:
        """Allele numbers of the records (0 REF, -1 missing, -2 no second copy) and phases.

        Args:
            rows: Records to read, ascending, from 0.
            chosen: Donors, in the order to give.
            sites: The same records, to name them in errors.
        """

    def contigs(self) -> Iterator[str]:
        return (record.contig.decode("utf-8", "replace") for record in self.records())

    def read_into(self, sites: SiteFilter, collector: Collector, chosen: np.ndarray) -> None:
        size = int(np.clip(CHUNK_BYTES // (4 * len(self.donors)), 1, 8192))
        rows: list[int] = []
        taken: list[Site] = []
        for row, record in enumerate(self.records()):
            if not record.placed:
                self.counts["unplaced_records"] += 1
                continue
            site = sites.admit(row + 1, *record[:6])
            if sites.done:
                break
            if site is None:
                continue
            rows.append(row)
            taken.append(site)
            if len(rows) >= size:
                self._pass_on(np.array(rows), taken, chosen, collector)
                rows, taken = [], []
        if rows:
            self._pass_on(np.array(rows), taken, chosen, collector)

    def _pass_on(self, rows: np.ndarray, taken: list[Site], chosen: np.ndarray, collector: Collector) -> None:
        """Read the calls of these records and split them into biallelic variants."""
        alleles, phased = self.calls(rows, chosen, taken)
        n_alternate = np.array([site.n_alternate for site in taken])
        wrong = alleles > n_alternate[:, None, None]
        if wrong.any():
            at, donor, copy = np.argwhere(wrong)[0]
            raise VcfError(
                f"donor {self.donors[chosen[donor]]} has allele {alleles[at, donor, copy]} at {taken[at].record}, "
                f"which lists {n_alternate[at]} alternate alleles",
                where=self.where,
                remedy="correct or remove the record",
            )
        variants: list[Variant] = []
        at_of: list[int] = []
        numbers: list[int] = []
        for at, site in enumerate(taken):
            for number, alternate in site.alternates:
                variants.append((site.contig, site.start, site.name, site.ref, alternate))
                at_of.append(at)
                numbers.append(number)
        split = split_allele(alleles[at_of], np.array(numbers)[:, None, None])
        collector.add(variants, split, phased[at_of])
