"""`genesim evaluate`: simulated against held-out real data."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from genesim.cli.options import Cohort, Config, DryRun, Out, Quiet, Seed, begin, planned, say


def run(
    cohort: Cohort,
    simulated: Annotated[Path, typer.Option(help="Directory that `simulate` wrote.")],
    out: Out,
    models: Annotated[
        Path | None,
        typer.Option(help="Directory of the models it was drawn from: attacks with their likelihood and effects."),
    ] = None,
    config: Config = None,
    seed: Seed = None,
    dry_run: DryRun = False,
    quiet: Quiet = False,
) -> None:
    """Score simulated data, each figure beside its floor and its null."""
    settings, seed = begin(config, seed, quiet)
    if planned(dry_run, f"evaluate {simulated} against {cohort}", out):
        return
    from genesim.pipeline.evaluate import evaluate_run

    scores = evaluate_run(
        cohort,
        simulated,
        out=out,
        models=models,
        config=settings.evaluate,
        effects=settings.models.effects,
        seed=seed,
    )
    say(quiet, scores.text(), out)
