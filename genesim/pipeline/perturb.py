"""perturb: learn from a screen, then predict one or many perturbations -> an h5ad each, and a table of effects."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd

from genesim.config.perturbation import PerturbationRun
from genesim.console import log
from genesim.data.expression import read_expression
from genesim.data.gene_dosage import GeneDosage
from genesim.data.perturbation_split import Labels
from genesim.data.write import write_h5ad, write_parquet
from genesim.errors import ArtefactError, ConditionError
from genesim.estimators.perturbation import PerturbationModel
from genesim.provenance.atomic import atomic_directory
from genesim.provenance.manifest import verify_manifest
from genesim.provenance.record import Provenance, hash_input

EFFECTS = "effects.parquet"
Amounts = Mapping[str, float] | GeneDosage


def train_perturbation(run: PerturbationRun, *, out: str | Path | None = None, seed: int = 0) -> PerturbationModel:
    """Fit the model of a screen, and save it where `out` is given.

    Raises:
        GenesimError: See `PerturbationModel.fit`.
    """
    model = PerturbationModel.fit(
        str(run.h5ad),
        run.perturbation_key,
        run.control,
        covariate_keys=run.covariate_keys,
        dose_key=run.dose_key,
        library_key=run.library_key,
        layer=run.layer,
        separator=run.separator,
        config=run.model,
        seed=seed,
    )
    model.provenance = replace(model.provenance, inputs={"h5ad": hash_input(run.h5ad)})
    if out is not None:
        model.save(out)
        log.info("model: %s", out)
    return model


def control_cells(path: str | Path, model: PerturbationModel, layer: str | None = None) -> ad.AnnData:
    """Control cells of a file: those that its labels call so; all of them where it has no labels.

    Raises:
        ConditionError: No control cell.
    """
    keys = model.keys
    columns = [*keys.covariates, *([keys.library] if keys.library else [])]
    cells = read_expression(path, layer=layer, covariate_keys=columns)
    if keys.perturbation not in cells.obs:
        return cells
    parts = Labels(keys.perturbation, keys.control, keys.separator).read(cells.obs)
    mine = np.array([not p for p in parts])
    if not mine.any():
        raise ConditionError(
            f"no cell is '{keys.control}'", where=str(path), remedy="give control cells with --controls"
        )
    return cells[mine].copy()


def effects_table(name: str, predicted: ad.AnnData) -> pd.DataFrame:
    """Rows `perturbation`, `context`, `regime`, `support`, `gene`, `delta`, `low`, `high` of one prediction."""
    obs = predicted.obs.drop_duplicates("context").set_index("context")
    parts = []
    for context in predicted.varm["delta"].columns:
        part = {"perturbation": name, "context": context, "gene": predicted.var_names.astype(str)}
        part |= {key: obs.loc[context, key] for key in ("regime", "support")}
        for column, key in (("delta", "delta"), ("low", "delta_low"), ("high", "delta_high")):
            part[column] = predicted.varm[key][context].to_numpy(float)
        parts.append(pd.DataFrame(part))
    return pd.concat(parts, ignore_index=True)


def predictions(
    model: PerturbationModel,
    controls: ad.AnnData,
    requests: Mapping[str, Amounts],
    *,
    n_cells: int | None = None,
    seed: int = 0,
) -> Iterator[tuple[str, ad.AnnData]]:
    """Each prediction by name. All start from the same draw of controls, so that they differ by what was asked."""
    for name, amounts in requests.items():
        log.info("perturbation: predicting %s", name)
        yield name, model.predict(controls, amounts, n_cells=n_cells, seed=seed)


def perturb(
    model: PerturbationModel | str | Path,
    controls: ad.AnnData | str | Path,
    requests: Mapping[str, Amounts],
    *,
    out: str | Path,
    layer: str | None = None,
    n_cells: int | None = None,
    seed: int = 0,
) -> Path:
    """Predict many perturbations into one directory: `<name>.h5ad` each and `effects.parquet`.

    Args:
        model: Trained, or its directory.
        controls: Control cells, or an h5ad whose control cells are taken.
        requests: Amounts of each perturbation by its file name (`config.perturbation.named_requests`).
        out: Directory to write, whole or not at all.
        layer: Layer of the h5ad with the counts.
        n_cells: Cells of each prediction; None changes each control once.
        seed: Of the draws.

    Raises:
        ConditionError: No perturbation, or one that cannot be predicted.
        GenesimError: Cells or a model that cannot be used.
    """
    if not requests:
        raise ConditionError("no perturbation is asked for", where="perturb", remedy="name one or give a sweep table")
    inputs: dict[str, str] = {}
    if not isinstance(model, PerturbationModel):
        inputs["model"] = hash_input(model)
        model = PerturbationModel.load(model)
    if not isinstance(controls, ad.AnnData):
        inputs["h5ad"] = hash_input(controls)
        controls = control_cells(controls, model, layer)
    with atomic_directory(out) as directory:
        tables = []
        for name, predicted in predictions(model, controls, requests, n_cells=n_cells, seed=seed):
            asked = requests[name]
            config = {"perturbation": dict(asked) if isinstance(asked, Mapping) else name, "n_cells": predicted.n_obs}
            record = Provenance("perturb", seed, config, inputs, synthetic=True)
            write_h5ad(predicted, directory / f"{name}.h5ad", record)
            tables.append(effects_table(name, predicted))
        record = Provenance("perturb", seed, {"perturbations": list(requests)}, inputs, synthetic=True)
        write_parquet(pd.concat(tables, ignore_index=True), directory / EFFECTS, record)
    return Path(out)


def join_effects(parts: Sequence[str | Path], *, out: str | Path) -> Path:
    """One table of the effects of many directories that `perturb` wrote.

    Raises:
        ArtefactError: A part is damaged, or two predict one perturbation.
    """
    tables, inputs = [], {}
    for number, part in enumerate(parts):
        verify_manifest(Path(part))
        tables.append(pd.read_parquet(Path(part) / EFFECTS))
        inputs[str(number)] = hash_input(part)
    names = [name for table in tables for name in table["perturbation"].unique()]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ArtefactError(f"'{twice[0]}' is in two parts", where="perturb --join", remedy="name each part once")
    table = pd.concat(tables, ignore_index=True)
    return write_parquet(table, out, Provenance("perturb", 0, {"perturbations": names}, inputs, synthetic=True))
