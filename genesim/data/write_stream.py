"""Writers of what is made piece by piece: tables and dense matrices that need not fit into memory."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import anndata as ad
import h5py
import numpy as np
import pandas as pd
from jaxtyping import Float

from genesim.data.names import plain_frame
from genesim.data.room import bytes_of, check_room
from genesim.data.write import UNS_KEY, provenance_uns
from genesim.errors import InputError
from genesim.provenance.atomic import atomic_file
from genesim.provenance.record import Provenance, write_sidecar

_ROWS = 256


def write_parquet_parts(
    parts: Iterable[pd.DataFrame], path: str | os.PathLike[str], provenance: Provenance | None = None
) -> Path:
    """Write tables of the same columns as one parquet, a row group each.

    Raises:
        InputError: There is no table.
        ResourceError: The location cannot be written, or the disk is full.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = Path(path)
    with atomic_file(path) as temporary:
        writer = None
        try:
            for part in parts:
                table = pa.Table.from_pandas(part, preserve_index=False)
                table = table.replace_schema_metadata({UNS_KEY: provenance.to_json()} if provenance else None)
                if writer is None:
                    writer = pq.ParquetWriter(temporary, table.schema, compression="zstd")
                writer.write_table(table.cast(writer.schema))
        finally:
            if writer is not None:
                writer.close()
        if writer is None:
            raise InputError("no table came to be written", where=str(path), remedy="give one or more")
    if provenance is not None:
        write_sidecar(provenance, path)
    return path


def write_dense_blocks(
    shell: ad.AnnData,
    blocks: Iterable[Float[np.ndarray, "cell gene"]],
    path: str | os.PathLike[str],
    provenance: Provenance,
) -> Path:
    """Write an h5ad with dense float32 X that comes block by block; memory holds one block.

    Args:
        shell: obs and var of all the cells; its X is not used.

    Raises:
        InputError: The blocks have another number of cells or genes.
        ResourceError: The location cannot be written, or the disk is full.
    """
    path = Path(path)
    empty = ad.AnnData(
        obs=plain_frame(shell.obs),
        var=plain_frame(shell.var),
        uns={**shell.uns, UNS_KEY: provenance_uns(provenance)},
    )
    n_cells, n_genes = shell.shape
    with atomic_file(path) as temporary:
        check_room(temporary, bytes_of(empty), str(path))
        empty.write_h5ad(temporary)
        with h5py.File(temporary, "r+") as file:
            if "X" in file:
                del file["X"]
            chunks = (max(1, min(_ROWS, n_cells)), max(1, n_genes))
            x = file.create_dataset(
                "X", (n_cells, n_genes), np.float32, chunks=chunks, compression="gzip", compression_opts=4
            )
            x.attrs["encoding-type"], x.attrs["encoding-version"] = "array", "0.2.0"
            first = 0
            for block in blocks:
                last = first + block.shape[0]
                if block.shape[1] != n_genes or last > n_cells:
                    first = -1
                    break
                check_room(temporary, block.nbytes, str(path))
                x[first:last] = block
                first = last
            if first != n_cells:
                raise InputError(
                    f"the blocks do not make {n_cells} cells of {n_genes} genes",
                    where=str(path),
                    remedy="give blocks of all the cells",
                )
    return path
