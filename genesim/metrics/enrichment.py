"""Do the genes of a set move more than the others? Rank-sum tests of effects over gene sets."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def benjamini_hochberg(p: np.ndarray) -> np.ndarray:
    """False discovery rate of each p-value."""
    n = len(p)
    order = np.argsort(p, kind="stable")
    scaled = p[order] * n / np.arange(1, n + 1)
    out = np.empty(n)
    out[order] = np.minimum(np.minimum.accumulate(scaled[::-1])[::-1], 1.0)
    return out


def enrichment(effect: np.ndarray, sets: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
    """Two-sided Wilcoxon rank-sum test of each set's effects against those of the other genes.

    Competitive and with gene permutation as its null: correlated genes make it liberal, so read it as a ranking.

    Args:
        effect: Per gene.
        sets: Columns of each set's genes.

    Returns:
        Per set: `mean` effect, `auc` (share of pairs of a set's gene and another in which the former is larger),
        `p` and `fdr` (Benjamini & Hochberg).
    """
    from scipy.stats import norm, rankdata, tiecorrect  # slow to import

    n = len(effect)
    rank = rankdata(effect)
    ties = tiecorrect(rank) if n > 1 else 1.0
    mean = np.array([effect[at].mean() for at in sets])
    auc, p = np.empty(len(sets)), np.empty(len(sets))
    for i, at in enumerate(sets):
        k = len(at)
        u = rank[at].sum() - k * (k + 1) / 2
        auc[i] = u / (k * (n - k))
        sd = np.sqrt(max(ties, 0.0) * k * (n - k) * (n + 1) / 12)
        z = (abs(u - k * (n - k) / 2) - 0.5) / sd if sd > 0 else 0.0
        p[i] = min(2 * float(norm.sf(max(z, 0.0))), 1.0)
    return {"mean": mean, "auc": auc, "p": p, "fdr": benjamini_hochberg(p)}
