"""A folder that can be copied anywhere: ordinary files with plain names only, all listed with their digests.

Unlike `manifest.write_manifest`, which leaves out the manifests of nested artefacts, this lists every file.
"""

from __future__ import annotations

import re
import stat
from collections.abc import Iterable, Mapping
from pathlib import Path

from genesim.errors import ArtefactError
from genesim.provenance.manifest import sha256

_LINE = re.compile(r"([0-9a-f]{64})  (.+)")


def plain_files(directory: str | Path) -> dict[str, Path]:
    """Every file below `directory` by its relative name, sorted.

    Raises:
        ArtefactError: Something is no ordinary file (a link, a socket, ...), or a name cannot be listed in one line.
    """
    directory = Path(directory)
    found: dict[str, Path] = {}
    todo = [directory]
    while todo:
        for path in todo.pop().iterdir():
            name = path.relative_to(directory).as_posix()
            mode = path.lstat().st_mode
            if "\\" in name or not name.isprintable():
                raise ArtefactError(
                    f"{name!r} is no plain file name", where=str(directory), remedy="rename or remove it"
                )
            if stat.S_ISDIR(mode):
                todo.append(path)
            elif stat.S_ISREG(mode):
                found[name] = path
            else:
                kind = "a link" if stat.S_ISLNK(mode) else "no ordinary file"
                raise ArtefactError(
                    f"{name} is {kind}", where=str(directory), remedy="replace it by the file itself, or remove it"
                )
    return dict(sorted(found.items()))


def listing(files: Mapping[str, Path]) -> str:
    """Digests and names in the format of `sha256sum`."""
    return "".join(f"{sha256(path)}  {name}\n" for name, path in files.items())


def check_listing(directory: str | Path, text: str, apart: Iterable[str] = ()) -> dict[str, str]:
    """Check every file below `directory` against a listing.

    Args:
        directory: The folder.
        text: What `listing` gave.
        apart: Names that may be there without being listed.

    Returns:
        Digest by name.

    Raises:
        ArtefactError: Naming the first file that is missing, altered or not listed.
    """
    listed: dict[str, str] = {}
    for line in text.splitlines():
        match = _LINE.fullmatch(line)
        if match is None or match[2] in listed:
            raise ArtefactError("holds a line that is no entry", where=str(directory), remedy="take another copy")
        listed[match[2]] = match[1]
    present = plain_files(directory)
    for name in sorted(set(present) | set(listed)):
        if name in apart and name not in listed:
            continue
        problem = (
            "is missing"
            if name not in present
            else "is not in the manifest"
            if name not in listed
            else "differs from the manifest"
            if sha256(present[name]) != listed[name]
            else ""
        )
        if problem:
            raise ArtefactError(
                f"{name} {problem}", where=str(directory), remedy="take another copy, or prepare it again"
            )
    return listed
