"""All checks, in the order in which a person would look."""

from __future__ import annotations

from pathlib import Path

from genesim.config.run import RunConfig
from genesim.doctor import machine
from genesim.doctor.check import Check


def examine(run: RunConfig | None = None) -> list[Check]:
    """Look at this machine and, where a run is given, at the files that it reads.

    Args:
        run: A run's config; None looks at the machine alone.
    """
    checks = [
        machine.python(),
        *machine.packages(),
        machine.devices(),
        *machine.programs(),
        machine.memory(),
        machine.temporary(),
    ]
    if run is None:
        return [*checks, machine.disk(Path.cwd(), "this folder")]
    from genesim.doctor.inputs import check_run

    return [*checks, *check_run(run)]
