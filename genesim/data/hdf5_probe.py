"""Does the HDF5 library survive a file? Asked in a child process before the file is opened here.

On damaged attributes and heaps the library (HDF5 2.0.0 of h5py 3.16) reads memory that is not its own or goes round for
ever, and Python can catch neither. The child (`hdf5_walk`) starts with the first file, takes one after the other, and
ends with this process.
"""

from __future__ import annotations

import atexit
import json
import os
import select
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import IO

from genesim.errors import H5adError, ResourceError

WAIT_S = 60.0
"""Seconds that a walk through a file may take, and a second more for each `BYTES_A_SECOND` of the file."""
BYTES_A_SECOND = 2e7
_REMEDY = "copy or make the file again; what is left of it cannot be read"


class _Walker:
    """The child process, of the process that started it: a fork needs one of its own."""

    def __init__(self) -> None:
        program = Path(__file__).with_name("hdf5_walk.py")
        try:
            self.process = subprocess.Popen(
                [sys.executable, "-P", str(program)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            )
        except OSError as error:
            raise ResourceError(
                f"no process can be started to look at HDF5 files ({error.strerror})",
                remedy="allow more processes (ulimit -u) or memory",
            ) from error
        self.owner = os.getpid()

    @property
    def usable(self) -> bool:
        return self.owner == os.getpid() and self.process.poll() is None

    @property
    def _pipes(self) -> tuple[IO[bytes], IO[bytes]]:
        if self.process.stdin is None or self.process.stdout is None:
            raise ResourceError("the process that looks at HDF5 files has no pipes")
        return self.process.stdin, self.process.stdout

    def ask(self, path: str, seconds: float) -> bool:
        """Whether the file was walked through; the child is gone otherwise.

        Raises:
            TimeoutError: It took longer.
        """
        to, back = self._pipes
        try:
            to.write(json.dumps(path).encode() + b"\n")
            to.flush()
            if not select.select([back], [], [], seconds)[0]:
                raise TimeoutError
            return bool(back.readline())
        except BrokenPipeError:
            return False
        except BaseException:  # an answer that comes later would be taken for that of the next file
            self.process.kill()
            self.process.wait()
            raise

    def end(self) -> None:
        """Let the child come to its end."""
        if self.usable:
            for pipe in self._pipes:
                pipe.close()
            self.process.wait()


_lock = threading.Lock()
_walker: _Walker | None = None
_survived: set[tuple[str | int, ...]] = set()


def probe(path: str | os.PathLike[str]) -> None:
    """Check that the HDF5 library can walk through a file. A file that has not changed since is not asked for again.

    Raises:
        H5adError: The library crashes on it, or comes to no end.
        ResourceError: No child process can be started, or it is killed.
    """
    global _walker
    path = Path(path).resolve()
    stat = path.stat()
    key = (str(path), stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns)
    seconds = WAIT_S + stat.st_size / BYTES_A_SECOND
    with _lock:
        if key in _survived:
            return
        if _walker is None or not _walker.usable:
            _walker = _Walker()
            atexit.register(_walker.end)
        try:
            walked = _walker.ask(str(path), seconds)
        except TimeoutError:
            found = f"is damaged: the HDF5 library comes to no end in {seconds:.0f} s"
            raise H5adError(found, where=str(path), remedy=_REMEDY) from None
        if walked:
            _survived.add(key)
            return
        code = _walker.process.wait()
    if code == -signal.SIGKILL:
        raise ResourceError(
            "the process that looks through it was killed", where=str(path), remedy="give more memory, and run it again"
        )
    how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
    raise H5adError(f"is damaged: the HDF5 library crashes on it ({how})", where=str(path), remedy=_REMEDY)
