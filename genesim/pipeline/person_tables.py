"""Tables of one person's genetic values: genes, the variants behind them, and the programs that they shift."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float
from scipy import sparse

from genesim.estimators.effect_inputs import ALL
from genesim.estimators.effects import EffectModel
from genesim.estimators.expression import ExpressionModel
from genesim.models.effects.posterior import EffectPosterior, genetic_values, marginal_effects
from genesim.models.expression.generator import ExpressionGenerator

N_CELLS = 512
"""New cells of a type whose rates give the baseline."""
N_TOP = 8
"""Genes named a program."""
PROGRAM_COLUMNS = ("cell_type", "program", "shift", "population_sd", "z", "share_of_change", "n_genes", "genes")


def coefficients(posterior: EffectPosterior, n_genes: int, n_variants: int) -> sparse.csr_matrix:
    """Posterior mean effect, log2 a copy [gene, variant]: genetic values are its product with centred dosages."""
    m = marginal_effects(posterior)
    return sparse.csr_matrix((m["mean"], (m["gene"], m["variant"])), shape=(n_genes, n_variants))


def variant_table(
    model: EffectModel, cell_type: str, dosage: Float[np.ndarray, " variant"], known: Bool[np.ndarray, " variant"]
) -> pd.DataFrame:
    """One row a gene and variant of a cell type's posterior: the links of the chain.

    `dosage` is NaN where `known` is False; there `contribution` is 0, as the training mean is taken.
    """
    m = marginal_effects(model.posteriors[cell_type])
    at = m["variant"]
    variants = model.variants.iloc[at]
    mean_dosage = 2 * variants["frequency"].to_numpy(float)
    moved = np.where(known[at], m["mean"] * (np.nan_to_num(dosage[at]) - mean_dosage), 0.0)
    return pd.DataFrame(
        {
            "gene": model.genes.index[m["gene"]],
            "cell_type": cell_type,
            "variant": variants.index,
            "contig": variants["contig"].to_numpy(),
            "position": variants["start"].to_numpy() + 1,
            "ref": variants["ref"].to_numpy(),
            "alt": variants["alt"].to_numpy(),
            "dosage": dosage[at].astype(np.float64),
            "mean_dosage": mean_dosage,
            "pip": m["pip"],
            "effect": m["mean"],
            "effect_sd": m["sd"],
            "contribution": moved,
            "credible_set": m["credible_set"],
        }
    )


def value_variance(
    model: EffectModel, cell_type: str, dosage: Float[np.ndarray, " variant"], known: Bool[np.ndarray, " variant"]
) -> Float[np.ndarray, " gene"]:
    """Variance of the person's genetic value: of the effects, and of the dosages that are not known.

    An unknown dosage has variance 2pq and adds 2pq (mean^2 + sd^2) of its effect. For one effect a gene that
    is exact whatever the linkage, as the effect sits at one variant; across a gene's effects it takes unknown
    dosages as unlinked.
    """
    posterior = model.posteriors[cell_type]
    frequency = model.variants["frequency"].to_numpy(float)
    filled = np.where(known, np.nan_to_num(dosage), 2 * frequency)
    _, sd = genetic_values(posterior, filled[:, None], 2 * frequency)
    m = marginal_effects(posterior)
    spread = np.where(known, 0.0, 2 * frequency * (1 - frequency))[m["variant"]]
    return sd[:, 0] ** 2 + np.bincount(m["gene"], spread * (m["mean"] ** 2 + m["sd"] ** 2), len(model.genes))


def gene_table(
    genes: pd.Index,
    cell_type: str,
    links: pd.DataFrame,
    variance: Float[np.ndarray, " gene"],
    population: Float[np.ndarray, "gene donor"],
    baseline: pd.Series | None,
) -> pd.DataFrame:
    """One row a gene with effects in the cell type; see `PersonPrediction.genes`."""
    code = genes.get_indexer(pd.Index(links["gene"]))
    value = np.bincount(code, links["contribution"], len(genes))
    spread = 1.96 * np.sqrt(variance)
    kept = np.unique(code)
    x, drawn = value[kept], population[kept]
    n, sd = drawn.shape[1], drawn.std(1, ddof=1)
    # Ties, as of a gene with one causal variant, count half; rounding must not split them.
    gap = drawn - x[:, None]
    tied = np.abs(gap) <= 1e-6 * np.maximum(sd, 1e-12)[:, None]
    below = ((gap < 0) & ~tied).sum(1) + 0.5 * tied.sum(1)
    rate = np.full(len(kept), np.nan) if baseline is None else baseline.reindex(genes[kept]).to_numpy(float)
    quantiles = np.quantile(drawn, (0.025, 0.25, 0.5, 0.75, 0.975), axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        z = np.where(sd > 0, (x - drawn.mean(1)) / sd, np.nan)
    low, high = x - spread[kept], x + spread[kept]
    unknown = links["dosage"].isna().to_numpy()
    return pd.DataFrame(
        {
            "gene": genes[kept],
            "cell_type": cell_type,
            "log2_fold": x,
            "low": low,
            "high": high,
            "percentile": 100 * below / n,
            "z": z,
            "baseline_rate": rate,
            "predicted_cp10k": 1e4 * rate * 2.0**x,
            "predicted_low": 1e4 * rate * 2.0**low,
            "predicted_high": 1e4 * rate * 2.0**high,
            "n_variants": np.bincount(code, minlength=len(genes))[kept],
            "n_variants_absent": np.bincount(code[unknown], minlength=len(genes))[kept],
            "n_credible_sets": links.groupby(code)["credible_set"].agg(lambda s: s[s > 0].nunique()).to_numpy(),
            **{f"population_{q}": v for q, v in zip(("low", "q25", "median", "q75", "high"), quantiles, strict=True)},
        }
    )


def baseline_rates(expression: ExpressionModel, cell_type: str, seed: int) -> pd.Series | None:
    """Mean fraction of a cell's counts by gene, over new cells of the type; None where the type is unknown."""
    if cell_type == ALL:
        fixed = None
    elif expression.labels_key is not None and cell_type in expression.cell_types:
        fixed = {expression.labels_key: cell_type}
    else:
        return None
    if isinstance(expression.generator, ExpressionGenerator):
        obs = expression.covariates.complete(expression.covariates.table(N_CELLS, fixed), seed)
        rates, _ = expression.draw_rates(obs, seed)
        mean = np.asarray(rates, np.float64).mean(0)
    else:
        counts = sparse.csr_matrix(expression.sample(N_CELLS, fixed, seed).X)
        mean = np.asarray(counts.sum(0), np.float64).ravel() / max(counts.sum(), 1)
    return pd.Series(mean, index=expression.genes)


def program_table(
    loadings: pd.DataFrame,
    fold: pd.Series,
    population: pd.DataFrame,
    cell_type: str,
) -> pd.DataFrame:
    """How far the person's log2 fold changes point along each program; see `PersonPrediction.programs`.

    Args:
        loadings: log2 fold change for one SD [gene, program]; columns are orthogonal.
        fold: The person's, by gene; genes without one did not change.
        population: The same of the population [gene, donor].
    """
    shared = loadings.index.intersection(fold.index, sort=False)
    power = np.maximum((loadings.to_numpy(float) ** 2).sum(0), 1e-300)
    part = loadings.loc[shared]
    direction = part.to_numpy(float) / power
    f = fold.loc[shared].to_numpy(float)
    shift = f @ direction
    drawn = population.loc[shared].to_numpy(float).T @ direction
    centre, sd = drawn.mean(0), drawn.std(0, ddof=1)
    total = float(f @ f)
    rows = []
    for i, name in enumerate(part.columns):
        terms = direction[:, i] * f
        size = np.abs(terms).sum()
        top = [g for g in np.argsort(-np.abs(terms), kind="stable")[:N_TOP] if terms[g] != 0]
        rows.append(
            {
                "cell_type": cell_type,
                "program": str(name),
                "shift": float(shift[i]),
                "population_sd": float(sd[i]),
                "z": float((shift[i] - centre[i]) / sd[i]) if sd[i] > 0 else float("nan"),
                "share_of_change": float(shift[i] ** 2 * power[i] / total) if total > 0 else 0.0,
                "n_genes": int(np.count_nonzero(terms)),
                "genes": ", ".join(f"{shared[g]} {terms[g] / size:+.0%}" for g in top),
            }
        )
    return pd.DataFrame(rows, columns=list(PROGRAM_COLUMNS))


def strongest(genes: pd.DataFrame, n: int) -> pd.DataFrame:
    """The `n` genes of largest |z|, each in the cell type where it is largest.

    Genes with a credible set only, where there are any: the others' values are shrunken noise.
    """
    rows = genes[genes["n_credible_sets"] > 0]
    rows = (genes if rows.empty else rows).dropna(subset=["z"])
    order = np.argsort(-rows["z"].abs().to_numpy(), kind="stable")
    return rows.iloc[order].drop_duplicates("gene").head(n)


def joined(parts: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """The cell types' tables below each other."""
    return pd.concat(list(parts.values()), ignore_index=True)
