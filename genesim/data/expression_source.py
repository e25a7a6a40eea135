"""An AnnData of any form, opened: in memory, a view, backed, an h5ad or a Zarr store."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import zarr
from anndata.io import read_elem

from genesim.data.matrix import BackedView
from genesim.data.memory import check_fits
from genesim.data.names import some
from genesim.data.preflight_h5ad import is_zarr, open_h5ad, open_zarr, table_bytes, worded
from genesim.errors import H5adError


@dataclass(frozen=True)
class Source:
    """Tables, and matrices by name ("X", layers, "raw")."""

    where: str
    obs: pd.DataFrame
    var: pd.DataFrame
    raw_var: pd.DataFrame | None
    nodes: Mapping[str, Any]
    on_disk: bool


@contextmanager
def opened(adata_or_path: Any, max_bytes: int | None) -> Iterator[Source]:
    """Open what `read_expression` takes; a file is open as long as the context.

    Raises:
        H5adError: The file is damaged or no h5ad, or something else was given.
        ResourceError: Its tables would take more than `max_bytes`.
    """
    if isinstance(adata_or_path, ad.AnnData):
        if adata_or_path.isbacked:
            # A backed AnnData was opened without these checks. Its obs may differ from the file's by now.
            with open_h5ad(adata_or_path.filename):
                pass  # opening is the check
        yield _of_anndata(adata_or_path)
    elif isinstance(adata_or_path, str | os.PathLike) and is_zarr(adata_or_path):
        where = os.fspath(adata_or_path)
        group = open_zarr(adata_or_path)
        with worded(where):
            source = _of_file(group, where)
        yield source
    elif isinstance(adata_or_path, str | os.PathLike):
        with open_h5ad(adata_or_path) as file:
            where = os.fspath(adata_or_path)
            check_fits(
                table_bytes(file["obs"]) + table_bytes(file["var"]),
                max_bytes,
                what="reading obs",
                where=where,
            )
            with worded(where):
                source = _of_file(file, where)
            yield source
    else:
        raise H5adError(
            f"a {type(adata_or_path).__name__} was given",
            remedy="give an AnnData or the path of an h5ad or a Zarr store",
        )


def _of_anndata(adata: ad.AnnData) -> Source:
    nodes: dict[str, Any] = {}
    if not adata.isbacked:
        nodes["X"] = adata.X
    else:
        base = adata._adata_ref if adata.is_view else adata
        node = getattr(base.X, "group", base.X)  # a sparse X wraps its HDF5 group
        if adata.is_view:
            # anndata has no public way to ask a view of a backed AnnData for its rows and columns.
            rows, columns = np.arange(base.n_obs)[adata._oidx], np.arange(base.n_vars)[adata._vidx]
            node = BackedView(node, rows.ravel(), columns.ravel())
        nodes["X"] = node
    # Since anndata 0.13 X is also the layer called None.
    nodes |= {name: adata.layers[name] for name in adata.layers if name is not None}
    raw_var = None
    if adata.raw is not None:
        raw = adata.raw.X
        nodes.setdefault("raw", getattr(raw, "group", raw))
        raw_var = adata.raw.var
    nodes = {name: node for name, node in nodes.items() if node is not None}
    where = str(adata.filename) if adata.isbacked else "AnnData"
    return Source(where, adata.obs, adata.var, raw_var if "raw" not in adata.layers else None, nodes, adata.isbacked)


def _of_file(file: h5py.File | zarr.Group, where: str) -> Source:
    def present(name: str) -> bool:
        return name in file and file[name].attrs.get("encoding-type") != "null"

    nodes = {"X": file["X"]} if present("X") else {}
    layers: Any = file.get("layers", {})
    nodes |= {name: layers[name] for name in layers}
    raw_var = None
    if "raw" not in nodes and present("raw/X"):
        nodes["raw"] = file["raw/X"]
        raw_var = read_elem(file["raw/var"])
    return Source(where, read_elem(file["obs"]), read_elem(file["var"]), raw_var, nodes, True)


def chosen_node(source: Source, layer: str | None) -> str:
    """Name of the matrix that a layer means; None is X.

    Raises:
        H5adError: The source lacks it.
    """
    name = "X" if layer is None else layer
    if name not in source.nodes:
        found = "has no X" if layer is None else f"has no layer '{layer}'"
        raise H5adError(
            f"{found}; it holds: {some(source.nodes)}",
            where=source.where,
            remedy="choose one of those with layer=",
        )
    return name
