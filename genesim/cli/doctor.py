"""`genesim doctor`: is this machine, and are a run's inputs, fit for the run?"""

from __future__ import annotations

from typing import Annotated

import typer

from genesim.cli.options import Config


def run(
    config: Config = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print a list of JSON records.")] = False,
) -> None:
    """Check versions, devices, programs, memory, disk and a config's inputs; exit 1 if something needed is missing."""
    import json
    from dataclasses import asdict

    from genesim.config.run import load_run
    from genesim.doctor import examine, failed, table

    checks = examine(None if config is None else load_run(config))
    typer.echo(json.dumps([asdict(check) for check in checks], indent=1) if as_json else table(checks))
    if failed(checks):
        raise typer.Exit(1)
