"""Walk through HDF5 files in a process of its own: what the library cannot survive ends this process and no other.

Run by `hdf5_probe` as a program that imports h5py alone. Each line of standard input is a path as JSON; the answer is a
line once the file was walked through. A Python exception is no answer of its own: whoever reads the file meets it too.
"""

from __future__ import annotations

import json
import sys
from contextlib import suppress
from pathlib import Path

import h5py

_WHOLE_BYTES = 2**24
"""Data sets of numbers up to this size are read whole; of larger ones the index of chunks is walked."""
_ROWS = 2**16
"""Strings read at a time."""


def read(dataset: h5py.Dataset, most: int) -> None:
    """Read what may crash: strings (their heaps) up to `most` rows, small tables, the index of large ones."""
    if dataset.is_virtual or dataset.external:
        return  # refers to another file, and is refused later
    if dataset.dtype.hasobject and dataset.ndim:
        for first in range(0, min(len(dataset), most), _ROWS):
            dataset[first : first + _ROWS]
    elif (dataset.size or 0) * dataset.dtype.itemsize <= _WHOLE_BYTES:
        dataset[()]
    elif dataset.chunks:
        dataset.id.get_num_chunks()


def walk(path: str) -> None:
    """Every object once, links never followed: its attributes, and what `read` reads of a data set."""
    most = Path(path).stat().st_size  # a string takes a byte at the least
    with h5py.File(path, "r") as file:
        seen: set[int] = set()
        nodes: list[h5py.Group | h5py.Dataset] = [file]
        while nodes:
            node = nodes.pop()
            with suppress(Exception):
                for name in node.attrs:
                    with suppress(Exception):
                        node.attrs[name]
                if isinstance(node, h5py.Dataset):
                    read(node, most)
                if not isinstance(node, h5py.Group) or (at := h5py.h5o.get_info(node.id).addr) in seen:
                    continue
                seen.add(at)
                for name in node:
                    with suppress(Exception):
                        if isinstance(node.get(name, getlink=True), h5py.HardLink):
                            nodes.append(node[name])


if __name__ == "__main__":
    for line in sys.stdin:
        with suppress(Exception):
            walk(json.loads(line))
        print(flush=True)
