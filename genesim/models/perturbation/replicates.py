"""Effects over biological replicates: their spread, not that of cells, is what a new experiment would meet."""

from __future__ import annotations

import numpy as np

_PRIOR_DF = 4.0
"""Weight of the genes' common variance between replicates in each gene's own, in degrees of freedom."""


def random_effects_mean(values: np.ndarray, variance: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean over replicates and its standard error, per gene (DerSimonian & Laird 1986, Control. Clin. Trials 7:177).

    The variance between replicates is moderated: with two or three replicates a gene's own says little, and is
    averaged with that of all genes as if the latter had 4 degrees of freedom.

    Args:
        values: replicate x gene.
        variance: Sampling variance of each, replicate x gene; a gene with a variance of 0 has standard error 0.
    """
    k = len(values)
    known = (variance > 0).all(0)
    v = np.where(known, variance, 1.0)
    w = 1 / v
    total = w.sum(0)
    centre = (w * values).sum(0) / total
    q = (w * (values - centre) ** 2).sum(0)
    between = (q - (k - 1)) / np.maximum(total - (w**2).sum(0) / total, 1e-300)
    common = max(float(between[known].mean()), 0.0) if known.any() else 0.0
    tau = np.maximum(((k - 1) * between + _PRIOR_DF * common) / (k - 1 + _PRIOR_DF), 0.0)
    w = 1 / (v + tau)
    mean = (w * values).sum(0) / w.sum(0)
    return np.where(known, mean, values.mean(0)), np.where(known, np.sqrt(1 / w.sum(0)), 0.0)


def replicated_effect(
    mean: np.ndarray,
    n: np.ndarray,
    control: np.ndarray,
    n_control: np.ndarray,
    variance: np.ndarray,
    pairs: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Effect and standard error from replicates of one condition.

    Replicates that hold both perturbed and control cells are compared within themselves; where less than two do
    (patients and healthy donors), the means of both sides are.

    Args:
        mean, n: Perturbed replicates, replicate x gene, and their cells.
        control, n_control: Control replicates likewise.
        variance: Between the cells of a replicate, per gene.
        pairs: (perturbed replicate, control replicate) of the same name, pair x 2.
    """
    if len(pairs) >= 2:
        a, b = pairs.T
        return random_effects_mean(mean[a] - control[b], variance * (1 / n[a] + 1 / n_control[b])[:, None])
    treated, treated_se = random_effects_mean(mean, variance / n[:, None])
    untreated, untreated_se = random_effects_mean(control, variance / n_control[:, None])
    return treated - untreated, np.sqrt(treated_se**2 + untreated_se**2)
