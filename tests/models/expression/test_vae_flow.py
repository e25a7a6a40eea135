"""NB-VAE and latent flow: contracts (padding, keys), algebra against plain NumPy, and what they can learn."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from scipy import stats

from genesim import rng
from genesim.config.model import ExpressionConfig, TrainPlan
from genesim.data.stream import ArrayStream
from genesim.models.expression.flow import LatentFlow
from genesim.models.expression.generator import ExpressionGenerator, block_size, in_blocks
from genesim.models.expression.negative_binomial import log_prob
from genesim.models.expression.vae import GeneStatistics, NbVae
from genesim.train.loop import fit
from genesim.types import Condition, Minibatch

CONFIG = ExpressionConfig(
    n_latent=3,
    dropout=0.1,
    kl_weight=1.0,
    n_layers=1,
    n_hidden=16,
    n_flow_steps=8,
    n_flow_layers=1,
    vae=TrainPlan(n_steps=100),
    flow=TrainPlan(n_steps=300, minibatch_size=128, learning_rate=3e-3, ema_decay=0.98, weight_decay=0.0),
)
KEY = jax.random.key(0)
N_GENES = 7


_loss = nnx.jit(lambda model, minibatch, key, step: model.loss(minibatch, key, step))
_log_rates = nnx.jit(lambda model, z, condition: model.log_rates(z, condition))


@nnx.jit
def _bounds(model: NbVae, minibatch: Minibatch, keys: jax.Array) -> jax.Array:
    return jax.lax.map(lambda key: jnp.stack(model.bound(minibatch, jax.random.split(key, 3))), keys)


def _vae() -> NbVae:
    vae = NbVae(
        GeneStatistics.zeros(N_GENES),
        (3, 2),
        [np.array([0.5, 0.3, 0.2]), np.array([0.5, 0.5])],
        1,
        CONFIG,
        rngs=nnx.Rngs(0),
    )
    vae.offsets.table[...] = jax.random.normal(KEY, vae.offsets.table.shape)
    vae.theta_offsets.table[...] = 0.5 * jax.random.normal(KEY, vae.theta_offsets.table.shape)
    vae.slopes[...] = jax.random.normal(KEY, vae.slopes.shape)
    return vae


def _condition(n: int, categories: np.ndarray | None = None) -> Condition:
    random = np.random.default_rng(0)
    if categories is None:
        categories = np.column_stack([random.integers(0, 3, n), random.integers(0, 2, n)])
    return Condition(categories, random.normal(size=(n, 1)).astype("f"), random.normal(4.0, 0.3, n).astype("f"))


def _flow() -> LatentFlow:
    flow = LatentFlow(np.arange(3.0), np.full(3, 2.0), (4.0, 0.3), (3, 2), 1, CONFIG, rngs=nnx.Rngs(1))
    # Layers that start at zero would hide the condition.
    for block in flow.blocks:
        for layer in (block.modulation, block.outer):
            layer.kernel[...] = 0.3 * jax.random.normal(KEY, layer.kernel.shape)
    flow.outer.kernel[...] = 0.3 * jax.random.normal(KEY, flow.outer.kernel.shape)
    return flow


def _minibatch(model: nnx.Module, n: int) -> Minibatch:
    width = N_GENES if isinstance(model, NbVae) else 6
    values = np.random.default_rng(1).poisson(2.0, (n, width)).astype("f")
    return Minibatch(values, _condition(n), np.ones(n, "f"))


@pytest.mark.parametrize("make", [_vae, _flow])
def test_padding_changes_no_other_loss(make) -> None:
    model = make()
    model.train()
    whole = _minibatch(model, 8)
    values = whole.values.copy()
    values[5:] = 50.0
    padded = Minibatch(values, whole.condition, np.array([1, 1, 1, 1, 1, 0, 0, 0], "f"))
    short = Minibatch(
        whole.values[:5],
        Condition(*(np.asarray(leaf)[:5] for leaf in jax.tree.leaves(whole.condition))),
        np.ones(5, "f"),
    )
    losses = [_loss(model, minibatch, KEY, jnp.int32(3))[0] for minibatch in (whole, padded, short)]
    np.testing.assert_allclose(losses[0][:5], losses[1][:5], rtol=1e-6)
    np.testing.assert_allclose(losses[0][:5], losses[2], rtol=1e-4)
    assert not np.allclose(losses[0][5:], losses[1][5:])


@pytest.mark.parametrize("make", [_vae, _flow])
def test_training_mode_adds_noise_and_keys_decide_it(make) -> None:
    model = make()
    minibatch = _minibatch(model, 8)

    def loss(key: jax.Array) -> np.ndarray:
        return np.asarray(_loss(model, minibatch, key, jnp.int32(3))[0])

    model.eval()
    quiet = loss(KEY)
    model.train()
    np.testing.assert_array_equal(loss(KEY), loss(KEY))
    assert not np.allclose(loss(KEY), quiet)
    assert not np.allclose(loss(KEY), loss(jax.random.key(1)))


def test_rates_sum_to_one_and_offsets_are_fold_changes() -> None:
    vae, z = _vae(), jnp.zeros((2, 3))
    condition = Condition(np.array([[0, 0], [1, 0]]), np.zeros((2, 1)), np.zeros(2))
    log_rates = np.asarray(_log_rates(vae, z, condition))
    np.testing.assert_allclose(np.exp(log_rates).sum(axis=1), 1.0, rtol=1e-5)
    table = np.asarray(vae.offsets.table[...])
    change = (log_rates[1] - log_rates[0]) - (table[1] - table[0])
    np.testing.assert_allclose(change, change[0], atol=1e-5)  # up to the softmax's common factor


def test_an_unknown_level_gets_the_mean_offset() -> None:
    vae, z = _vae(), jnp.zeros((1, 3))
    table = np.asarray(vae.offsets.table[...])
    known = _log_rates(vae, z, Condition(np.array([[0, 1]]), np.zeros((1, 1)), np.zeros(1)))
    unknown = _log_rates(vae, z, Condition(np.array([[-1, 1]]), np.zeros((1, 1)), np.zeros(1)))
    change = np.asarray(unknown - known)[0] - (np.array([0.5, 0.3, 0.2]) @ table[:3] - table[0])
    np.testing.assert_allclose(change, change[0], atol=1e-5)


def test_loss_is_the_negative_bound_and_its_kl_is_exact() -> None:
    vae = _vae()
    vae.eval()
    minibatch = _minibatch(vae, 4)
    late = jnp.int32(CONFIG.vae.n_steps)
    loss, info = _loss(vae, minibatch, KEY, late)
    mean, log_sd = (np.asarray(part, np.float64) for part in vae.encode(jnp.asarray(minibatch.values)))
    sd = np.exp(log_sd)
    # KL of N(m, s) from N(0, 1) by numerical integration.
    grid = np.linspace(-30, 30, 20001)
    p = stats.norm.pdf(grid, mean[..., None], sd[..., None])
    integrand = p * (stats.norm.logpdf(grid, mean[..., None], sd[..., None]) - stats.norm.logpdf(grid))
    expected = np.trapezoid(np.where(p > 0, integrand, 0), grid, axis=-1).sum(axis=1)
    np.testing.assert_allclose(info["kl"], expected, rtol=1e-3)
    np.testing.assert_allclose(loss, info["reconstruction"] + info["kl"] + vae.penalty(), rtol=1e-5)
    early = _loss(vae, minibatch, KEY, jnp.int32(-1))[0]
    np.testing.assert_allclose(loss - early, info["kl"], rtol=1e-3)


def test_the_bound_is_below_the_marginal_likelihood() -> None:
    vae = _vae()
    vae.eval()
    minibatch = _minibatch(vae, 3)
    likelihood, kl = _bounds(vae, minibatch, jax.random.split(jax.random.key(1), 300)).mean(axis=0)
    z = jax.random.normal(KEY, (20000, 3))
    for cell in range(3):
        one = Condition(
            *(
                jnp.repeat(jnp.asarray(leaf)[cell : cell + 1], 20000, axis=0)
                for leaf in jax.tree.leaves(minibatch.condition)
            )
        )
        log_mean = one.log_library[:, None] + _log_rates(vae, z, one)
        given = log_prob(minibatch.values[cell], log_mean, vae.log_dispersion(one)).sum(axis=1)
        marginal = float(jax.scipy.special.logsumexp(given) - np.log(20000))
        assert likelihood[cell] - kl[cell] < marginal + 0.1


def test_generator_draws_do_not_depend_on_chunks_and_use_the_library() -> None:
    generator = ExpressionGenerator(_vae(), _flow())
    condition = _condition(9)
    counts, rates = generator.sample(KEY, condition).toarray(), generator.rates(KEY, condition)
    np.testing.assert_allclose(rates.sum(axis=1), 1.0, rtol=1e-5)
    tail = Condition(*(np.asarray(leaf)[6:] for leaf in jax.tree.leaves(condition)))
    np.testing.assert_allclose(generator.rates(KEY, tail, start=6), rates[6:], rtol=1e-4)
    np.testing.assert_array_equal(generator.sample(KEY, tail, start=6).toarray(), counts[6:])
    many = _condition(3000, np.zeros((3000, 2), int))
    many = Condition(many.categories, many.continuous, np.full(3000, np.log(70.0), "f"))
    assert generator.sample(KEY, many).sum(axis=1).mean() == pytest.approx(70.0, rel=0.08)


def test_in_blocks_fills_up_the_last_block() -> None:
    sizes = []

    def double(rows: np.ndarray, first: int) -> np.ndarray:
        sizes.append(len(rows))
        return 2 * rows[:, None] + 0 * first

    np.testing.assert_array_equal(in_blocks(double, np.arange(7), 7, 3)[:, 0], 2 * np.arange(7))
    assert sizes == [3, 3, 3]
    assert block_size(10) == 2048
    assert block_size(10**7) == 16


@pytest.mark.slow
def test_flow_learns_two_conditional_distributions() -> None:
    """Latents of level 0 lie on a ring, of level 1 at a point; a Gaussian could not follow them."""
    random = np.random.default_rng(0)
    n = 1500
    level = random.integers(0, 2, n)
    angle = random.uniform(0, 2 * np.pi, n)
    z = np.where(level[:, None] == 0, 2 * np.column_stack([np.cos(angle), np.sin(angle)]), 0.0)
    z = z + random.normal(0, 0.15, (n, 2))
    values = np.hstack([z, np.full((n, 2), 0.05)]).astype("f")
    config = CONFIG.model_copy(update={"n_hidden": 48, "n_flow_layers": 2, "n_latent": 2, "n_flow_steps": 15})
    flow = LatentFlow(z.mean(axis=0), z.std(axis=0), (0.0, 1.0), (2,), 0, config, rngs=nnx.Rngs(0))
    condition = Condition(level[:, None], np.zeros((n, 0)), np.zeros(n))
    result = fit(flow, ArrayStream(values, condition, 128, 0), config.flow, rng.key(0, "flow"))
    one = Condition(np.zeros((400, 1), int), np.zeros((400, 0)), np.zeros(400))
    other = Condition(np.ones((400, 1), int), np.zeros((400, 0)), np.zeros(400))
    ring = np.linalg.norm(result.model.sample(KEY, one), axis=1)
    point = np.linalg.norm(result.model.sample(KEY, other), axis=1)
    assert np.median(ring) == pytest.approx(2.0, abs=0.25)
    assert (ring < 1.0).mean() < 0.1
    assert np.median(point) < 0.5
    margin = Condition(np.full((400, 1), -1), np.zeros((400, 0)), np.zeros(400))
    both = np.linalg.norm(result.model.sample(KEY, margin), axis=1)
    assert 0.25 < (both < 1.0).mean() < 0.75


def test_calibration_restores_the_scale() -> None:
    flow = LatentFlow(np.arange(3.0), np.full(3, 2.0), (4.0, 0.3), (), 0, CONFIG, rngs=nnx.Rngs(1))
    condition = Condition(np.zeros((3000, 0), int), np.zeros((3000, 0)), np.zeros(3000))
    before = np.asarray(flow.sample(KEY, condition))  # untrained: noise times SD plus mean
    np.testing.assert_allclose(before.std(axis=0), 2.0, rtol=0.05)
    flow.calibrate(np.arange(3.0) + 0.9 * (before - np.arange(3.0)) + 0.2)
    after = np.asarray(flow.sample(KEY, condition))
    np.testing.assert_allclose(after.std(axis=0), 2.0 / 0.9, rtol=0.05)
    flow.calibrate(np.arange(3.0) + 0.1 * (before - np.arange(3.0)))
    assert np.asarray(flow.spread[...]).min() == pytest.approx(0.8)  # a broken flow is not blown up
