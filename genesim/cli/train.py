"""`genesim train`: cohort -> one model."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated

import typer

from genesim.cli.options import Config, DryRun, Out, Quiet, Seed, begin, planned, say, shard_of
from genesim.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from genesim.config.model import ModelsConfig
    from genesim.config.perturbation import PerturbationRun
    from genesim.config.run import RunConfig


def run(
    model: Annotated[str, typer.Argument(help="expression, haplotypes, effects or perturbation")],
    out: Out,
    cohort: Annotated[Path | None, typer.Option(help="Cohort directory; not to join, nor for perturbation.")] = None,
    config: Config = None,
    contig: Annotated[str | None, typer.Option(help="Haplotypes of this contig only.")] = None,
    checkpoints: Annotated[Path | None, typer.Option(help="Folder to resume a killed training from.")] = None,
    init: Annotated[
        bool, typer.Option("--init", help="Effects: only learn what all genes share, into a study.")
    ] = False,
    study: Annotated[
        Path | None, typer.Option(help="Study that --init wrote, for --shard and --join of effects.")
    ] = None,
    shard: Annotated[
        str | None, typer.Option(help="k/n: fit the k-th of n shards of haplotypes or effects only.")
    ] = None,
    join: Annotated[list[Path] | None, typer.Option(help="Join these shards into the model; repeat it.")] = None,
    kinship: Annotated[
        Path | None, typer.Option(help="Donor x donor table of kinship (TSV, CSV or parquet), for effects.")
    ] = None,
    distributed: Annotated[
        str | None,
        typer.Option(help="Train expression with other processes: 'auto' (srun, mpirun), or k/n@host:port."),
    ] = None,
    seed: Seed = None,
    dry_run: DryRun = False,
    quiet: Quiet = False,
) -> None:
    """Fit a model on the cohort's training donors."""
    settings, seed = begin(config, seed, quiet)
    if model not in (known := [*type(settings.models).model_fields, "perturbation"]):
        raise ConfigError(f"no model is called {model!r}", where="train", remedy=f"choose among {', '.join(known)}")
    if (join or shard) and model not in ("haplotypes", "effects"):
        raise ConfigError(
            f"{model} is not fitted in shards", where="--join, --shard", remedy="train haplotypes or effects"
        )
    if (init or study) and model != "effects":
        raise ConfigError("only effects have a study", where="--init, --study", remedy="train effects --init ...")
    if kinship and model != "effects":
        raise ConfigError("only effects use kinship", where="--kinship", remedy="train effects --kinship ...")
    if model == "perturbation":
        _perturbation(settings.perturbation, cohort, out, seed, dry_run, quiet)
        return
    if model == "effects" and (init or study or shard or join):
        _effects(settings.models, cohort, out, seed, kinship, init, study, shard, join, dry_run)
        say(quiet, out)
        return
    if cohort is None and not join:
        raise ConfigError("no cohort is given", where="train", remedy="--cohort DIRECTORY")
    with _writer(distributed, model, dry_run, out) as target:
        if planned(dry_run, f"train {model} on {cohort}" if not join else f"join {len(join)} shards", target):
            return
        _train(model, cohort, target, settings, seed, contig, checkpoints, shard, join, kinship)
    say(quiet, out)


@contextmanager
def _writer(distributed: str | None, model: str, dry_run: bool, out: Path) -> Iterator[Path]:
    """Where this process writes: `out`, or, beside a first process that writes it, a folder that is thrown away."""
    if distributed is None or dry_run:
        yield out
        return
    if model != "expression":
        raise ConfigError(
            f"{model} is not trained by several processes", where="--distributed", remedy="train it in shards"
        )
    from genesim.train.distributed import join_processes

    if join_processes(distributed):
        yield out
    else:
        with TemporaryDirectory() as folder:
            yield Path(folder) / "model"


def _train(
    model: str,
    cohort: Path | None,
    out: Path,
    settings: RunConfig,
    seed: int,
    contig: str | None,
    checkpoints: Path | None,
    shard: str | None,
    join: list[Path] | None,
    kinship: Path | None,
) -> None:
    from genesim.pipeline.train import join_haplotypes, train

    if join:
        join_haplotypes(join, out=out)
    elif cohort is not None:
        part = shard_of(shard) if shard else None
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


def _effects(
    models: ModelsConfig,
    cohort: Path | None,
    out: Path,
    seed: int,
    kinship: Path | None,
    init: bool,
    study: Path | None,
    shard: str | None,
    join: list[Path] | None,
    dry_run: bool,
) -> None:
    """init, partition (--study --shard) and finalise (--study --join) of the effects."""
    if cohort is None:
        raise ConfigError("no cohort is given", where="train effects", remedy="--cohort DIRECTORY")
    steps = [name for name, given in (("--init", init), ("--shard", shard), ("--join", join)) if given]
    if len(steps) != 1 or (study is None) != init:
        raise ConfigError(
            f"{' and '.join(steps) or '--study'} {'with' if study else 'without'} --study is no step",
            where="train effects",
            remedy="give --init; or --study with --shard k/n; or --study with --join of every shard",
        )
    part = shard_of(shard) if shard else None
    task = {
        "--init": "learn what genes share",
        "--shard": f"fit shard {shard}",
        "--join": f"join {len(join or ())} shards",
    }
    if planned(dry_run, f"{task[steps[0]]} of effects on {cohort}", out):
        return
    from genesim.pipeline import train_shards

    if study is None:
        train_shards.init_effects(cohort, out=out, config=models, seed=seed, kinship=kinship)
    elif part is not None:
        train_shards.train_effects_part(cohort, study, shard=part, out=out)
    else:
        train_shards.join_effects(cohort, study, join or (), out=out)
