"""Options that the verbs share, and the config that they read."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from genesim.config.run import RunConfig

Config = Annotated[str | None, typer.Option("--config", help="Run config: a YAML file, or inline JSON.")]
Seed = Annotated[int | None, typer.Option("--seed", min=0, help="Seed; wins over the config's.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Check the config and say what would be done.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="Say nothing but warnings and errors.")]
Out = Annotated[Path, typer.Option("--out", help="What to write.")]
Cohort = Annotated[Path, typer.Option("--cohort", help="Cohort directory that `prepare` wrote.")]


def begin(config: str | None, seed: int | None, quiet: bool) -> tuple[RunConfig, int]:
    """Set up logging; the run's config and its seed."""
    from genesim import console
    from genesim.config.run import load_run
    from genesim.provenance import run_log

    console.setup(quiet)
    run_log.current().seed = seed
    run = load_run(config)
    run_log.current().seed = run.seed if seed is None else seed
    return run, run.seed if seed is None else seed


def say(quiet: bool, *lines: object) -> None:
    """Print what was made, unless `quiet`."""
    if not quiet:
        typer.echo("\n".join(map(str, lines)))


def planned(dry_run: bool, text: str, out: Path) -> bool:
    """On a dry run, say what would be done; else make sure, before hours of work, that `out` is ours to write."""
    if dry_run:
        from genesim.provenance.run_log import current

        current().path = None  # nothing is done, nothing is logged
        typer.echo(f"would {text} into {out}")
    else:
        from genesim.provenance.atomic import check_writable
        from genesim.provenance.lock import hold
        from genesim.provenance.run_log import current

        current().start()
        check_writable(out)
        hold(out)  # `app.main` gives it back
    return dry_run


def shard_of(text: str) -> tuple[int, int]:
    """`2/5` as (1, 5).

    Raises:
        ConfigError: It is no such text.
    """
    from genesim.errors import ConfigError

    try:
        number, total = (int(part) for part in text.split("/"))
    except ValueError:
        number, total = 0, 0
    if not 1 <= number <= total:
        raise ConfigError(f"{text!r} is no shard", where="--shard", remedy="give k/n with k from 1 to n, as 2/5")
    return number - 1, total
