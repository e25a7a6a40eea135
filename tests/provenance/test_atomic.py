from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from genesim.errors import ArtefactError, ResourceError
from genesim.provenance.atomic import atomic_directory, atomic_file, remove_orphans
from genesim.provenance.manifest import verify_manifest

ROOT = Path(__file__).resolve().parents[2]


class Broken(Exception):
    pass


def write_half(target: Path, error: Exception) -> None:
    with atomic_file(target) as temporary:
        temporary.write_text("half")
        raise error


def write_half_directory(target: Path, error: Exception) -> None:
    with atomic_directory(target) as temporary:
        (temporary / "x").write_text("half")
        raise error


def names(directory: Path) -> list[str]:
    return sorted(p.name for p in directory.iterdir())


def test_a_file_appears_whole_and_alone(tmp_path: Path) -> None:
    target = tmp_path / "new" / "folder" / "x.vcf.gz"
    with atomic_file(target) as temporary:
        assert temporary.name.endswith(".vcf.gz")  # writers choose their format by the suffix
        assert temporary.parent == target.parent
        temporary.write_text("whole")
        assert not target.exists()
    assert target.read_text() == "whole"
    assert names(target.parent) == ["x.vcf.gz"]


def test_an_exception_leaves_nothing_and_keeps_the_old_file(tmp_path: Path) -> None:
    target = tmp_path / "x.txt"
    for before in (None, "old"):
        if before:
            target.write_text(before)
        with pytest.raises(Broken):
            write_half(target, Broken())
        assert names(tmp_path) == (["x.txt"] if before else [])
    assert target.read_text() == "old"


def test_a_directory_appears_whole_with_its_manifest(tmp_path: Path) -> None:
    target = tmp_path / "model"
    for content in ("first", "second"):
        with atomic_directory(target) as temporary:
            (temporary / "deep").mkdir()
            (temporary / "deep" / "x").write_text(content)
            if content == "second":
                assert (target / "deep" / "x").read_text() == "first"
        verify_manifest(target)
        assert (target / "deep" / "x").read_text() == content
        assert names(tmp_path) == ["model"]


def test_an_exception_keeps_the_old_directory(tmp_path: Path) -> None:
    target = tmp_path / "model"
    with atomic_directory(target) as temporary:
        (temporary / "x").write_text("old")
    with pytest.raises(Broken):
        write_half_directory(target, Broken())
    verify_manifest(target)
    assert (target / "x").read_text() == "old"
    assert names(tmp_path) == ["model"]


def test_a_disk_error_is_worded_and_leaves_nothing(tmp_path: Path) -> None:
    target = tmp_path / "x"
    with pytest.raises(ResourceError, match="No space left") as caught:
        write_half(target, OSError(28, "No space left on device"))
    assert caught.value.where == str(target)
    assert names(tmp_path) == []


def test_a_place_that_cannot_be_written_is_a_resource_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ResourceError, match="cannot be written"), atomic_file(tmp_path / "file" / "x"):
        pass
    (tmp_path / "folder").mkdir()
    with pytest.raises(ResourceError), atomic_file(tmp_path / "folder") as temporary:
        temporary.write_text("a file where a directory is")
    assert names(tmp_path) == ["file", "folder"]


KILLED = """
import os, signal, sys
from genesim.provenance.atomic import atomic_directory, atomic_file
kind, target = sys.argv[1:]
with (atomic_file if kind == "file" else atomic_directory)(target) as temporary:
    (temporary if kind == "file" else temporary / "x").write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def kill_a_writer(kind: str, target: Path) -> None:
    child = subprocess.run(
        [sys.executable, "-c", KILLED, kind, str(target)], cwd=ROOT, capture_output=True, check=False
    )
    assert child.returncode == -signal.SIGKILL, child.stderr.decode()


# The brackets are a pattern to `glob`, and names of runs may hold them.
@pytest.mark.parametrize("name", ["out.h5ad", "run[1].h5ad", "a-b.h5ad"])
def test_a_killed_file_writer_leaves_no_final_file_and_its_orphan_is_cleaned(tmp_path: Path, name: str) -> None:
    target = tmp_path / name
    kill_a_writer("file", target)
    orphans = names(tmp_path)
    assert len(orphans) == 1
    assert orphans[0].startswith(".tmp-")
    with atomic_file(target) as temporary:
        temporary.write_text("whole")
    assert names(tmp_path) == [name]


def test_a_killed_directory_writer_keeps_the_old_directory(tmp_path: Path) -> None:
    target = tmp_path / "model"
    with atomic_directory(target) as temporary:
        (temporary / "x").write_text("old")
    kill_a_writer("directory", target)
    verify_manifest(target)
    assert (target / "x").read_text() == "old"
    assert len(names(tmp_path)) == 2
    remove_orphans(target)
    assert names(tmp_path) == ["model"]


def test_only_orphans_of_dead_writers_of_this_file_on_this_machine_go(tmp_path: Path) -> None:
    dead = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True)
    pid, host = int(dead.stdout), socket.gethostname()
    kept = [
        f".tmp-{host}-{os.getppid()}-x.txt",  # its writer is alive
        f".tmp-elsewhere-{pid}-x.txt",  # another machine's: nobody here can tell
        f".tmp-{host}-{pid}-y.txt",  # another file's
        "x.txt",
        "notes-x.txt",
    ]
    for name in [*kept, f".tmp-{host}-{pid}-x.txt"]:
        (tmp_path / name).write_text("")
    remove_orphans(tmp_path / "x.txt")
    assert names(tmp_path) == sorted(kept)


def test_a_manifest_is_checked_against_what_was_renamed(tmp_path: Path) -> None:
    with atomic_directory(tmp_path / "m") as temporary:
        (temporary / "x").write_text("1")
    (tmp_path / "m" / "x").write_text("2")
    with pytest.raises(ArtefactError, match="x differs"):
        verify_manifest(tmp_path / "m")
