"""Independent, Markov and mosaic baselines against closed forms and enumeration."""

from __future__ import annotations

import itertools

import jax
import numpy as np
import pytest

from genesim.errors import ConditionError, ConfigError
from genesim.models.haplotypes.independent import fit_independent
from genesim.models.haplotypes.markov import fit_markov
from genesim.models.haplotypes.mosaic import Mosaic, fit_mosaic, mutation_rate


def linked_data(n: int = 400, n_variants: int = 8) -> tuple[np.ndarray, np.ndarray]:
    stream = np.random.default_rng(0)
    ancestry = np.arange(n) % 2
    flips = stream.random((n, n_variants)) < np.array([0.1, 0.3])[ancestry, None]
    return (np.cumsum(flips, axis=1) % 2).astype(np.int8), ancestry


def test_independent_is_the_product_of_frequencies() -> None:
    alleles, ancestry = linked_data()
    alleles[0, 0] = -1
    model = fit_independent(alleles, ancestry, 2)
    rows = alleles[ancestry == 1]
    p = ((rows == 1).sum(0) + 0.5) / ((rows >= 0).sum(0) + 1)
    expected = np.where(rows == 1, np.log(p), np.log(1 - p)).sum(1)
    np.testing.assert_allclose(model.log_likelihood(rows, np.ones(len(rows), int)), expected, rtol=1e-4)
    drawn = model.sample(jax.random.key(0), np.zeros(3000, int)).alleles
    correlation = np.corrcoef(drawn.T)[np.triu_indices(8, 1)]
    assert np.abs(correlation).max() < 0.1
    assert np.abs(np.corrcoef(alleles[ancestry == 0].T)[0, 1]) > 0.2


def test_markov_keeps_neighbouring_linkage_by_ancestry() -> None:
    alleles, ancestry = linked_data()
    model = fit_markov(alleles, ancestry, 2)
    for code, flip in ((0, 0.1), (1, 0.3)):
        drawn = model.sample(jax.random.key(1), np.full(3000, code)).alleles
        rate = (drawn[:, 1:] != drawn[:, :-1]).mean()
        train = alleles[ancestry == code]
        assert rate == pytest.approx((train[:, 1:] != train[:, :-1]).mean(), abs=0.015)
        assert abs(rate - flip) < 0.04 < abs(rate - (0.4 - flip))


def mosaic_oracle(model: Mosaic, row: np.ndarray, code: int) -> tuple[float, np.ndarray]:
    """Slow oracle: sum over every copying path among the ancestry's panel rows."""
    panel = np.asarray(model.panel[...])[np.asarray(model.ancestry[...]) == code]
    n, n_variants = panel.shape
    mu = mutation_rate(n)
    morgans = np.diff(np.asarray(model.centimorgans[...], float), prepend=0) / 100
    rho = 1 - np.exp(-4 * model.effective_size * morgans / n)
    total, weighted = 0.0, np.zeros(n_variants)
    for path in itertools.product(range(n), repeat=n_variants):
        p = 1 / n
        for m, state in enumerate(path):
            if m:
                p *= (1 - rho[m]) * (state == path[m - 1]) + rho[m] / n
            if row[m] >= 0:
                p *= 1 - mu if panel[state, m] == row[m] else mu
        copied = panel[list(path), range(n_variants)]
        total += p
        weighted += p * np.where(copied == 1, 1 - mu, mu)
    return float(np.log(total)), np.where(row >= 0, row, weighted / total)


def small_mosaic() -> Mosaic:
    stream = np.random.default_rng(3)
    panel = stream.integers(0, 2, (7, 5)).astype(np.int8)
    codes = np.array([0, 1, 0, 1, 0, 1, 1])
    return fit_mosaic(panel, codes, 2, np.array([0, 0.002, 0.01, 0.011, 0.03]))


def test_mosaic_equals_enumeration_over_copying_paths() -> None:
    model = small_mosaic()
    rows = np.random.default_rng(4).integers(-1, 2, (6, 5)).astype(np.int8)
    codes = np.array([0, 1, 0, 1, 1, 0])
    likelihood, posterior = model.log_likelihood(rows, codes), model.impute(rows, codes)
    for i, (row, code) in enumerate(zip(rows, codes, strict=True)):
        expected, filled = mosaic_oracle(model, row, code)
        assert likelihood[i] == pytest.approx(expected, abs=1e-4)
        np.testing.assert_allclose(posterior[i], filled, atol=1e-4)


def test_mosaic_draws_follow_its_own_likelihood() -> None:
    model, n = small_mosaic(), 4000
    every = np.array(list(itertools.product((0, 1), repeat=5)), np.int8)
    p = np.exp(model.log_likelihood(every, np.zeros(len(every), int)))
    assert p.sum() == pytest.approx(1, abs=1e-4)
    drawn = model.sample(jax.random.key(2), np.zeros(n, int)).alleles
    observed = np.bincount(drawn @ (1 << np.arange(5)[::-1]), minlength=32)
    chi2 = ((observed - n * p) ** 2 / (n * p)).sum()
    other = np.exp(model.log_likelihood(every, np.ones(len(every), int)))
    assert chi2 < 62  # 99.9 % of chi-square with 31 degrees of freedom
    assert ((observed - n * other) ** 2 / (n * other)).sum() > 200


def test_mosaic_copies_its_panel_and_only_the_asked_ancestry() -> None:
    stream = np.random.default_rng(0)
    panel = stream.integers(0, 2, (20, 300)).astype(np.int8)
    codes = np.repeat([0, 1], 10)
    model = fit_mosaic(panel, codes, 2, np.zeros(300))  # no recombination
    drawn = model.sample(jax.random.key(0), np.repeat([0, 1], 5))
    assert (drawn.states[:5] < 10).all()
    assert (drawn.states[5:] >= 10).all()
    assert (drawn.states == drawn.states[:, :1]).all()
    differs = (drawn.alleles != panel[drawn.states[:, 0]]).mean()
    assert 0 < differs < 0.05
    local = np.tile(np.repeat([0, 1], 150), (4, 1))
    states = model.sample(jax.random.key(1), local).states
    assert (states[:, :150] < 10).all()
    assert (states[:, 150:] >= 10).all()


def test_a_row_of_the_mosaic_depends_on_its_own_key_only() -> None:
    model = small_mosaic()
    keys = jax.random.split(jax.random.key(0), 6)
    codes = np.array([0, 1, 0, 1, 1, 0])
    whole = model.sample(keys, codes).alleles
    np.testing.assert_array_equal(whole[2:4], model.sample(keys[2:4], codes[2:4]).alleles)


def test_mosaic_refuses_what_it_cannot_copy() -> None:
    panel = np.zeros((3, 4), np.int8)
    model = fit_mosaic(panel, np.zeros(3, int), 2, np.arange(4.0))
    with pytest.raises(ConditionError, match="no training haplotype"):
        model.sample(jax.random.key(0), np.ones(2, int))
    with pytest.raises(ConfigError, match="non-decreasing"):
        fit_mosaic(panel, np.zeros(3, int), 1, np.array([0, 2.0, 1, 3]))
