"""p-values of genes from permuted donors."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from genesim.config.model import EffectConfig
from genesim.models.effects.permutation import _fit_beta, beta_p_value, correlation_p_value, permutations
from genesim.models.effects.problem import orthonormal_covariates
from genesim.models.effects.scan import fit_genes

N_DONORS, N_VARIANTS = 120, 60


def linked_dosages(draw: np.random.Generator) -> np.ndarray:
    """variant x donor, neighbours in LD."""
    z = np.cumsum(draw.normal(size=(N_VARIANTS, 2, N_DONORS)), 0)
    z = (z - z.mean(2, keepdims=True)) / z.std(2, keepdims=True)
    return (z > 0.3).sum(1).astype(np.float32)


def gene_p(y: np.ndarray, dosage: np.ndarray, covariates: np.ndarray, n: int = 200) -> np.ndarray:
    basis = orthonormal_covariates(covariates, np.ones(y.shape[1], bool))
    config = EffectConfig(n_effects=1, n_permutations=n)
    windows = [np.arange(len(dosage))] * len(y)
    return fit_genes(y, np.ones_like(y), basis, windows, lambda i: dosage[i], config).p_value


def test_null_genes_have_uniform_p_values_with_many_covariates_and_the_smallest_nominal_p_has_not() -> None:
    draw = np.random.default_rng(0)
    dosage, covariates = linked_dosages(draw), draw.normal(size=(N_DONORS, 30))
    y = draw.normal(size=(1500, N_DONORS)) + draw.normal(size=(1500, 30)) @ covariates.T
    p = gene_p(y, dosage, covariates)
    assert stats.kstest(p, "uniform").pvalue > 1e-3
    for level in (0.05, 0.01):
        assert stats.binomtest(int((p < level).sum()), len(p), level).pvalue > 1e-3
    basis = orthonormal_covariates(covariates, np.ones(N_DONORS, bool))
    left = y - (y @ basis) @ basis.T
    x = dosage - (dosage @ basis) @ basis.T
    r = (left @ x.T) / np.outer(np.linalg.norm(left, axis=1), np.linalg.norm(x, axis=1))
    smallest = correlation_p_value((r**2).max(1), N_DONORS - 31 - 1)
    assert (smallest < 0.05).mean() > 0.2


def test_agrees_with_many_permutations_and_goes_below_their_number() -> None:
    draw = np.random.default_rng(1)
    dosage = linked_dosages(draw)
    y = draw.normal(size=(40, N_DONORS)) + np.linspace(0, 1.2, 40)[:, None] * dosage[30]
    few, many = (gene_p(y, dosage, np.zeros((N_DONORS, 0)), n) for n in (200, 5_000))
    x = dosage - dosage.mean(1, keepdims=True)
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    centred = y - y.mean(1, keepdims=True)
    largest = ((centred @ x.T) ** 2).max(1)
    order = permutations(np.ones(N_DONORS, bool), 5_000, draw)
    exact = np.array([((row[order] @ x.T) ** 2).max(1) >= top for row, top in zip(centred, largest)]).mean(1)
    common = exact > 0.004
    assert common.sum() >= 10
    np.testing.assert_allclose(np.log10(few[common]), np.log10(exact[common]), atol=0.35)
    np.testing.assert_allclose(np.log10(many[common]), np.log10(exact[common]), atol=0.15)
    assert few.min() < 1e-6


def test_the_beta_law_is_the_one_of_largest_likelihood() -> None:
    draw = np.random.default_rng(2)
    p = np.stack([draw.beta(a, b, 300) for a, b in ((1.0, 30.0), (1.1, 200.0), (0.9, 3.0))])
    a, b = _fit_beta(p)
    for row, one, two in zip(p, a, b):
        best = stats.beta.fit(row, floc=0, fscale=1)
        np.testing.assert_allclose((one, two), best[:2], rtol=1e-3)


def test_one_variant_keeps_its_own_p_value() -> None:
    draw = np.random.default_rng(3)
    null = draw.beta(0.5, (N_DONORS - 2) / 2, (20, 5000))  # squared correlations of pure noise
    observed = np.linspace(0.001, 0.2, 20)
    dof = np.full(20, N_DONORS - 2.0)
    np.testing.assert_allclose(beta_p_value(observed, null, dof), correlation_p_value(observed, dof), rtol=0.35)


def test_absent_donors_stay_in_place() -> None:
    present = np.array([True, False, True, True, False])
    order = permutations(present, 50, np.random.default_rng(4))
    assert (order[:, [1, 4]] == [1, 4]).all()
    assert (np.sort(order, axis=1) == np.arange(5)).all()
    assert len(np.unique(order, axis=0)) == 6


def test_too_few_permutations_are_refused() -> None:
    with pytest.raises(ValueError, match="n_permutations"):
        EffectConfig(n_permutations=10)
