"""The headers of Blosc chunks, checked before the library believes them.

Blosc, the usual compressor of Zarr format 2, reads as many bytes as a chunk's header says and makes room for as many: a
chunk that was cut or altered crashes the process. Header: https://github.com/Blosc/c-blosc/blob/main/README_CHUNK_FORMAT.rst.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from pathlib import Path

import numcodecs.blosc
import zarr

_HEADER = struct.Struct("<4B3I")  # versions, flags, type size; bytes, bytes a block, compressed bytes
_MOST = 2**28
"""Bytes that a chunk may claim whose size nothing else says: of texts, or behind a filter."""
_COUNTED = {"VLenUTF8", "VLenUTF8Codec", "VLenBytes", "VLenBytesCodec"}


def chunk_files(folder: Path) -> Iterator[Path]:
    """Files that hold chunks or shards of the array in `folder`."""
    return (file for file in folder.rglob("*") if is_chunk(file) and file.is_file())


def is_chunk(file: Path) -> bool:
    """Whether a file of an array's folder is a chunk by its name."""
    return file.name[0].isdigit() or file.name.startswith("c.")


def _kind(codec: object) -> str:
    return type(codec).__name__


def _n_texts(file: Path) -> int:
    """Texts that a chunk says it holds (`vlen-utf8`); -1 where it cannot be read."""
    try:
        return int.from_bytes(bytes(numcodecs.blosc.decompress(file.read_bytes())[:4]), "little")
    except RuntimeError:
        return -1


def damaged_chunk(array: zarr.Array, root: Path) -> str:
    """What is wrong with an array's first chunk that Blosc must not see; "" where all can be read.

    Args:
        array: Compressed by Blosc, else there is nothing to see.
        root: Folder of the store.
    """
    folder = root / array.path
    if array.shards or [_kind(codec) for codec in array.compressors] not in (["Blosc"], ["BloscCodec"]):
        return ""  # behind another codec, as a checksum, the file is no chunk of Blosc's
    texts = array.dtype.kind in "OT"
    # Filters (PackBits of bio2zarr's booleans) change the size; format 3 calls the coding of texts a serializer.
    coding = {_kind(codec) for codec in (*array.filters, array.serializer)} if texts else set()
    whole = None if array.filters or texts else math.prod(array.chunks) * array.dtype.itemsize
    for file in chunk_files(folder):
        with open(file, "rb") as handle:
            head, size = handle.read(_HEADER.size), handle.seek(0, 2)
        name = file.relative_to(root)
        if len(head) < _HEADER.size:
            return f"the chunk {name} of {size} bytes is truncated"
        *_, claimed, _, compressed = _HEADER.unpack(head)
        if compressed != size:
            how = "truncated" if compressed > size else "damaged"
            return f"the chunk {name} of {size} bytes is {how}: it says {compressed}"
        if claimed > _MOST if whole is None else claimed != whole:
            return f"the chunk {name} claims {claimed} bytes of values" + ("" if whole is None else f", not {whole}")
        # Such texts begin with their number, and room is made for as many.
        if coding & _COUNTED and (n := _n_texts(file)) != math.prod(array.chunks):
            return f"the chunk {name} claims {n} texts, not {math.prod(array.chunks)}"
    return ""
