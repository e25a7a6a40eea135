"""How much memory may still be used, asked before anything large is read."""

from __future__ import annotations

from pathlib import Path

from genesim.errors import ResourceError

_SHARE = 0.9  # of what is available; the rest is left to the interpreter and its neighbours


def _number(path: str) -> int | None:
    try:
        return int(Path(path).read_text())
    except (OSError, ValueError):  # not Linux, no such cgroup, or "max"
        return None


def available_bytes() -> int | None:
    """Bytes that can be allocated within the machine's and the job's (cgroup) limit; None if unknown."""
    found: list[int] = []
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                found.append(int(line.split()[1]) * 1024)
    except OSError:
        pass  # no /proc (macOS): the limits below, if any, decide
    for limit, used in (
        ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
        ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"),
    ):
        most, now = _number(limit), _number(used)
        if most is not None and now is not None:
            found.append(max(most - now, 0))
    return min(found) if found else None


def _human(n_bytes: float) -> str:
    for unit in ("B", "KiB", "MiB", "GiB"):
        if n_bytes < 1024:
            return f"{n_bytes:.3g} {unit}"
        n_bytes /= 1024
    return f"{n_bytes:.3g} TiB"


def check_fits(n_bytes: int, max_bytes: int | None, *, what: str, where: str) -> None:
    """Check that `n_bytes` fit in `max_bytes` (None: 90 % of what is available now).

    Raises:
        ResourceError: They do not.
    """
    if max_bytes is None:
        available = available_bytes()
        if available is None:
            return
        max_bytes = int(available * _SHARE)
    if n_bytes > max_bytes:
        raise ResourceError(
            f"{what} needs about {_human(n_bytes)} of memory and {_human(max_bytes)} may be used",
            where=where,
            remedy="take fewer cells or genes, store counts sparse, or allow more memory",
        )
