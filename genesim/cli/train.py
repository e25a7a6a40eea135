"""`genesim train`: cohort -> one model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from genesim.cli.options import Cohort, Config, DryRun, Out, Quiet, Seed, begin, planned, say


def run(
    model: Annotated[str, typer.Argument(help="expression, haplotypes or effects")],
    cohort: Cohort,
    out: Out,
    config: Config = None,
    contig: Annotated[str | None, typer.Option(help="Haplotypes of this contig only.")] = None,
    checkpoints: Annotated[Path | None, typer.Option(help="Folder to resume a killed training from.")] = None,
    seed: Seed = None,
    dry_run: DryRun = False,
    quiet: Quiet = False,
) -> None:
    """Fit a model on the cohort's training donors."""
    settings, seed = begin(config, seed, quiet)
    if model not in (known := list(type(settings.models).model_fields)):
        from genesim.errors import ConfigError

        raise ConfigError(f"no model is called {model!r}", where="train", remedy=f"choose among {', '.join(known)}")
    if planned(dry_run, f"train {model} on {cohort}", out):
        return
    from genesim.pipeline.train import train

    train(model, cohort, out=out, config=settings.models, contig=contig, seed=seed, checkpoints=checkpoints)
    say(quiet, out)
