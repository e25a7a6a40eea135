"""Library sizes: per-group distribution, kept variance, borrowed strength, keyed rows."""

import jax
import numpy as np
from scipy import stats

from genesim.models.expression.library import LibrarySampler

KEY = jax.random.key(5)


def _fitted() -> tuple[LibrarySampler, np.ndarray, np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    label = np.repeat([0, 1, 2], [900, 900, 4])
    batch = np.tile([0, 1], 902)
    # Label 0 is bimodal, which a log-normal could not follow.
    value = np.where(label == 0, random.choice([6.0, 8.0], 1804), 7.0) + 0.5 * batch
    value = value + random.normal(0, 0.2, 1804)
    return LibrarySampler.fit(value, label, batch, 3, 2), value, label, batch


def _draw(sampler: LibrarySampler, label: int, batch: int, n: int = 1500) -> np.ndarray:
    return sampler.sample(KEY, np.full(n, label), np.full(n, batch))


def test_draws_follow_their_group_and_not_another() -> None:
    sampler, value, label, batch = _fitted()
    own = value[(label == 0) & (batch == 1)]
    drawn = _draw(sampler, 0, 1)
    assert stats.ks_2samp(drawn, own).statistic < 0.08
    assert stats.ks_2samp(drawn, value[(label == 0) & (batch == 0)]).statistic > 0.2
    assert stats.ks_2samp(drawn, np.random.default_rng(1).normal(own.mean(), own.std(), 1500)).statistic > 0.1


def test_smoothing_keeps_the_variance_and_copies_nothing() -> None:
    sampler, value, _, _ = _fitted()
    drawn = _draw(sampler, -1, -1, 6000)
    assert abs(drawn.std() / value.std() - 1) < 0.04
    assert not np.isin(drawn, value).any()


def test_a_rare_label_is_drawn_between_itself_and_the_pool() -> None:
    sampler, value, label, _ = _fitted()
    rare = _draw(sampler, 2, -1)
    assert rare.std() > 1.2 * value[label == 2].std()
    assert abs(rare.mean() - value.mean()) < abs(value[label == 2].mean() - value.mean()) + 0.1


def test_rows_are_keyed() -> None:
    sampler, *_ = _fitted()
    label, batch = np.arange(9) % 3, np.arange(9) % 2
    whole = sampler.sample(KEY, label, batch)
    np.testing.assert_array_equal(whole[4:], sampler.sample(KEY, label[4:], batch[4:], start=4))
