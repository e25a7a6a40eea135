"""AncHMM: expected counts against enumeration, monotone EM, and recovery of ancestry-specific structure."""

from __future__ import annotations

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from genesim.config.model import HaplotypeConfig
from genesim.errors import ConfigError, TrainingError
from genesim.models.haplotypes.anchmm import AncHmm, block_switch, prior_switch, required_bytes
from genesim.models.haplotypes.independent import fit_independent
from genesim.types import Condition, Minibatch

SMALL = {
    "n_states": 4,
    "minibatch_size": 64,
    "block_size": 1,
    "ancestry_shrinkage": 0.3,
    "transition_pseudocount": 0.2,
}


def minibatch(alleles: np.ndarray, ancestry: np.ndarray, weight: np.ndarray | None = None) -> Minibatch:
    n = len(alleles)
    condition = Condition(ancestry[:, None], np.zeros((n, 0)), np.zeros(n))
    return Minibatch(alleles, condition, np.ones(n) if weight is None else weight)


def config(**values: object) -> HaplotypeConfig:
    return HaplotypeConfig(**(SMALL | values))  # type: ignore[arg-type]


def toy_data(n: int = 120, n_variants: int = 24, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Two ancestries that copy their own two templates with recombination and mutation."""
    stream = np.random.default_rng(seed)
    templates = stream.integers(0, 2, (2, 2, n_variants))
    ancestry = np.arange(n) % 2
    which = np.cumsum(stream.random((n, n_variants)) < 0.05, axis=1) + stream.integers(0, 2, (n, 1))
    alleles = templates[ancestry[:, None], which % 2, np.arange(n_variants)]
    flip = stream.random(alleles.shape) < 0.02
    return (alleles ^ flip).astype(np.int8), ancestry


@nnx.jit
def expected(model: AncHmm, batch: Minibatch) -> dict[str, jax.Array]:
    return model.expect(batch)


@nnx.jit
def maximise(model: AncHmm, statistics: dict[str, jax.Array]) -> None:
    model.maximise(statistics)


def fitted(alleles: np.ndarray, ancestry: np.ndarray, passes: int, **values: object) -> AncHmm:
    model = AncHmm.initialise(jax.random.key(0), alleles, ancestry, int(ancestry.max()) + 1, config(**values))
    for _ in range(passes):
        maximise(model, expected(model, minibatch(alleles, ancestry)))
    return model


def enumerated_counts(
    model: AncHmm, alleles: np.ndarray, ancestry: np.ndarray, weight: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Slow oracle in float64: expected transition and allele counts by summing over all paths."""
    transitions = np.asarray(model.transitions[...], float)
    emission = np.asarray(model.emission[...], float)
    n_variants, n_states = emission.shape
    block = np.arange(n_variants) // model.block_size
    xi, counts = np.zeros_like(transitions), np.zeros((n_variants, 2, n_states))
    for row, code, w in zip(alleles, ancestry, weight, strict=True):
        paths, p = list(itertools.product(range(n_states), repeat=model.n_blocks)), []
        for path in paths:
            value = transitions[code, 0, 0, path[0]]
            for b in range(1, model.n_blocks):
                value *= transitions[code, b, path[b - 1], path[b]]
            for m in np.flatnonzero(row >= 0):
                value *= emission[m, path[block[m]]] if row[m] else 1 - emission[m, path[block[m]]]
            p.append(value)
        for path, value in zip(paths, np.array(p) / np.sum(p) * w, strict=True):
            xi[code, 0, :, path[0]] += value / n_states  # from the uniform state before the first block
            for b in range(1, model.n_blocks):
                xi[code, b, path[b - 1], path[b]] += value
            for m in np.flatnonzero(row >= 0):
                counts[m, row[m], path[block[m]]] += value
    return xi, counts


@pytest.mark.parametrize(
    ("block_size", "window", "n_variants"), [(1, 10_000, 5), (1, 2, 5), (3, 10_000, 10), (2, 6, 9)]
)
def test_expected_counts_equal_enumeration(block_size: int, window: int, n_variants: int) -> None:
    alleles, ancestry = toy_data(10, n_variants)
    alleles[1, 2], alleles[2, :2], alleles[3] = -1, -1, -2
    weight = np.array([1, 1, 1, 1, 0, 1, 2, 1, 1, 1.0])
    model = fitted(alleles, ancestry, 2, n_states=3, window_size=window, minibatch_size=4, block_size=block_size)
    found = expected(model, minibatch(alleles, ancestry, weight))
    weight[3] = 0  # an absent copy
    xi, counts = enumerated_counts(model, alleles, ancestry, weight)
    np.testing.assert_allclose(found["transitions"], xi, atol=2e-5)
    np.testing.assert_allclose(found["alleles"], counts, atol=2e-5)
    likelihood = (model.log_likelihood(alleles, ancestry) * weight).sum()
    assert float(found["log_likelihood"]) == pytest.approx(likelihood, rel=1e-5)


def test_statistics_add_up_over_minibatches_and_padding_adds_nothing() -> None:
    alleles, ancestry = toy_data(10, 5)
    model = fitted(alleles, ancestry, 1, n_states=3, minibatch_size=4)
    whole = expected(model, minibatch(alleles, ancestry))
    first = np.array([1.0] * 6 + [0.0] * 4)
    padded = (np.concatenate([alleles[6:], alleles[:6]]), np.concatenate([ancestry[6:], ancestry[:6]]))
    second = np.array([1.0] * 4 + [0.0] * 6)
    parts = (
        expected(model, minibatch(alleles, ancestry, first)),
        expected(model, minibatch(*padded, second)),
    )
    for name, value in whole.items():
        np.testing.assert_allclose(parts[0][name] + parts[1][name], value, rtol=1e-4, atol=1e-5)


def log_posterior(model: AncHmm, alleles: np.ndarray, ancestry: np.ndarray, pseudocounts: np.ndarray) -> float:
    alpha = model.hyperparameters.emission_pseudocount
    transitions, emission = (np.asarray(p[...], float) for p in (model.transitions, model.emission))
    frequency = np.asarray(model.frequency[...], float)[:, None]
    of_transitions = (pseudocounts * np.log(transitions)).sum()
    of_emission = 2 * alpha * (frequency * np.log(emission) + (1 - frequency) * np.log(1 - emission)).sum()
    return float(model.log_likelihood(alleles, ancestry).sum() + of_transitions + of_emission)


@pytest.mark.parametrize("block_size", [1, 5])
def test_no_pass_lowers_the_log_posterior(block_size: int) -> None:
    alleles, ancestry = toy_data()
    alleles[np.random.default_rng(1).random(alleles.shape) < 0.05] = -1
    model = fitted(alleles, ancestry, 0, block_size=block_size)
    gains = []
    for _ in range(12):
        statistics = expected(model, minibatch(alleles, ancestry))
        pooled = np.asarray(model.transition_pseudocounts(statistics["transitions"]), float)
        before = log_posterior(model, alleles, ancestry, pooled)
        maximise(model, statistics)
        gains.append(log_posterior(model, alleles, ancestry, pooled) - before)
    assert min(gains) > -0.02  # float32 sums over 2,880 alleles
    assert gains[0] > 10
    worse = AncHmm(
        model.transitions[...],
        1 - model.emission[...],
        model.switch[...],
        model.frequency[...],
        model.hyperparameters,
        block_size=block_size,
    )
    assert log_posterior(worse, alleles, ancestry, pooled) < log_posterior(model, alleles, ancestry, pooled)


def test_parameters_stay_distributions() -> None:
    alleles, ancestry = toy_data()
    model = fitted(alleles, ancestry, 4)
    np.testing.assert_allclose(np.asarray(model.transitions[...]).sum(-1), 1, atol=1e-5)
    np.testing.assert_allclose(
        model.transitions[:, 0], np.asarray(model.transitions[:, 0])[:, :1] * jnp.ones((1, 4, 1))
    )
    emission = np.asarray(model.emission[...])
    assert emission.min() > 0
    assert emission.max() < 1


def test_it_learns_linkage_that_the_null_cannot() -> None:
    alleles, ancestry = toy_data(160)
    train, held_out = slice(0, 120), slice(120, 160)
    model = fitted(alleles[train], ancestry[train], 10)
    null = fit_independent(alleles[train], ancestry[train], 2)
    ours = model.log_likelihood(alleles[held_out], ancestry[held_out]).mean()
    assert ours > null.log_likelihood(alleles[held_out], ancestry[held_out]).mean() + 1.5
    assert ours > model.log_likelihood(alleles[held_out], 1 - ancestry[held_out]).mean() + 1.5
    hidden = alleles[held_out].copy()
    hidden[:, 1::3] = -1
    right = (model.impute(hidden, ancestry[held_out]) > 0.5) == alleles[held_out]
    baseline = (null.impute(hidden, ancestry[held_out]) > 0.5) == alleles[held_out]
    assert right[:, 1::3].mean() > baseline[:, 1::3].mean() + 0.05
    drawn = model.sample(jax.random.key(1), np.zeros(600, int)).alleles
    truth = alleles[ancestry == 0]
    assert np.abs(drawn.mean(0) - truth.mean(0)).mean() < 0.06
    assert np.abs(drawn.mean(0) - alleles[ancestry == 1].mean(0)).mean() > 0.2


def test_a_small_group_borrows_from_the_pool() -> None:
    alleles, ancestry = toy_data(160)
    few = np.concatenate([np.flatnonzero(ancestry == 0), np.flatnonzero(ancestry == 1)[:6]])
    held_out, codes = alleles[ancestry == 1][10:], np.ones(70, int)
    plain, borrowing = (
        fitted(alleles[few], ancestry[few], 8, ancestry_shrinkage=weight, transition_pseudocount=1e-3)
        for weight in (1e-3, 3.0)
    )
    gain = borrowing.log_likelihood(held_out, codes) - plain.log_likelihood(held_out, codes)
    assert gain.mean() > 0.2


def test_what_a_group_borrows_leads_to_the_states_that_it_visits_itself() -> None:
    alleles, ancestry = toy_data()
    model = fitted(alleles, ancestry, 0, ancestry_shrinkage=3.0, transition_pseudocount=1e-3)
    counts = np.zeros((2, 24, 4, 4), np.float32)
    counts[0, :, [0, 1, 2], [0, 1, 0]] = 50  # a large group: 0 -> 0, 1 -> 1, and out of 2 into 0
    counts[1, :, [2, 3], [3, 3]] = 5  # a small one: 2 -> 3, 3 -> 3
    borrowed = np.asarray(model.transition_pseudocounts(counts))[1, 5]
    np.testing.assert_allclose(borrowed.sum(1), 3 + 1e-3, rtol=1e-3)
    pool = counts.sum(0)[5, 2]
    assert pool[0] == 10 * pool[3]  # the pool says 0 ...
    assert borrowed[2, 3] > 2 * borrowed[2, 0]  # ... which this group never visits


def test_switches_within_a_block_count_for_its_entry() -> None:
    rho = block_switch(prior_switch(10, 0.1), 4)
    np.testing.assert_allclose(rho, [1, 1 - 0.9**4, 1 - 0.9**4])
    np.testing.assert_allclose(block_switch(prior_switch(5, 0.1), 1), prior_switch(5, 0.1))


def test_more_states_than_haplotypes_still_differ() -> None:
    alleles, ancestry = toy_data(4, 6)
    emission = np.asarray(fitted(alleles, ancestry, 0, n_states=8).emission[...])
    assert len(np.unique(emission.T.round(4), axis=0)) == 8


def test_the_key_decides_the_start() -> None:
    alleles, ancestry = toy_data()
    start = [
        np.asarray(AncHmm.initialise(jax.random.key(k), alleles, ancestry, 2, config()).emission[...])
        for k in (0, 0, 1)
    ]
    np.testing.assert_array_equal(start[0], start[1])
    assert (start[0] != start[2]).any()


def test_genetic_map_sets_where_switches_are_expected() -> None:
    flat = prior_switch(5, 0.01)
    np.testing.assert_allclose(flat, [1, 0.01, 0.01, 0.01, 0.01])
    hot = prior_switch(5, 0.01, np.array([0, 0.1, 0.1, 3.0, 3.1]))
    assert hot.argsort()[-2] == 3
    assert hot[2] < 1e-6
    assert np.log1p(-hot[1:]).sum() == pytest.approx(np.log1p(-flat[1:]).sum(), rel=1e-4)
    with pytest.raises(ConfigError, match="non-decreasing"):
        prior_switch(3, 0.01, np.array([0, 2.0, 1.0]))


def test_memory_is_declared_and_nothing_to_learn_from_is_refused() -> None:
    assert required_bytes(3, 10_000, HaplotypeConfig()) > 4 * 3 * 10_000 * 32**2
    with pytest.raises(TrainingError, match="0 variants"):
        AncHmm.initialise(jax.random.key(0), np.zeros((3, 0), np.int8), np.zeros(3, int), 1, config())
