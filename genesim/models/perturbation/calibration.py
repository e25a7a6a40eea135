"""Do intervals hold what they should: of all genes, and of groups of genes that are known beforehand?

Genes that moved are picked by the outcome, and a correct interval misses more of them than of all: most of what it
misses is what moved without notice. `moved_if_calibrated` says how much of them a law holds if it is right, so that
selection is not taken for error, nor error for selection.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, Int

from genesim.models.perturbation.intervals import LEVELS, VarianceLaw

MOVED = 3.0
"""A gene moved if its observed effect is this many standard errors from 0."""
_N_QUANTILES = 200


def mobility_bins(
    active: Float[np.ndarray, "condition gene"], used: Bool[np.ndarray, "condition gene"], n_bins: int = 5
) -> Int[np.ndarray, "condition gene"]:
    """Bins of equally many genes of each condition by what they did in training, the least mobile first.

    Args:
        active: Mean squared effect of the gene over the training conditions.
        used: Genes that count; the others are in bin -1.
    """
    bins = np.full(active.shape, -1)
    for row, (values, counts) in enumerate(zip(active, used, strict=True)):
        genes = np.flatnonzero(counts)
        place = np.empty(len(genes), np.int64)
        place[np.argsort(values[genes], kind="stable")] = np.arange(len(genes))
        bins[row, genes] = place * n_bins // max(len(genes), 1)
    return bins


def interval_score(error: np.ndarray, half: np.ndarray, level: float) -> np.ndarray:
    """Width and a fine for misses: proper, so that only the true quantiles do best; less is better.

    Gneiting & Raftery 2007 (J. Am. Stat. Assoc. 102:359, eq. 43), of intervals prediction +- `half`.
    """
    return 2 * half + 2 / (1 - level) * np.maximum(np.abs(error) - half, 0)


def moved_if_calibrated(
    law: VarianceLaw,
    level: float,
    prediction: Float[np.ndarray, "condition gene"],
    variance: Float[np.ndarray, "condition gene"],
    se: Float[np.ndarray, "condition gene"],
) -> tuple[Float[np.ndarray, "condition gene"], Float[np.ndarray, "condition gene"]]:
    """Probability by the law that a gene moves (`MOVED`), and that it does and lies in its interval.

    Args:
        law: With quantiles of held-out errors.
        variance: Of the true effects, by the law.
        se: Standard errors of the observed effects.
    """
    place = np.searchsorted(law.edges, variance)
    scale = np.sqrt(variance + se**2)
    limit = law.multiplier(level, variance)
    moved, held = np.zeros(variance.shape), np.zeros(variance.shape)
    for u in (np.arange(_N_QUANTILES) + 0.5) / _N_QUANTILES:
        ratio = np.array([np.interp(u, LEVELS, ratios) for ratios in law.ratios])[place]
        step = ratio * scale
        sides = ((np.abs(prediction + sign * step) > MOVED * se) / 2 for sign in (-1, 1))
        either = sum(sides, np.zeros(variance.shape))
        moved += either / _N_QUANTILES
        held += either * (ratio <= limit) / _N_QUANTILES
    return moved, held
