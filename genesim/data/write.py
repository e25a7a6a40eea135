"""Writers of h5ad, Zarr and tables: atomic, with provenance, the same bytes for the same content.

A `synthetic` mark travels with each: in `uns["genesim"]` of an h5ad, in the schema of a parquet, and in
`<file>.provenance.json` beside every table.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Literal

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import zarr
from scipy import sparse

from genesim.data.names import plain_frame, plain_index, some
from genesim.data.room import bytes_of, check_room, hdf5_target
from genesim.errors import H5adError, InputError, ResourceError
from genesim.provenance.atomic import atomic_directory, atomic_file
from genesim.provenance.record import Provenance, write_sidecar

UNS_KEY = "genesim"
_CHUNK_VALUES = 2**16  # stored values of one compressed piece: a read of 256 cells decompresses a few
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def provenance_uns(provenance: Provenance) -> dict[str, Any]:
    """What `uns["genesim"]` holds: `synthetic`, `verb`, `seed`, and the whole record as JSON."""
    return {
        "synthetic": provenance.synthetic,
        "verb": provenance.verb,
        "seed": provenance.seed,
        "provenance": provenance.to_json(),
    }


def write_h5ad(
    adata: ad.AnnData,
    path: str | os.PathLike[str],
    provenance: Provenance | None = None,
    compression: Literal["gzip", "lzf"] | None = "gzip",
) -> Path:
    """Write an h5ad in one piece or not at all; `adata` is not changed.

    Raises:
        H5adError: Something in `adata` has no place in an h5ad (anndata's words are passed on).
        ResourceError: The location cannot be written, or the disk is full.
    """
    path = Path(path)
    source = adata.to_memory() if adata.isbacked else adata
    raw = None
    if source.raw is not None:
        raw = {"X": source.raw.X, "var": plain_frame(source.raw.var), "varm": dict(source.raw.varm)}
    shell = ad.AnnData(
        X=source.X,
        obs=plain_frame(source.obs),
        var=plain_frame(source.var),
        uns={**source.uns, **({UNS_KEY: provenance_uns(provenance)} if provenance else {})},
        obsm=dict(source.obsm),
        varm=dict(source.varm),
        layers={name: source.layers[name] for name in source.layers if name is not None},  # None: X itself
        obsp=dict(source.obsp),
        varp=dict(source.varp),
        raw=raw,
    )
    with atomic_file(path) as temporary:
        try:
            with hdf5_target(temporary, bytes_of(shell), str(path)) as target:
                shell.write_h5ad(target, compression=compression)
        except (OSError, ResourceError):
            raise
        except Exception as error:  # anndata's own error for a type without a writer has no public name
            words = " ".join([str(error) or type(error).__name__, *getattr(error, "__notes__", [])])
            raise H5adError(
                f"cannot be written ({' '.join(words.split())})",
                where=str(path),
                remedy="convert or drop the entry that is named",
            ) from error
    return path


def write_blocks(
    shell: ad.AnnData, blocks: Iterable[sparse.csr_matrix], path: str | os.PathLike[str], provenance: Provenance
) -> Path:
    """Write cells whose counts come block by block, so that no more than one block is in memory.

    Args:
        shell: All but the counts: its X is empty and says how many cells and genes are to come.
        blocks: CSR int32, which together are as many rows.
        path: An h5ad, or a Zarr store (format 3) where it ends in `.zarr`; an existing one is replaced at the end.

    Raises:
        InputError: The blocks have another number of cells or genes.
        ResourceError: The location cannot be written, or the disk is full.
    """
    path = Path(path)
    as_zarr = path.suffix == ".zarr"
    empty = ad.AnnData(
        X=sparse.csr_matrix(shell.shape, dtype=np.int32),
        obs=plain_frame(shell.obs),
        var=plain_frame(shell.var),
        uns={**shell.uns, UNS_KEY: provenance_uns(provenance)},
    )
    with atomic_directory(path) if as_zarr else atomic_file(path) as temporary:
        if as_zarr:
            with ad.settings.override(zarr_write_format=3, auto_shard_zarr_v3=False), warnings.catch_warnings():
                warnings.filterwarnings("ignore", "Consolidated metadata")  # anndata's own readers ask for it
                empty.write_zarr(temporary)
            store = zarr.open_group(temporary, mode="r+", use_consolidated=False)
            _fill(store["X"], blocks, empty.shape, str(path))
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", "Consolidated metadata")
                zarr.consolidate_metadata(store.store)
        else:
            check_room(temporary, bytes_of(empty), str(path))
            empty.write_h5ad(temporary)
            with h5py.File(temporary, "r+") as file:
                _fill(file["X"], _with_room(blocks, temporary, str(path)), empty.shape, str(path))
    return path


def _with_room(blocks: Iterable[sparse.csr_matrix], temporary: Path, where: str) -> Iterator[sparse.csr_matrix]:
    """The blocks, each once the disk has room for it."""
    for block in blocks:
        check_room(temporary, block.data.nbytes + block.indices.nbytes + block.indptr.nbytes, where)
        yield block


def _fill(group: Any, blocks: Iterable[sparse.csr_matrix], shape: tuple[int, int], where: str) -> None:
    """Put the rows of `blocks` into the group of an empty CSR matrix."""
    settings: dict[str, Any] = {"chunks": (_CHUNK_VALUES,), "dtype": np.int32, "shape": (0,)}
    for name in ("data", "indices"):
        del group[name]
        if isinstance(group, h5py.Group):
            group.create_dataset(name, maxshape=(None,), compression="gzip", compression_opts=4, **settings)
        else:
            group.create_array(name, **settings)
    stored, n_rows = [np.zeros(1, np.int64)], 0
    for block in blocks:
        if block.shape[1] != shape[1] or n_rows + block.shape[0] > shape[0]:
            break
        first = group["data"].shape[0]
        for name, values in (("data", block.data), ("indices", block.indices)):
            array = group[name]
            array.resize((first + len(values),))
            array[first:] = values
        stored.append(np.diff(block.indptr).astype(np.int64))
        n_rows += block.shape[0]
    else:
        if n_rows == shape[0]:
            indptr = np.cumsum(np.concatenate(stored))
            del group["indptr"]
            if isinstance(group, h5py.Group):
                group.create_dataset("indptr", data=indptr)
            else:
                group.create_array("indptr", data=indptr)
            return
    raise InputError(
        f"the blocks are not the {shape[0]} cells x {shape[1]} genes that were announced",
        where=where,
        remedy="give as many rows as the table of cells has",
    )


def _flat(frame: pd.DataFrame, where: str) -> pd.DataFrame:
    """`frame` with a meaningful index as its first column(s), and plain names.

    Raises:
        InputError: Two columns would have one name.
    """
    if isinstance(frame.index, pd.MultiIndex):
        flat = frame.reset_index()
        flat.columns = pd.Index([str(name) for name in flat.columns], dtype=object)
    elif isinstance(frame.index, pd.RangeIndex):
        flat = frame
    else:
        name = "index" if frame.index.name is None else str(frame.index.name)
        flat = frame.reset_index(names=name) if name not in frame.columns else frame
        if flat is frame:
            raise InputError(
                f"the index and a column are both called '{name}'", where=where, remedy="rename one of them"
            )
    names = plain_index(flat.columns)
    if names.has_duplicates:
        raise InputError(f"columns are repeated: {some(names[names.duplicated()])}", where=where, remedy="rename them")
    return flat.reset_index(drop=True)


def write_parquet(frame: pd.DataFrame, path: str | os.PathLike[str], provenance: Provenance | None = None) -> Path:
    """Write a table as parquet; an index other than 0, 1, ... becomes the first column.

    The schema carries the provenance (key `genesim`) and nothing of pandas', so any reader sees the same
    columns. With `provenance`, `<path>.provenance.json` is written too.

    Raises:
        InputError: Names are repeated, or a column mixes types.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = Path(path)
    try:
        table = pa.Table.from_pandas(_flat(frame, str(path)), preserve_index=False)
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise InputError(
            f"a column cannot be stored ({'; '.join(map(str, error.args))})",
            where=str(path),
            remedy="give each column one type",
        ) from error
    metadata = {b"genesim": provenance.to_json().encode()} if provenance else None
    with atomic_file(path) as temporary:
        pq.write_table(table.replace_schema_metadata(metadata), temporary, compression="zstd")
    if provenance:
        write_sidecar(provenance, path)
    return path


def write_tsv(frame: pd.DataFrame, path: str | os.PathLike[str], provenance: Provenance | None = None) -> Path:
    """Write a table as TSV (gzipped where the suffix is `.gz`), lossless: floats keep all their digits."""
    return _write_text(_flat(frame, os.fspath(path)), Path(path), "\t", provenance)


def write_csv(frame: pd.DataFrame, path: str | os.PathLike[str], provenance: Provenance | None = None) -> Path:
    """Write a table as CSV for spreadsheets: text that a spreadsheet would run as a formula gets a leading '.

    Text that starts with one of = + - @, a tab or a carriage return is such; numbers stay as they are. Use
    `write_tsv` or `write_parquet` where the text must come back unchanged.
    """
    flat = _flat(frame, os.fspath(path))
    escaped = pd.DataFrame({_escape(name): flat[name].astype(object).map(_escape) for name in flat.columns})
    return _write_text(escaped, Path(path), ",", provenance)


def _escape(value: Any) -> Any:
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value


def _write_text(flat: pd.DataFrame, path: Path, separator: str, provenance: Provenance | None) -> Path:
    # A gzip header holds the time of day unless it is told another.
    compression: Any = {"method": "gzip", "mtime": 0} if path.suffix == ".gz" else None
    with atomic_file(path) as temporary:
        flat.to_csv(
            temporary,
            sep=separator,
            index=False,
            lineterminator="\n",
            encoding="utf-8",
            compression=compression,
        )
    if provenance:
        write_sidecar(provenance, path)
    return path
