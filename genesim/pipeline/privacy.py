"""The privacy audit on AnnData: cells of training donors, of held-out donors, and simulated ones."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
from scipy import sparse

from genesim import rng
from genesim.config.evaluate import DonorAuditConfig
from genesim.data.expression import read_expression
from genesim.errors import ConfigError, JoinError
from genesim.estimators.expression import ExpressionModel
from genesim.evaluate.donor_attacks import DonorCells
from genesim.evaluate.donor_privacy import audit_donors
from genesim.evaluate.donor_records import DonorAudit
from genesim.pipeline.planted_network import memorising_learner

_ONE = "cell"


def _as_cells(
    cells: ad.AnnData, genes: pd.Index, donor_key: str | None, labels_key: str | None, likelihood: np.ndarray | None
) -> DonorCells:
    def text(key: str | None, fill: str) -> np.ndarray:
        values = np.full(cells.n_obs, fill) if key is None else cells.obs[key].astype(str).to_numpy()
        return np.asarray(values, dtype=str)

    counts = sparse.csr_matrix(cells[:, genes].X)
    return DonorCells(counts, text(labels_key, _ONE), text(donor_key, ""), likelihood)


def _groups(parts: Sequence[ad.AnnData], donor_key: str, keys: Sequence[str]) -> dict[str, dict[str, str]]:
    """Each donor's level of every key, and of all keys together."""
    if not keys:
        return {}
    obs = pd.concat([part.obs[[donor_key, *keys]].astype(str) for part in parts])
    table = obs.drop_duplicates(donor_key).set_index(donor_key)
    found = {key: table[key].to_dict() for key in keys}
    if len(keys) > 1:
        joined = table[list(keys)].agg(", ".join, axis=1)
        found[" x ".join(keys)] = joined.to_dict()
    return {name: {str(d): str(level) for d, level in levels.items()} for name, levels in found.items()}


def audit_privacy(
    train: ad.AnnData | str | Path,
    holdout: ad.AnnData | str | Path,
    simulated: ad.AnnData | str | Path,
    *,
    donor_key: str,
    labels_key: str | None = None,
    model: ExpressionModel | None = None,
    group_keys: Sequence[str] = (),
    layer: str | None = None,
    config: DonorAuditConfig | None = None,
    seed: int = 0,
) -> DonorAudit:
    """Attack simulated cells: can the donors of the training set be told from others?

    Four attacks see the simulated cells only (nearest distance, density ratio, ratio of gene margins,
    copula-Mahalanobis); a fifth reads the model's likelihood. The audit plants a generator that memorises and one that
    never saw a training donor, and for the fifth attack trains networks of both kinds; where these are not told apart
    as they have to be it is not valid. It never says that data are safe: only which attacks were made and what they
    found.

    Args:
        train: Cells of the donors that the generator was trained on.
        holdout: Cells of other donors of the same population and processing.
        simulated: Simulated cells.
        donor_key: Column of obs with donors, in `train` and `holdout`.
        labels_key: Column of obs with cell types, in all three.
        model: The generator itself, for the white-box attack; it has to have a likelihood (method "vae").
        group_keys: Columns of obs such as ancestry and sex: success within their groups, and within all of them
            together, where both sides have enough donors; worst first.
        layer: Layer of the counts in `train` and `holdout`.
        config: Sizes.
        seed: Of every draw.

    Raises:
        H5adError: The input is damaged, is not counts, or lacks a key.
        JoinError: Genes of the training cells are not simulated or not held out.
        InputError: A donor is on both sides, or too few donors have enough cells.
        ConfigError: The model has no likelihood.
    """
    keys = {"donor_key": donor_key, "labels_key": labels_key, "covariate_keys": list(group_keys), "layer": layer}
    sides = [read_expression(part, **keys) for part in (train, holdout)]  # type: ignore[arg-type]
    made = read_expression(simulated, labels_key=labels_key)
    genes = sides[0].var_names
    for name, part in (("held-out", sides[1]), ("simulated", made)):
        absent = genes.difference(part.var_names)
        if len(absent):
            raise JoinError(
                f"{len(absent)} genes of the training cells are not in the {name} cells, the first is {absent[0]!r}",
                where="privacy audit",
                remedy="compare cells of the same genes",
            )
    likelihood: list[np.ndarray | None] = [None, None]
    if model is not None:
        if model.config.method != "vae":
            raise ConfigError(
                f"method '{model.config.method}' has no likelihood of a cell",
                where="privacy audit",
                remedy="leave `model` out: the other attacks see the simulated cells only",
            )
        # The layer is read already: the model must not look for it again.
        scored = [ad.AnnData(part.X, obs=part.obs, var=part.var) for part in sides]
        if model.layer is not None and model.layer != "raw":
            for part in scored:
                part.layers[model.layer] = part.X
        if model.layer == "raw":
            for part in scored:
                part.raw = part
        likelihood = [
            model.score_cells(part, seed=rng.seed(seed, "privacy", "white box", name)).to_numpy()
            for part, name in zip(scored, ("train", "holdout"), strict=True)
        ]
    real = [_as_cells(part, genes, donor_key, labels_key, own) for part, own in zip(sides, likelihood, strict=True)]
    return audit_donors(
        real[0],
        real[1],
        _as_cells(made, genes, None, labels_key, None),
        groups=_groups(sides, donor_key, group_keys),
        learn=None if model is None else memorising_learner(seed, config or DonorAuditConfig()),
        seed=seed,
        config=config,
    )
