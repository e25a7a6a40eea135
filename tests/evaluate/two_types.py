"""Cells of two types with a shared factor inside them, for tests of the evaluation."""

from __future__ import annotations

import numpy as np
from scipy import sparse

from genesim.config.evaluate import EvaluateConfig

SMALL = EvaluateConfig(n_bootstrap=5, n_folds=2, n_top_genes=20, n_components=10, n_correlation_genes=40)


def cells(seed: int, n: int = 200, *, dependent: bool = True) -> tuple[sparse.csr_matrix, np.ndarray]:
    fixed = np.random.default_rng(5)
    base, contrast = fixed.normal(0, 1, 80), fixed.normal(0, 0.7, (2, 80))
    loading = fixed.normal(0, 0.7, 80)
    rng = np.random.default_rng(seed)
    label = np.arange(n) % 2
    factor = rng.normal(size=(n, 1)) if dependent else rng.normal(size=(n, 80))
    rate = np.exp(base + contrast[label] + loading * factor)
    rate *= rng.lognormal(7, 0.3, (n, 1)) / rate.sum(axis=1, keepdims=True)
    return sparse.csr_matrix(rng.poisson(rate)), np.array(["B cell", "T cell"])[label]
