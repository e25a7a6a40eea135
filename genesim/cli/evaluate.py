"""`genesim evaluate`: simulated against held-out real data."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from genesim.cli.options import Config, DryRun, Out, Quiet, Seed, begin, planned, say
from genesim.errors import ConfigError


def run(
    out: Out,
    cohort: Annotated[Path | None, typer.Option(help="Cohort directory that `prepare` wrote.")] = None,
    simulated: Annotated[Path | None, typer.Option(help="Directory that `simulate` wrote.")] = None,
    join: Annotated[
        list[Path] | None, typer.Option(help="Only join the scores of these evaluations into one table; repeat.")
    ] = None,
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
    if join:
        if planned(dry_run, f"join the scores of {len(join)} evaluations", out):
            return
        from genesim.pipeline.replicates import join_scores

        join_scores(join, out=out)
        say(quiet, out)
        return
    if cohort is None or simulated is None:
        raise ConfigError(
            "nothing to evaluate is given", where="evaluate", remedy="--cohort and --simulated, or --join"
        )
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
