"""SHA-256 manifests: HDF5 and Orbax do not notice a flipped bit, so every directory artefact carries one."""

from __future__ import annotations

import hashlib
from pathlib import Path

from genesim.errors import ArtefactError

NAME = "manifest.sha256"


def sha256(path: str | Path) -> str:
    """Hex digest of one file."""
    with open(path, "rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def write_manifest(directory: str | Path) -> None:
    """Write `manifest.sha256` (the format of `sha256sum`) over every file below `directory`."""
    directory = Path(directory)
    files = sorted(p for p in directory.rglob("*") if p.is_file() and p.name != NAME)
    lines = [f"{sha256(p)}  {p.relative_to(directory).as_posix()}\n" for p in files]
    (directory / NAME).write_text("".join(lines), encoding="utf-8")


def verify_manifest(directory: str | Path) -> None:
    """Check every file below `directory` against its manifest.

    Raises:
        ArtefactError: The manifest is absent, or a file is missing, unlisted or altered.
    """
    directory = Path(directory)
    manifest = directory / NAME
    if not manifest.is_file():
        raise ArtefactError(
            f"has no {NAME}, so it is incomplete or not made by genesim",
            where=str(directory),
            remedy="make it again with the command that writes it",
        )
    listed: dict[str, str] = {}
    for line in manifest.read_text(encoding="utf-8", errors="replace").splitlines():
        digest, _, name = line.partition("  ")
        listed[name] = digest
    present = {p.relative_to(directory).as_posix() for p in directory.rglob("*") if p.is_file() and p.name != NAME}
    for name in sorted(present | set(listed)):
        problem = (
            "is missing"
            if name not in present
            else "is not in the manifest"
            if name not in listed
            else "differs from its manifest"
            if sha256(directory / name) != listed[name]
            else None
        )
        if problem:
            raise ArtefactError(
                f"{name} {problem}",
                where=str(directory),
                remedy="make the directory again; do not edit it by hand",
            )
