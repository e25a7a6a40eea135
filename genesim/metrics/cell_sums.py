"""Sums over cells, block by block: gene moments and pseudobulks of any number of cells in the memory of one block.

Sums of disjoint parts of the cells are kept apart, so that a half of the parts is a random half of the cells: what an
interval by half-sampling needs, without a second look at any cell.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from scipy import sparse

from genesim.metrics.expression import TARGET_SUM, CellSummaries, GeneSummaries, library_size


class Totals(NamedTuple):
    """Sums over the cells of some parts.

    Attributes:
        n: Cells of each label.
        log: Sum of log(1 + counts per 10,000) [label, gene].
        square: Sum of its squares [label, gene].
        rate: Sum of counts per 10,000 [label, gene].
        seen: Cells with a count of the gene.
        cells: Log library size and detected genes, a value a cell, in order of part, then of arrival.
    """

    n: Int[np.ndarray, " label"]
    log: Float[np.ndarray, "label gene"]
    square: Float[np.ndarray, "label gene"]
    rate: Float[np.ndarray, "label gene"]
    seen: Int[np.ndarray, " gene"]
    cells: CellSummaries

    def genes(self) -> GeneSummaries:
        """Mean and unbiased variance of log-normalised expression, share of zeros: `expression.gene_summaries`."""
        n = int(self.n.sum())
        mean = self.log.sum(axis=0) / n
        variance = np.maximum(self.square.sum(axis=0) - n * mean**2, 0) / max(n - 1, 1)
        return GeneSummaries(mean, variance, 1 - self.seen / n)


class CellSums:
    """Accumulates `Totals` by part.

    Memory: 24 bytes x parts x labels x genes, and 16 bytes a cell.

    Args:
        n_parts: Disjoint parts of the cells.
        n_labels: Labels, such as cell types.
        n_genes: Genes.
    """

    def __init__(self, n_parts: int, n_labels: int, n_genes: int) -> None:
        self.n_parts, self.n_labels = n_parts, n_labels
        size = n_parts * n_labels
        self._n = np.zeros(size, np.int64)
        self._log, self._square, self._rate = (np.zeros((size, n_genes)) for _ in range(3))
        self._seen = np.zeros((n_parts, n_genes), np.int64)
        self._cells: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []

    def add(self, counts: sparse.csr_matrix, labels: Int[np.ndarray, " cell"], parts: Int[np.ndarray, " cell"]) -> None:
        """Add a block of cells: integer counts without stored zeros, their labels' and parts' codes."""
        code = parts * self.n_labels + labels
        self._n += np.bincount(code, minlength=len(self._n))
        rows = np.arange(len(code))
        shape = len(self._n), len(code)
        inside = sparse.csr_matrix((np.ones(len(code)), (code, rows)), shape=shape)
        total = library_size(counts)
        per_cell = np.diff(counts.indptr)
        scale = np.repeat(TARGET_SUM / np.where(total > 0, total, 1.0), per_cell)
        value = sparse.csr_matrix((counts.data * scale, counts.indices, counts.indptr), shape=counts.shape)
        self._rate += (inside @ value).toarray()
        value.data = np.log1p(value.data)
        self._log += (inside @ value).toarray()
        value.data = value.data**2
        self._square += (inside @ value).toarray()
        of_part = sparse.csr_matrix((np.ones(len(code), np.int64), (parts, rows)), shape=(self.n_parts, len(code)))
        seen = sparse.csr_matrix(
            (np.ones(len(counts.data), np.int64), counts.indices, counts.indptr), shape=counts.shape
        )
        self._seen += (of_part @ seen).toarray()
        self._cells.append((parts, np.log(np.maximum(total, 1.0)), per_cell.astype(np.float64)))

    def over(self, parts: Int[np.ndarray, " chosen"] | None = None) -> Totals:
        """The sums over some parts, or over all of them."""
        chosen = np.arange(self.n_parts) if parts is None else np.asarray(parts)
        n, log, square, rate = (
            values.reshape(self.n_parts, self.n_labels, *values.shape[1:])[chosen].sum(axis=0)
            for values in (self._n, self._log, self._square, self._rate)
        )
        columns = [np.concatenate([block[i] for block in self._cells]) for i in range(3)]
        order = np.argsort(columns[0], kind="stable")
        kept = order[np.isin(columns[0][order], chosen)]
        return Totals(
            n, log, square, rate, self._seen[chosen].sum(axis=0), CellSummaries(columns[1][kept], columns[2][kept])
        )
