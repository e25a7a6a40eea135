"""A bundle as one .tar.gz: the same bytes for the same bundle, and safe to take apart.

Taking apart writes ordinary files only, below the folder only, and never more than the archive's own limits.
"""

from __future__ import annotations

import gzip
import shutil
import tarfile
import tempfile
import zlib
from pathlib import Path, PurePosixPath

from genesim.errors import ArtefactError
from genesim.provenance.atomic import atomic_file
from genesim.provenance.tree import plain_files
from genesim.release.check import Checked, check_bundle

MOST_FILES = 10_000
MOST_EXPANSION = 1_000
"""Unpacked bytes for one byte of the archive: deflate's own limit is 1,032."""
_REMEDY = "get another copy of the archive"


def write_archive(bundle: str | Path, target: str | Path) -> Path:
    """Write every file of a bundle into a .tar.gz whose one folder is called as the bundle.

    Raises:
        ResourceError: The location cannot be written.
    """
    bundle, target = Path(bundle).resolve(), Path(target)
    with (
        atomic_file(target) as temporary,
        open(temporary, "wb") as raw,
        gzip.GzipFile(filename="", mode="wb", fileobj=raw, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as archive,
    ):
        for name, path in plain_files(bundle).items():
            info = tarfile.TarInfo(f"{bundle.name}/{name}")
            info.size = path.stat().st_size
            with open(path, "rb") as file:
                archive.addfile(info, file)
    return target


def _target(member: tarfile.TarInfo, into: Path, where: str) -> Path:
    name = PurePosixPath(member.name)
    if not (member.isreg() or member.isdir()):
        raise ArtefactError(f"{member.name!r} is no ordinary file", where=where, remedy=_REMEDY)
    if any(len(part.encode(errors="replace")) > 255 for part in name.parts):
        raise ArtefactError(f"{member.name[:80]!r} is too long a name", where=where, remedy=_REMEDY)
    if name.is_absolute() or ".." in name.parts or "\\" in member.name or not member.name.isprintable():
        raise ArtefactError(f"{member.name!r} leads out of the folder", where=where, remedy=_REMEDY)
    return into / name


def read_archive(archive: str | Path, into: str | Path) -> Path:
    """Take an archive apart and return the one folder that it holds.

    Raises:
        ArtefactError: It is damaged, or holds anything but ordinary files below one folder, or too much.
    """
    archive, into = Path(archive), Path(into)
    where, left, n_files = str(archive), MOST_EXPANSION * archive.stat().st_size, 0
    try:
        with tarfile.open(archive, mode="r:gz") as opened:
            for member in opened:
                target = _target(member, into, where)
                n_files, left = n_files + 1, left - member.size
                if n_files > MOST_FILES or left < 0:
                    raise ArtefactError("unpacks to more than a bundle holds", where=where, remedy=_REMEDY)
                if member.isdir():
                    continue
                if target.exists():
                    raise ArtefactError(f"holds {member.name!r} twice", where=where, remedy=_REMEDY)
                target.parent.mkdir(parents=True, exist_ok=True)
                source = opened.extractfile(member)
                if source is None:
                    raise ArtefactError(f"{member.name!r} cannot be read", where=where, remedy=_REMEDY)
                with source, open(target, "wb") as file:
                    shutil.copyfileobj(source, file)
    except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile, FileExistsError, NotADirectoryError) as error:
        raise ArtefactError(f"is no whole .tar.gz ({error})", where=where, remedy=_REMEDY) from error
    folders = list(into.iterdir())
    if len(folders) != 1 or not folders[0].is_dir():
        raise ArtefactError("does not hold one folder", where=where, remedy=_REMEDY)
    return folders[0]


def check_archive(archive: str | Path, expected: str | None = None) -> Checked:
    """Take an archive apart in a temporary folder and check the bundle.

    Raises:
        ArtefactError: The archive or the bundle in it is not whole.
    """
    with tempfile.TemporaryDirectory() as folder:
        return check_bundle(read_archive(archive, folder), expected)
