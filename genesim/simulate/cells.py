"""Counts of the new donors' cells: learned rates, times the donor's fold changes, through the noise model."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import numpy as np
import pandas as pd
from scipy import sparse

from genesim import rng
from genesim.config.scenario import Batches
from genesim.console import progress

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


def batch_fold_changes(batches: Batches, n_genes: int, seed: int) -> np.ndarray:
    """log2 fold change of each batch on each gene, [batch, gene]; the first batch is the reference."""
    fold = np.zeros((batches.n, n_genes), np.float32)
    for b in range(1, batches.n):
        fold[b] = batches.sd_log2 * rng.generator(seed, "batches", b).standard_normal(n_genes)
    return fold


def draw_cells(
    obs: pd.DataFrame,
    table: pd.DataFrame,
    donors: pd.Index,
    source: CellSource,
    fold: np.ndarray,
    affected: list[str],
    cell_types: list[str],
    batches: np.ndarray,
    library_size_scale: float,
    seed: int,
) -> sparse.csr_matrix:
    """Counts of every cell of `table`, int32 [cell, gene], drawn in chunks so that memory stays bounded.

    A cell's mean is library size x rate x 2^(genotype fold + batch fold); rates are not rescaled to sum
    to one again, because that would change every other gene of the cell (a pseudo-trans effect).

    Args:
        obs: What the expression model is conditioned on, one row a cell of `table`.
        table: As `draw_cell_table` returns it.
        donors: Order of `fold`'s first axis.
        fold: log2 fold changes [donor, cell type, affected gene].
        affected: Genes of `fold`'s last axis.
        batches: log2 fold changes [batch, gene]; batch `batch1` is the first row.
    """
    columns = source.genes.get_indexer(pd.Index(affected))
    donor_code = donors.get_indexer(pd.Index(table["donor"]))
    type_code = pd.Index(cell_types).get_indexer(pd.Index(table["cell_type"]))
    batch_code = table["batch"].str.removeprefix("batch").astype(int).to_numpy() - 1

    def chunks() -> Iterator[sparse.csr_matrix]:
        for first in progress(range(0, len(table), CHUNK), "simulating cells"):
            rows = slice(first, first + CHUNK)
            given = obs.iloc[rows]
            rates, library = source.draw_rates(given, seed, first)
            change = np.exp2(batches[batch_code[rows]])
            change[:, columns] *= np.exp2(fold[donor_code[rows], type_code[rows]])
            yield source.draw_counts(rates, library_size_scale * library, given, seed, first, change)

    return sparse.vstack(list(chunks()), format="csr")
