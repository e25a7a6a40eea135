"""Sparse counts: which genes may be tested."""

from __future__ import annotations

import numpy as np
import pytest

import genesim.models.effects.response as response_module
from genesim.config.model import EffectConfig
from genesim.models.effects.posterior import EffectPosterior
from genesim.models.effects.problem import orthonormal_covariates
from genesim.models.effects.response import count_response
from genesim.models.effects.scan import fit_genes


def _null_fit(counts: np.ndarray, library: np.ndarray, seed: int) -> EffectPosterior:
    """Genes whose counts have nothing to do with 200 variants of low frequency."""
    n_genes, n_donors = counts.shape
    dosage = np.random.default_rng(seed).binomial(2, 0.08, (200, n_donors)).astype(np.float32)
    response, weight = count_response(counts, library, np.ones(n_donors, bool))
    basis = orthonormal_covariates(np.zeros((n_donors, 0)), np.ones(n_donors, bool))
    windows = [np.arange(200)] * n_genes
    return fit_genes(response, weight, basis, windows, lambda index: dosage[index], EffectConfig(n_effects=1))


def test_genes_that_few_donors_express_are_left_out_because_their_credible_sets_are_false(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    draw = np.random.default_rng(0)
    library = 2000 * np.exp(0.5 * draw.normal(size=100))
    few, enough = (draw.poisson(rate / 2000 * library, (300, 100)) for rate in (0.1, 0.6))
    assert np.isnan(_null_fit(few, library, 1).p_value).mean() > 0.95
    fit = _null_fit(enough, library, 1)
    assert np.isfinite(fit.p_value).all()
    assert (fit.p_value < 0.05).mean() < 0.05 + 3 * np.sqrt(0.05 * 0.95 / 300)
    assert (fit.n_sets > 0).mean() < 0.03
    monkeypatch.setattr(response_module, "MIN_DONORS_EXPRESSING", 1)
    assert (_null_fit(few, library, 1).n_sets > 0).mean() > 0.05
