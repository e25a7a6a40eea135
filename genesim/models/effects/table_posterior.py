"""A posterior of effects made of published estimates alone: shrunken sizes, and probabilities that leave room for none.

Spike and slab with one causal variant a gene (or a credible set): with probability p1 the gene has an effect, of size
b ~ N(0, W); p1 and W are learned across genes by EM (empirical Bayes; Efron & Morris 1973). Where the table has PIPs
they are taken as they are, and W alone is learned.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy.special import expit, logsumexp, ndtr

from genesim.models.effects.location import log_bayes_factor
from genesim.models.effects.posterior import EffectPosterior

_MASS_KEPT = 0.99


def cauchy_combination(p: Float[np.ndarray, " row"]) -> float:
    """One p-value from many dependent ones (ACAT; Liu & Xie 2020, J. Am. Stat. Assoc. 115:393).

    A table has no donors to permute.
    """
    p = np.clip(p, 1e-300, 1 - 1e-15)
    # tan((1/2 - p) pi) loses its digits at tiny p, where it is 1/(p pi).
    score = np.where(p < 1e-15, 1 / (p * np.pi), np.tan((0.5 - p) * np.pi)).mean()
    return float(1 / (score * np.pi)) if score > 1e15 else float(0.5 - np.arctan(score) / np.pi)


@dataclass(frozen=True)
class TableRows:
    """A table's rows in one cell type, sorted by gene.

    Attributes:
        gene, variant: Numbers; variant -1 where the genotypes lack it.
        beta, se: log2 fold change per ALT copy.
        pip: NaN where the table has none.
        group: Number of the row's credible set within its gene, -1 for none.
        p_value: NaN where unknown.
    """

    gene: Int[np.ndarray, " row"]
    variant: Int[np.ndarray, " row"]
    beta: Float[np.ndarray, " row"]
    se: Float[np.ndarray, " row"]
    pip: Float[np.ndarray, " row"]
    group: Int[np.ndarray, " row"]
    p_value: Float[np.ndarray, " row"]


def _groups(rows: TableRows, start: np.ndarray) -> np.ndarray:
    """Single effect of each row within its gene: its credible set, else itself at PIP >= .5, else one for the rest."""
    effect = np.zeros(len(rows.gene), np.int64)
    for first, last in zip(start, np.r_[start, len(rows.gene)][1:], strict=True):
        group, pip = rows.group[first:last], rows.pip[first:last]
        label = np.where(group >= 0, group, -1)
        own = np.flatnonzero((group < 0) & (pip >= 0.5))
        label[own] = group.max(initial=-1) + 1 + np.arange(len(own))
        effect[first:last] = np.unique(label, return_inverse=True)[1]
    return effect


def shrunken_effects(
    rows: TableRows, n_iterations: int = 100
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, float, float]:
    """Effect number, alpha, mean and sd of each row, the slab's variance W, and p1.

    alpha sums to at most 1 over a gene's effect; what is missing is the probability of no effect.
    """
    start = np.flatnonzero(np.r_[True, np.diff(rows.gene) != 0])
    gene = np.cumsum(np.r_[False, np.diff(rows.gene) != 0])
    with_pip = np.maximum.reduceat(np.isfinite(rows.pip), start)[gene]
    effect = np.where(with_pip, _groups(rows, start), 0)
    pair = gene * (effect.max(initial=0) + 1) + effect
    given = np.where(with_pip, np.nan_to_num(rows.pip), 0.0)
    given = given / np.maximum(np.bincount(pair, given)[pair], 1.0)
    s2, b2 = rows.se**2, rows.beta**2
    count = np.bincount(gene)
    w, p1 = float(max(np.median(b2), 1e-12)), 0.5
    alpha = given
    for _ in range(n_iterations):
        log_bf = log_bayes_factor(b2 / s2, w / s2)
        total = np.array([logsumexp(each) for each in np.split(log_bf, start[1:])]) - np.log(count)
        has = expit(np.log(p1 / (1 - p1)) + total)
        alpha = np.where(with_pip, given, has[gene] * np.exp(log_bf - total[gene]) / count[gene])
        mean = rows.beta * w / (w + s2)
        second = mean**2 + s2 * w / (w + s2)
        w = float(max((alpha * second).sum() / max(alpha.sum(), 1e-12), 1e-12))
        open_ = ~with_pip[start]
        if open_.any():
            p1 = float(np.clip(has[open_].mean(), 1e-4, 1 - 1e-4))
    shrink = w / (w + s2)
    return effect, alpha, rows.beta * shrink, np.sqrt(s2 * shrink), w, p1


def table_posterior(rows: TableRows, n_genes: int, n_donors: int, coverage: float) -> EffectPosterior:
    """The posterior of one cell type.

    A single effect has a credible set where the variants that the genotypes have hold `coverage` of its probability
    (of a credible set of the table's own: wherever one of its variants is there). Purity and residual SD are not known.

    Args:
        rows: Sorted by gene.
        n_genes: Of the model.
        n_donors: Of the table's study, 0 where unknown; kept beside the effects only.
        coverage: Probability that a credible set holds.
    """
    effect, alpha, mean, sd, _, _ = shrunken_effects(rows)
    p = np.where(np.isfinite(rows.p_value), rows.p_value, 2 * ndtr(-np.abs(rows.beta / rows.se)))
    gene_p, top = np.full(n_genes, np.nan), np.full(n_genes, -1, np.int64)
    slope, n_rows, n_sets = np.zeros(n_genes), np.zeros(n_genes, np.int64), np.zeros(n_genes, np.int64)
    kept_rows, set_number = [], np.zeros(len(alpha), np.int64)
    sets: list[tuple[int, int, float]] = []
    for g in np.unique(rows.gene):
        mine = np.flatnonzero(rows.gene == g)
        there = mine[rows.variant[mine] >= 0]
        if not len(there):
            continue
        gene_p[g], n_rows[g] = cauchy_combination(p[mine]), len(mine)
        best = there[np.argmin(p[there])]
        top[g], slope[g] = rows.variant[best], rows.beta[best]
        for e in np.unique(effect[there]):
            part = there[effect[there] == e]
            part = part[np.argsort(-alpha[part], kind="stable")]
            mass = np.cumsum(alpha[part])
            if mass[-1] <= 0:
                continue
            whole = part[: int(np.searchsorted(mass, _MASS_KEPT * mass[-1])) + 1]
            published = rows.group[part].max() >= 0
            if published or mass[-1] >= coverage:
                members = part if published else part[: int(np.searchsorted(mass, coverage)) + 1]
                n_sets[g] += 1
                set_number[members] = n_sets[g]
                sets.append((int(g), int(n_sets[g]), float(alpha[members].sum())))
                whole = np.union1d(whole, members)
            kept_rows.append(np.sort(whole))
    kept = np.concatenate(kept_rows) if kept_rows else np.zeros(0, np.int64)
    kept = kept[np.lexsort((rows.variant[kept], effect[kept], rows.gene[kept]))]
    nan = np.full(len(sets), np.nan)
    return EffectPosterior(
        gene=rows.gene[kept].astype(np.int32),
        effect=effect[kept].astype(np.int8),
        variant=rows.variant[kept].astype(np.int32),
        alpha=alpha[kept].astype(np.float32),
        mean=mean[kept].astype(np.float32),
        sd=sd[kept].astype(np.float32),
        credible_set=set_number[kept].astype(np.int32),
        p_value=gene_p,
        top_variant=top,
        top_slope=slope,
        residual_sd=np.full(n_genes, np.nan),
        n_donors=np.where(n_rows > 0, n_donors, 0),
        n_variants=n_rows,
        n_sets=n_sets,
        set_gene=np.array([s[0] for s in sets], np.int64),
        set_number=np.array([s[1] for s in sets], np.int64),
        set_coverage=np.array([s[2] for s in sets], np.float64),
        set_purity=nan,
        set_log_bayes_factor=nan,
    )
