"""What goes into the expression model: counts of its genes, columns of covariates, library sizes."""

from __future__ import annotations

import os
from typing import TypeAlias

import anndata as ad
import numpy as np
import pandas as pd
from jaxtyping import Float, Int
from scipy import sparse

from genesim.data.expression import read_expression
from genesim.errors import ConditionError, H5adError
from genesim.estimators.covariates import LIBRARY_SIZE, Covariates
from genesim.models.expression.draws import MAX_COUNT
from genesim.models.expression.library import LibrarySampler
from genesim.types import Condition

Cells: TypeAlias = ad.AnnData | str | os.PathLike[str]


def special_columns(labels_key: str | None, batch_key: str | None) -> tuple[int | None, int | None]:
    """Columns of the labels and of the batches among the categories."""
    batch = None if batch_key is None else 0 if labels_key is None else 1
    return (None if labels_key is None else 0), batch


def codes(condition: Condition, column: int | None) -> Int[np.ndarray, " cell"]:
    """Level codes of one column; -1, unknown, where there is none."""
    if column is None:
        return np.full(condition.n_examples, -1)
    return np.asarray(condition.categories)[:, column]


def fit_library(
    log_library: Float[np.ndarray, " cell"],
    condition: Condition,
    covariates: Covariates,
    label_column: int | None,
    batch_column: int | None,
) -> LibrarySampler:
    """The law of the training cells' library sizes, by label and batch."""
    return LibrarySampler.fit(
        log_library,
        codes(condition, label_column),
        codes(condition, batch_column),
        0 if label_column is None else covariates.n_levels[label_column],
        0 if batch_column is None else covariates.n_levels[batch_column],
    )


def asked_library(obs: pd.DataFrame, drawn: Float[np.ndarray, " cell"]) -> Float[np.ndarray, " cell"]:
    """Log library sizes: those of the column `library_size`, and `drawn` where it is absent or missing.

    Raises:
        ConditionError: A library size is not positive, or larger than counts can be.
    """
    if LIBRARY_SIZE not in obs:
        return drawn
    asked = pd.to_numeric(obs[LIBRARY_SIZE], errors="coerce").to_numpy(dtype=float)
    given = obs[LIBRARY_SIZE].notna().to_numpy()
    if not (np.isfinite(asked[given]) & (asked[given] > 0) & (asked[given] <= MAX_COUNT)).all():
        raise ConditionError(
            f"column {LIBRARY_SIZE!r} has values that are not positive numbers up to {MAX_COUNT:,}",
            where="obs",
            remedy="give total counts of a cell, or leave the column out",
        )
    return np.where(given, np.log(np.where(given, asked, 1.0)), drawn)


def counts_of(adata: Cells, layer: str | None, genes: pd.Index) -> tuple[sparse.csr_matrix, pd.DataFrame]:
    """Counts of the model's genes, in its order, and obs.

    Raises:
        H5adError: Genes are absent, or a cell has no counts in them.
    """
    cells = read_expression(adata, layer=layer)
    column = pd.Index(cells.var_names, dtype=object).get_indexer(genes)
    if (column < 0).any():
        absent = genes[column < 0]
        raise H5adError(
            f"{len(absent)} of the model's {len(genes)} genes are absent ({', '.join(absent[:3])})",
            where="var",
            remedy="give cells measured on the genes that the model was trained on",
        )
    counts = sparse.csr_matrix(cells.X)[:, column]
    n_empty = cells.uns["genesim_read"]["n_cells_without_counts"] + int((counts.sum(axis=1) == 0).sum())
    if n_empty:
        raise H5adError(
            f"{n_empty} cells have no counts in the model's genes", where="obs", remedy="drop these cells first"
        )
    return counts, cells.obs
