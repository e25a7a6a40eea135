"""Counts that stay on disk (h5ad or Zarr) and are read by cells, a piece at a time.

They stand in for a CSR matrix where one is too large: `counts[rows]` gives CSR, `blocks_of` walks over either.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
from jaxtyping import Int
from scipy import sparse

from genesim.data.counts import to_counts
from genesim.data.matrix import BackedView, RowReader

_BLOCK_VALUES = 2**21  # stored values of one block, so that its copies take some 100 MiB at most
_GAP_VALUES = 2**16  # rows with fewer stored values between them are read in one go: a compressed piece holds as many


@dataclass(frozen=True)
class BackedCounts:
    """Checked counts on disk, as `scan_counts` makes them: int32, each row sorted and without zeros.

    Attributes:
        reader: Reads rows of the stored matrix.
        rows: The stored row of each cell.
        genes: The stored column of each gene; None takes all, in their order.
        stored: Counts above zero, a cell.
        digest: SHA-256 of all the counts that were scanned, whichever of their cells are chosen here.
    """

    reader: RowReader
    rows: Int[np.ndarray, " cell"]
    genes: Int[np.ndarray, " gene"] | None
    stored: Int[np.ndarray, " cell"]
    digest: str

    @property
    def shape(self) -> tuple[int, int]:
        return len(self.rows), self.reader.shape[1] if self.genes is None else len(self.genes)

    def select(self, cells: Int[np.ndarray, " chosen"]) -> BackedCounts:
        """These cells, in this order; nothing is read."""
        return replace(self, rows=self.rows[cells], stored=self.stored[cells])

    def __getitem__(self, cells: Int[np.ndarray, " chosen"]) -> sparse.csr_matrix:
        """Counts of these cells, in this order, in memory."""
        wanted, place = np.unique(self.rows[cells], return_inverse=True)
        found = read_rows(self.reader, wanted, self.genes)
        counts = sparse.csr_matrix(
            (np.rint(found.data).astype(np.int32), found.indices, found.indptr), shape=found.shape
        )
        counts.sum_duplicates()
        counts.eliminate_zeros()
        in_order = len(place) == len(wanted) and bool((place[1:] > place[:-1]).all())
        return counts if in_order else counts[place.ravel()]


Counts: TypeAlias = sparse.csr_matrix | BackedCounts
"""Cell x gene, in memory or on disk."""


def read_rows(reader: RowReader, wanted: np.ndarray, genes: np.ndarray | None) -> sparse.csr_matrix:
    """Stored rows (ascending, distinct) as they are on disk; neighbours are read together, a block at most."""
    if not len(wanted):
        return sparse.csr_matrix((0, reader.shape[1] if genes is None else len(genes)), dtype=np.int32)
    begins = reader.begins
    apart = begins[wanted[1:]] - begins[wanted[:-1] + 1] > _GAP_VALUES
    block = begins[wanted] // _BLOCK_VALUES
    breaks = np.flatnonzero(apart | (block[1:] > block[:-1])) + 1
    parts = []
    for run in np.split(wanted, breaks):
        first, last = int(run[0]), int(run[-1]) + 1
        part = reader.read(first, last)
        parts.append(part if last - first == len(run) else part[run - first])
    found = parts[0] if len(parts) == 1 else sparse.vstack(parts, format="csr")
    return found if genes is None else found[:, genes]


def _blocks(stored: np.ndarray) -> Iterator[tuple[int, int]]:
    """Ranges of rows with about `_BLOCK_VALUES` stored values each."""
    ends = np.cumsum(stored, dtype=np.int64)
    first = 0
    while first < len(stored):
        before = ends[first - 1] if first else 0
        last = max(int(np.searchsorted(ends, before + _BLOCK_VALUES, side="right")), first + 1)
        yield first, last
        first = last


def blocks_of(counts: Counts) -> Iterator[tuple[int, sparse.csr_matrix]]:
    """Yield `(first row, rows as CSR)` until all rows are read; the same blocks in memory and on disk."""
    stored = counts.stored if isinstance(counts, BackedCounts) else np.diff(counts.indptr)
    for first, last in _blocks(stored):
        rows = counts[np.arange(first, last)] if isinstance(counts, BackedCounts) else counts[first:last]
        yield first, rows


@dataclass(frozen=True)
class _Walk:
    """One pass over the counts of a matrix on disk, or of a view of one.

    Attributes:
        reader: Of the stored matrix.
        rows: The stored row of each cell.
        genes: The stored column of each gene; None takes all.
    """

    reader: RowReader
    rows: Int[np.ndarray, " cell"]
    genes: Int[np.ndarray, " gene"] | None

    @classmethod
    def of(cls, node: Any, where: str) -> _Walk:
        if isinstance(node, BackedView):
            return cls(RowReader(node.base, where), node.rows, node.columns)
        reader = RowReader(node, where)
        return cls(reader, np.arange(reader.shape[0]), None)

    @property
    def shape(self) -> tuple[int, int]:
        return len(self.rows), self.reader.shape[1] if self.genes is None else len(self.genes)

    @property
    def stored(self) -> Int[np.ndarray, " cell"]:
        """Stored values of each cell's row, whatever the genes."""
        return self.reader.begins[self.rows + 1] - self.reader.begins[self.rows]

    def blocks(
        self, describe: Callable[[int, int], str], hint: Callable[[], str], where: str
    ) -> Iterator[tuple[int, int, sparse.csr_matrix]]:
        """Yield first cell, end, and their checked counts, until all are read."""
        for first, last in _blocks(np.maximum(self.stored, 1)):
            wanted, place = np.unique(self.rows[first:last], return_inverse=True)
            block = read_rows(self.reader, wanted, self.genes)[place.ravel()]
            yield first, last, to_counts(block, first, describe, hint, where)


def read_counts(
    node: Any, describe: Callable[[int, int], str], hint: Callable[[], str], where: str
) -> sparse.csr_matrix:
    """All counts of `node` in memory, once: what is read, checked and cast is never more than a block.

    Arguments and errors are those of `scan_counts`.
    """
    walk = _Walk.of(node, where)
    most = int(walk.stored.sum())
    data, indices = np.empty(most, np.int32), np.empty(most, np.int32)
    begins = np.zeros(len(walk.rows) + 1, np.int64)
    for first, last, counts in walk.blocks(describe, hint, where):
        at, end = begins[first], begins[first] + counts.nnz
        data[at:end], indices[at:end] = counts.data, counts.indices
        begins[first : last + 1] = at + counts.indptr
    n_values = int(begins[-1])
    return sparse.csr_matrix((data[:n_values], indices[:n_values], begins), shape=walk.shape)


def scan_counts(
    node: Any, describe: Callable[[int, int], str], hint: Callable[[], str], where: str
) -> tuple[BackedCounts, Int[np.ndarray, " cell"], Int[np.ndarray, " gene"]]:
    """Check all counts of `node` in one pass over it.

    Args:
        node: A matrix on disk that `RowReader` can read, or a `BackedView` of one.
        describe: Words for a cell and gene by their numbers.
        hint: Where integers may be found; asked only on failure.
        where: The matrix to name in errors.

    Returns:
        The counts, the total count of each cell, and the number of cells in which each gene was seen.

    Raises:
        H5adError: A value is no count, the sparse arrays contradict each other, or cells cannot be read one by one.
    """
    walk = _Walk.of(node, where)
    n_cells, n_genes = walk.shape
    stored, total = np.zeros(n_cells, np.int64), np.zeros(n_cells, np.int64)
    seen = np.zeros(n_genes, np.int64)
    digest = hashlib.sha256(repr((n_cells, n_genes)).encode())
    for first, last, counts in walk.blocks(describe, hint, where):
        stored[first:last] = np.diff(counts.indptr)
        total[first:last] = np.asarray(counts.sum(axis=1, dtype=np.int64)).ravel()
        seen += np.bincount(counts.indices, minlength=n_genes)
        for part in (np.diff(counts.indptr), counts.indices, counts.data):
            digest.update(np.ascontiguousarray(part, np.int32).view(np.uint8).data)
    return BackedCounts(walk.reader, walk.rows, walk.genes, stored, digest.hexdigest()), total, seen
