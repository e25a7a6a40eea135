"""What is checked of an h5ad file (or Zarr store) before anndata opens it: signature, length, links, the parts.

HDF5 follows external links, external raw storage and virtual data sets to any other file of the machine
without a word; such files are refused.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py
import zarr

from genesim.data.hdf5_probe import probe
from genesim.data.zarr_chunks import damaged_chunk
from genesim.errors import GenesimError, H5adError

_KINDS = {
    b"\x1f\x8b": "a gzipped file: decompress it first",
    b"PK": "a zip archive: unpack it first",
    b"BZ": "a bzip2 file: decompress it first",
    b"\xfd7": "an xz file: decompress it first",
    b"%%": "a text file (Matrix Market?): convert it to h5ad with anndata",
}


@contextmanager
def worded(where: str) -> Iterator[None]:
    """Turn what h5py and anndata raise on a damaged file into an `H5adError` naming it."""
    try:
        yield
    except (GenesimError, MemoryError):
        raise
    except Exception as error:  # on a damaged file the readers raise almost anything; it is kept as the cause
        text = str(error).splitlines()[0] if str(error) else type(error).__name__
        if isinstance(error, BlockingIOError) or "unable to lock" in text:
            remedy = "another program is writing the file: wait for it, or copy the file"
        else:
            remedy = "the file is damaged or truncated: copy or make it again"
        raise H5adError(f"cannot be read ({text})", where=where, remedy=remedy) from error


@contextmanager
def open_h5ad(path: str | os.PathLike[str]) -> Iterator[h5py.File]:
    """Open an h5ad read-only after the checks of this module.

    Raises:
        H5adError: Absent, not HDF5, truncated, so damaged that the library crashes (`hdf5_probe`), not an h5ad, or it
            refers to another file.
    """
    path = Path(path)
    check_signature(path)
    probe(path)
    with worded(str(path)):
        file = h5py.File(path, "r")
    try:
        with worded(str(path)):
            check_links(file, str(path))
            check_parts(file, str(path))
        yield file
    finally:
        file.close()


def is_zarr(path: str | os.PathLike[str]) -> bool:
    """Whether `path` is a directory that Zarr (format 2 or 3) has made."""
    return any((Path(path) / name).is_file() for name in ("zarr.json", ".zgroup"))


def open_zarr(path: str | os.PathLike[str]) -> zarr.Group:
    """Open a Zarr store of an AnnData read-only.

    Raises:
        H5adError: Damaged, or no AnnData.
    """
    with worded(str(path)):
        group = zarr.open_group(os.fspath(path), mode="r")
        check_parts(group, str(path))
        for _, array in group.members(max_depth=None):
            if isinstance(array, zarr.Array) and (problem := damaged_chunk(array, Path(path))):
                remedy = "the store is damaged: copy or make it again"
                raise H5adError(problem, where=str(path), remedy=remedy)
    return group


def check_signature(path: Path) -> None:
    """Check that `path` is an HDF5 file.

    Raises:
        H5adError: It is absent, a directory, empty or something else (which is named).
    """
    where = str(path)
    if path.is_dir():
        raise H5adError(
            "is a directory",
            where=where,
            remedy="give the path of an h5ad, or of the Zarr store itself",
        )
    if not path.is_file():
        raise H5adError("does not exist", where=where, remedy="check the path")
    try:
        with open(path, "rb") as handle:
            first = handle.read(2)
    except OSError as error:
        raise H5adError(
            f"cannot be read ({error.strerror})", where=where, remedy="check the file's permissions"
        ) from error
    if not h5py.is_hdf5(where):
        kind = "empty: copy it again" if not first else _KINDS.get(first, "of another format, or damaged")
        raise H5adError("is not an HDF5 file", where=where, remedy=f"it is {kind}")


def check_links(root: h5py.Group, where: str) -> None:
    """Walk every object and refuse whatever refers to another file.

    Links are looked at, never followed, and an object with several names is visited once, so a cycle ends.

    Raises:
        H5adError: An external link, external raw storage or a virtual data set.
    """
    seen: set[int] = set()
    groups = [root]
    while groups:
        group = groups.pop()
        address = h5py.h5o.get_info(group.id).addr
        if address in seen:
            continue
        seen.add(address)
        for name in group:
            full = f"{group.name.rstrip('/')}/{name}"
            link = group.get(name, getlink=True)
            if isinstance(link, h5py.ExternalLink):
                raise _refers(full, "is an external link", str(link.filename), where)
            if isinstance(link, h5py.SoftLink):
                continue  # its target has a name of its own in this file
            node = group[name]
            if isinstance(node, h5py.Group):
                groups.append(node)
            elif isinstance(node, h5py.Dataset):
                if node.is_virtual:
                    raise _refers(full, "is a virtual data set", node.virtual_sources()[0].file_name, where)
                if node.external:
                    raise _refers(full, "keeps its values outside", str(node.external[0][0]), where)


def _refers(name: str, how: str, target: str, where: str) -> H5adError:
    return H5adError(
        f"'{name}' {how} (to '{target}')",
        where=where,
        remedy="use a file that holds all of its data: read it with anndata and write it again",
    )


def check_parts(file: h5py.File | zarr.Group, where: str) -> None:
    """Check that `obs` and `var` are there in the layout that anndata has written since 0.7.

    Raises:
        H5adError: They are not.
    """
    missing = [part for part in ("obs", "var") if part not in file]
    if missing:
        raise H5adError(
            f"has no {' and no '.join(missing)} (it holds: {', '.join(list(file)[:8]) or 'nothing'})",
            where=where,
            remedy="give an h5ad or Zarr store as anndata writes it",
        )
    for part in ("obs", "var"):
        if not isinstance(file[part], h5py.Group | zarr.Group):
            raise H5adError(
                f"'{part}' has the layout of anndata before 0.7",
                where=where,
                remedy="read it with anndata and write it again",
            )


def table_bytes(group: h5py.Group) -> int:
    """Bytes that the data sets below `group` take in memory (64 a variable-length string)."""
    total = 0

    def add(_: str, node: h5py.Group | h5py.Dataset) -> None:
        nonlocal total
        if isinstance(node, h5py.Dataset):
            n_values = int(node.size or 0)
            total += n_values * (64 if node.dtype.kind == "O" else node.dtype.itemsize)

    group.visititems(add)
    return total
