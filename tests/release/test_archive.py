"""One file for a bundle: the same bytes each time, and nothing written where it should not be."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from genesim.errors import ArtefactError
from genesim.release import archive as module
from genesim.release.archive import check_archive, read_archive, write_archive
from genesim.release.check import check_bundle


def test_an_archive_is_the_bundle_and_has_the_same_bytes_twice(bundle: Path, tmp_path: Path) -> None:
    one = write_archive(bundle, tmp_path / "one.tar.gz")
    two = write_archive(bundle, tmp_path / "two.tar.gz")
    assert one.read_bytes() == two.read_bytes()
    assert check_archive(one) == check_bundle(bundle)
    with tarfile.open(one) as file:
        assert {(m.uid, m.mtime, m.uname) for m in file} == {(0, 0, "")}


def packed(path: Path, *members: tuple[tarfile.TarInfo, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as file:
        for info, content in members:
            info.size = len(content)
            file.addfile(info, io.BytesIO(content))
    return path


def info(name: str, kind: bytes = tarfile.REGTYPE, target: str = "") -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    made.type, made.linkname = kind, target
    return made


@pytest.mark.parametrize(
    "member",
    [
        info("../out.txt"),
        info("b/../../out.txt"),
        info("/tmp/out-of-the-folder.txt"),
        info("b/link", tarfile.SYMTYPE, "/etc/passwd"),
        info("b/link", tarfile.LNKTYPE, "b/a"),
        info("b/pipe", tarfile.FIFOTYPE),
        info("b/device", tarfile.CHRTYPE),
        info("b\\..\\out.txt"),
        info("b/a/below a file"),
        info(f"b/{'x' * 300}"),
    ],
    ids=lambda member: f"{member.name[:20]} {member.type!r}",
)
def test_a_member_that_leads_out_is_refused(tmp_path: Path, member: tarfile.TarInfo) -> None:
    into = tmp_path / "into"
    into.mkdir()
    path = packed(tmp_path / "bad.tar.gz", (info("b/a"), b"a"), (member, b""))
    with pytest.raises(ArtefactError, match=r"ordinary file|leads out|too long|no whole"):
        read_archive(path, into)
    assert {p.name for p in into.rglob("*")} <= {"b", "a"}
    assert not (tmp_path / "out.txt").exists()


def test_too_much_too_often_and_too_many_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(path: Path, words: str) -> None:
        into = tmp_path / path.stem
        into.mkdir()
        with pytest.raises(ArtefactError, match=words):
            read_archive(path, into)

    refused(packed(tmp_path / "twice.tar.gz", (info("b/a"), b"a"), (info("b/a"), b"b")), "twice")
    refused(packed(tmp_path / "two.tar.gz", (info("b/a"), b"a"), (info("c/a"), b"b")), "one folder")
    monkeypatch.setattr(module, "MOST_EXPANSION", 10)
    refused(packed(tmp_path / "bomb.tar.gz", (info("b/a"), bytes(10**6))), "more than a bundle holds")


@given(st.data())
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_damaged_archive_is_an_artefact_error(bundle: Path, tmp_path: Path, data: st.DataObject) -> None:
    path = tmp_path / "whole.tar.gz"
    if not path.exists():
        write_archive(bundle, path)
    good = path.read_bytes()
    at = data.draw(st.integers(0, len(good) - 1))
    cut = data.draw(st.booleans())
    bad = good[:at] if cut else good[:at] + bytes([good[at] ^ (1 << data.draw(st.integers(0, 7)))]) + good[at + 1 :]
    (tmp_path / "bad.tar.gz").write_bytes(bad)
    try:
        found = check_archive(tmp_path / "bad.tar.gz")
    except ArtefactError:
        return
    assert found == check_bundle(bundle)  # a bit of the gzip header that says nothing, such as its time


def test_what_is_no_archive_is_refused(tmp_path: Path, write: Callable[..., Path]) -> None:
    (tmp_path / "x.tar.gz").write_bytes(b"not an archive")
    with pytest.raises(ArtefactError, match=r"no whole \.tar\.gz"):
        check_archive(tmp_path / "x.tar.gz")
