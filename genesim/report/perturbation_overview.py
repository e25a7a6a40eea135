"""Figure of many predicted perturbations at once: which moves which gene, and how surely."""

from __future__ import annotations

import numpy as np
import pandas as pd

from genesim.errors import InputError
from genesim.report.figures import FAINT, Figure, canvas, shorten, to_svg

NEEDED = ("perturbation", "context", "gene", "delta", "low", "high")


def perturbation_effects(effects: pd.DataFrame, *, n_perturbations: int = 20, n_genes: int = 24) -> Figure:
    """Dots of perturbation by gene: the colour is the predicted change, a small dot one that may be none.

    Args:
        effects: Rows `perturbation`, `context`, `gene`, `delta` (change of mean log expression), `low`, `high`, as
            `genesim perturb` writes them.
        n_perturbations: Rows drawn, those of largest effect (root mean square over genes).
        n_genes: Columns drawn, those moved most by the perturbations drawn.

    Raises:
        InputError: Columns are missing, or there is no row.
    """
    missing = [name for name in NEEDED if name not in effects.columns]
    if missing or not len(effects):
        raise InputError(
            f"has no column {', '.join(missing)}" if missing else "has no row",
            where="table of perturbation effects",
            remedy="give the effects.parquet that `genesim perturb` wrote",
        )
    several = effects["context"].nunique() > 1
    name = effects["perturbation"].astype(str)
    if several:
        name = name + " · " + effects["context"].astype(str)
    wide = effects.assign(row=name).pivot_table(
        index="row", columns="gene", values=["delta", "low", "high"], aggfunc="first", observed=True
    )
    delta = wide["delta"]
    root_mean_square = np.sqrt(np.nanmean(delta.to_numpy(float) ** 2, axis=1))
    strength = pd.Series(root_mean_square, index=delta.index).sort_values(ascending=False, kind="stable")
    rows = list(strength.index[:n_perturbations])
    moved = delta.loc[rows].abs().max(axis=0).sort_values(ascending=False, kind="stable")
    genes = list(moved.index[:n_genes])
    value = delta.loc[rows, genes].to_numpy(float)
    sure = (wide["low"].loc[rows, genes].to_numpy(float) > 0) | (wide["high"].loc[rows, genes].to_numpy(float) < 0)
    limit = max(1e-6, float(np.nanquantile(np.abs(value), 0.98)))
    y, x = np.indices(value.shape)
    with canvas(width=7.4, height=1.5 + 0.24 * len(rows)) as (figure, axis):
        dots = axis.scatter(
            x, y, c=value, s=np.where(sure, 62, 14), cmap="RdBu_r", vmin=-limit, vmax=limit, edgecolors=FAINT,
            linewidths=0.3,
        )  # fmt: skip
        axis.set_xticks(range(len(genes)), [shorten(str(g), 14) for g in genes], rotation=90)
        axis.set_yticks(range(len(rows)), [shorten(str(r), 34) for r in rows])
        axis.tick_params(length=0)
        axis.set(xlim=(-0.7, len(genes) - 0.3), ylim=(len(rows) - 0.4, -0.6))
        axis.spines[:].set_visible(False)
        bar = figure.colorbar(dots, ax=axis, shrink=0.8, pad=0.02, extend="both")
        bar.set_label("Change of mean log expression" if len(rows) > 6 else "Change", fontsize=8)
        bar.outline.set_visible(False)
        svg = to_svg(figure)
    return Figure(
        "perturbation-effects",
        "Predicted effects of perturbations",
        f"The {len(rows)} of {len(delta)} predictions with the largest effects, and the {len(genes)} genes that they "
        "move most. Large dots: the 95 % interval leaves out zero; small dots may be no effect at all.",
        svg,
    )
