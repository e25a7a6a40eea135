"""Damaged files are refused with the place of the damage, and BGZF is read as gzip reads it."""

from __future__ import annotations

import gzip
from pathlib import Path

import pysam
import pytest

from genesim.data.genotypes.preflight import EOF_BLOCK, bgzf_blocks, file_kind, text_lines
from genesim.errors import VcfError

TEXT = b"##fileformat=VCFv4.2\n" + b"".join(b"line %d\n" % i for i in range(60_000))


@pytest.fixture
def bgzipped(tmp_path: Path) -> Path:
    path = tmp_path / "x.vcf.gz"
    with pysam.BGZFile(str(path), "wb", None) as handle:
        handle.write(TEXT)
    return path


def test_lines_are_those_of_gzip(bgzipped: Path) -> None:
    with gzip.open(bgzipped) as handle:
        expected = handle.read().splitlines()
    assert file_kind(bgzipped) == "bgzf"
    assert list(text_lines(bgzipped, "bgzf")) == expected
    assert len(list(bgzf_blocks(bgzipped))) > 3


def test_text_with_carriage_returns_and_no_last_newline(tmp_path: Path) -> None:
    path = tmp_path / "x.vcf"
    path.write_bytes(b"##fileformat=VCFv4.2\r\n\r\na\r\n" + b"b" * 3_000_000 + b"\nc")
    assert file_kind(path) == "text"
    assert list(text_lines(path, "text")) == [b"##fileformat=VCFv4.2", b"a", b"b" * 3_000_000, b"c"]


def test_truncation_is_named(bgzipped: Path) -> None:
    data = bgzipped.read_bytes()
    for end in (len(data) - len(EOF_BLOCK), len(data) // 2, 20):
        bgzipped.write_bytes(data[:end])
        with pytest.raises(VcfError, match="truncated"):
            file_kind(bgzipped)
    bgzipped.write_bytes(data[: len(data) // 2] + EOF_BLOCK)
    with pytest.raises(VcfError, match="BGZF block at byte"):
        list(bgzf_blocks(bgzipped))


def test_a_flipped_bit_is_found_wherever_it_is(bgzipped: Path) -> None:
    data = bgzipped.read_bytes()
    body = len(data) - len(EOF_BLOCK)
    refused = 0
    for at in range(18, body, body // 40):
        flipped = bytearray(data)
        flipped[at] ^= 4
        bgzipped.write_bytes(flipped)
        try:
            assert b"".join(bgzf_blocks(bgzipped)) == TEXT  # a header byte without meaning (time, system)
        except VcfError:
            refused += 1
    assert refused >= 35


def test_kinds_that_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.vcf.gz"
    with gzip.open(path, "wb") as handle:
        handle.write(TEXT)
    with pytest.raises(VcfError, match="bgzip"):
        file_kind(path)
    path.write_bytes(b"")
    with pytest.raises(VcfError, match="empty"):
        file_kind(path)
    path.write_bytes(b"hello")
    with pytest.raises(VcfError, match="not a VCF"):
        file_kind(path)
    for absent in (tmp_path / "absent.vcf", tmp_path):
        with pytest.raises(VcfError):
            file_kind(absent)
