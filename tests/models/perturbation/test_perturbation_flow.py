"""Laws of the flow between shifted and real cells, on arrays."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from scipy import sparse

from genesim.models.perturbation.coupling import N_PAIRS, Paired, assigned, minibatch_pairs
from genesim.models.perturbation.flow import Basis, ResidualFlow, fit_flow

N = 3


def basis() -> Basis:
    return Basis(np.zeros(N), np.eye(N), 1.0)


def conditions(spread: float) -> list[Paired]:
    """Four conditions whose real cells are spread along the first component `spread` times as wide as shifted ones."""
    draw = np.random.default_rng(3)
    scale = np.r_[spread, np.ones(N - 1)]
    return [
        Paired(draw.normal(size=(150, N)), draw.normal(size=(150, N)) * scale, np.r_[1.0, np.zeros(N - 1)])
        for _ in range(4)
    ]


def test_an_untrained_flow_moves_nothing() -> None:
    network = ResidualFlow(N, rngs=nnx.Rngs(0))
    x = jnp.asarray(np.random.default_rng(0).normal(size=(20, N)), jnp.float32)
    assert jnp.array_equal(network.carry(x, jnp.ones((20, N))), x)


def test_gradients_are_finite_and_reach_every_layer_once_the_last_has_moved() -> None:
    network = ResidualFlow(N, rngs=nnx.Rngs(0))
    draw = jax.random.key(1)
    graph, parameters = nnx.split(network)
    moved = jax.tree.map(lambda p: p + 0.01, parameters)
    x = jax.random.normal(draw, (16, N))
    gradient = jax.grad(lambda p: nnx.merge(graph, p).loss(x, 2 * x, jnp.ones((16, N)), jnp.linspace(0, 1, 16)))(moved)
    for leaf in jax.tree.leaves(gradient):
        assert jnp.isfinite(leaf).all()
        assert jnp.abs(leaf).max() > 0


@pytest.mark.parametrize("spread", [2.0, 0.5])
def test_a_change_of_variance_is_learned_and_the_mean_stays(spread: float) -> None:
    flow, losses = fit_flow(conditions(spread), basis(), 800, seed=0)
    assert losses[-100:].mean() < losses[:20].mean()
    cells = np.random.default_rng(9).normal(size=(400, N))
    moved = cells + flow.displacement(sparse.csr_matrix(cells), np.r_[1.0, np.zeros(N - 1)]) @ np.eye(N)
    assert moved.mean(0) == pytest.approx(cells.mean(0), abs=1e-6)
    wide = moved.std(0) / cells.std(0)
    assert wide[0] == pytest.approx(spread, rel=0.15)
    assert wide[1:] == pytest.approx(1, abs=0.15)


def test_the_same_seed_trains_the_same_flow() -> None:
    cells = sparse.csr_matrix(np.random.default_rng(9).normal(size=(10, N)))
    a, b, c = (fit_flow(conditions(2.0), basis(), 20, seed=s)[0].displacement(cells, np.ones(N)) for s in (0, 0, 1))
    assert np.array_equal(a, b)
    assert not np.array_equal(a, c)


def test_assignments_are_one_to_one_and_no_worse_than_any_other() -> None:
    draw = np.random.default_rng(2)
    source, target = draw.normal(size=(2, 6, N))
    chosen = assigned(source, target)
    assert sorted(chosen) == list(range(6))
    cost = ((source - target[chosen]) ** 2).sum()
    for _ in range(50):
        assert cost <= ((source - target[draw.permutation(6)]) ** 2).sum() + 1e-9


def test_pairs_share_their_mean_and_every_condition_gives_as_many() -> None:
    one, other = conditions(2.0)[:2]
    far = Paired(one.source + 7, one.target, one.effect)
    pairs = minibatch_pairs([far, Paired(other.source[:40], other.target[:25], -other.effect)], seed=0)
    assert pairs.source.shape == pairs.target.shape == (N_PAIRS, N)
    assert (pairs.source - pairs.target).mean(0) == pytest.approx(0, abs=0.1)
    assert (pairs.effect[:, 0] > 0).mean() == pytest.approx(0.5, abs=0.05)


def test_components_are_orthonormal_whatever_the_sign_and_scores_undo_them() -> None:
    draw = np.random.default_rng(4)
    x = np.abs(draw.normal(size=(80, 12))) * np.r_[5, 3, np.ones(10)]
    found = Basis.of(sparse.csr_matrix(x), 4, seed=0)
    assert found.loadings @ found.loadings.T == pytest.approx(np.eye(4), abs=1e-9)
    scores = found.scores(sparse.csr_matrix(x))
    assert scores.mean(0) == pytest.approx(0, abs=1e-9)
    assert scores[:, 0].std() == pytest.approx(1)
    rest = x - found.mean - scores @ found.loadings * found.scale
    assert np.abs(rest @ found.loadings.T).max() < 1e-9
