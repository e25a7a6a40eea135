"""`genesim train`: cohort -> one model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from genesim.cli.options import Config, DryRun, Out, Quiet, Seed, begin, planned, say
from genesim.errors import ConfigError

if TYPE_CHECKING:
    from genesim.config.perturbation import PerturbationRun


def run(
    model: Annotated[str, typer.Argument(help="expression, haplotypes, effects or perturbation")],
    out: Out,
    cohort: Annotated[Path | None, typer.Option(help="Cohort directory; not to join, nor for perturbation.")] = None,
    config: Config = None,
    contig: Annotated[str | None, typer.Option(help="Haplotypes of this contig only.")] = None,
    checkpoints: Annotated[Path | None, typer.Option(help="Folder to resume a killed training from.")] = None,
    shard: Annotated[str | None, typer.Option(help="k/n: fit the k-th of n shards of the haplotypes only.")] = None,
    join: Annotated[list[Path] | None, typer.Option(help="Join these shards of a haplotype model; repeat it.")] = None,
    kinship: Annotated[
        Path | None, typer.Option(help="Donor x donor table of kinship (TSV, CSV or parquet), for effects.")
    ] = None,
    seed: Seed = None,
    dry_run: DryRun = False,
    quiet: Quiet = False,
) -> None:
    """Fit a model on the cohort's training donors."""
    settings, seed = begin(config, seed, quiet)
    if model not in (known := [*type(settings.models).model_fields, "perturbation"]):
        raise ConfigError(f"no model is called {model!r}", where="train", remedy=f"choose among {', '.join(known)}")
    if join and model != "haplotypes":
        raise ConfigError("only haplotypes are fitted in shards", where="--join", remedy="train haplotypes --join ...")
    if kinship and model != "effects":
        raise ConfigError("only effects use kinship", where="--kinship", remedy="train effects --kinship ...")
    if model == "perturbation":
        _perturbation(settings.perturbation, cohort, out, seed, dry_run, quiet)
        return
    if cohort is None and not join:
        raise ConfigError("no cohort is given", where="train", remedy="--cohort DIRECTORY")
    if planned(dry_run, f"train {model} on {cohort}" if not join else f"join {len(join)} shards", out):
        return
    from genesim.pipeline.train import join_haplotypes, train

    if join:
        join_haplotypes(join, out=out)
    elif cohort is not None:
        part = _shard(shard) if shard else None
        train(
            model,
            cohort,
            out=out,
            config=settings.models,
            contig=contig,
            seed=seed,
            checkpoints=checkpoints,
            shard=part,
            kinship=kinship,
        )
    say(quiet, out)


def _perturbation(
    run: PerturbationRun | None, cohort: Path | None, out: Path, seed: int, dry_run: bool, quiet: bool
) -> None:
    """A screen is no cohort: its cells need no donors and no genotypes."""
    if run is None or cohort is not None:
        found = "has no 'perturbation'" if run is None else "a cohort is given, but a screen is learned from"
        raise ConfigError(found, where="train perturbation", remedy="name the screen in the config's 'perturbation'")
    if planned(dry_run, f"train perturbation on {run.h5ad}", out):
        return
    from genesim.pipeline.perturb import train_perturbation

    train_perturbation(run, out=out, seed=seed)
    say(quiet, out)


def _shard(text: str) -> tuple[int, int]:
    """`2/5` as (1, 5)."""
    try:
        number, total = (int(part) for part in text.split("/"))
    except ValueError:
        number, total = 0, 0
    if not 1 <= number <= total:
        raise ConfigError(f"{text!r} is no shard", where="--shard", remedy="give k/n with k from 1 to n, as 2/5")
    return number - 1, total
