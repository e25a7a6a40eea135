"""Control cells that are to be perturbed, checked and put in the model's order; predicted cells put together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import anndata as ad
import numpy as np
import pandas as pd
from scipy import sparse

from genesim import rng
from genesim.data.expression import read_expression
from genesim.errors import ConditionError, JoinError
from genesim.estimators.perturbation_inputs import Keys, contexts_of, library_sizes, log_expression, parse_label
from genesim.models.perturbation.reshape import PLAIN, Shape, reshape_counts
from genesim.provenance.record import Provenance

if TYPE_CHECKING:
    from genesim.estimators.perturbation import EffectEstimate


@dataclass(frozen=True, eq=False)
class ControlCells:
    """Chosen control cells.

    Attributes:
        cells: As read.
        row: Row of each chosen cell.
        counts: Their counts on the model's genes.
        size: Their size factors.
        context: Their contexts.
    """

    cells: ad.AnnData
    row: np.ndarray
    counts: sparse.csr_matrix
    size: np.ndarray
    context: np.ndarray

    def profile(self, context: str) -> np.ndarray:
        """Mean log expression of a context's cells."""
        here = self.context == context
        return np.asarray(log_expression(self.counts[here], self.size[here]).mean(0)).ravel()


def read_controls(
    given: ad.AnnData | str, keys: Keys, genes: pd.Index, reference: float, n_cells: int | None, seed: int
) -> ControlCells:
    """Read control cells.

    Raises:
        ConditionError: Cells that are not controls.
        JoinError: Genes that they lack.
        H5adError: Cells that cannot be used.
    """
    wanted = [*keys.covariates, *([keys.library] if keys.library else [])]
    cells = read_expression(given, covariate_keys=wanted)
    if keys.perturbation in cells.obs:
        treated = [bool(parse_label(v, keys)) for v in cells.obs[keys.perturbation].astype(str)]
        if any(treated):
            raise ConditionError(
                f"{sum(treated)} of {len(treated)} cells are not '{keys.control}'",
                where="control_cells",
                remedy=f"pass adata[adata.obs['{keys.perturbation}'] == '{keys.control}']",
            )
    column = cells.var_names.astype(str).get_indexer(genes)
    if (column < 0).any():
        lacking = genes[column < 0]
        raise JoinError(
            f"{len(lacking)} genes of the model are missing: {', '.join(lacking[:5])}",
            where="control_cells",
            remedy="give cells with the genes the model was trained on",
        )
    size = library_sizes(cells.obs, np.asarray(cells.X.sum(1)).ravel(), keys) / reference
    row = np.arange(cells.n_obs)
    if n_cells is not None:
        row = np.sort(rng.generator(seed, "perturbation", "cells").integers(0, cells.n_obs, n_cells))
    context = contexts_of(cells.obs, keys.covariates)[row]
    return ControlCells(cells, row, cells.X[:, column][row], size[row], context)


def perturbed(
    chosen: ControlCells,
    effects: Mapping[str, EffectEstimate],
    keys: Keys,
    genes: pd.Index,
    amounts: Mapping[str, float],
    seed: int,
    shapes: Mapping[str, Shape],
) -> ad.AnnData:
    """Cells under the effects of their contexts; see `PerturbationModel.predict`."""
    parts, order = [], []
    for name, effect in effects.items():
        here = np.flatnonzero(chosen.context == name)
        order.append(here)
        shape = shapes.get(name, PLAIN)
        parts.append(reshape_counts(chosen.counts[here], chosen.size[here], effect.delta, seed, shape))
    back = np.argsort(np.concatenate(order), kind="stable")
    cells, row, context = chosen.cells, chosen.row, chosen.context
    obs = pd.DataFrame(
        {
            "control_cell": cells.obs_names[row].astype(str).astype(object),
            **{k: cells.obs[k].to_numpy()[row] for k in keys.covariates},
            "perturbation": keys.separator.join(sorted(amounts)) or keys.control,
            "context": context,
            "regime": [effects[c].regime for c in context],
            "support": [effects[c].support for c in context],
        },
        index=pd.Index([f"P{i}" for i in range(len(row))], dtype=object),
    )
    out = ad.AnnData(sparse.csr_matrix(sparse.vstack(parts))[back], obs=obs, var=pd.DataFrame(index=genes))
    for name, field in (("delta", "delta"), ("delta_low", "low"), ("delta_high", "high")):
        columns = {c: getattr(e, field) for c, e in effects.items()}
        out.varm[name] = pd.DataFrame(columns, index=genes)
    config: dict[str, object] = {"perturbation": dict(amounts), "n_cells": len(row)}
    if any(effect.residual for effect in effects.values()):
        config["residual"] = sorted(name for name, effect in effects.items() if effect.residual)
    out.uns["genesim"] = Provenance("perturb", seed, config, synthetic=True).to_dict()
    return out
