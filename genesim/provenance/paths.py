"""Absolute paths of the machine that made a file: they name users and projects, and help nobody elsewhere."""

from __future__ import annotations

import gzip
import re
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

# A slash that starts a word, and at least one folder: `/home/ann`, not `1/2`, `</p>`, `https://x.org/y` or base64.
_ABSOLUTE = re.compile(
    r"""(?:^|(?<=[\s"'(=>,\[;`|]))(?:file://)?(/(?!/)[^/\s"'<>|*?,;)\]\\`]+(?:/[^/\s"'<>|*?,;)\]\\`]+)+)""",
    re.MULTILINE,
)
_WINDOWS = re.compile(r"""(?<![\w])([A-Za-z]:\\{1,2}[^\\\s"'<>|*?]+(?:\\{1,2}[^\\\s"'<>|*?]+)*)""")
_TEXT = {".json", ".jsonl", ".jsonld", ".md", ".html", ".csv", ".tsv", ".yaml", ".yml", ".txt", ".svg"}


def without_folders(value: Any) -> Any:
    """`value`, JSON-ready, in which every text that is an absolute path is cut to the file's name."""
    if isinstance(value, Mapping):
        return {key: without_folders(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [without_folders(inner) for inner in value]
    if isinstance(value, str | Path):
        text = str(value)
        if PurePosixPath(text).is_absolute():
            return PurePosixPath(text).name
        return PureWindowsPath(text).name if PureWindowsPath(text).is_absolute() else text
    return value


def absolute_path(text: str) -> str | None:
    """The first absolute path in a text; None where there is none."""
    found = _ABSOLUTE.search(text) or _WINDOWS.search(text)
    return found[1] if found else None


def path_in_file(path: Path, known: Iterable[str] = ()) -> str | None:
    """The first absolute path in a file: any in a text or in the header of a VCF, `known` ones in any other file.

    Args:
        path: The file.
        known: Folders of this machine, looked for byte by byte in files that are not text.
    """
    if path.suffix in _TEXT:
        return absolute_path(path.read_text(encoding="utf-8", errors="replace"))
    if path.name.endswith(".vcf.gz"):
        with gzip.open(path, "rt", encoding="utf-8", errors="replace") as file:
            for line in file:
                if not line.startswith("##"):
                    return None
                if found := absolute_path(line):
                    return found
        return None
    wanted = [text.encode() for text in known]
    longest = max(map(len, wanted), default=0)
    kept = b""
    with open(path, "rb") as file:
        while wanted and (block := file.read(2**22)):
            window = kept + block
            for text in wanted:
                if text in window:
                    return text.decode()
            kept = window[-longest:]
    return None
