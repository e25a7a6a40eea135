"""One writer of an output at a time: a lock file beside it, for as long as a verb works.

The lock is the kernel's (`flock`), so it ends with its process however that ends; a file that a killed process has
left locks nothing, and the next one takes it over. NFS 4, Lustre (mounted with `flock`) and GPFS pass it on between
nodes. Where a file system has no locks, work goes on without one.
"""

from __future__ import annotations

import fcntl
import os
import socket
from pathlib import Path

from genesim.console import log
from genesim.errors import ResourceError

_held: dict[Path, tuple[int, list[Path]]] = {}  # lock file: its descriptor, and the folders that were made for it


def lock_path(target: str | Path) -> Path:
    """The lock file of an output."""
    target = Path(os.path.abspath(target))
    return target.with_name(f".lock-{target.name}")


def hold(target: str | Path) -> None:
    """Lock `target` for this process until `release`.

    Raises:
        ResourceError: Another process holds it (it is named), or the folder cannot be written.
    """
    path = lock_path(target)
    if path in _held:
        return
    missing = [folder for folder in path.parents if not folder.exists()]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = _open(path, str(target))
    except OSError as error:
        raise ResourceError(
            f"the output location cannot be written ({error.strerror})",
            where=str(target),
            remedy="choose another output directory or free disk space",
        ) from error
    if descriptor is not None:
        _held[path] = descriptor, missing


def _open(path: Path, where: str) -> int | None:
    """A descriptor that holds the lock; None where the file system has none."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(descriptor, 200).decode(errors="replace").strip()
            os.close(descriptor)
            raise ResourceError(
                f"another genesim is writing it{f' ({holder})' if holder else ''}",
                where=where,
                remedy="wait until it ends, or choose another output",
            ) from None
        except OSError as error:
            os.close(descriptor)
            log.warning("%s: this file system has no locks (%s)", path.parent, error.strerror)
            return None
        # The holder before us may have removed the file after we opened it: then ours is no longer the one at the path.
        try:
            if os.fstat(descriptor).st_ino == os.stat(path).st_ino:
                break
        except FileNotFoundError:
            pass  # removed: the next round makes it again
        os.close(descriptor)
    os.ftruncate(descriptor, 0)
    os.write(descriptor, f"process {os.getpid()} on {socket.gethostname()}\n".encode())
    return descriptor


def release() -> None:
    """Give back every lock that this process holds, and remove folders made for a lock that stayed empty."""
    while _held:
        path, (descriptor, made) = _held.popitem()
        path.unlink(missing_ok=True)  # while it is locked, so that no one else's is taken away
        os.close(descriptor)
        for folder in made:
            try:
                folder.rmdir()
            except OSError:  # it holds the output
                break
