"""A hash chain: a log of one JSON object a line, in which every entry holds the hash of the one before.

An entry that is edited, dropped from the middle or moved breaks the chain. Entries dropped from the end do
not: the hash of the last entry, the head, has to be kept elsewhere to notice that (Haber and Stornetta 1991,
Journal of Cryptology 3:99).
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from genesim.errors import ArtefactError
from genesim.provenance.atomic import atomic_file

START = "0" * 64
"""What the first entry holds as the hash of the one before."""
_REMEDY = "take the copy that was released; a log is never edited by hand"


@dataclass(frozen=True)
class Entry:
    """One event.

    Attributes:
        number: 1, 2, 3, ...
        time: UTC, ISO 8601, seconds.
        actor: Who did it: a person's name, or the software and its version.
        action: What was done.
        subject: What it was done to: a file of the folder, or the name of an artefact outside it.
        sha256: Of the subject, hex.
        previous: `hash` of the entry before; `START` in the first.
        hash: SHA-256 of all the above as canonical JSON, hex.
    """

    number: int
    time: str
    actor: str
    action: str
    subject: str
    sha256: str
    previous: str
    hash: str

    @property
    def line(self) -> str:
        """The entry as it stands in the file, without the line's end."""
        return canonical(asdict(self))


def canonical(value: Any) -> str:
    """JSON with one spelling only: sorted keys, no spaces, ASCII."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def utc_now() -> str:
    """Now, UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def next_entry(
    before: tuple[Entry, ...], *, actor: str, action: str, subject: str, sha256: str, time: str | None = None
) -> Entry:
    """The entry that goes after `before`."""
    said: dict[str, Any] = {
        "number": len(before) + 1,
        "time": time or utc_now(),
        "actor": actor,
        "action": action,
        "subject": subject,
        "sha256": sha256,
        "previous": before[-1].hash if before else START,
    }
    return Entry(**said, hash=hashlib.sha256(canonical(said).encode()).hexdigest())


def write_chain(path: str | Path, entries: tuple[Entry, ...]) -> None:
    """Write a log, whole or not at all."""
    with atomic_file(path) as temporary:
        temporary.write_bytes("".join(f"{entry.line}\n" for entry in entries).encode("ascii"))


def read_chain(path: str | Path) -> tuple[Entry, ...]:
    """Read a log and check that every entry is what its hash says and follows the one before.

    Raises:
        ArtefactError: Naming the file and the first entry that is not.
    """
    path = Path(path)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ArtefactError(f"cannot be read ({error.strerror})", where=str(path), remedy=_REMEDY) from error
    lines = content.split(b"\n")
    if not content or lines.pop() != b"":
        raise ArtefactError("does not end with a whole entry", where=str(path), remedy=_REMEDY)
    entries: list[Entry] = []
    for number, line in enumerate(lines, 1):
        problem = ""
        try:
            entry = Entry(**json.loads(line.decode("ascii")))
            said = {name: value for name, value in asdict(entry).items() if name != "hash"}
            if entry.line.encode() != line:
                problem = "is not spelt as genesim spells it"
            elif hashlib.sha256(canonical(said).encode()).hexdigest() != entry.hash:
                problem = "differs from its hash"
            elif entry.number != number or entry.previous != (entries[-1].hash if entries else START):
                problem = "does not follow the entry before"
        except (ValueError, TypeError) as error:
            problem = f"is no entry ({type(error).__name__})"
        if problem:
            raise ArtefactError(f"entry {number} {problem}", where=str(path), remedy=_REMEDY)
        entries.append(entry)
    return tuple(entries)
