"""`genesim report`: one self-contained HTML page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from genesim.cli.options import Cohort, Config, DryRun, Out, Quiet, Seed, begin, planned, say


def run(
    cohort: Cohort,
    simulated: Annotated[Path, typer.Option(help="Directory that `simulate` wrote.")],
    evaluation: Annotated[Path, typer.Option(help="Directory that `evaluate` wrote.")],
    out: Out,
    config: Config = None,
    title: Annotated[str, typer.Option(help="Heading of the page.")] = "genesim report",
    perturbed: Annotated[Path | None, typer.Option(help="Table of effects that `perturb` wrote.")] = None,
    figures: Annotated[Path | None, typer.Option(help="Directory for the figures as SVG files too.")] = None,
    seed: Seed = None,
    dry_run: DryRun = False,
    quiet: Quiet = False,
) -> None:
    """Write the report."""
    settings, seed = begin(config, seed, quiet)
    if planned(dry_run, f"report on {simulated}", out):
        return
    from genesim.pipeline.report import report_run

    example = settings.example is not None
    report_run(
        cohort,
        simulated,
        evaluation,
        out=out,
        title=title,
        example=example,
        config=settings.report,
        seed=seed,
        perturbed=perturbed,
        figures=figures,
    )
    say(quiet, out, *([figures] if figures else []))
