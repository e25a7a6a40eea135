"""What an expression model has learned, as tables: gene programs, and which covariate moved which genes."""

from __future__ import annotations

from dataclasses import dataclass

import jax
import numpy as np
import pandas as pd
from jaxtyping import Float

from genesim.estimators.covariates import LIBRARY_SIZE, Covariates
from genesim.models.expression.attribution import Draw, attribute
from genesim.models.expression.generator import ExpressionGenerator
from genesim.models.expression.posterior import rates_at
from genesim.models.expression.programs import Programs
from genesim.models.expression.vae import NbVae
from genesim.types import Condition


@dataclass(frozen=True)
class GenePrograms:
    """Gene programs of a model: linear readouts of its latents, most variance first.

    Attributes:
        table: One row a program: `share` of the log rates' variance over new cells of the training mix that it
            explains, `linearity` (squared correlation with the decoder's own, curved response along the same
            genes), and the genes of largest loading, `up` and `down`.
        loadings: log2 fold change of each gene [gene, program] for one SD of the program.
        r_squared: Share of the log rates' variance that all linear readouts explain. The rest is curvature of the
            decoder, which no program shows. In-sample: too large by about latents / cells (1 %).
        readout: The arrays behind it.
    """

    table: pd.DataFrame
    loadings: pd.DataFrame
    r_squared: float
    readout: Programs

    def scores(self, latents: Float[np.ndarray, "cell latent"], index: pd.Index) -> pd.DataFrame:
        """Programs of cells [cell, program], in SDs over new cells of the training mix."""
        return pd.DataFrame(self.readout.scores(latents), index=index, columns=self.loadings.columns)


def gene_programs(
    generator: ExpressionGenerator,
    key: jax.Array,
    mix: Condition,
    neutral: Condition,
    genes: pd.Index,
    n_programs: int | None,
    n_top: int,
) -> GenePrograms:
    """Programs over latents drawn under `mix`, decoded under `neutral`, so that only the latent moves genes."""
    latents = generator.latents(key, mix)
    log_rates = np.log(rates_at(generator.vae, latents, neutral))
    found = Programs.fit(latents, log_rates, n_programs)
    names = pd.Index([f"program{i}" for i in range(1, len(found.share) + 1)], dtype=object)
    loadings = pd.DataFrame(found.loadings / np.log(2), index=genes.rename("gene"), columns=names)
    up, down = [], []
    for name in names:
        column = loadings[name]
        top = column.iloc[np.argsort(-column.abs().to_numpy(), kind="stable")[:n_top]]
        up.append(", ".join(map(str, top.index[top > 0])))
        down.append(", ".join(map(str, top.index[top < 0])))
    table = pd.DataFrame({"share": found.share, "linearity": found.linearity, "up": up, "down": down}, index=names)
    return GenePrograms(table, loadings, found.r_squared, found)


def explained(
    vae: NbVae,
    draw: Draw,
    before: Condition,
    after: Condition,
    covariates: Covariates,
    genes: pd.Index,
) -> pd.DataFrame:
    """Terms of the fold change of each gene between two groups of as many cells; see `ExpressionModel.explain`."""
    found = attribute(vae, draw, before, after)
    names = [*covariates.names, LIBRARY_SIZE]
    table = pd.DataFrame(index=genes.rename("gene"))
    table["log2_fold_change"] = found.terms.sum(axis=1) / np.log(2)
    table["per_10k_reference"] = 1e4 * found.before
    table["per_10k"] = 1e4 * found.after
    for (route, column), term in zip(found.switches, found.terms.T, strict=True):
        table[f"{names[column]}: {route}"] = term / np.log(2)
    size = -table["log2_fold_change"].abs().to_numpy()
    return table.iloc[np.argsort(size, kind="stable")]
