"""What a run finds on this machine: Python, packages, devices, programs, memory and disk."""

from __future__ import annotations

import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from genesim.data.memory import available_bytes
from genesim.doctor.check import Check

MIN_PYTHON = (3, 11)
# Program: what it is for. None is needed by the built-in example.
PROGRAMS = {
    "beagle": "phasing, with inputs.phase: auto or beagle",
    "shapeit4": "phasing, with inputs.phase: auto or shapeit4",
    "bgzip": "recompressing a VCF that genesim refuses as plain gzip",
    "tabix": "looking into the VCFs that genesim writes",
    "bcftools": "looking into the VCFs that genesim writes",
    "plink2": "making PLINK inputs",
    "sbatch": "jobs on a SLURM cluster: --profile profiles/slurm",
}
_GIB = 2**30
_LITTLE_MEMORY = 4 * _GIB  # the demo's largest job takes about half of it
_LITTLE_DISK = 5 * _GIB


def python() -> Check:
    """The interpreter that runs this."""
    found = f"{platform.python_version()} at {sys.executable}"
    if sys.version_info < MIN_PYTHON:
        return Check("python", "missing", found, f"use Python {'.'.join(map(str, MIN_PYTHON))} or newer")
    return Check("python", "ok", found)


def packages(distribution: str = "genesim") -> Iterator[Check]:
    """Every package that the distribution requires, against its bounds; those of extras are optional.

    Args:
        distribution: Name of an installed distribution.
    """
    try:
        required = metadata.requires(distribution) or []
        yield Check(distribution, "ok", metadata.version(distribution))
    except metadata.PackageNotFoundError:
        yield Check(distribution, "note", "not installed: run from its source", f"pip install {distribution}")
        return
    needs: dict[str, tuple[SpecifierSet, bool]] = {}  # several extras may ask for one package: it is told once
    for need in map(Requirement, required):
        extra = need.marker is not None and "extra" in str(need.marker)
        if need.name == distribution or (need.marker is not None and not extra and not need.marker.evaluate()):
            continue
        bounds, optional = needs.get(need.name, (SpecifierSet(), True))
        needs[need.name] = bounds & need.specifier, optional and extra
    for name, (bounds, optional) in needs.items():
        try:
            version = metadata.version(name)
        except metadata.PackageNotFoundError:
            version = None
        if version is not None and bounds.contains(version, prereleases=True):
            yield Check(name, "ok", version)
        else:
            found = f"{version or 'not installed'}; {bounds} is asked for"
            yield Check(name, "note" if optional else "missing", found, f"pip install '{name}{bounds}'")


def devices() -> Check:
    """What JAX computes on."""
    import jax

    try:
        found = jax.devices()
    except RuntimeError as error:  # a GPU plugin that does not find its driver
        text = str(error).splitlines()[0]
        return Check("devices", "missing", f"JAX has none ({text})", "set JAX_PLATFORMS=cpu, or mend the driver")
    kinds = ", ".join(sorted({f"{device.platform} {device.device_kind}" for device in found}))
    return Check("devices", "ok", f"{len(found)}: {kinds}; {os.cpu_count()} CPU cores")


def programs() -> Iterator[Check]:
    """Programs that are used where they are installed."""
    for name, use in PROGRAMS.items():
        path = shutil.which(name)
        yield Check(f"program {name}", "ok", path) if path else Check(f"program {name}", "note", f"not found: {use}")


def memory() -> Check:
    """Memory within the limits of the machine and of the job."""
    free = available_bytes()
    if free is None:
        return Check("memory", "note", "unknown on this system")
    found = f"{free / _GIB:.1f} GiB available"
    if free < _LITTLE_MEMORY:
        return Check("memory", "note", found, "runs larger than the example may not fit")
    return Check("memory", "ok", found)


def disk(folder: Path, name: str) -> Check:
    """Space and permission where files go: `folder`, or the nearest one above it that exists."""
    folder = folder.absolute()
    above = next(path for path in (folder, *folder.parents) if path.exists())
    if not above.is_dir() or not os.access(above, os.W_OK | os.X_OK):
        return Check(name, "missing", f"{above} cannot be written", "choose another folder")
    free = shutil.disk_usage(above).free
    found = f"{free / _GIB:.1f} GiB free at {above}"
    return (
        Check(name, "note", found, "free space before a large run") if free < _LITTLE_DISK else Check(name, "ok", found)
    )


def temporary() -> Check:
    """Where programs keep their temporary files."""
    return disk(Path(tempfile.gettempdir()), "temporary folder")
