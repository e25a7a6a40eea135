"""`genesim prepare`: raw files -> cohort."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from genesim.cli.options import Config, DryRun, Out, Quiet, Seed, begin, planned, say


def run(
    out: Out,
    config: Config = None,
    contig: Annotated[str | None, typer.Option(help="Only read this contig's genotypes, into a part.")] = None,
    part: Annotated[list[Path] | None, typer.Option(help="Genotype part written with --contig; repeat.")] = None,
    seed: Seed = None,
    dry_run: DryRun = False,
    quiet: Quiet = False,
) -> None:
    """Check everything, join donors, split without leakage."""
    settings, seed = begin(config, seed, quiet)
    if settings.inputs is None:
        from genesim.errors import ConfigError

        raise ConfigError("has no 'inputs'", where=str(config), remedy="give at least inputs.h5ad and inputs.vcf")
    task = f"join {settings.inputs.h5ad} and {settings.inputs.vcf}"
    if contig is not None:
        task = f"read contig {contig} of {settings.inputs.vcf}"
    if planned(dry_run, task, out):
        return
    from genesim.pipeline import prepare

    if contig is not None:
        prepare.prepare_genotypes(settings.inputs, contig, out, seed=seed)
    else:
        prepare.prepare(settings.inputs, out=out, seed=seed, parts=part or ())
    say(quiet, out)
