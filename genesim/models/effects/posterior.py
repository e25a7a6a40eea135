"""The fitted effects of many genes, kept sparse: the source of tables, predictions and draws."""

from __future__ import annotations

from dataclasses import dataclass, field, fields

import numpy as np
from scipy.special import ndtr

_NONE = np.zeros(0)


@dataclass(frozen=True)
class EffectPosterior:
    """Single effects of many genes in one cell type; log2 fold change per alternate allele copy.

    Rows (one per gene, effect and plausible variant; sorted by gene, effect, variant):
        gene, effect, variant: Indices.
        alpha: Probability that the effect exists and sits at the variant; within a (gene, effect) it sums to the
            probability that the effect exists.
        mean, sd: Of the effect's size, given that it sits at the variant.
        credible_set: Number of the credible set (from 1) of that effect holding the variant, or 0.
        positive, negative: Probabilities of the size's sign, given that it sits there; together below 1 where
            other types may have the effect and this one not. By default those of N(mean, sd^2).
        z: Estimate over standard error at the variant, of what the gene's other effects leave.
        spread: Standard deviation of the size with what the gene's other effects leave unsure (`spread`); `sd` takes
            them for known, as sums over independent effects (genetic values, draws) need it. By default `sd`.
        per_copy: log2 units a copy for one unit a scaled column; with z, what joint draws need (`draws`).
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
    positive: np.ndarray = field(default_factory=lambda: _NONE)
    negative: np.ndarray = field(default_factory=lambda: _NONE)
    z: np.ndarray = field(default_factory=lambda: _NONE)
    per_copy: np.ndarray = field(default_factory=lambda: _NONE)
    spread: np.ndarray = field(default_factory=lambda: _NONE)

    def __post_init__(self) -> None:
        if len(self.positive) != len(self.mean):
            above = ndtr(self.mean / np.maximum(self.sd, 1e-12))
            object.__setattr__(self, "positive", above)
            object.__setattr__(self, "negative", 1 - above)
        if len(self.spread) != len(self.sd):
            object.__setattr__(self, "spread", self.sd)

    def to_dict(self) -> dict[str, np.ndarray]:
        return {f.name: getattr(self, f.name) for f in fields(self)}


def effect_groups(posterior: EffectPosterior) -> tuple[np.ndarray, np.ndarray]:
    """Start row of each (gene, effect), and the group of each row."""
    if not len(posterior.gene):
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    new = np.r_[True, (np.diff(posterior.gene) != 0) | (np.diff(posterior.effect.astype(np.int64)) != 0)]
    return np.flatnonzero(new), np.cumsum(new) - 1


def marginal_effects(posterior: EffectPosterior) -> dict[str, np.ndarray]:
    """Per gene and variant: PIP in this type, mean and sd of the total effect, credible set, local false sign rate.

    Effects are independent in the approximate posterior, so the variance of their sum is the sum of
    alpha (spread^2 + mean^2) - (alpha mean)^2. The lowest set number wins where sets overlap;
    `lfsr` is that of the gene's effect which likeliest sits there.
    """
    key = posterior.gene.astype(np.int64) << 32 | posterior.variant.astype(np.int64)
    distinct, inverse = np.unique(key, return_inverse=True)
    n = len(distinct)
    a, m = posterior.alpha.astype(np.float64), posterior.mean.astype(np.float64)
    # An effect that other types have may be absent here.
    here = a * np.minimum(posterior.positive + posterior.negative, 1.0)
    absent = np.bincount(inverse, np.log1p(-np.minimum(here, 1 - 1e-12)), n)
    variance = np.bincount(inverse, a * (posterior.spread.astype(np.float64) ** 2 + m**2) - (a * m) ** 2, n)
    number = np.full(n, np.iinfo(np.int32).max)
    inside = posterior.credible_set > 0
    np.minimum.at(number, inverse[inside], posterior.credible_set[inside])
    number[number == np.iinfo(np.int32).max] = 0
    order = np.lexsort((posterior.alpha, inverse))
    last = order[np.r_[np.flatnonzero(np.diff(inverse[order])), len(order) - 1]] if len(order) else order
    return {
        "gene": distinct >> 32,
        "variant": distinct & 0xFFFFFFFF,
        "pip": 1 - np.exp(absent),
        "mean": np.bincount(inverse, a * m, n),
        "sd": np.sqrt(np.maximum(variance, 0)),
        "credible_set": number,
        "lfsr": local_false_sign_rates(posterior)[last],
    }


def local_false_sign_rates(posterior: EffectPosterior) -> np.ndarray:
    """Of the single effect of each row: the probability that it does not have its likelier sign (or does not exist).

    Stephens 2017, Biostatistics 18:275; one number a (gene, effect), repeated over its rows.
    """
    _, group = effect_groups(posterior)
    n = int(group[-1]) + 1 if len(group) else 0
    up, down = (np.bincount(group, posterior.alpha * side, n) for side in (posterior.positive, posterior.negative))
    return np.clip(1 - np.maximum(up, down), 0.0, 1.0)[group]


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
    start, _ = effect_groups(posterior)
    for first, last in zip(start, np.r_[start, len(posterior.gene)][1:], strict=True):
        rows = slice(first, last)
        x = dosage[posterior.variant[rows]] - centre[posterior.variant[rows], None]
        a, m = posterior.alpha[rows], posterior.mean[rows]
        value = (a * m) @ x
        gene = posterior.gene[first]
        mean[gene] += value
        variance[gene] += (a * (m**2 + posterior.sd[rows] ** 2)) @ x**2 - value**2
    return mean, np.sqrt(np.maximum(variance, 0))
