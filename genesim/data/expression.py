"""Expression input: an AnnData (in memory, a view, backed), an h5ad or a Zarr store becomes checked int32 CSR counts.

Whatever the form of the input, the result is the same, and the input is never changed. `read_expression` reads
counts whole; `open_expression` leaves large ones on disk.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
from jaxtyping import Int
from scipy import sparse

from genesim.console import log
from genesim.data.backed import Counts, read_counts, scan_counts
from genesim.data.counts import hint_for, to_counts
from genesim.data.expression_source import Source, chosen_node, opened
from genesim.data.matrix import csr_blocks, is_sparse, load_bytes, reads_by_rows, shape_of
from genesim.data.memory import check_fits
from genesim.data.names import plain_frame, plain_labels, some
from genesim.data.preflight_h5ad import worded
from genesim.errors import H5adError

REPORT_KEY = "genesim_read"
STREAM_BYTES = 2**30
"""Memory that reading counts whole would take, above which they stay on disk where the choice is open."""


@dataclass(frozen=True)
class Cells:
    """Checked cells, as `read_expression` describes them, whose counts may be on disk.

    Attributes:
        obs: Copy, one row a cell.
        var: Copy, one row a gene.
        counts: int32, cell x gene.
        library_size: Total count of each cell.
    """

    obs: pd.DataFrame
    var: pd.DataFrame
    counts: Counts
    library_size: Int[np.ndarray, " cell"]


def read_expression(
    adata_or_path: ad.AnnData | str | os.PathLike[str],
    *,
    layer: str | None = None,
    donor_key: str | None = None,
    labels_key: str | None = None,
    batch_key: str | None = None,
    covariate_keys: Sequence[str] = (),
    max_bytes: int | None = None,
) -> ad.AnnData:
    """Read integer counts and check them before use.

    Args:
        adata_or_path: AnnData in memory, a view, backed, or the path of an h5ad or a Zarr store.
        layer: Layer that holds the counts; None takes X, "raw" takes `.raw`.
        donor_key: Column of obs with donors.
        labels_key: Column of obs with cell types or other labels.
        batch_key: Column of obs with experimental batches.
        covariate_keys: Other columns of obs that must be complete.
        max_bytes: Most memory to use; None takes 90 % of what is available.

    Returns:
        A new AnnData: X is CSR int32 [cell, gene] in canonical form, obs and var are copies with plain string
        names; the named columns that hold text (and donors, labels and batches always) are categorical with
        sorted string levels. Cells without counts are left out; genes without counts stay. Layers, obsm and
        the rest of uns are not carried over. `uns["genesim_read"]` tells what was read and dropped.

    Raises:
        H5adError: The file is damaged or refers to others; names are duplicated; a key is missing or its
            column incomplete; values are not counts (the message names a layer that holds some).
        ResourceError: It would not fit in memory.
    """
    with opened(adata_or_path, max_bytes) as source:
        name, where, obs, var = _tables(source, layer, donor_key, labels_key, batch_key, covariate_keys)
        cells, report = _whole(source, name, where, obs, var, max_bytes)
    return ad.AnnData(X=cells.counts, obs=cells.obs, var=cells.var, uns={REPORT_KEY: report})


@contextmanager
def open_expression(
    adata_or_path: ad.AnnData | str | os.PathLike[str],
    *,
    layer: str | None = None,
    labels_key: str | None = None,
    batch_key: str | None = None,
    covariate_keys: Sequence[str] = (),
    stream: bool | None = None,
    stream_bytes: int | None = None,
    max_bytes: int | None = None,
) -> Iterator[Cells]:
    """Check integer counts, reading them whole or leaving them on disk; the file is open as long as the context.

    Args:
        adata_or_path: As `read_expression` takes it.
        layer: Layer that holds the counts; None takes X, "raw" takes `.raw`.
        labels_key: Column of obs with cell types or other labels.
        batch_key: Column of obs with experimental batches.
        covariate_keys: Other columns of obs that must be complete.
        stream: Whether counts stay on disk; None leaves those there that would take more than `stream_bytes`,
            where the file can be read by cells.
        stream_bytes: Memory; None takes `STREAM_BYTES`.
        max_bytes: Most memory to use; None takes 90 % of what is available.

    Raises:
        H5adError: As `read_expression`, or counts that must stay on disk cannot be read by cells.
        ResourceError: It would not fit in memory.
    """
    with opened(adata_or_path, max_bytes) as source:
        name, where, obs, var = _tables(source, layer, None, labels_key, batch_key, covariate_keys)
        if stream is None:
            node = source.nodes[name]
            most = STREAM_BYTES if stream_bytes is None else stream_bytes
            stream = reads_by_rows(node) and load_bytes(node, where) > most
        if stream:
            yield _left_on_disk(source, name, where, obs, var)
        else:
            yield _whole(source, name, where, obs, var, max_bytes)[0]


def _whole(
    source: Source, name: str, where: str, obs: pd.DataFrame, var: pd.DataFrame, max_bytes: int | None
) -> tuple[Cells, dict[str, Any]]:
    """Cells with their counts in memory, and what was read and left out."""
    with worded(where) if source.on_disk else nullcontext():
        counts = _read_counts(source, name, obs.index, var.index, max_bytes, where)
    kept = np.diff(counts.indptr) > 0
    _refuse_no_counts(kept, where)
    report = {
        "layer": name,
        "n_cells_read": int(counts.shape[0]),
        "n_cells_without_counts": int((~kept).sum()),
        "n_genes": int(counts.shape[1]),
        "n_genes_without_counts": int((~_seen_genes(counts)).sum()),
    }
    counts = counts if kept.all() else counts[kept]
    total = np.asarray(counts.sum(axis=1)).ravel()
    return Cells(_kept_rows(obs, kept), plain_frame(var), counts, total), report


def _seen_genes(counts: sparse.csr_matrix) -> np.ndarray:
    """Whether any cell has a count, bool [gene]; `getnnz(axis=0)` would copy all indices as 64-bit integers."""
    seen = np.zeros(counts.shape[1], bool)
    for first in range(0, counts.nnz, 2**22):
        seen[counts.indices[first : first + 2**22]] = True
    return seen


def _left_on_disk(source: Source, name: str, where: str, obs: pd.DataFrame, var: pd.DataFrame) -> Cells:
    """Cells with their counts on disk, after one pass over them."""
    node = source.nodes[name]
    with worded(where):
        _check_shape(node, obs.index, var.index, where)
        describe = _describe(obs.index, var.index)
        counts, total, seen = scan_counts(node, describe, lambda: _hint(source, name), where)
    kept = counts.stored > 0
    _refuse_no_counts(kept, where)
    log.info(
        "%s: counts stay on disk: %d cells (%d more have no counts), %d genes (%d without counts)",
        where,
        int(kept.sum()),
        int((~kept).sum()),
        len(seen),
        int((seen == 0).sum()),
    )
    return Cells(_kept_rows(obs, kept), plain_frame(var), counts.select(np.flatnonzero(kept)), total[kept])


def _tables(
    source: Source,
    layer: str | None,
    donor_key: str | None,
    labels_key: str | None,
    batch_key: str | None,
    covariate_keys: Sequence[str],
) -> tuple[str, str, pd.DataFrame, pd.DataFrame]:
    """Name of the matrix, what errors call it, obs with complete keys, and var."""
    name = chosen_node(source, layer)
    where = f"{source.where}, {'X' if name == 'X' else name if name == 'raw' else f'layer {name!r}'}"
    var = source.raw_var if name == "raw" and source.raw_var is not None else source.var
    _check_names(source.obs.index, "cell (obs)", "obs", source.where)
    _check_names(var.index, "gene (var)", "var", source.where)
    return name, where, _with_keys(source, donor_key, labels_key, batch_key, covariate_keys), var


def _refuse_no_counts(kept: np.ndarray, where: str) -> None:
    if not kept.any():
        raise H5adError("no cell has any count", where=where, remedy="check that this is the count matrix")


def _kept_rows(obs: pd.DataFrame, kept: np.ndarray) -> pd.DataFrame:
    if kept.all():
        return obs.copy()
    obs = obs.loc[kept].copy()
    for key in obs.columns[[isinstance(t, pd.CategoricalDtype) for t in obs.dtypes]]:
        obs[key] = obs[key].cat.remove_unused_categories()
    return obs


def _check_names(names: pd.Index, what: str, axis: str, where: str) -> None:
    if names.isna().any():
        raise H5adError(
            f"{np.count_nonzero(names.isna())} {what} names are missing",
            where=where,
            remedy=f"name every row of {axis}",
        )
    text = names.astype(str)
    twice = text[text.duplicated()].unique()
    if len(twice):
        raise H5adError(
            f"{len(twice)} {what} names occur more than once: {some(twice)}",
            where=where,
            remedy=f"make them unique first (adata.{axis}_names_make_unique()), or use stable identifiers",
        )


def _with_keys(
    source: Source, donor: str | None, labels: str | None, batch: str | None, covariates: Sequence[str]
) -> pd.DataFrame:
    """Copy of obs whose named columns are complete, and text where they must be."""
    twice = source.obs.columns[source.obs.columns.duplicated()]
    if len(twice):
        raise H5adError(
            f"obs has several columns named {some(twice)}", where=source.where, remedy="rename or drop them"
        )
    obs = plain_frame(source.obs)
    named = {"donor_key": donor, "labels_key": labels, "batch_key": batch}
    wanted = [(role, key) for role, key in named.items() if key is not None]
    wanted += [("covariate_keys", key) for key in covariates]
    for role, key in wanted:
        if key not in obs.columns:
            near = difflib.get_close_matches(key, list(obs.columns), 3, 0.5)
            remedy = f"did you mean {some(near)}?" if near else f"columns of obs: {some(obs.columns, 20)}"
            raise H5adError(f"{role} names '{key}', which obs has not", where=source.where, remedy=remedy)
        column = obs[key]
        numeric = role == "covariate_keys" and _is_number(column)
        labels_of = None if numeric else plain_labels(column)
        if labels_of is None:
            missing = ~np.isfinite(column.to_numpy(dtype=float, na_value=np.nan))
        else:
            missing = np.asarray(pd.isna(labels_of)) | np.isin(np.asarray(labels_of, object), ["", "nan"])
        if missing.any():
            example = obs.index[int(np.argmax(missing))]
            raise H5adError(
                f"column '{key}' of obs ({role}) is missing in {int(missing.sum()):,} of {len(obs):,} cells "
                f"(first: cell '{example}')",
                where=source.where,
                remedy="fill the column or drop those cells",
            )
        if labels_of is not None:
            obs[key] = labels_of
    return obs


def _is_number(column: pd.Series) -> bool:
    return pd.api.types.is_numeric_dtype(column.dtype) and not pd.api.types.is_bool_dtype(column.dtype)


def _check_shape(node: Any, cells: pd.Index, genes: pd.Index, where: str) -> None:
    shape = shape_of(node, where)
    if shape != (len(cells), len(genes)):
        raise H5adError(
            f"the matrix is {shape[0]} x {shape[1]} but there are {len(cells)} cells and {len(genes)} genes",
            where=where,
            remedy="the file is damaged: make it again",
        )
    if 0 in shape:
        raise H5adError(f"is empty ({shape[0]} cells, {shape[1]} genes)", where=where, remedy="check the input")


def _describe(cells: pd.Index, genes: pd.Index) -> Callable[[int, int], str]:
    return lambda row, column: f"cell '{cells[row]}', gene '{genes[column]}'"


def _hint(source: Source, name: str) -> str:
    return hint_for(source.nodes, name, source.where)


def _read_counts(
    source: Source,
    name: str,
    cells: pd.Index,
    genes: pd.Index,
    max_bytes: int | None,
    where: str,
) -> sparse.csr_matrix:
    node = source.nodes[name]
    _check_shape(node, cells, genes, where)
    needed = load_bytes(node, where)
    check_fits(needed, max_bytes, what="reading the counts", where=where)
    if reads_by_rows(node) and is_sparse(node):
        return read_counts(node, _describe(cells, genes), lambda: _hint(source, name), where)
    blocks: list[sparse.csr_matrix] = []
    n_read = 0
    for first, block in csr_blocks(node, where):
        blocks.append(to_counts(block, first, _describe(cells, genes), lambda: _hint(source, name), where))
        n_read += 8 * blocks[-1].nnz
        if len(blocks) > 1:
            # Stacking takes them once more; what is available now has already shrunk by what was read.
            more = n_read if max_bytes is None else needed + 2 * n_read
            check_fits(more, max_bytes, what="reading the counts", where=where)
    counts = blocks[0] if len(blocks) == 1 else sparse.vstack(blocks, format="csr")
    counts.sort_indices()
    return counts
