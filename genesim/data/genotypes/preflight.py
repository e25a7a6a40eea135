"""What kind of file a VCF is, and its lines with every BGZF block verified (SAM specification, 4.1)."""

from __future__ import annotations

import os
import stat
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Literal

from genesim.errors import VcfError

Kind = Literal["text", "bgzf", "bcf", "bgzf-bcf"]

EOF_BLOCK = bytes.fromhex("1f8b08040000000000ff0600424302001b0003000000000000000000")
_PIECE = 1 << 20


def file_kind(path: Path) -> Kind:
    """Tell text, bgzipped text and BCF apart by content, and refuse what cannot be trusted.

    Raises:
        VcfError: The file is absent, unreadable, empty, plain gzip, truncated, or no VCF.
    """
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise VcfError("is not a regular file", where=str(path), remedy="give the path of a VCF or BCF file")
        with open(path, "rb") as handle:
            start = handle.read(18)
            size = handle.seek(0, os.SEEK_END)
            handle.seek(max(0, size - len(EOF_BLOCK)))
            end = handle.read()
    except OSError as error:
        raise VcfError(f"cannot be read ({error.strerror})", where=str(path), remedy="check the path") from error
    if not start:
        raise VcfError("is empty", where=str(path), remedy="write or copy the file again")
    if start[:2] == b"\x1f\x8b":
        if not (start[3:4] == b"\x04" and start[12:14] == b"BC"):
            raise VcfError(
                "is compressed with plain gzip, not with bgzip",
                where=str(path),
                remedy=f"recompress it: gunzip -c {path.name} | bgzip > new.vcf.gz",
            )
        if end != EOF_BLOCK:
            raise VcfError(
                "is truncated: the end-of-file block of BGZF is missing",
                where=str(path),
                remedy="copy or download the file again",
            )
        return "bgzf-bcf" if next(bgzf_blocks(path), b"")[:4] == b"BCF\x02" else "bgzf"
    if start[:4] == b"BCF\x02":
        return "bcf"
    if start.startswith(b"##fileformat=VCF"):
        return "text"
    raise VcfError(
        f"is not a VCF or BCF: it starts with {start[:16]!r}",
        where=str(path),
        remedy="a VCF's first line is '##fileformat=VCFv4.2' or another version",
    )


def _damaged(path: Path, offset: int, why: str) -> VcfError:
    return VcfError(
        f"is damaged: {why} in the BGZF block at byte {offset}",
        where=str(path),
        remedy="copy or download the file again",
    )


def _block(handle: BinaryIO, path: Path, offset: int) -> tuple[bytes, int] | None:
    """Contents and size on disk of the block at `offset`; None at the end of the file."""
    head = handle.read(12)
    if not head:
        return None
    if len(head) < 12 or head[:4] != b"\x1f\x8b\x08\x04":
        raise _damaged(path, offset, "no block header")
    extra = handle.read(int.from_bytes(head[10:12], "little"))
    size, at = 0, 0
    while at + 4 <= len(extra):
        length = int.from_bytes(extra[at + 2 : at + 4], "little")
        if extra[at : at + 2] == b"BC" and length == 2:
            size = int.from_bytes(extra[at + 4 : at + 6], "little") + 1
        at += 4 + length
    n_rest = size - 12 - len(extra)
    if n_rest < 8:
        raise _damaged(path, offset, "an impossible block size")
    rest = handle.read(n_rest)
    if len(rest) < n_rest:
        raise _damaged(path, offset, "missing bytes (the file is truncated)")
    inflater = zlib.decompressobj(wbits=-15)
    try:
        data = inflater.decompress(rest[:-8], (1 << 16) + 1)
    except zlib.error as error:
        raise _damaged(path, offset, f"unreadable data ({error})") from error
    if (
        not inflater.eof
        or len(data) != int.from_bytes(rest[-4:], "little")
        or zlib.crc32(data) != int.from_bytes(rest[-8:-4], "little")
    ):
        raise _damaged(path, offset, "a checksum mismatch")
    return data, size


def bgzf_blocks(path: Path) -> Iterator[bytes]:
    """Inflated blocks of a BGZF file, each one checked against its CRC-32 and length.

    Raises:
        VcfError: A block that is cut or altered, with its byte offset.
    """
    offset = 0
    with open(path, "rb") as handle:
        while (found := _block(handle, path, offset)) is not None:
            data, size = found
            offset += size
            yield data


def _plain_pieces(path: Path) -> Iterator[bytes]:
    with open(path, "rb") as handle:
        while piece := handle.read(_PIECE):
            yield piece


def text_lines(path: Path, kind: Kind) -> Iterator[bytes]:
    """Lines, without their ends, of a plain or bgzipped text file; blank lines are left out.

    Raises:
        VcfError: A damaged BGZF block.
    """
    pieces = bgzf_blocks(path) if kind == "bgzf" else _plain_pieces(path)
    waiting: list[bytes] = []
    for piece in pieces:
        # Joining only where a line ends keeps very long lines linear in time.
        waiting.append(piece)
        if b"\n" not in piece:
            continue
        lines = b"".join(waiting).split(b"\n")
        waiting = [lines.pop()]
        for line in lines:
            if line := line.rstrip(b"\r"):
                yield line
    if line := b"".join(waiting).rstrip(b"\r"):
        yield line
