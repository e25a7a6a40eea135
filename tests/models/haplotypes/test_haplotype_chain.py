"""The exact chain against enumeration of every hidden path, and its draws against its own marginals."""

from __future__ import annotations

import itertools

import jax
import numpy as np
import pytest
from scipy import stats

from genesim.errors import ConditionError, InputError
from genesim.models.haplotypes.chain import HiddenChain, check_alleles

A, M, K = 2, 5, 3


def random_chain(seed: int = 0, window: int = 10_000, n_variants: int = M, n_states: int = K) -> HiddenChain:
    stream = np.random.default_rng(seed)
    transitions = stream.dirichlet(np.ones(n_states), (A, n_variants, n_states))
    transitions[:, 0] = transitions[:, 0, :1]
    return HiddenChain(transitions, stream.uniform(0.05, 0.95, (n_variants, n_states)), window=window, chunk=4)


def enumerate_paths(chain: HiddenChain, row: np.ndarray, code: int) -> tuple[float, np.ndarray]:
    """Slow oracle: log p(row) and p(allele 1 | row) by summing over all K**M paths in float64."""
    transitions = np.asarray(chain.transitions[...], float)[code]
    emission = np.asarray(chain.emission[...], float)
    total, weighted = 0.0, np.zeros(chain.n_variants)
    for path in itertools.product(range(chain.n_states), repeat=chain.n_variants):
        p = transitions[0, 0, path[0]]
        for m in range(1, chain.n_variants):
            p *= transitions[m, path[m - 1], path[m]]
        for m, state in enumerate(path):
            if row[m] >= 0:
                p *= emission[m, state] if row[m] == 1 else 1 - emission[m, state]
        total += p
        weighted += p * emission[np.arange(chain.n_variants), path]
    return float(np.log(total)), np.where(row >= 0, row, weighted / total)


def test_likelihood_and_posterior_equal_enumeration() -> None:
    chain = random_chain()
    stream = np.random.default_rng(1)
    rows = stream.integers(-1, 2, (11, M)).astype(np.int8)
    rows[0] = -2
    codes = stream.integers(0, A, 11)
    likelihood, posterior = chain.log_likelihood(rows, codes), chain.impute(rows, codes)
    for row, code, found, filled in zip(rows, codes, likelihood, posterior, strict=True):
        expected, expected_posterior = enumerate_paths(chain, row, code)
        assert found == pytest.approx(expected, abs=1e-5)
        np.testing.assert_allclose(filled, expected_posterior, atol=1e-5)


def test_likelihood_sums_to_one_over_all_haplotypes() -> None:
    rows = np.array(list(itertools.product((0, 1), repeat=M)), np.int8)
    for code in range(A):
        total = np.exp(random_chain().log_likelihood(rows, np.full(len(rows), code))).sum()
        assert total == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("window", [1, 7])
def test_windows_do_not_change_the_posterior(window: int) -> None:
    stream = np.random.default_rng(2)
    rows = np.where(stream.random((6, 17)) < 0.4, -1, stream.integers(0, 2, (6, 17))).astype(np.int8)
    codes = stream.integers(0, A, 6)
    whole = random_chain(n_variants=17).impute(rows, codes)
    np.testing.assert_allclose(random_chain(n_variants=17, window=window).impute(rows, codes), whole, atol=1e-6)


def pair_probabilities(chain: HiddenChain, code: int) -> np.ndarray:
    """p(x_0, x_1) [2, 2] from the parameters."""
    transitions = np.asarray(chain.transitions[...], float)[code]
    emission = np.asarray(chain.emission[...], float)
    states = transitions[0, 0][:, None] * transitions[1]
    p = np.stack([1 - emission, emission])  # [allele, variant, state]
    joint = np.einsum("jk,xj,yk->xy", states, p[:, 0], p[:, 1])
    return joint / joint.sum()


def test_draws_follow_the_model_and_not_another_one() -> None:
    chain, n = random_chain(3), 4000
    drawn = chain.sample(jax.random.key(0), np.zeros(n, int)).alleles
    observed = np.histogram2d(drawn[:, 0], drawn[:, 1], bins=2, range=[[0, 1], [0, 1]])[0].ravel()
    truth = stats.chisquare(observed, n * pair_probabilities(chain, 0).ravel())
    wrong = stats.chisquare(observed, n * pair_probabilities(chain, 1).ravel())
    assert truth.pvalue > 1e-3
    assert wrong.pvalue < 1e-6
    shifted = HiddenChain(chain.transitions[...], np.asarray(chain.emission[...]) * 0.8, chunk=4)
    assert stats.chisquare(observed, n * pair_probabilities(shifted, 0).ravel()).pvalue < 1e-6


def test_a_row_depends_on_its_own_key_and_ancestry_only() -> None:
    chain = random_chain()
    keys = jax.random.split(jax.random.key(5), 9)
    codes = np.arange(9) % A
    whole = chain.sample(keys, codes)
    part = chain.sample(keys[3:5], codes[3:5])
    np.testing.assert_array_equal(whole.alleles[3:5], part.alleles)
    np.testing.assert_array_equal(whole.states[3:5], part.states)
    again = chain.sample(jax.random.key(6), codes)
    np.testing.assert_array_equal(chain.sample(jax.random.key(6), codes).alleles, again.alleles)
    assert (chain.sample(jax.random.key(7), codes).alleles != again.alleles).any()


def test_local_ancestry_switches_the_chain_along_the_haplotype() -> None:
    transitions = np.zeros((2, 6, 2, 2))
    transitions[0, :, :, 0] = transitions[1, :, :, 1] = 1  # ancestry 0 forces state 0, ancestry 1 state 1
    chain = HiddenChain(transitions, np.tile([0.0, 1.0], (6, 1)))
    local = np.array([[0, 0, 1, 1, 0, 1], [1, 1, 1, 0, 0, 0]])
    drawn = chain.sample(jax.random.key(0), local)
    np.testing.assert_array_equal(drawn.alleles, local)
    np.testing.assert_array_equal(drawn.states, local)


def test_what_cannot_be_used_is_refused_with_a_remedy() -> None:
    chain = random_chain()
    good = np.zeros((2, M), np.int8)
    with pytest.raises(InputError, match="shape"):
        chain.log_likelihood(good[:, 1:], np.zeros(2, int))
    with pytest.raises(InputError, match="one code a haplotype"):
        chain.log_likelihood(good, np.zeros(3, int))
    with pytest.raises(ConditionError, match="codes 0 to 1"):
        chain.log_likelihood(good, np.full(2, 2))
    with pytest.raises(InputError, match="columns"):
        chain.sample(jax.random.key(0), np.zeros((2, M - 1), int))
    with pytest.raises(InputError, match="multiallelic"):
        check_alleles(np.full((1, M), 2))


def blocked_chain(seed: int = 0) -> HiddenChain:
    """Two ancestries, the second of two groups; blocks of three variants, the last one shorter."""
    stream = np.random.default_rng(seed)
    transitions = stream.dirichlet(np.ones(K), (3, 3, K))
    transitions[:, 0] = transitions[:, 0, :1]
    groups = np.array([[1.0, 0, 0], [0, 0.3, 0.7]])
    return HiddenChain(transitions, stream.uniform(0.1, 0.9, (7, K)), groups, block_size=3, chunk=4)


def enumerated(chain: HiddenChain, code: int) -> np.ndarray:
    """Slow oracle: p(haplotype | ancestry) of every haplotype, over paths and groups."""
    rows = np.array(list(itertools.product((0, 1), repeat=chain.n_variants)))
    transitions, emission = np.asarray(chain.transitions[...], float), np.asarray(chain.emission[...], float)
    block, total = np.arange(chain.n_variants) // chain.block_size, np.zeros(len(rows))
    for group, share in enumerate(np.asarray(chain.groups[...])[code]):
        for path in itertools.product(range(chain.n_states), repeat=chain.n_blocks):
            p = share * transitions[group, 0, 0, path[0]]
            for b in range(1, chain.n_blocks):
                p *= transitions[group, b, path[b - 1], path[b]]
            theta = emission[np.arange(chain.n_variants), np.array(path)[block]]
            total += p * np.where(rows == 1, theta, 1 - theta).prod(1)
    return total


@pytest.mark.parametrize("code", [0, 1])
def test_blocks_and_groups_equal_enumeration(code: int) -> None:
    chain = blocked_chain()
    rows = np.array(list(itertools.product((0, 1), repeat=7)), np.int8)
    truth = enumerated(chain, code)
    codes = np.full(len(rows), code)
    np.testing.assert_allclose(np.exp(chain.log_likelihood(rows, codes)), truth, rtol=1e-4)
    hidden = np.array([[1, -1, 0, -1, -1, 1, -1]], np.int8)
    fits = (rows[:, [0, 2, 5]] == [1, 0, 1]).all(1)
    expected = (truth[fits, None] * rows[fits]).sum(0) / truth[fits].sum()
    np.testing.assert_allclose(chain.impute(hidden, np.array([code]))[0], expected, atol=1e-5)


@pytest.mark.parametrize("code", [0, 1])
@pytest.mark.parametrize("hidden", [[-1] * 7, [1, -1, 0, -1, -1, 1, -1]])
def test_draws_follow_blocks_groups_and_given_alleles(code: int, hidden: list[int]) -> None:
    chain, n = blocked_chain(), 6000
    rows = np.array(list(itertools.product((0, 1), repeat=7)), np.int8)
    given = np.tile(np.array(hidden, np.int8), (n, 1))
    fits = ((rows == hidden) | (np.array(hidden) < 0)).all(1)
    drawn = chain.sample(jax.random.key(2), np.full(n, code), given=given if fits.sum() < len(rows) else None).alleles
    assert ((drawn == hidden) | (np.array(hidden) < 0)).all()
    observed = np.bincount((drawn @ (1 << np.arange(6, -1, -1))), minlength=len(rows))[fits]
    truth, wrong = (enumerated(c, code)[fits] for c in (chain, blocked_chain(5)))
    assert stats.chisquare(observed, n * truth / truth.sum()).pvalue > 1e-3
    assert stats.chisquare(observed, n * wrong / wrong.sum()).pvalue < 1e-6


def test_no_rows_give_no_rows() -> None:
    chain = random_chain()
    assert chain.sample(jax.random.key(0), np.zeros(0, int)).alleles.shape == (0, M)
    assert chain.log_likelihood(np.zeros((0, M), np.int8), np.zeros(0, int)).shape == (0,)
