"""Counts of the new donors' cells: learned rates, times the planted changes, through the noise model."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import pandas as pd
from jaxtyping import Float
from scipy import sparse

from genesim import rng
from genesim.config.cells import Batches
from genesim.console import progress
from genesim.data.matrix import gather_rows

CHUNK = 2048


class CellSource(Protocol):
    """What the simulator needs of an expression model."""

    @property
    def genes(self) -> pd.Index: ...

    def draw_rates(self, obs: pd.DataFrame, seed: int, first: int) -> tuple[np.ndarray, np.ndarray]:
        """Rates (fractions, cell x gene) and library sizes (cell) of cells `first`, `first` + 1, ..."""
        ...

    def draw_counts(
        self, rates: np.ndarray, library: np.ndarray, obs: pd.DataFrame, seed: int, first: int, fold: np.ndarray
    ) -> sparse.csr_matrix:
        """Integer counts (cell x gene) around library x rate x `fold` under the model's noise for the same `obs`."""
        ...


def shard_rows(n_cells: int, shard: tuple[int, int]) -> slice:
    """Cells of the k-th (from 0) of n shards, `shard` being `(k, n)`: whole chunks, so that no draw depends on it."""
    number, total = shard
    n_chunks = -(-n_cells // CHUNK)
    first, last = (min(CHUNK * (n_chunks * k // total), n_cells) for k in (number, number + 1))
    return slice(first, last)


Shift = Callable[[slice], tuple[np.ndarray | slice, Float[np.ndarray, "cell column"]]]
"""Of a slice of the cells: columns (genes) and the log2 fold changes that are planted there."""


def batch_fold_changes(batches: Batches, n_genes: int, seed: int) -> np.ndarray:
    """log2 fold change of each batch on each gene, [batch, gene]; the first batch is the reference."""
    fold = np.zeros((batches.n, n_genes), np.float32)
    for b in range(1, batches.n):
        fold[b] = batches.sd_log2 * rng.generator(seed, "batches", b).standard_normal(n_genes)
    return fold


@dataclass(frozen=True)
class CellPlan:
    """Cells to draw, in chunks, so that memory stays bounded.

    A cell's mean is library size x rate x 2^(sum of shifts); rates are not rescaled to sum to one again, because that
    would change every other gene of the cell (a pseudo-trans effect), unless that is asked for.

    Attributes:
        obs: What the expression model is conditioned on, one row a cell.
        source: The expression model.
        base: Of a slice of the cells, log2 fold changes of all genes [cell, gene].
        shifts: Further log2 fold changes; they add up.
        library_size_scale: Factor on library sizes.
        pseudo_trans: Rescale rates to sum to one after the changes.
        seed: Decides every draw.
    """

    obs: pd.DataFrame
    source: CellSource
    base: Callable[[slice], np.ndarray]
    shifts: Sequence[Shift]
    library_size_scale: float
    pseudo_trans: bool
    seed: int

    def _chunks(
        self, label: str, of: slice | None = None
    ) -> Iterator[tuple[slice, np.ndarray, np.ndarray, np.ndarray]]:
        """Of each chunk (of the cells `of`): its rows, learned rates, library sizes, and factors on the rates."""
        of = of or slice(0, len(self.obs))
        for first in progress(range(of.start, of.stop, CHUNK), label):
            rows = slice(first, min(first + CHUNK, len(self.obs)))
            rates, library = self.source.draw_rates(self.obs.iloc[rows], self.seed, first)
            change = np.exp2(self.base(rows))
            for shift in self.shifts:
                columns, log2_fold = shift(rows)
                change[:, columns] *= np.exp2(log2_fold)
            if self.pseudo_trans:
                change /= (rates * change).sum(axis=1, keepdims=True, dtype=np.float64).astype(change.dtype)
            yield rows, rates, self.library_size_scale * library, change

    def draw(self, shard: tuple[int, int] = (0, 1)) -> tuple[sparse.csr_matrix, Float[np.ndarray, " cell"]]:
        """Counts int32 [cell, gene], and library sizes: what total would be expected without planted changes.

        Args:
            shard: Only the cells of `shard_rows`; the shards stacked are the whole draw, bit for bit.
        """
        libraries = [np.zeros(0)]

        def drawn() -> Iterator[sparse.csr_matrix]:
            yield sparse.csr_matrix((0, len(self.source.genes)), dtype=np.int32)
            for rows, rates, library, change in self._chunks("simulating cells", shard_rows(len(self.obs), shard)):
                libraries.append(np.asarray(library, np.float64))
                given = self.obs.iloc[rows]
                yield self.source.draw_counts(rates, library, given, self.seed, rows.start, change)

        return gather_rows(drawn()), np.concatenate(libraries)

    def true_rates(self) -> Iterator[Float[np.ndarray, "cell gene"]]:
        """Rates that the counts were drawn around (mean = library size x rate), chunk by chunk, drawn again."""
        for _, rates, _, change in self._chunks("true rates"):
            yield (rates * change).astype(np.float32)
