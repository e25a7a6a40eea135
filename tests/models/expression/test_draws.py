"""Drawn counts: their distribution, what changes them, and the map onto given margins."""

import jax
import numpy as np
import pytest
from scipy import sparse, stats

from genesim.models.expression.draws import _changed, _mapped, _negative_binomial, draw_counts
from genesim.models.expression.margins import GeneMargins
from genesim.nn.random import row_seeds

KEY = jax.random.key(0)
N = 4000


def passes(draws: np.ndarray, distribution: stats.rv_discrete, top: int = 12) -> bool:
    """Whether a chi-squared test accepts the distribution."""
    observed = np.bincount(np.minimum(draws, top), minlength=top + 1)
    p = distribution.pmf(np.arange(top))
    return bool(stats.chisquare(observed, len(draws) * np.append(p, 1 - p.sum())).pvalue > 1e-3)


def nb(mean: float, theta: float) -> stats.rv_discrete:
    return stats.nbinom(theta, theta / (theta + mean))


def test_draws_follow_the_distribution_and_not_poisson() -> None:
    draws = draw_counts(KEY, np.full((N, 1), 3.0), np.array([0.8])).toarray()[:, 0]
    assert passes(draws, nb(3.0, 0.8))
    assert not passes(draws, stats.poisson(3.0))


@pytest.mark.parametrize("mean", [400.0, 600.0])
def test_large_means_have_the_right_moments_on_both_sides_of_the_inversion_limit(mean: float) -> None:
    draws = draw_counts(KEY, np.full((N, 1), mean), np.array([2.0])).toarray()[:, 0]
    assert draws.mean() == pytest.approx(mean, rel=0.05)
    assert stats.kstest(draws, nb(mean, 2.0).cdf).pvalue > 1e-3
    assert stats.kstest(draws, nb(1.15 * mean, 2.0).cdf).pvalue < 1e-3


@pytest.mark.parametrize("theta", [0.01, 5.0])
def test_draws_beyond_int32_are_held_and_do_not_wrap(theta: float) -> None:
    draws = draw_counts(KEY, np.full((50, 4), 1e12), np.full(4, theta))
    assert draws.dtype == np.int32
    assert draws.data.min() >= 0
    assert draws.max() > 2**29


def test_genes_of_a_cell_and_cells_are_independent() -> None:
    draws = draw_counts(KEY, np.full((N, 6), 2.0), np.ones(6)).toarray()
    between = np.corrcoef(draws.T)[np.triu_indices(6, 1)]
    assert np.abs(between).max() < 4.5 / np.sqrt(N)
    assert abs(np.corrcoef(draws[:-1, 0], draws[1:, 0])[0, 1]) < 4.5 / np.sqrt(N)


def test_draws_depend_on_the_row_alone() -> None:
    mean = np.random.default_rng(0).gamma(1.0, 3.0, (8, 5))
    theta = np.array([0.5, 1.0, 2.0, 4.0, 8.0])
    whole = draw_counts(KEY, mean, theta).toarray()
    np.testing.assert_array_equal(whole[:3], draw_counts(KEY, mean[:3], theta).toarray())
    np.testing.assert_array_equal(whole[5:], draw_counts(KEY, mean[5:], theta, start=5).toarray())
    assert whole.dtype == np.int32
    assert (draw_counts(jax.random.key(1), mean, theta).toarray() != whole).any()


@pytest.mark.parametrize("fold", [0.4, 2.5])
@pytest.mark.parametrize("mean", [2.0, 300.0])
def test_a_fold_gives_the_distribution_of_the_changed_mean_and_keeps_the_cell(fold: float, mean: float) -> None:
    plain = draw_counts(KEY, np.full((N, 1), mean), np.array([0.8])).toarray()[:, 0]
    changed = draw_counts(KEY, np.full((N, 1), mean), np.array([0.8]), fold=np.full((N, 1), fold)).toarray()[:, 0]
    if mean == 2.0:
        assert passes(changed, nb(fold * mean, 0.8))
        assert not passes(changed, nb(mean, 0.8))
    else:
        assert stats.kstest(changed, nb(fold * mean, 0.8).cdf).pvalue > 1e-3
    assert ((changed <= plain) if fold < 1 else (changed >= plain)).all()
    same = draw_counts(KEY, np.full((N, 1), mean), np.array([0.8]), fold=np.ones((N, 1))).toarray()[:, 0]
    np.testing.assert_array_equal(same, plain)


def margins(wanted: sparse.csr_matrix, drawn: sparse.csr_matrix, weight: float = 0.0) -> GeneMargins:
    return GeneMargins.fit([drawn], [wanted], [drawn], weight)


def test_margins_carry_draws_to_the_wanted_distribution_and_keep_their_order() -> None:
    """A bursty gene (many zeros, few large counts) from a network that spreads it too evenly."""
    random = np.random.default_rng(0)
    mean = random.gamma(2.0, 1.0, (N, 2)) * np.array([1.5, 40.0])
    theta = np.ones(2)
    wanted = sparse.csr_matrix(random.negative_binomial(0.2, 0.2 / (0.2 + np.array([3.0, 80.0])), (N, 2)))
    found = margins(wanted, draw_counts(jax.random.key(7), mean, theta))
    plain, mapped = (draw_counts(KEY, mean, theta, margins=m).toarray() for m in (None, found))
    for gene in range(2):
        real = wanted.toarray()[:, gene]
        assert (mapped[:, gene] == 0).mean() == pytest.approx((real == 0).mean(), abs=0.03)
        assert mapped[:, gene].mean() == pytest.approx(real.mean(), rel=0.15)
        assert stats.ks_2samp(mapped[:, gene], real).statistic < 0.04
        assert stats.ks_2samp(plain[:, gene], real).statistic > 0.2
        # Where one draw is clearly above another, its mapped count is not below.
        order = np.argsort(plain[:, gene], kind="stable")
        low, high = mapped[order[: N // 4], gene], mapped[order[-N // 4 :], gene]
        assert low.max() <= high.max()
        assert stats.spearmanr(plain[:, gene], mapped[:, gene])[0] > 0.6


def slow_draw(mean: np.ndarray, theta: np.ndarray, fold: np.ndarray, maps: GeneMargins | None) -> np.ndarray:
    """`draw_counts` without its short cut for zeros: every entry's probability is worked out."""
    words, counts = row_seeds(KEY, len(mean)), np.zeros(mean.shape, int)
    for row, (high, low) in enumerate(words):
        state = (high << np.uint64(32)) | low
        for gene, m in enumerate(np.float32(mean[row])):
            state, count, v = _negative_binomial(np.uint64(state), m, np.float32(theta[gene]))
            if maps is not None:
                entries = slice(maps.first[gene], maps.first[gene + 1])
                count = _mapped(maps.drawn[entries], maps.target[entries], maps.edges, count, v)
            state, counts[row, gene] = _changed(
                np.uint64(state), count, m, np.float32(theta[gene]), np.float32(fold[row, gene])
            )
    return counts


@pytest.mark.parametrize("mapped", [False, True])
def test_the_short_cut_for_zeros_changes_no_count(mapped: bool) -> None:
    random = np.random.default_rng(3)
    mean, theta = np.exp(random.uniform(-9, 4, (400, 12))), np.exp(random.uniform(-3, 3, 12))
    mean[:5], mean[5, :] = 0.0, 0.9999
    fold = random.choice([1.0, 0.3, 4.0], mean.shape)
    maps = None
    if mapped:
        wanted = sparse.csr_matrix(random.negative_binomial(0.3, 0.3 / (0.3 + mean)))
        maps = margins(wanted, draw_counts(jax.random.key(7), mean, theta), 5.0)
    found = draw_counts(KEY, mean, theta, fold=fold, margins=maps).toarray()
    np.testing.assert_array_equal(found, slow_draw(mean, theta, fold, maps))


def test_margins_invent_no_large_counts() -> None:
    """A draw beyond all draws that the map was made of stays what it is."""
    few = draw_counts(jax.random.key(7), np.full((50, 2), [0.5, 900.0]), np.ones(2))
    found = margins(few, few)
    mapped = draw_counts(KEY, np.full((N, 2), [0.5, 900.0]), np.ones(2), margins=found).toarray()
    plain = draw_counts(KEY, np.full((N, 2), [0.5, 900.0]), np.ones(2)).toarray()
    assert mapped[:, 0].max() <= max(plain[:, 0].max(), few.toarray()[:, 0].max())


def test_each_label_has_margins_of_its_own_and_storage_keeps_them() -> None:
    draws = draw_counts(KEY, np.full((N, 1), 2.0), np.ones(1))
    low, high = (sparse.csr_matrix(np.full((60, 1), value)) for value in (1, 9))
    found = GeneMargins.fit([draws] * 2, [low, high], [draws] * 2, 0.0)
    label = np.arange(N) % 2
    for each in (found, GeneMargins.restore(found.arrays())):
        mapped = draw_counts(KEY, np.full((N, 1), 2.0), np.ones(1), margins=each, label=label).toarray()[:, 0]
        assert (mapped == np.where(label == 0, 1, 9)).mean() > 0.995
