"""`genesim simulate`: scenario and models -> new donors, genotypes, cells, truth; or one person's prediction."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from genesim.cli.options import Config, DryRun, Out, Quiet, Seed, begin, planned, say, shard_of


def run(
    models: Annotated[Path, typer.Option(help="Directory of trained models.")],
    out: Out,
    config: Config = None,
    scenario: Annotated[Path | None, typer.Option(help="Scenario YAML; wins over the config's.")] = None,
    contig: Annotated[str | None, typer.Option(help="Only draw this contig's genotypes, into a part.")] = None,
    part: Annotated[list[Path] | None, typer.Option(help="Genotype part written with --contig; repeat.")] = None,
    shard: Annotated[str | None, typer.Option(help="k/n: only draw the k-th of n shards of the cells.")] = None,
    cells: Annotated[list[Path] | None, typer.Option(help="Shard of cells written with --shard; repeat.")] = None,
    person: Annotated[
        Path | None, typer.Option(help="One person's genotypes: predict their expression; no scenario is needed.")
    ] = None,
    donor: Annotated[str | None, typer.Option(help="Which donor of --person, where it holds several.")] = None,
    absent: Annotated[
        str, typer.Option(help="Variants that --person lacks: training 'mean', or 'reference' in a variant-only file.")
    ] = "mean",
    seed: Seed = None,
    dry_run: DryRun = False,
    quiet: Quiet = False,
) -> None:
    """Play out a scenario, or predict one person's expression (--person)."""
    from genesim.config.base import load
    from genesim.config.scenario import Scenario

    settings, seed = begin(config, seed, quiet)
    if person is not None:
        _alone({"--scenario": scenario, "--contig": contig, "--part": part, "--shard": shard, "--cells": cells})
        _person(person, models, out, donor, absent, seed, dry_run, quiet)
        return
    asked = load(Scenario, scenario) if scenario is not None else settings.resolved_scenario()
    n_donors = asked.population.n_donors or f"all of {asked.population.vcf}'s"
    task = f"simulate {n_donors} donors, {asked.cells.n_cells} cells"
    if contig is not None:
        task = f"draw contig {contig} of {n_donors} donors"
    chosen = None
    if shard is not None:
        _alone({"--contig": contig, "--cells": cells}, "--shard")
        chosen, task = shard_of(shard), f"draw shard {shard} of {asked.cells.n_cells} cells"
    if planned(dry_run, task, out):
        return
    from genesim.pipeline import simulate

    if chosen is not None:
        simulate.simulate_cells(asked, models, seed, shard=chosen, parts=part or (), out=out)
    elif contig is not None:
        simulate.simulate_genotypes(asked, models / "haplotypes" / contig, out=out, seed=seed, models=models)
    else:
        simulate.simulate(asked, models, seed, parts=part or (), cells_from=cells or (), out=out)
    say(quiet, out)


def _alone(others: dict[str, object], beside: str = "--person") -> None:
    """Refuse options that mean nothing beside another one."""
    from genesim.errors import ConfigError

    given = [name for name, value in others.items() if value]
    if given:
        raise ConfigError(f"{', '.join(given)} cannot go with it", where=beside, remedy="leave out one or the other")


def _person(
    person: Path, models: Path, out: Path, donor: str | None, absent: str, seed: int, dry_run: bool, quiet: bool
) -> None:
    from genesim.errors import ConfigError

    if absent not in ("mean", "reference"):
        raise ConfigError(f"is {absent!r}", where="--absent", remedy="give 'mean' or 'reference'")
    if planned(dry_run, f"predict the expression of {donor or 'the donor'} of {person}", out):
        return
    from genesim.pipeline.person import simulate_person

    prediction = simulate_person(
        person, models, donor=donor, seed=seed, absent="mean" if absent == "mean" else "reference", out=out
    )
    say(quiet, *prediction.notes, out)
