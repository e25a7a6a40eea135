"""The header of a .pgen, checked against the file's size before pgenlib, a C library, trusts it.

Layout: PLINK 2 file format specification, https://github.com/chrchang/plink-ng/tree/master/pgen_spec.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from jaxtyping import Bool

from genesim.errors import VcfError

_FIXED_WIDTH, _VARIABLE_WIDTH = 0x02, 0x10
_PER_BLOCK = 1 << 16
_MULTIALLELIC, _DOSAGE = 0x08, 0x60
_AGAIN = "copy the file set again, or make it again (`plink2 --make-pgen`)"


@dataclass(frozen=True)
class PgenHeader:
    """Counts, and what each record holds besides biallelic hard calls."""

    n_variants: int
    n_donors: int
    multiallelic: Bool[np.ndarray, " variant"]
    dosages: Bool[np.ndarray, " variant"]


def read_pgen_header(path: Path) -> PgenHeader:
    """Read and check.

    Raises:
        VcfError: Not a .pgen, a storage mode that is not read, or a size that contradicts the header.
    """
    with open(path, "rb") as handle:
        size = handle.seek(0, 2)
        handle.seek(0)
        start = handle.read(12)
        if start[:2] != b"\x6c\x1b" or len(start) < 12:
            raise VcfError(
                f"is not a .pgen: it starts with {start[:12]!r}", where=str(path), remedy="give a PLINK 2 file set"
            )
        mode, n_variants, n_donors, control = struct.unpack("<BIIB", start[2:])
        if mode not in (_FIXED_WIDTH, _VARIABLE_WIDTH) or (mode == _VARIABLE_WIDTH and control & 15 > 7):
            raise VcfError(
                f"has the storage mode 0x{mode:02x}, which is not read",
                where=str(path),
                remedy="write it in the standard mode (`plink2 --pfile ... --make-pgen`)",
            )
        if not n_variants or not n_donors:
            raise VcfError(f"holds {n_variants} variants of {n_donors} donors", where=str(path), remedy=_AGAIN)
        n_flag_bytes = -(-n_variants // 8) if control >> 6 == 3 else 0
        if mode == _FIXED_WIDTH:
            expected = 12 + n_flag_bytes + n_variants * -(-n_donors // 4)
            types = np.zeros(n_variants, dtype=np.uint8)
        else:
            types, expected = _variable(handle, path, size, n_variants, control)
    if size != expected:
        raise VcfError(
            f"has {size} bytes, its header asks for {expected}" + (": it is truncated" if size < expected else ""),
            where=str(path),
            remedy=_AGAIN,
        )
    return PgenHeader(n_variants, n_donors, (types & _MULTIALLELIC) > 0, (types & _DOSAGE) > 0)


def _variable(handle: BinaryIO, path: Path, size: int, n_variants: int, control: int) -> tuple[np.ndarray, int]:
    """Record types uint8 [variant], and the size that the header asks for."""
    wide = control & 4 > 0  # 8 bits a record type, else 4 (then no phases, dosages or third alleles)
    n_length, n_count = (control & 3) + 1, control >> 4 & 3
    n_blocks = -(-n_variants // _PER_BLOCK)

    def take(n: int) -> np.ndarray:
        if handle.tell() + n > size:
            raise VcfError("ends within its header: it is truncated", where=str(path), remedy=_AGAIN)
        return np.frombuffer(handle.read(n), dtype=np.uint8)

    offsets = take(8 * n_blocks).view("<u8").astype(np.int64).tolist()
    types, ends = [], []
    for block in range(n_blocks):
        n = min(_PER_BLOCK, n_variants - block * _PER_BLOCK)
        if wide:
            types.append(take(n))
        else:
            packed = take(-(-n // 2))
            types.append(np.stack([packed & 15, packed >> 4], axis=1).ravel()[:n])
        lengths = take(n * n_length).reshape(n, n_length).astype(np.int64)
        ends.append(offsets[block] + int((lengths << (8 * np.arange(n_length))).sum()))
        take(n * n_count)
        take(-(-n // 8) if control >> 6 == 3 else 0)
    if [handle.tell(), *ends[:-1]] != offsets:
        raise VcfError("has a header whose offsets contradict its lengths", where=str(path), remedy=_AGAIN)
    return np.concatenate(types), ends[-1]
