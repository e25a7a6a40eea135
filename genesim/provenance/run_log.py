"""The run log: JSON lines, one where a command starts and one where it ends, of all commands that name the same file.

Nothing is logged unless the environment variable `GENESIM_RUN_LOG` names a file; the workflow sets it to
`<logs>/run.jsonl`. A line is appended in one write under a lock, so that jobs that end together do not mix; a command
that was killed has a start and no end. Values of `--donor` are left out: logs are read by more people than data.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import resource
import socket
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from genesim.console import log

VARIABLE = "GENESIM_RUN_LOG"
SCHEMA = "genesim-run-1"
_PRIVATE = "--donor"


class RunLog:
    """The log of this process's one command.

    Attributes:
        path: Where lines go; None logs nothing.
        seed: Of the command, once it is known.
    """

    def __init__(self, path: str | None) -> None:
        self.path = path
        self.seed: int | None = None
        self._started = False
        self._begin = time.monotonic()

    def start(self) -> None:
        """The command begins its work; a second call does nothing."""
        if not self._started:
            self._started = True
            self._write({"event": "start"})

    def stop(self, code: int, error: str = "") -> None:
        """The command ends.

        Args:
            code: Exit status.
            error: Class of the error that ended it.
        """
        own, children = (resource.getrusage(w) for w in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
        cpu = own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime
        self._write(
            {
                "event": "stop",
                "exit": code,
                "error": error,
                "wall_s": round(time.monotonic() - self._begin, 3),
                "cpu_s": round(cpu, 3),
                "peak_rss_mib": round(max(_peak_kib(own), children.ru_maxrss) / 1024, 1),
            }
        )

    def _write(self, what: dict[str, Any]) -> None:
        if self.path is None:
            return
        from genesim.provenance.record import versions

        now = datetime.now(UTC)
        about = {
            "schema": SCHEMA,
            "time": now.isoformat(timespec="milliseconds"),
            "id": f"{socket.gethostname()}-{os.getpid()}",
            **what,
            "command": _public(sys.argv[1:]),
            "seed": self.seed,
            "slurm_job": os.environ.get("SLURM_JOB_ID"),
            "versions": versions(),
        }
        try:
            append_line(self.path, json.dumps(about, sort_keys=True))
        except OSError as error:  # a log must not end what it logs
            log.warning("%s: the run log cannot be written (%s)", self.path, error.strerror)


def _peak_kib(own: resource.struct_rusage) -> int:
    """Peak resident memory of this process; Linux's `ru_maxrss` starts at that of the process that started it."""
    try:
        status = Path("/proc/self/status").read_text()
        return int(status.split("VmHWM:")[1].split()[0])
    except (OSError, IndexError, ValueError):
        return own.ru_maxrss


def _public(words: Sequence[str]) -> list[str]:
    shown = list(words)
    for i, word in enumerate(shown):
        if word == _PRIVATE and i + 1 < len(shown):
            shown[i + 1] = "(left out)"
        elif word.startswith(f"{_PRIVATE}="):
            shown[i] = f"{_PRIVATE}=(left out)"
    return shown


def append_line(path: str | os.PathLike[str], line: str) -> None:
    """Append one line in one write, under a lock where the file system has locks.

    A last line that was broken off (a full disk, a power cut) is ended first, so that no other line is lost.
    """
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        with contextlib.suppress(OSError):  # no locks there: O_APPEND alone keeps lines whole on a local disk
            fcntl.lockf(descriptor, fcntl.LOCK_EX)
        size = os.fstat(descriptor).st_size
        broken = size and os.pread(descriptor, 1, size - 1) != b"\n"
        os.write(descriptor, f"{chr(10) if broken else ''}{line}\n".encode())
    finally:
        os.close(descriptor)


def read_run_log(path: str | os.PathLike[str]) -> tuple[list[dict[str, Any]], int]:
    """Commands of a run log in the order of their starts, and the number of lines that are not JSON.

    Of each: what its last line says, and `state`: "ended" (exit 0), "failed", or "no end" (it runs, or was killed).
    """
    commands: list[dict[str, Any]] = []
    running: dict[tuple[str, str], dict[str, Any]] = {}
    n_broken = 0
    for text in Path(path).read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            line = json.loads(text)
            key = (line["id"], json.dumps(line["command"]))
            event = line["event"]
        except (ValueError, KeyError, TypeError):
            n_broken += 1
            continue
        if event == "start" or key not in running:
            commands.append(running.setdefault(key, {}) if key not in running else {})
            running[key] = commands[-1]
        running[key].update(line, state="no end" if event == "start" else "failed" if line.get("exit") else "ended")
        if event == "stop":
            del running[key]
    return commands, n_broken


_current: RunLog | None = None


def current() -> RunLog:
    """The log of this process's command; made at the first call."""
    global _current
    if _current is None:
        _current = RunLog(os.environ.get(VARIABLE) or None)
    return _current


def end(code: int, error: str = "") -> None:
    """The command of this process ends; see `RunLog.stop`. The next one has a log of its own."""
    global _current
    current().stop(code, error)
    _current = None
