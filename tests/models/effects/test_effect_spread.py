"""Intervals of effects whose neighbours are unsure: against regression, a slow reference, and planted effects in LD."""

from __future__ import annotations

import numpy as np
import pytest

from genesim.config.model import EffectConfig
from genesim.models.effects.problem import orthonormal_covariates
from genesim.models.effects.scan import fit_genes
from genesim.models.effects.spread import spread_of_sizes

N = 400


def columns(r: float, n_variants: int, seed: int) -> np.ndarray:
    """Standardised columns, neighbours of correlation near r (exactly r where there are two)."""
    draw = np.random.default_rng(seed)
    x = np.linalg.qr(draw.normal(size=(N, n_variants)))[0] * np.sqrt(N)
    for j in range(1, n_variants):
        x[:, j] = r * x[:, j - 1] + np.sqrt(1 - r**2) * x[:, j]
    return x


def test_two_sure_effects_have_nearly_the_variance_of_their_regression() -> None:
    x, s = columns(0.5, 2, 0), np.array([0.1, 0.1])
    found = spread_of_sizes(x, N, np.arange(2), np.arange(2), np.ones(2), np.array([0.4, -0.2]), s)
    exact = np.sqrt(N * np.diag(np.linalg.inv(x.T @ x)) * s**2)
    np.testing.assert_allclose(found, exact, rtol=1e-6)
    assert (found > 1.1 * s).all()
    far = spread_of_sizes(columns(0.0, 2, 0), N, np.arange(2), np.arange(2), np.ones(2), np.array([0.4, -0.2]), s)
    np.testing.assert_allclose(far, s, rtol=1e-6)
    alone = spread_of_sizes(x, N, np.arange(2), np.zeros(2, int), np.full(2, 0.5), np.array([0.4, 0.3]), s)
    np.testing.assert_array_equal(alone, s)
    twins = spread_of_sizes(columns(1.0, 2, 0), N, np.arange(2), np.arange(2), np.ones(2), np.array([0.4, -0.2]), s)
    assert np.isfinite(twins).all()


def test_a_slow_reference_gives_the_same() -> None:
    draw = np.random.default_rng(3)
    x, effect = columns(0.6, 6, 1), np.array([0, 0, 0, 1, 1, 2, 2])
    variant, alpha = np.array([0, 1, 2, 2, 3, 4, 5]), np.array([0.5, 0.3, 0.2, 0.6, 0.3, 0.5, 0.1])
    mean, sd = draw.normal(size=7), draw.uniform(0.05, 0.2, 7)
    v = sd**2
    for j in range(7):
        for _ in range(200):  # the two sides of the equation, until they agree
            new = sd[j] ** 2
            for k in set(range(3)) - {effect[j]}:
                moments = np.zeros(2)
                for c in np.flatnonzero(effect == k):
                    r = float(x[:, variant[j]] @ x[:, variant[c]]) / N
                    size = mean[c] ** 2 + sd[c] ** 2 + r**2 * v[j]
                    moments += alpha[c] * np.array([r * mean[c], r**2 * size])
                new += moments[1] - moments[0] ** 2
            v[j] = new
    np.testing.assert_allclose(spread_of_sizes(x, N, variant, effect, alpha, mean, sd), np.sqrt(v), rtol=1e-9)


def test_intervals_of_two_effects_in_ld_hold_the_truth_as_often_as_they_say() -> None:
    """Two causal variants of r2 near .35 in each of 150 genes; taken for known, each other's sizes cover too little."""
    draw, n_genes, width = np.random.default_rng(5), 150, 6
    x = np.concatenate([columns(0.77, width, 100 + g) for g in range(n_genes)], 1)
    causal = np.stack([np.arange(n_genes) * width + 1, np.arange(n_genes) * width + 3])
    size = draw.normal(0, 0.35, causal.shape)
    y = (x[:, causal[0]] * size[0] + x[:, causal[1]] * size[1]).T + draw.normal(size=(n_genes, N))
    windows = [np.arange(g * width, (g + 1) * width) for g in range(n_genes)]
    basis = orthonormal_covariates(np.zeros((N, 0)), np.ones(N, bool))
    fit = fit_genes(y, np.ones(y.shape), basis, windows, lambda index: x[:, index].T, EffectConfig())
    truth = dict(zip(causal.ravel().tolist(), size.ravel().tolist(), strict=True))
    at = np.flatnonzero((fit.credible_set > 0) & np.isin(fit.variant, causal))
    error = fit.mean[at] - np.array([truth[int(v)] for v in fit.variant[at]])
    covered = {name: float((abs(error) < 1.645 * getattr(fit, name)[at]).mean()) for name in ("sd", "spread")}
    assert len(at) > 150
    assert covered["spread"] == pytest.approx(0.9, abs=0.05)
    assert covered["sd"] < covered["spread"] - 0.04
