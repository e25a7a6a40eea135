"""Every variant alone against its gene's response: what priors are learned from."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from genesim.config.model import EffectConfig
from genesim.models.effects.baselines import marginal_correlation
from genesim.models.effects.location import TssCurve, correlation_log_bf, learn_tss_curve
from genesim.models.effects.scan import batches, build_batch


def marginal_correlations(
    response: np.ndarray,
    weight: np.ndarray,
    covariates: np.ndarray,
    windows: Sequence[np.ndarray],
    dosage_of: Callable[[np.ndarray], np.ndarray],
    config: EffectConfig,
) -> tuple[list[np.ndarray], np.ndarray]:
    """Partial correlation of every variant of each gene's window, and degrees of freedom; see `fit_genes`.

    Empty where a gene has no window or no donor.
    """
    found: list[np.ndarray] = [np.zeros(0)] * len(windows)
    dof = np.zeros(len(windows))
    for genes, width, size in batches(windows, response.shape[1], config.gene_minibatch):
        problem = build_batch(genes, (width, size), response, weight, covariates, windows, dosage_of)
        r, n = np.asarray(marginal_correlation(problem)), np.asarray(problem.dof)
        for i, gene in enumerate(genes):
            if (weight[gene] > 0).any():
                found[gene], dof[gene] = r[i, : len(windows[gene])].astype(np.float64), float(n[i])
    return found, dof


def tss_curve_of(
    response: np.ndarray,
    weight: np.ndarray,
    covariates: np.ndarray,
    windows: Sequence[np.ndarray],
    distance: Sequence[np.ndarray],
    dosage_of: Callable[[np.ndarray], np.ndarray],
    config: EffectConfig,
) -> tuple[TssCurve, float]:
    """Prior weight of a variant by distance, and share of genes with an effect, learned from the donors to be fitted.

    Args:
        distance: From each gene's TSS to the variants of its window, bp; the others as of `fit_genes`.
    """
    r, dof = marginal_correlations(response, weight, covariates, windows, dosage_of, config)
    return learn_tss_curve([correlation_log_bf(each, n) for each, n in zip(r, dof, strict=True)], distance)
