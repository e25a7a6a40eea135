"""`genesim perturb`: cells after a perturbation, predicted from the user's own control cells."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from genesim.cli.options import DryRun, Out, Quiet, begin, planned, say


def run(
    h5ad: Annotated[Path, typer.Option(help="Perturbation screen to learn from.")],
    perturbation: Annotated[str, typer.Option(help="What to predict, as 'A' or 'A+B'.")],
    out: Out,
    perturbation_key: Annotated[str, typer.Option(help="Column of obs.")] = "condition",
    control: Annotated[str, typer.Option(help="Level of the control cells.")] = "control",
    covariate_key: Annotated[list[str] | None, typer.Option(help="Context, as a cell type; repeat.")] = None,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    dry_run: DryRun = False,
    quiet: Quiet = False,
) -> None:
    """Predict a perturbation on the screen's control cells."""
    begin(None, seed, quiet)
    if planned(dry_run, f"predict {perturbation} from {h5ad}", out):
        return
    from genesim.data.expression import read_expression
    from genesim.data.write import write_h5ad
    from genesim.estimators.perturbation import PerturbationModel
    from genesim.provenance.record import Provenance, hash_input

    keys = tuple(covariate_key or ())
    cells = read_expression(h5ad, covariate_keys=(perturbation_key, *keys))
    model = PerturbationModel.fit(cells, perturbation_key, control, covariate_keys=keys, seed=seed)
    controls = cells[(cells.obs[perturbation_key].astype(str) == control).to_numpy()].copy()
    predicted = model.predict(controls, dict.fromkeys(perturbation.split("+"), 1.0), seed=seed)
    config = {"perturbation": perturbation, "perturbation_key": perturbation_key, "control": control}
    write_h5ad(predicted, out, Provenance("perturb", seed, config, {"h5ad": hash_input(h5ad)}, synthetic=True))
    say(quiet, out)
