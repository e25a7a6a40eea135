"""Blocks: row-keyed draws, level sums, and no mixing of rows."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from scipy import stats

from genesim.nn.embedding import LevelSum, time_features
from genesim.nn.mlp import ConditionedBlock, Mlp
from genesim.nn.random import dropout, row_bernoulli, row_keys, row_normal

KEY = jax.random.key(3)


def test_rows_do_not_depend_on_their_number_or_chunk() -> None:
    whole = row_normal(row_keys(KEY, 10), 4)
    np.testing.assert_array_equal(whole[:3], row_normal(row_keys(KEY, 3), 4))
    np.testing.assert_array_equal(whole[6:], row_normal(row_keys(KEY, 4, start=6), 4))


def test_row_normal_is_standard_normal_and_rows_differ() -> None:
    draws = np.asarray(row_normal(row_keys(KEY, 2000), 3))
    assert stats.kstest(draws.ravel(), "norm").pvalue > 1e-3
    assert stats.kstest(draws.ravel() + 0.1, "norm").pvalue < 1e-3
    assert abs(np.corrcoef(draws[:-1, 0], draws[1:, 0])[0, 1]) < 0.1


def test_row_bernoulli_has_its_probability() -> None:
    mean = float(row_bernoulli(row_keys(KEY, 500), 0.3, 20).mean())
    assert mean == pytest.approx(0.3, abs=0.02)


def test_dropout_keeps_the_mean_and_is_off_without_keys() -> None:
    x = jnp.ones((400, 50))
    dropped = dropout(x, 0.4, row_keys(KEY, 400))
    assert set(np.unique(np.round(np.asarray(dropped), 4))) == {0.0, np.float32(1.6667)}
    assert float(dropped.mean()) == pytest.approx(1.0, abs=0.03)
    np.testing.assert_array_equal(dropout(x, 0.4, None), x)


def test_level_sum_adds_one_vector_a_covariate_and_nothing_for_unknown() -> None:
    module = LevelSum((2, 3), 4, rngs=nnx.Rngs(0))
    table = np.asarray(module.table[...])
    codes = np.array([[0, 0], [1, 2], [-1, 1], [-1, -1], [7, 0]])
    expected = [table[0] + table[2], table[1] + table[4], table[3], np.zeros(4), table[2]]
    np.testing.assert_allclose(module(codes), np.stack(expected), rtol=1e-6)


def test_level_sum_without_covariates_is_zero() -> None:
    assert np.all(np.asarray(LevelSum((), 4, rngs=nnx.Rngs(0))(np.zeros((3, 0), int))) == 0)


def test_mlp_rows_are_independent() -> None:
    module = Mlp(5, 8, 2, 0.5, rngs=nnx.Rngs(0))
    x = jax.random.normal(KEY, (6, 5))
    changed = x.at[4].set(100.0)
    keys = row_keys(KEY, 6)
    np.testing.assert_array_equal(module(x, keys)[:4], module(changed, keys)[:4])
    assert not np.allclose(module(x, keys)[4], module(changed, keys)[4])


def test_conditioned_block_starts_as_the_identity() -> None:
    block = ConditionedBlock(6, rngs=nnx.Rngs(0))
    x = jax.random.normal(KEY, (3, 6))
    np.testing.assert_array_equal(block(x, jnp.ones((3, 6))), x)


def test_time_features_tell_times_apart() -> None:
    features = np.asarray(time_features(jnp.linspace(0, 1, 50), 16))
    gap = np.linalg.norm(features[:, None] - features[None], axis=-1) + 10 * np.eye(50)
    assert features.shape == (50, 16)
    assert gap.min() > 0.05
