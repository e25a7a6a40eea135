"""Writers that leave nothing partial at the final path: temporary name, fsync, rename."""

from __future__ import annotations

import errno
import glob
import os
import shutil
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from genesim.errors import GenesimError, ResourceError
from genesim.provenance.manifest import write_manifest

_BLOCK = 4096  # a disk with less than one block left is full


def _temporary(target: Path) -> Path:
    # The suffix stays last: writers choose their format by it.
    return target.with_name(f".tmp-{socket.gethostname()}-{os.getpid()}-{target.name}")


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def remove_orphans(target: Path) -> None:
    """Remove what killed writers of `target` on this machine left behind."""
    prefix = f".tmp-{socket.gethostname()}-"
    for path in target.parent.glob(f"{glob.escape(prefix)}*-{glob.escape(target.name)}"):
        pid = path.name[len(prefix) :].split("-", 1)[0]
        if pid.isdigit() and not _alive(int(pid)):
            _remove(path)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def check_writable(target: str | Path) -> None:
    """Check that `target` could be written, without writing anything.

    Raises:
        ResourceError: The nearest folder above it that exists is no folder, or may not be written.
    """
    target = Path(target)
    above = next(path for path in target.absolute().parents if path.exists())
    problem = (
        "not a folder" if not above.is_dir() else "no permission" if not os.access(above, os.W_OK | os.X_OK) else ""
    )
    if problem:
        raise ResourceError(
            f"the output location cannot be written ({above}: {problem})",
            where=str(target),
            remedy="choose another output directory",
        )


def _prepare(target: Path) -> Path:
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        remove_orphans(target)
    except OSError as error:
        raise ResourceError(
            f"the output location cannot be written ({error.strerror})",
            where=str(target),
            remedy="choose another output directory or free disk space",
        ) from error
    return _temporary(target)


@contextmanager
def _published(temporary: Path, target: Path) -> Iterator[None]:
    """Run the writer; on any failure remove the temporary, and word an operating-system error."""
    try:
        yield
    except OSError as error:
        _remove(temporary)
        raise ResourceError(
            f"writing failed ({error.strerror or error}); nothing was left at the final path",
            where=str(target),
            remedy="free disk space or choose another output directory",
        ) from error
    except Exception as error:
        # Libraries have words of their own for a full disk: HDF5 RuntimeError, TensorStore ValueError.
        full = not isinstance(error, GenesimError) and shutil.disk_usage(target.parent).free < _BLOCK
        _remove(temporary)
        if not full:
            raise
        raise ResourceError(
            f"writing failed ({os.strerror(errno.ENOSPC)}); nothing was left at the final path",
            where=str(target),
            remedy="free disk space or choose another output directory",
        ) from error
    except BaseException:
        _remove(temporary)
        raise


@contextmanager
def atomic_file(target: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside `target`; on success it is synced and renamed to `target`."""
    target = Path(target)
    temporary = _prepare(target)
    with _published(temporary, target):
        yield temporary
        _sync(temporary)
        os.replace(temporary, target)
        _sync(target.parent)


@contextmanager
def atomic_directory(target: str | Path, seal: Callable[[Path], None] = write_manifest) -> Iterator[Path]:
    """Yield a temporary directory beside `target`; on success it gets a manifest and is renamed.

    An existing directory at `target` is replaced only after the new one is complete.

    Args:
        target: The final path.
        seal: Called on the complete directory before it is renamed; writes its manifest.
    """
    target = Path(target)
    temporary = _prepare(target)
    with _published(temporary, target):
        temporary.mkdir()
        yield temporary
        seal(temporary)
        for path in temporary.rglob("*"):
            _sync(path)
        if target.exists():
            old = target.with_name(f".tmp-{socket.gethostname()}-{os.getpid()}-old-{target.name}")
            os.replace(target, old)
            os.replace(temporary, target)
            _remove(old)
        else:
            os.replace(temporary, target)
        _sync(target.parent)
