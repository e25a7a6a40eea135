"""`genesim simulate`: scenario and models -> new donors, genotypes, cells, truth."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from genesim.cli.options import Config, DryRun, Out, Quiet, Seed, begin, planned, say


def run(
    models: Annotated[Path, typer.Option(help="Directory of trained models.")],
    out: Out,
    config: Config = None,
    scenario: Annotated[Path | None, typer.Option(help="Scenario YAML; wins over the config's.")] = None,
    contig: Annotated[str | None, typer.Option(help="Only draw this contig's genotypes, into a part.")] = None,
    part: Annotated[list[Path] | None, typer.Option(help="Genotype part written with --contig; repeat.")] = None,
    seed: Seed = None,
    dry_run: DryRun = False,
    quiet: Quiet = False,
) -> None:
    """Play out a scenario."""
    from genesim.config.base import load
    from genesim.config.scenario import Scenario

    settings, seed = begin(config, seed, quiet)
    asked = load(Scenario, scenario) if scenario is not None else settings.resolved_scenario()
    task = f"simulate {asked.population.n_donors} donors, {asked.cells.n_cells} cells"
    if contig is not None:
        task = f"draw contig {contig} of {asked.population.n_donors} donors"
    if planned(dry_run, task, out):
        return
    from genesim.pipeline import simulate

    if contig is not None:
        simulate.simulate_genotypes(asked, models / "haplotypes" / contig, out=out, seed=seed)
    else:
        simulate.simulate(asked, models, seed, parts=part or (), out=out)
    say(quiet, out)
