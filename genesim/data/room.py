"""Room on the disk for HDF5, asked before it writes: where a disk fills up under it, HDF5 can crash the process.

(HDF5 1.14 with h5py 3: a failed flush is reported as a RuntimeError, and closing the file after it may end in a
segmentation fault.) Other writers fail as they should and need no such care.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import anndata as ad

from genesim.data.memory import available_bytes
from genesim.errors import ResourceError

_MARGIN = 2**22  # HDF5's own tables and caches, and a neighbour's small file


def bytes_of(adata: ad.AnnData) -> int:
    """At least what an h5ad of `adata` takes without compression."""
    raw = 0 if adata.raw is None else ad.AnnData(X=adata.raw.X, var=adata.raw.var).__sizeof__()
    return int(1.25 * (adata.__sizeof__() + raw))


def check_room(path: Path, n_bytes: int, where: str) -> None:
    """Check that the disk of `path` has room for `n_bytes` more of an HDF5 file.

    Raises:
        ResourceError: It has not.
    """
    free = shutil.disk_usage(path.parent).free
    if free < n_bytes + _MARGIN:
        raise ResourceError(
            f"the disk has {free / 2**20:.3g} MiB free and up to {(n_bytes + _MARGIN) / 2**20:.3g} MiB are needed; "
            "nothing was left at the final path",
            where=where,
            remedy="free disk space or choose another output directory",
        )


@contextmanager
def hdf5_target(temporary: Path, n_bytes: int, where: str) -> Iterator[Path]:
    """Where to write an HDF5 file of at most `n_bytes` that is to be at `temporary`.

    Unless the disk has room for it in any case, it is written elsewhere (in memory, where there is /dev/shm) and
    copied: compressed it may fit, and a copy that does not fit fails as it should.

    Raises:
        ResourceError: There is such room neither here nor elsewhere.
        OSError: The disk is full.
    """
    if shutil.disk_usage(temporary.parent).free >= n_bytes + _MARGIN:
        yield temporary
        return
    elsewhere = next((Path(name) for name in ("/dev/shm", tempfile.gettempdir()) if _has_room(name, n_bytes)), None)
    if elsewhere is None:
        check_room(temporary, n_bytes, where)
    with tempfile.TemporaryDirectory(dir=elsewhere, prefix="genesim-") as folder:
        image = Path(folder) / temporary.name
        yield image
        shutil.copyfile(image, temporary)


def _has_room(folder: str, n_bytes: int) -> bool:
    memory = available_bytes() if folder == "/dev/shm" else None
    free = shutil.disk_usage(folder).free if os.access(folder, os.W_OK) else 0
    return min(free, free if memory is None else memory // 2) >= n_bytes + _MARGIN
