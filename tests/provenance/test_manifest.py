from __future__ import annotations

import hashlib
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from genesim.errors import ArtefactError
from genesim.provenance.manifest import sha256, verify_manifest, write_manifest


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    (tmp_path / "deep").mkdir()
    (tmp_path / "a b.txt").write_bytes(b"some bytes")
    (tmp_path / "deep" / "x.bin").write_bytes(bytes(range(256)))
    (tmp_path / "deep" / "empty").write_bytes(b"")
    write_manifest(tmp_path)
    return tmp_path


def test_a_whole_directory_passes_and_the_manifest_is_reproducible(directory: Path) -> None:
    verify_manifest(directory)
    before = (directory / "manifest.sha256").read_bytes()
    write_manifest(directory)
    assert (directory / "manifest.sha256").read_bytes() == before


def test_digests_are_those_of_hashlib(directory: Path) -> None:
    assert sha256(directory / "deep" / "x.bin") == hashlib.sha256(bytes(range(256))).hexdigest()


@pytest.mark.skipif(shutil.which("sha256sum") is None, reason="sha256sum is not installed")
def test_sha256sum_reads_the_manifest(directory: Path) -> None:
    def check() -> int:
        return subprocess.run(
            ["sha256sum", "--check", "--strict", "--quiet", "manifest.sha256"],
            cwd=directory,
            capture_output=True,
            check=False,
        ).returncode

    assert check() == 0
    (directory / "a b.txt").write_bytes(b"other bytes")
    assert check() != 0


@given(bit=st.integers(0, 256 * 8 - 1))
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_flipped_bit_is_noticed(directory: Path, bit: int) -> None:
    path = directory / "deep" / "x.bin"
    good = path.read_bytes()
    bad = bytearray(good)
    bad[bit // 8] ^= 1 << (bit % 8)
    path.write_bytes(bytes(bad))
    with pytest.raises(ArtefactError, match=r"deep/x.bin differs"):
        verify_manifest(directory)
    path.write_bytes(good)
    verify_manifest(directory)


def test_a_missing_file_is_named(directory: Path) -> None:
    (directory / "deep" / "empty").unlink()
    with pytest.raises(ArtefactError, match=r"deep/empty is missing"):
        verify_manifest(directory)


def test_an_extra_file_is_named(directory: Path) -> None:
    (directory / "deep" / "extra").write_text("")
    with pytest.raises(ArtefactError, match=r"deep/extra is not in the manifest"):
        verify_manifest(directory)


def test_a_renamed_file_is_noticed(directory: Path) -> None:
    (directory / "a b.txt").rename(directory / "c.txt")
    with pytest.raises(ArtefactError):
        verify_manifest(directory)


def test_no_manifest_is_an_incomplete_directory(directory: Path) -> None:
    (directory / "manifest.sha256").unlink()
    with pytest.raises(ArtefactError, match="incomplete") as caught:
        verify_manifest(directory)
    assert caught.value.where == str(directory)
    assert caught.value.exit_code == 4


@pytest.mark.parametrize("content", [b"", b"nonsense\n", b"\xff\xfe\x00", b"0" * 64 + b"  a b.txt\n"])
def test_a_damaged_manifest_is_an_artefact_error(directory: Path, content: bytes) -> None:
    (directory / "manifest.sha256").write_bytes(content)
    with pytest.raises(ArtefactError):
        verify_manifest(directory)
