"""Sizes of fitted effects combined with an external table's, by precision."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np
from scipy.special import ndtr

from genesim.models.effects.posterior import EffectPosterior

# Estimates that differ by more of their joint standard errors than this are of different effects.
CONFLICT = 3.0


class Combined(NamedTuple):
    """The posterior with combined sizes, and how many of its rows were combined or left for a conflict."""

    posterior: EffectPosterior
    n_combined: int
    n_conflicts: int
    n_genes_skipped: int


def combine_sizes(
    posterior: EffectPosterior, gene: np.ndarray, variant: np.ndarray, beta: np.ndarray, se: np.ndarray
) -> Combined:
    """Multiply each row's N(mean, sd^2) by N(beta, se^2), the table's estimate at the same gene and variant.

    The table's betas are marginal ones: with several causal variants in LD each holds a part of the others' effects.
    Only genes with at most one credible set are combined therefore, in the single effect that has it (or, without
    a set, in the only one there is). Where the two differ by more than `CONFLICT` joint standard errors the fit's own
    stays. Locations (`alpha`) do not change: the prior over variants has taken the table's evidence on those.

    Args:
        posterior: The fit.
        gene, variant, beta, se: The table, in the posterior's units and numbers; one row a gene and variant.
    """
    key = posterior.gene.astype(np.int64) << 32 | posterior.variant.astype(np.int64)
    theirs = gene.astype(np.int64) << 32 | variant.astype(np.int64)
    order = np.argsort(theirs, kind="stable")
    if not len(key) or not len(theirs):
        return Combined(posterior, 0, 0, 0)
    at = order[np.minimum(np.searchsorted(theirs[order], key), len(order) - 1)]
    known = theirs[at] == key

    effect = posterior.gene.astype(np.int64) << 8 | posterior.effect.astype(np.int64)
    with_set = set(effect[posterior.credible_set > 0].tolist())
    n_effects = np.bincount(np.unique(effect) >> 8, minlength=len(posterior.n_sets))
    n_sets = posterior.n_sets[posterior.gene]
    alone = n_effects[posterior.gene] == 1
    chosen = ((n_sets == 1) & np.isin(effect, list(with_set))) | ((n_sets == 0) & alone)
    skipped = len(np.unique(posterior.gene[known])) - len(np.unique(posterior.gene[known & chosen]))

    mean, sd = posterior.mean.astype(np.float64), posterior.sd.astype(np.float64)
    b, s = beta[at], se[at]
    conflict = np.abs(mean - b) > CONFLICT * np.hypot(sd, s)
    use = known & chosen & ~conflict & (sd > 0)
    own = 1 / np.where(use, sd, 1.0) ** 2
    other = 1 / s**2
    new_mean = np.where(use, (own * mean + other * b) / (own + other), mean)
    new_sd = np.where(use, (own + other) ** -0.5, sd)
    # What other effects leave unsure moves the fit's own estimate, and the mean by that estimate's weight.
    others = np.maximum(posterior.spread.astype(np.float64) ** 2 - sd**2, 0.0)
    new_spread = np.sqrt(new_sd**2 + others * (new_sd / np.where(use, sd, 1.0)) ** 4 * use + others * ~use)
    dtype = posterior.mean.dtype
    # The probability that the type has the effect stays; its sign follows the new size.
    has = posterior.positive + posterior.negative
    up = ndtr(new_mean / np.where(new_sd > 0, new_sd, 1.0))
    changed = replace(
        posterior,
        mean=new_mean.astype(dtype),
        sd=new_sd.astype(dtype),
        spread=new_spread.astype(dtype),
        positive=np.where(use, has * up, posterior.positive).astype(dtype),
        negative=np.where(use, has * (1 - up), posterior.negative).astype(dtype),
    )
    return Combined(changed, int(use.sum()), int((known & chosen & conflict).sum()), skipped)
