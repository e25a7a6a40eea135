"""Expected expression given a cell's own counts: the Gamma-Poisson posterior against integration, and its limits."""

import jax
import numpy as np
import pytest
from flax import nnx
from scipy import stats

from genesim.config.model import ExpressionConfig
from genesim.models.expression import posterior
from genesim.models.expression.generator import take
from genesim.models.expression.posterior import given_counts, rates_at
from genesim.models.expression.vae import GeneStatistics, NbVae
from genesim.types import Condition

N_GENES, N_LATENT = 6, 3


@pytest.fixture(scope="module")
def vae() -> NbVae:
    config = ExpressionConfig(n_latent=N_LATENT, n_hidden=16, n_layers=1)
    made = NbVae(GeneStatistics.zeros(N_GENES), (2,), [np.array([0.5, 0.5])], 0, config, rngs=nnx.Rngs(0))
    made.offsets.table[...] = jax.random.normal(jax.random.key(0), made.offsets.table.shape)
    made.log_theta[...] = np.linspace(-2.0, 2.0, N_GENES)
    made.theta_offsets.table[...] = 0.5 * jax.random.normal(jax.random.key(1), made.theta_offsets.table.shape)
    return made


def _cells(n: int) -> tuple[np.ndarray, np.ndarray, Condition]:
    """Latents, counts and conditions."""
    random = np.random.default_rng(0)
    condition = Condition(
        random.integers(-1, 2, (n, 1)), np.zeros((n, 0), "f"), np.log(random.uniform(5, 60, n)).astype("f")
    )
    counts = random.poisson(random.gamma(1.0, 6.0, (n, N_GENES))).astype("f")
    return random.normal(size=(n, N_LATENT)).astype("f"), counts, condition


def test_it_is_the_posterior_mean_of_a_gamma_rate_seen_through_poisson_counts(vae: NbVae) -> None:
    z, counts, condition = _cells(4)
    rates = rates_at(vae, z, condition)
    mean = rates * np.exp(condition.log_library)[:, None]
    theta = np.exp(np.asarray(vae.log_dispersion(condition)))

    log_rate = np.linspace(-60.0, 8.0, 40_001)  # theta below 1 puts mass at rates near 0

    def expected(mean: float, theta: float, count: float) -> float:
        prior = stats.gamma.pdf(np.exp(log_rate), theta, scale=mean / theta) * np.exp(log_rate)
        weight = prior * stats.poisson.pmf(count, np.exp(log_rate))
        return float(np.trapezoid(weight * np.exp(log_rate), log_rate) / np.trapezoid(weight, log_rate))

    slow = np.vectorize(expected)(mean, theta, counts)
    found = given_counts(vae, rates, z, counts, condition)
    np.testing.assert_allclose(found, slow / slow.sum(axis=1, keepdims=True), rtol=1e-4)
    assert np.abs(found / rates - 1).max() > 0.5  # the rates alone are another answer


def test_a_cell_depends_on_its_own_counts_only(vae: NbVae, monkeypatch: pytest.MonkeyPatch) -> None:
    z, counts, condition = _cells(40)
    rates = rates_at(vae, z, condition)
    whole = given_counts(vae, rates, z, counts, condition)
    monkeypatch.setattr(posterior, "block_size", lambda n_genes: 16)
    np.testing.assert_allclose(given_counts(vae, rates, z, counts, condition), whole, rtol=1e-6)
    part = np.array([31, 3, 8])
    found = given_counts(vae, rates[part], z[part], counts[part], take(condition, part))
    np.testing.assert_allclose(found, whole[part], rtol=1e-6)


def test_many_cells_compile_once(vae: NbVae, monkeypatch: pytest.MonkeyPatch) -> None:
    traces = []
    inner = NbVae.log_dispersion
    monkeypatch.setattr(NbVae, "log_dispersion", lambda self, condition: traces.append(1) or inner(self, condition))
    monkeypatch.setattr(posterior, "block_size", lambda n_genes: 24)  # a shape that no other test has
    z, counts, condition = _cells(100)
    given_counts(vae, rates_at(vae, z, condition), z, counts, condition)
    assert len(traces) == 1


def test_without_overdispersion_counts_add_nothing(vae: NbVae) -> None:
    z, counts, condition = _cells(10)
    graph, state = nnx.split(vae)
    poisson = nnx.merge(graph, jax.tree.map(lambda leaf: leaf, state))
    poisson.log_theta[...], poisson.theta_offsets.table[...] = np.full(N_GENES, 50.0), np.zeros((2, N_GENES))
    rates = rates_at(poisson, z, condition)
    # log theta ends at 7: a pull of a thousandth or so a count.
    np.testing.assert_allclose(given_counts(poisson, rates, z, counts, condition), rates, rtol=0.05)
    assert np.abs(given_counts(vae, rates, z, counts, condition) / rates - 1).max() > 0.5


def test_another_conditions_rates_keep_the_cells_own_deviation(vae: NbVae) -> None:
    """What a cell has more of than its own condition expects, it has more of under another condition too."""
    z, counts, condition = _cells(10)
    other = Condition(1 - np.abs(condition.categories), condition.continuous, condition.log_library)
    own, moved = rates_at(vae, z, condition), rates_at(vae, z, other)
    ratio = given_counts(vae, moved, z, counts, condition) / given_counts(vae, own, z, counts, condition)
    ratio /= moved / own
    np.testing.assert_allclose(ratio, np.broadcast_to(ratio[:, :1], ratio.shape), rtol=1e-4)
