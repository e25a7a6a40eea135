"""Cells as the evaluation takes them: in memory or not, walked through once by blocks of rows.

The one walk over a data set adds up its sums, keeps the few cells that other metrics need at hand, and fingerprints
every cell: memory is a block's, whatever the number of cells, and the blocks' sizes change nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
from jaxtyping import Int
from scipy import sparse

from genesim.data.backed import BackedCounts, blocks_of
from genesim.errors import InputError
from genesim.metrics.cell_sums import CellSums
from genesim.metrics.copies import Fingerprints, fingerprints, joined

Labels: TypeAlias = np.ndarray | None
Walk: TypeAlias = Callable[[], Iterator[sparse.csr_matrix]]


@dataclass(frozen=True)
class Source:
    """Counts that are read by blocks of rows.

    Attributes:
        shape: Cells and genes.
        walk: Gives the rows in order, as CSR blocks of any size.
    """

    shape: tuple[int, int]
    walk: Walk

    @classmethod
    def of(cls, counts: Any) -> Source:
        """Of a matrix, counts on disk, or what is a source already."""
        if isinstance(counts, Source):
            return counts
        found = counts if isinstance(counts, BackedCounts) else sparse.csr_matrix(counts)
        return cls((found.shape[0], found.shape[1]), lambda: (block for _, block in blocks_of(found)))

    def blocks(self) -> Iterator[tuple[int, sparse.csr_matrix]]:
        """`(first row, rows)`, canonical and without stored zeros."""
        first = 0
        for block in self.walk():
            if not block.has_canonical_format or (len(block.data) and (block.data == 0).any()):
                block = block.copy()
                block.sum_duplicates()
                block.eliminate_zeros()
            yield first, block
            first += block.shape[0]
        if first != self.shape[0]:
            raise InputError(f"{first} cells came where {self.shape[0]} were said", where="evaluate")

    def select(self, rows: Int[np.ndarray, " chosen"]) -> Source:
        """These cells, ascending: the others are passed over."""

        def walk() -> Iterator[sparse.csr_matrix]:
            for first, block in self.blocks():
                inside = rows[np.searchsorted(rows, first) : np.searchsorted(rows, first + block.shape[0])]
                yield block[inside - first]

        return Source((len(rows), self.shape[1]), walk)


@dataclass(frozen=True)
class Walked:
    """What one walk over a data set leaves.

    Attributes:
        sums: Over the cells compared, by part and label.
        taken: Cells at hand, by what they are for.
        prints: Fingerprint of every cell, those not compared as well.
    """

    sums: CellSums
    taken: Mapping[str, sparse.csr_matrix]
    prints: Fingerprints


def walk(
    source: Source,
    labels: Int[np.ndarray, " cell"],
    compared: Int[np.ndarray, " compared"],
    parts: Int[np.ndarray, " compared"],
    wanted: Mapping[str, Int[np.ndarray, " taken"]],
    *,
    n_labels: int,
    n_parts: int,
) -> Walked:
    """Read a data set once.

    Args:
        source: The cells.
        labels: Code of each cell's label.
        compared: Rows that are summed, ascending.
        parts: Part of each of them.
        wanted: Rows to keep at hand, ascending.
        n_labels: Number of labels.
        n_parts: Number of parts.
    """
    sums = CellSums(n_parts, n_labels, source.shape[1])
    taken: dict[str, list[sparse.csr_matrix]] = {name: [] for name in wanted}
    seen: list[Fingerprints] = []
    for first, block in source.blocks():
        last = first + block.shape[0]

        def inside(rows: np.ndarray, first: int = first, last: int = last) -> slice:
            return slice(int(np.searchsorted(rows, first)), int(np.searchsorted(rows, last)))

        at = inside(compared)
        rows = compared[at]
        if len(rows):
            own = block if len(rows) == block.shape[0] else block[rows - first]
            sums.add(own, labels[rows], parts[at])
        for name, index in wanted.items():
            some = index[inside(index)]
            if len(some):
                taken[name].append(block[some - first])
        seen.append(fingerprints(block))
    empty = sparse.csr_matrix((0, source.shape[1]), dtype=np.int32)
    found = {name: sparse.vstack(blocks, "csr") if blocks else empty for name, blocks in taken.items()}
    return Walked(sums, found, joined(seen))


def label_codes(sets: Mapping[str, Labels], sizes: Mapping[str, int]) -> tuple[dict[str, np.ndarray], int]:
    """Codes of labels shared by all sets, and their number; all cells are of label 0 unless every set has labels."""
    given = {name: pd.Categorical(np.asarray(v, object).astype(str)) for name, v in sets.items() if v is not None}
    if len(given) < len(sets):
        return {name: np.zeros(sizes[name], np.int64) for name in sets}, 1
    levels = np.unique(np.concatenate([np.asarray(v.categories, str) for v in given.values()]))
    codes = {name: levels.searchsorted(np.asarray(v.categories, str))[v.codes] for name, v in given.items()}
    return codes, len(levels)


def stratified(labels: Int[np.ndarray, " cell"], n: int, order: Int[np.ndarray, " cell"]) -> Int[np.ndarray, " n"]:
    """`n` rows with each label's share of all rows (largest remainders), the first ones in `order`; ascending.

    All rows where there are no more than `n`.
    """
    if len(labels) <= n:
        return np.arange(len(labels))
    count = np.bincount(labels)
    exact = count * n / len(labels)
    quota = np.floor(exact).astype(int)
    quota[np.argsort(quota - exact, kind="stable")[: n - quota.sum()]] += 1
    of_order = labels[order]
    rows = [order[of_order == label][:k] for label, k in enumerate(quota) if k]
    return np.sort(np.concatenate(rows))
