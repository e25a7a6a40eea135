from __future__ import annotations

import jax
import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from genesim.data.stream import ArrayStream, Stream, WholeStream
from genesim.errors import InputError, TrainingError
from genesim.types import Condition, SparseRows


def condition(n: int) -> Condition:
    """Each row's number stands in every part, so that a wrong join shows."""
    rows = np.arange(n)
    return Condition(rows[:, None].astype(np.int32), rows[:, None] / 10, np.log1p(rows))


def numbered(n: int, n_features: int = 4) -> np.ndarray:
    return np.arange(n)[:, None] * 1.0 + np.zeros((1, n_features))


def test_both_are_streams() -> None:
    assert isinstance(ArrayStream(numbered(3), condition(3), 2, 0), Stream)
    assert isinstance(WholeStream(numbered(3), condition(3), 2), Stream)


@given(n=st.integers(1, 40), size=st.integers(1, 50), seed=st.integers(0, 5))
@settings(max_examples=40, deadline=None)
def test_every_row_is_seen_once_an_epoch(n: int, size: int, seed: int) -> None:
    stream = ArrayStream(numbered(n), condition(n), size, seed)
    seen = np.concatenate([stream(step).values[:, 0] for step in range(n)])  # size epochs exactly
    epochs = seen.reshape(size, n)
    assert (np.sort(epochs, axis=1) == np.arange(n)).all()


def test_a_step_does_not_depend_on_the_steps_asked_before() -> None:
    walked = ArrayStream(numbered(23), condition(23), 5, 1)
    forward = [walked(step).values[:, 0] for step in range(40)]
    for step in (39, 0, 17, 4):
        fresh = ArrayStream(numbered(23), condition(23), 5, 1)
        assert (fresh(step).values[:, 0] == forward[step]).all()


def test_seed_and_name_change_the_order_and_epochs_differ() -> None:
    def order(seed: int, name: str, step: int = 0) -> list[float]:
        return ArrayStream(numbered(30), condition(30), 30, seed, name)(step).values[:, 0].tolist()

    assert order(0, "train") == order(0, "train")
    assert order(0, "train") != order(1, "train")
    assert order(0, "train") != order(0, "validation")
    assert order(0, "train", 0) != order(0, "train", 1)


def place_of_row_0(orders: np.ndarray) -> float:
    """p-value that row 0 stands at every place of the epoch equally often."""
    places = np.argmax(orders == 0, axis=1)
    return float(stats.chisquare(np.bincount(places, minlength=orders.shape[1])).pvalue)


def test_epochs_are_uniform_permutations_and_a_rotation_is_told_apart() -> None:
    n, n_epochs = 6, 1200
    stream = ArrayStream(numbered(n), condition(n), n, 5)
    orders = np.stack([stream.rows(step) for step in range(n_epochs)])
    assert place_of_row_0(orders) > 1e-3
    n_pairs = np.bincount(orders[:, 0] * n + orders[:, 1], minlength=n * n).reshape(n, n)
    assert stats.chisquare(n_pairs[~np.eye(n, dtype=bool)]).pvalue > 1e-3
    rotations = (np.arange(n)[None] + np.arange(n_epochs)[:, None]) % n
    n_pairs = np.bincount(rotations[:, 0] * n + rotations[:, 1], minlength=n * n).reshape(n, n)
    assert stats.chisquare(n_pairs[~np.eye(n, dtype=bool)]).pvalue < 1e-6
    assert place_of_row_0(np.tile(np.arange(n), (n_epochs, 1))) < 1e-6


def test_condition_and_values_stay_joined() -> None:
    minibatch = ArrayStream(numbered(11), condition(11), 4, 2)(7)
    rows = minibatch.values[:, 0]
    assert (minibatch.condition.categories[:, 0] == rows).all()
    np.testing.assert_allclose(minibatch.condition.continuous[:, 0], rows / 10, rtol=1e-6)
    np.testing.assert_allclose(minibatch.condition.log_library, np.log1p(rows), rtol=1e-6)


def test_sparse_values_give_the_same_minibatches_as_dense_ones() -> None:
    dense = np.random.default_rng(0).poisson(0.5, (17, 9)).astype(np.int32)
    for sparse in (sp.csr_matrix(dense), sp.csr_array(dense), sp.csc_matrix(dense)):
        a = ArrayStream(dense, condition(17), 5, 0)
        b = ArrayStream(sparse, condition(17), 5, 0)
        for x, y in zip([*a.ordered(), a(9)], [*b.ordered(), b(9)], strict=True):
            assert isinstance(y.values, np.ndarray)
            assert y.values.dtype == np.float32
            assert (x.values == y.values).all()


@given(
    n=st.integers(1, 30),
    size=st.integers(1, 40),
    density=st.sampled_from([0.0, 0.02, 0.1, 0.4]),
    seed=st.integers(0, 3),
)
@settings(max_examples=25, deadline=None)
def test_sparse_rows_have_one_shape_and_the_dense_values(n: int, size: int, density: float, seed: int) -> None:
    random = np.random.default_rng(seed)
    dense = random.poisson(3.0, (n, 12)) * (random.random((n, 12)) < density)
    dense[random.integers(0, n)] = 7  # one row with far more values than the others
    a, b = ArrayStream(dense, condition(n), size, seed), ArrayStream(sp.csr_matrix(dense), condition(n), size, seed)
    shapes = set()
    for x, y in zip([*a.ordered(), a(0), a(1), a(n)], [*b.ordered(), b(0), b(1), b(n)], strict=True):
        shapes.add(tuple(leaf.shape for leaf in jax.tree.leaves(y)))
        np.testing.assert_array_equal(x.values, np.asarray(y.dense().values))
    assert len(shapes) == 1


def test_sparse_rows_travel_only_where_they_are_fewer_bytes() -> None:
    dense = np.zeros((40, 100), np.int32)
    dense[:, 7] = np.arange(40)
    few = ArrayStream(sp.csr_matrix(dense), condition(40), 8, 0)(3)
    assert isinstance(few.values, SparseRows)
    assert few.values.data.shape == (8,)
    assert few.values.data.dtype == np.float32
    np.testing.assert_array_equal(few.dense().values[:, 7], few.condition.categories[:, 0])
    assert isinstance(ArrayStream(sp.csr_matrix(dense + 1), condition(40), 8, 0)(3).values, np.ndarray)
    assert isinstance(WholeStream(sp.csr_matrix(dense), condition(40), 8)(0).values, np.ndarray)


def test_repeated_entries_of_a_sparse_matrix_are_summed() -> None:
    twice = sp.csr_matrix((np.ones(3), np.array([4, 4, 2]), np.array([0, 3, 3])), shape=(2, 30))
    found = ArrayStream(twice, condition(2), 2, 0)(0).dense().values
    np.testing.assert_array_equal(np.asarray(found).max(axis=0), twice.toarray().max(axis=0))
    assert not twice.has_canonical_format


def test_alleles_stay_int8() -> None:
    alleles = np.array([[0, 1], [-1, 1], [1, 0]], np.int8)
    assert ArrayStream(alleles, condition(3), 2, 0)(0).values.dtype == np.int8
    whole = WholeStream(alleles, condition(3), 2)(0)
    assert whole.values.dtype == np.int8
    assert (whole.values[:3] == alleles).all()


@pytest.mark.parametrize("size", [1, 3, 4, 7, 20])
def test_ordered_gives_each_row_once_in_order_in_one_shape(size: int) -> None:
    for stream in (
        ArrayStream(numbered(7), condition(7), size, 0),
        WholeStream(numbered(7), condition(7), size),
    ):
        minibatches = list(stream.ordered())
        assert {m.values.shape for m in minibatches} == {(size, 4)}
        weight = np.concatenate([m.weight for m in minibatches])
        rows = np.concatenate([m.values[:, 0] for m in minibatches])
        assert (rows[weight == 1] == np.arange(7)).all()
        assert set(weight) <= {0.0, 1.0}
        assert np.isfinite(rows).all()


@pytest.mark.parametrize(("n", "size", "padded"), [(7, 3, 9), (6, 3, 6), (2, 5, 5)])
def test_whole_stream_pads_to_a_multiple(n: int, size: int, padded: int) -> None:
    stream = WholeStream(numbered(n), condition(n), size)
    minibatch = stream(0)
    assert minibatch.values.shape[0] == padded
    assert minibatch.weight.sum() == n == stream.n_examples
    assert (minibatch.values[:n, 0] == np.arange(n)).all()
    assert stream(5) is minibatch


def test_fingerprint_tells_every_difference() -> None:
    values, given_condition = numbered(9), condition(9)
    other = values.copy()
    other[4, 2] = np.nextafter(other[4, 2], np.inf)
    shifted = Condition(given_condition.categories + 1, given_condition.continuous, given_condition.log_library)
    prints = [
        ArrayStream(values, given_condition, 4, 0).fingerprint,
        ArrayStream(other, given_condition, 4, 0).fingerprint,
        ArrayStream(values, shifted, 4, 0).fingerprint,
        ArrayStream(values, given_condition, 3, 0).fingerprint,
        ArrayStream(values, given_condition, 4, 1).fingerprint,
        ArrayStream(values, given_condition, 4, 0, "x").fingerprint,
        ArrayStream(sp.csr_matrix(values), given_condition, 4, 0).fingerprint,
        WholeStream(values, given_condition, 4).fingerprint,
    ]
    assert len(set(prints)) == len(prints)
    assert prints[0] == ArrayStream(values.copy(), condition(9), 4, 0).fingerprint


def test_bad_input_is_refused_by_name() -> None:
    with pytest.raises(InputError, match=r"condition.categories has 3 rows, values have 4"):
        ArrayStream(numbered(4), condition(3), 2, 0)
    with pytest.raises(InputError, match="minibatch_size is 0"):
        WholeStream(numbered(4), condition(4), 0)
    with pytest.raises(InputError, match="1 dimensions"):
        ArrayStream(np.zeros(4), condition(4), 2, 0)
    for stream in (ArrayStream(numbered(0), condition(0), 2, 0), WholeStream(numbered(0), condition(0), 2)):
        with pytest.raises(TrainingError, match="no examples"):
            stream(0)
