"""`genesim perturb`: cells after one or many perturbations, predicted from the user's own control cells."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from genesim.cli.options import Config, DryRun, Out, Quiet, Seed, begin, planned, say

if TYPE_CHECKING:
    from genesim.config.perturbation import PerturbationRun


def run(
    out: Out,
    h5ad: Annotated[
        Path | None, typer.Option(help="Screen to learn from; with --model, control cells to predict from.")
    ] = None,
    perturbation: Annotated[
        list[str] | None, typer.Option(help="What to predict: 'A', 'A+B' or 'A:0.5+B'; repeat.")
    ] = None,
    sweep: Annotated[Path | None, typer.Option(help="Many: a table (.tsv) with a column 'perturbation'.")] = None,
    person: Annotated[
        Path | None, typer.Option(help="Annotated VCF: knock down what its donor's alleles take away.")
    ] = None,
    donor: Annotated[str | None, typer.Option(help="Which donor of --person, where it holds several.")] = None,
    model: Annotated[Path | None, typer.Option(help="Trained model; else one is fitted on --h5ad.")] = None,
    save_model: Annotated[Path | None, typer.Option(help="Directory to keep the fitted model in.")] = None,
    controls: Annotated[Path | None, typer.Option(help="Cells to predict from, where not those of --h5ad.")] = None,
    perturbation_key: Annotated[str | None, typer.Option(help="Column of obs; 'condition' if not given.")] = None,
    control: Annotated[str | None, typer.Option(help="Level of the control cells; 'control' if not given.")] = None,
    covariate_key: Annotated[list[str] | None, typer.Option(help="Context, as a cell type; repeat.")] = None,
    dose_key: Annotated[str | None, typer.Option(help="Column of obs with doses.")] = None,
    library_key: Annotated[str | None, typer.Option(help="Column of obs with library sizes, for a panel.")] = None,
    layer: Annotated[str | None, typer.Option(help="Layer with the counts.")] = None,
    n_cells: Annotated[int | None, typer.Option(min=1, help="Cells of each prediction.")] = None,
    join: Annotated[list[Path] | None, typer.Option(help="Only join the effects of these outputs; repeat.")] = None,
    config: Config = None,
    seed: Seed = None,
    dry_run: DryRun = False,
    quiet: Quiet = False,
) -> None:
    """Predict perturbations: one into an h5ad, many (or any into a directory) with a table of effects."""
    settings, seed = begin(config, seed, quiet)
    if join:
        if planned(dry_run, f"join the effects of {len(join)} outputs", out):
            return
        from genesim.pipeline.perturb import join_effects

        say(quiet, join_effects(join, out=out))
        return
    given = {
        "h5ad": h5ad,
        "perturbation_key": perturbation_key,
        "control": control,
        "covariate_keys": tuple(covariate_key) if covariate_key else None,
        "dose_key": dose_key,
        "library_key": library_key,
        "layer": layer,
        "controls": controls,
        "n_cells": n_cells,
        "sweep": tuple(perturbation) if perturbation else sweep,
    }
    asked = _asked(settings.perturbation, {k: v for k, v in given.items() if v is not None}, model)
    if perturbation and sweep:
        _refuse("--perturbation and --sweep are both given", "give one of them")
    requests: dict[str, Any] = dict(asked.requests()) if person is None else {}
    if not requests and person is None:
        _refuse("no perturbation is asked for", "give --perturbation, --sweep or --person")
    if person is not None and (perturbation or sweep):
        _refuse("--person is given beside other perturbations", "run them apart")
    what = ", ".join(requests) or f"the donor {donor or ''} of {person}"
    if planned(dry_run, f"predict {what} from {asked.h5ad}", out):
        return
    from genesim.pipeline import perturb as verb

    if person is not None:
        from genesim.data.gene_dosage import dosage_from_vcf

        dosage = dosage_from_vcf(person, donor)
        requests = {str(dosage.donors[0]) if len(dosage.donors) == 1 else "person": dosage}
    fitted = verb.train_perturbation(asked, out=save_model, seed=seed) if model is None else model
    source = asked.controls or asked.h5ad
    if out.suffix == ".h5ad":
        if len(requests) > 1:
            _refuse(f"{len(requests)} perturbations do not fit into one h5ad", "give a directory as --out")
        _one(fitted, source, requests, asked, out, seed)
    else:
        verb.perturb(fitted, source, requests, out=out, layer=asked.layer, n_cells=asked.n_cells, seed=seed)
    say(quiet, out)


def _refuse(found: str, remedy: str) -> None:
    from genesim.errors import ConfigError

    raise ConfigError(found, where="perturb", remedy=remedy)


def _asked(run: PerturbationRun | None, given: dict[str, Any], model: Path | None) -> PerturbationRun:
    """The run that the config and the options ask for; options win."""
    from genesim.config.base import parse
    from genesim.config.perturbation import PerturbationRun

    values = {} if run is None else run.model_dump()
    if model is not None and "controls" in given:
        given.setdefault("h5ad", given["controls"])
    if "h5ad" not in given and run is None:
        _refuse("no cells are given", "give --h5ad, or a config with 'perturbation'")
    return parse(PerturbationRun, {**values, **given}, where="perturb")


def _one(fitted: Any, source: Path, requests: dict[str, Any], asked: PerturbationRun, out: Path, seed: int) -> None:
    """One prediction as an h5ad of its own."""
    from genesim.data.write import write_h5ad
    from genesim.estimators.perturbation import PerturbationModel
    from genesim.pipeline.perturb import control_cells, predictions
    from genesim.provenance.record import Provenance, hash_input

    inputs = {"h5ad": hash_input(source)}
    if isinstance(fitted, Path):
        inputs["model"] = hash_input(fitted)
        fitted = PerturbationModel.load(fitted)
    controls = control_cells(source, fitted, asked.layer)
    for name, predicted in predictions(fitted, controls, requests, n_cells=asked.n_cells, seed=seed):
        config = {"perturbation": name, "perturbation_key": fitted.keys.perturbation, "control": fitted.keys.control}
        write_h5ad(predicted, out, Provenance("perturb", seed, config, inputs, synthetic=True))
