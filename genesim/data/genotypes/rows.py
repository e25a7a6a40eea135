"""Gather the text of genotypes in chunks and decode each chunk at once."""

from __future__ import annotations

import numpy as np

from genesim.data.coordinates import to_one_based
from genesim.data.genotypes.calls import CallParser, decode_fixed, is_fixed, split_allele
from genesim.data.genotypes.collect import CHUNK_BYTES, Collector, Variant
from genesim.data.genotypes.sites import Site


class TextRows:
    """Rows of GT text on their way to a `Collector`.

    Args:
        parser: Reads rows that are not `a/b` throughout.
        collector: Takes the decoded chunks.
        n_columns: Donors in the file.
        chosen: Their positions to keep, in the order to keep.
    """

    def __init__(self, parser: CallParser, collector: Collector, n_columns: int, chosen: np.ndarray) -> None:
        self._parser = parser
        self._collector = collector
        self._n_columns = n_columns
        self._chosen = chosen
        self._size = int(np.clip(CHUNK_BYTES // (4 * n_columns), 1, 8192))
        self._fixed: list[bytes] = []
        self._fixed_at: list[int] = []
        self._odd: list[tuple[int, np.ndarray, np.ndarray]] = []
        self._pending: list[Variant] = []

    def add(self, site: Site, row: bytes) -> None:
        """Add the variants of one record, with the GT of every donor in the file."""
        front = (site.contig, site.start, site.name, site.ref)
        if site.n_alternate == 1 and is_fixed(row, self._n_columns):
            self._fixed.append(row)
            self._fixed_at.append(len(self._pending))
            self._pending.append((*front, site.alternates[0][1]))
        else:
            alleles, phased = self._parser.row(row, self._chosen, site.n_alternate, site.record)
            for number, alternate in site.alternates:
                self._odd.append((len(self._pending), split_allele(alleles, number), phased))
                self._pending.append((*front, alternate))
        if len(self._pending) >= self._size:
            self.flush()

    def _decoded(self) -> tuple[np.ndarray, np.ndarray]:
        """Alleles and phases of the pending variants."""
        n = len(self._pending)
        alleles = np.empty((n, len(self._chosen), 2), dtype=np.int8)
        phased = np.empty((n, len(self._chosen)), dtype=bool)
        if self._fixed:
            read, read_phased, valid = decode_fixed(self._fixed, self._n_columns)
            at = np.array(self._fixed_at)
            alleles[at] = read[:, self._chosen]
            phased[at] = read_phased[:, self._chosen]
            # Rows of the right length that are something else ("0\t1\t10/1"), or allele 2 of one alternate.
            for i in np.flatnonzero(~valid | (read > 1).any(axis=(1, 2))):
                contig, start, *_ = self._pending[at[i]]
                record = f"{contig}:{to_one_based(start)}"
                alleles[at[i]], phased[at[i]] = self._parser.row(self._fixed[i], self._chosen, 1, record)
        for row, odd, odd_phased in self._odd:
            alleles[row], phased[row] = odd, odd_phased
        return alleles, phased

    def flush(self) -> None:
        """Pass what is pending on to the collector."""
        if self._pending:
            self._collector.add(self._pending, *self._decoded())
        self._pending, self._fixed, self._fixed_at, self._odd = [], [], [], []
