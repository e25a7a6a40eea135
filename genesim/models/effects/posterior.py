"""The fitted effects of many genes, kept sparse: the source of tables, predictions and draws."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np


@dataclass(frozen=True)
class EffectPosterior:
    """Single effects of many genes in one cell type; log2 fold change per alternate allele copy.

    Rows (one per gene, effect and plausible variant; sorted by gene, effect, variant):
        gene, effect, variant: Indices. `alpha` sums to 1 within a (gene, effect).
        mean, sd: Of the effect's size, given that it sits at the variant.
        credible_set: Number of the credible set (from 1) of that effect holding the variant, or 0.
    Genes:
        p_value: Of any association (largest correlation against permuted donors); NaN without variants.
        top_variant: Variant of smallest p-value, -1 without variants.
        top_slope: Least-squares slope of that variant alone.
        residual_sd: Of the response, in log2 units at mean weight.
        n_donors, n_variants: Used.
        n_sets: Credible sets.
    Sets (one row each): set_gene, set_number, set_coverage, set_purity, set_log_bayes_factor.
    """

    gene: np.ndarray
    effect: np.ndarray
    variant: np.ndarray
    alpha: np.ndarray
    mean: np.ndarray
    sd: np.ndarray
    credible_set: np.ndarray
    p_value: np.ndarray
    top_variant: np.ndarray
    top_slope: np.ndarray
    residual_sd: np.ndarray
    n_donors: np.ndarray
    n_variants: np.ndarray
    n_sets: np.ndarray
    set_gene: np.ndarray
    set_number: np.ndarray
    set_coverage: np.ndarray
    set_purity: np.ndarray
    set_log_bayes_factor: np.ndarray

    def to_dict(self) -> dict[str, np.ndarray]:
        return {f.name: getattr(self, f.name) for f in fields(self)}


def _groups(posterior: EffectPosterior) -> tuple[np.ndarray, np.ndarray]:
    """Start row of each (gene, effect), and the group of each row."""
    if not len(posterior.gene):
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    new = np.r_[True, (np.diff(posterior.gene) != 0) | (np.diff(posterior.effect.astype(np.int64)) != 0)]
    return np.flatnonzero(new), np.cumsum(new) - 1


def marginal_effects(posterior: EffectPosterior) -> dict[str, np.ndarray]:
    """Per gene and variant: PIP, posterior mean and standard deviation of the total effect, credible set.

    Effects are independent in the approximate posterior, so the variance of their sum is the sum of
    alpha (sd^2 + mean^2) - (alpha mean)^2. The lowest set number wins where sets overlap.
    """
    key = posterior.gene.astype(np.int64) << 32 | posterior.variant.astype(np.int64)
    distinct, inverse = np.unique(key, return_inverse=True)
    n = len(distinct)
    a, m = posterior.alpha.astype(np.float64), posterior.mean.astype(np.float64)
    absent = np.bincount(inverse, np.log1p(-np.minimum(a, 1 - 1e-12)), n)
    variance = np.bincount(inverse, a * (posterior.sd.astype(np.float64) ** 2 + m**2) - (a * m) ** 2, n)
    number = np.full(n, np.iinfo(np.int32).max)
    inside = posterior.credible_set > 0
    np.minimum.at(number, inverse[inside], posterior.credible_set[inside])
    number[number == np.iinfo(np.int32).max] = 0
    return {
        "gene": distinct >> 32,
        "variant": distinct & 0xFFFFFFFF,
        "pip": 1 - np.exp(absent),
        "mean": np.bincount(inverse, a * m, n),
        "sd": np.sqrt(np.maximum(variance, 0)),
        "credible_set": number,
    }


def draw_effects(
    posterior: EffectPosterior, position: np.ndarray, normal: np.ndarray, credible_only: bool = False
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """One draw of all effects: for each single effect a variant j ~ alpha, then a size ~ N(mean_j, sd_j^2).

    Args:
        posterior: Fitted effects.
        position: Uniform numbers, gene x effect; the variant is the inverse of the cumulated alpha in genomic
            order, so the same numbers in two cell types give the same variant where the posteriors agree.
        normal: Standard normal numbers, gene x effect.
        credible_only: Leave out single effects without a credible set.

    Returns:
        gene, variant, size; one row each effect.
    """
    start, _ = _groups(posterior)
    if not len(start):
        return np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0)
    total = np.cumsum(posterior.alpha.astype(np.float64))
    before = np.r_[0.0, total[start[1:] - 1]]
    end = np.r_[start[1:], len(total)] - 1
    gene, effect = posterior.gene[start], posterior.effect[start].astype(np.int64)
    wanted = before + position[gene, effect] * (total[end] - before)
    row = np.clip(np.searchsorted(total, wanted, side="right"), start, end)
    size = posterior.mean[row] + posterior.sd[row] * normal[gene, effect]
    kept = np.maximum.reduceat(posterior.credible_set, start) > 0 if credible_only else np.ones(len(start), bool)
    return gene[kept], posterior.variant[row][kept], size[kept].astype(np.float64)


def genetic_values(posterior: EffectPosterior, dosage: np.ndarray, centre: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Genetic value of donors and its posterior standard deviation.

    Args:
        posterior: Fitted effects.
        dosage: variant x donor, no NaN.
        centre: Mean dosage of each variant in the fit.

    Returns:
        Mean and standard deviation, gene x donor, log2 units relative to the mean donor of the fit.
    """
    n_genes, n_donors = len(posterior.p_value), dosage.shape[1]
    mean, variance = np.zeros((n_genes, n_donors)), np.zeros((n_genes, n_donors))
    start, _ = _groups(posterior)
    for first, last in zip(start, np.r_[start, len(posterior.gene)][1:], strict=True):
        rows = slice(first, last)
        x = dosage[posterior.variant[rows]] - centre[posterior.variant[rows], None]
        a, m = posterior.alpha[rows], posterior.mean[rows]
        value = (a * m) @ x
        gene = posterior.gene[first]
        mean[gene] += value
        variance[gene] += (a * (m**2 + posterior.sd[rows] ** 2)) @ x**2 - value**2
    return mean, np.sqrt(np.maximum(variance, 0))
