"""The binary form of a VCF, BCF 2.2 (VCF specification, section 6): header and records as bytes, by numpy.

One GT is one byte a copy, so that a block of genotypes is encoded at once and never becomes text.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable

import numpy as np
import pandas as pd
from jaxtyping import Bool, Int8, UInt8

from genesim.data.genotypes.encode_vcf import RecordBlock, info_type
from genesim.data.genotypes.record import ABSENT, allele_counts

_INT8, _INT16, _INT32, _FLOAT, _CHAR = 1, 2, 3, 5, 7
_MISSING_FLOAT = struct.pack("<I", 0x7F800001)
_END_OF_VECTOR = 0x81
_KEY = re.compile(r"^##(?:FILTER|INFO|FORMAT)=<ID=([^,>]+)")
_CONTIG = re.compile(r"^##contig=<ID=([^,>]+)")


def bcf_header(text: str) -> bytes:
    """Magic, length and NUL-terminated text."""
    raw = text.encode() + b"\0"
    return b"BCF\x02\x02" + struct.pack("<I", len(raw)) + raw


def _typed_size(size: int, kind: int) -> bytes:
    return bytes([size << 4 | kind]) if size < 15 else bytes([0xF0 | kind]) + typed_integer(size)


def typed_integer(value: int) -> bytes:
    """A typed scalar in the fewest bytes; the lowest eight values of each width are reserved."""
    if -120 <= value <= 127:
        return struct.pack("<Bb", 1 << 4 | _INT8, value)
    if -32_760 <= value <= 32_767:
        return struct.pack("<Bh", 1 << 4 | _INT16, value)
    return struct.pack("<Bi", 1 << 4 | _INT32, value)


def typed_float(value: float) -> bytes:
    """A typed 32-bit scalar; NaN is the missing value."""
    packed = _MISSING_FLOAT if value != value else struct.pack("<f", np.float32(value))
    return bytes([1 << 4 | _FLOAT]) + packed


def typed_text(value: str) -> bytes:
    raw = value.encode()
    return _typed_size(len(raw), _CHAR) + raw


def gt_bytes(
    alleles: Int8[np.ndarray, "variant donor 2"], phased: Bool[np.ndarray, "variant donor"]
) -> UInt8[np.ndarray, "variant donor 2"]:
    """`(allele + 1) << 1 | phased`, the phase on the second copy; a copy that is absent ends the vector."""
    codes = ((alleles + np.int8(1)) << 1).view(np.uint8)
    first, second = alleles[:, :, 0], alleles[:, :, 1]
    codes[:, :, 1] |= phased & (first >= 0) & (second >= 0)
    codes[:, :, 1][second == ABSENT] = _END_OF_VECTOR
    return codes


class BcfEncoder:
    """Turns blocks into records that refer to the dictionaries of `header` (the text of `header_text`)."""

    def __init__(self, header: str) -> None:
        keys: dict[str, int] = {"PASS": 0}
        contigs: dict[str, int] = {}
        for line in header.splitlines():
            if found := _KEY.match(line):
                keys.setdefault(found[1], len(keys))
            elif found := _CONTIG.match(line):
                contigs.setdefault(found[1], len(contigs))
        self._keys, self._contigs = keys, contigs

    def _more_info(self, info: pd.DataFrame) -> list[tuple[int, bytes]]:
        """How many further INFO fields each variant has, and their bytes."""
        fields: list[list[bytes]] = [[] for _ in range(len(info))]
        writers: dict[str, Callable[..., bytes]] = {
            "Integer": lambda value: typed_integer(int(value)),
            "Float": typed_float,
            "String": lambda value: typed_text(str(value)),
            "Flag": lambda _: b"\0",
        }
        for column in info.columns:
            values, key = info[column], typed_integer(self._keys[str(column)])
            kind = info_type(values)
            for i, (value, known) in enumerate(zip(values, values.notna(), strict=True)):
                if known and (kind != "Flag" or value):
                    fields[i].append(key + writers[kind](value))
        return [(len(parts), b"".join(parts)) for parts in fields]

    def records(self, block: RecordBlock) -> bytes:
        """The records of a block."""
        table = block.variants
        n_donors = block.alleles.shape[1]
        n_alternate, n_called = allele_counts(block.alleles)
        genotypes = gt_bytes(block.alleles, block.phased)
        more = self._more_info(block.info) if block.info is not None else [(0, b"")] * len(table)
        ac_key, an_key, af_key = (typed_integer(self._keys[name]) for name in ("AC", "AN", "AF"))
        filters = bytes([1 << 4 | _INT8, 0])  # PASS
        gt = typed_integer(self._keys["GT"]) + _typed_size(2, _INT8)
        l_individual = len(gt) + 2 * n_donors
        parts: list[bytes | memoryview] = []
        for i, (contig, start, name, ref, alt, ac, an) in enumerate(
            zip(
                table["contig"],
                table["start"].tolist(),
                table.index,
                table["ref"],
                table["alt"],
                n_alternate.tolist(),
                n_called.tolist(),
                strict=True,
            )
        ):
            counts = ac_key + typed_integer(ac) + an_key + typed_integer(an)
            counts += af_key + typed_float(ac / an if an else float("nan"))
            n_more, extra = more[i]
            shared = b"".join(
                (
                    struct.pack("<iii", self._contigs[contig], start, len(ref)),
                    _MISSING_FLOAT,  # QUAL
                    struct.pack("<II", 2 << 16 | 3 + n_more, 1 << 24 | n_donors),
                    typed_text(name) if name != "." else bytes([_CHAR]),
                    typed_text(ref),
                    typed_text(alt),
                    filters,
                    counts,
                    extra,
                )
            )
            parts += (struct.pack("<II", len(shared), l_individual), shared, gt, genotypes[i].data)
        return b"".join(parts)
