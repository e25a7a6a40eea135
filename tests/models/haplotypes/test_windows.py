"""Windows of a contig: drawn and scored as one chain would be, and agreeing with the data across the seam."""

from __future__ import annotations

import itertools

import jax
import numpy as np
import pytest
from scipy import stats

from genesim.errors import ConfigError, TrainingError
from genesim.models.haplotypes.chain import HiddenChain
from genesim.models.haplotypes.windows import WindowedChain, window_bounds

N, OVERLAP, K = 9, 4, 2


def chain(seed: int, n_variants: int = N, n_states: int = K) -> HiddenChain:
    """One ancestry of two groups, sticky transitions, blocks of two variants."""
    stream = np.random.default_rng(seed)
    n_blocks = -(-n_variants // 2)
    transitions = 0.6 * np.eye(n_states) + 0.4 * stream.dirichlet(np.ones(n_states), (2, n_blocks, n_states))
    transitions[:, 0] = stream.dirichlet(np.ones(n_states), 2)[:, None]
    emission = stream.uniform(0.05, 0.95, (n_variants, n_states))
    return HiddenChain(transitions, emission, np.array([[0.4, 0.6]]), block_size=2)


def two_windows() -> WindowedChain:
    return WindowedChain(np.array([[0, 6], [2, N]]), {0: chain(0, 6), 1: chain(1, N - 2)})


def test_bounds_cover_the_contig_in_nearly_equal_windows() -> None:
    for n, size, overlap in itertools.product((1, 50, 51, 99, 1234), (50, 37), (10, 3)):
        bounds = window_bounds(n, size, overlap)
        assert bounds[0][0] == 0
        assert bounds[-1][1] == n
        lengths = [stop - start for start, stop in bounds]
        assert max(lengths) <= size
        assert max(lengths) - min(lengths) <= 1 or len(bounds) == 1
        assert all(before[1] - after[0] == overlap for before, after in itertools.pairwise(bounds))
    with pytest.raises(ConfigError, match="overlap"):
        window_bounds(100, 20, 10)


def density(model: WindowedChain, rows: np.ndarray) -> np.ndarray:
    """Slow oracle: p_0(first window) p_1(second) / p_1(overlap), the last by summing over all haplotypes."""
    first, second = model.fitted[0], model.fitted[1]
    zeros = np.zeros(len(rows), int)
    ends = np.array(list(itertools.product((0, 1), repeat=N - 6)), np.int8)
    shared = sum(
        np.exp(second.log_likelihood(np.hstack([rows[:, 2:6], np.tile(end, (len(rows), 1))]), zeros).astype(float))
        for end in ends
    )
    logs = first.log_likelihood(rows[:, :6], zeros) + second.log_likelihood(rows[:, 2:], zeros)
    return np.exp(logs.astype(float)) / shared


def p_value(observed: np.ndarray, probability: np.ndarray) -> float:
    """Chi-squared test, cells with an expected count of less than 5 taken together."""
    expected = observed.sum() * probability / probability.sum()
    enough = expected > 5
    cells = [np.r_[counts[enough], counts[~enough].sum()] for counts in (observed, expected)]
    return float(stats.chisquare(*cells).pvalue)


def test_likelihood_is_that_of_the_draws() -> None:
    model, n = two_windows(), 20_000
    rows = np.array(list(itertools.product((0, 1), repeat=N)), np.int8)
    truth = density(model, rows)
    assert truth.sum() == pytest.approx(1, abs=1e-4)
    np.testing.assert_allclose(model.log_likelihood(rows, np.zeros(len(rows), int)), np.log(truth), atol=1e-3)
    drawn = model.sample(jax.random.key(0), np.zeros(n, int)).alleles
    observed = np.bincount(drawn @ (1 << np.arange(N - 1, -1, -1)), minlength=len(rows))
    assert p_value(observed, truth) > 1e-3
    apart = drawn.copy()
    apart[:, 6:] = np.roll(apart[:, 6:], 1, axis=0)  # windows that do not agree where they meet
    wrong = np.bincount(apart @ (1 << np.arange(N - 1, -1, -1)), minlength=len(rows))
    assert p_value(wrong, truth) < 1e-6


@pytest.mark.parametrize("model", [two_windows(), chain(3, 700)], ids=["windows", "one chain"])
def test_walking_draws_what_sampling_draws(model: WindowedChain | HiddenChain) -> None:
    codes = np.zeros(21, int)
    keys = jax.random.split(jax.random.key(4), 21)
    whole = model.sample(keys, codes).alleles
    parts = [part.alleles for part in model.walk(keys, codes)]
    assert len(parts) > 1
    np.testing.assert_array_equal(np.concatenate(parts, axis=1), whole)


def test_given_alleles_are_kept_and_windows_lacking_are_named() -> None:
    model = two_windows()
    given = np.full((30, N), -1, np.int8)
    given[:, [1, 8]] = 1
    drawn = model.sample(jax.random.key(1), np.zeros(30, int), given=given).alleles
    assert drawn[:, [1, 8]].all()
    assert set(np.unique(drawn)) == {0, 1}
    with pytest.raises(TrainingError, match="windows 1 of 2"):
        WindowedChain(model.bounds, {0: model.fitted[0]}).sample(jax.random.key(0), np.zeros(2, int))


def test_imputation_takes_each_variant_from_one_window() -> None:
    model = two_windows()
    rows = np.random.default_rng(0).integers(-1, 2, (12, N)).astype(np.int8)
    codes = np.zeros(12, int)
    found = model.impute(rows, codes)
    np.testing.assert_allclose(found[:, :4], model.fitted[0].impute(rows[:, :6], codes)[:, :4])
    np.testing.assert_allclose(found[:, 4:], model.fitted[1].impute(rows[:, 2:], codes)[:, 2:])
