"""Dispersion and responders of predicted counts, and the rule that lets them in."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse

from genesim.models.perturbation.counts import perturb_counts
from genesim.models.perturbation.gate import SHUT, Gate, decide
from genesim.models.perturbation.reshape import PLAIN, Shape, redispersed, reshape_counts

N = 1500


def nb(mean: float, phi: float, size: np.ndarray, draw: np.random.Generator) -> np.ndarray:
    return draw.poisson(mean * size * draw.gamma(1 / phi, phi, len(size)))


@pytest.fixture(scope="module")
def world() -> tuple[sparse.csr_matrix, np.ndarray]:
    """Three genes: one that is all but off, one at 2 and one at 8 counts a cell."""
    draw = np.random.default_rng(0)
    size = np.exp(0.3 * draw.normal(size=N))
    counts = np.column_stack([nb(m, 0.8, size, draw) for m in (0.05, 2.0, 8.0)])
    return sparse.csr_matrix(counts), size


def mean_log(counts: sparse.csr_matrix, size: np.ndarray) -> np.ndarray:
    return np.log1p(counts.toarray() / size[:, None]).mean(0)


def test_a_plain_shape_draws_what_the_plain_shift_draws(world: tuple[sparse.csr_matrix, np.ndarray]) -> None:
    counts, size = world
    effect = np.array([1.0, -0.4, 0.2])
    assert (reshape_counts(counts, size, effect, 3, PLAIN) != perturb_counts(counts, size, effect, 3)).nnz == 0


def test_a_switched_on_gene_takes_the_dispersion_of_perturbed_cells(
    world: tuple[sparse.csr_matrix, np.ndarray],
) -> None:
    """Real perturbed cells are NB with mean 20 and phi .1; the plain shift reaches their mean log, not their counts."""
    counts, size = world
    real = nb(20.0, 0.1, size, np.random.default_rng(1))
    effect = np.array([np.log1p(real / size).mean() - mean_log(counts, size)[0], 0.0, 0.0])
    plain = reshape_counts(counts, size, effect, 0)
    shaped = reshape_counts(counts, size, effect, 0, Shape(dispersion=np.array([0.1, np.nan, np.nan])))
    goal = mean_log(counts, size) + effect
    for made in (plain, shaped):
        np.testing.assert_allclose(mean_log(made, size), goal, atol=2e-3)
    spread = np.log1p(real / size).std()
    own, other = (np.log1p(made[:, [0]].toarray().ravel() / size).std() for made in (shaped, plain))
    assert own == pytest.approx(spread, rel=0.08)
    assert other > 1.5 * spread
    assert shaped[:, [0]].sum() == pytest.approx(real.sum(), rel=0.05)
    assert plain[:, [0]].sum() > 1.3 * real.sum()
    assert (shaped[:, [1, 2]] != plain[:, [1, 2]]).nnz == 0


def test_cells_keep_their_order_under_a_new_dispersion() -> None:
    draw = np.random.default_rng(2)
    size = np.ones(N)
    rate = draw.gamma(2.0, 0.5, N)
    counts = draw.poisson(5 * rate)
    made = redispersed(counts, size, float(np.log1p(30)), 0.5, 0.2, draw)
    assert np.corrcoef(np.argsort(np.argsort(made)), np.argsort(np.argsort(rate)))[0, 1] > 0.6
    assert np.abs(np.corrcoef(made, draw.permutation(rate))[0, 1]) < 0.1


def test_only_responders_change_and_the_mean_still_moves_as_asked(
    world: tuple[sparse.csr_matrix, np.ndarray],
) -> None:
    counts, size = world
    effect = np.array([0.0, 0.4, -0.5])
    made = reshape_counts(counts, size, effect, 1, Shape(responders=0.6))
    np.testing.assert_allclose(mean_log(made, size), mean_log(counts, size) + effect, atol=2e-3)
    same = (made[:, [2]] != counts[:, [2]]).toarray().ravel() == 0
    assert same[: N // 2].mean() == pytest.approx(0.4, abs=0.15)
    again = reshape_counts(counts, size, effect, 1, Shape(responders=0.6))
    other = reshape_counts(counts, size, effect, 2, Shape(responders=0.6))
    assert (made != again).nnz == 0
    assert (made != other).nnz > 0


def test_the_gate_opens_beyond_one_standard_error_only() -> None:
    before = np.array([1.0, 2.0, 3.0, 4.0])
    assert decide(before, before - [0.3, 0.2, 0.3, 0.2]).open
    assert not decide(before, before - [0.9, -0.7, 0.6, -0.6]).open
    assert not decide(before, before + 0.1).open
    assert not decide(before, before).open
    assert not decide(before[:2], before[:2] - 1).open  # too few
    assert decide(before[:0], before[:0]) is SHUT
    gate = decide(before, before - 0.5)
    assert Gate.from_dict(gate.to_dict()) == gate
    assert Gate.from_dict(SHUT.to_dict()).n == 0


def test_the_gate_opens_by_chance_as_often_as_its_standard_error_says() -> None:
    draw = np.random.default_rng(3)
    opened = [decide(x, x + draw.normal(size=30)).open for x in draw.normal(size=(2000, 30))]
    assert np.mean(opened) == pytest.approx(0.163, abs=0.03)
