"""The residual of mean effects: a planted interaction is found by nested cross-validation, noise is refused."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from genesim.models.perturbation.candidates import Candidates
from genesim.models.perturbation.heldout import HeldOut, hold_out
from genesim.models.perturbation.kernels import Embedding
from genesim.models.perturbation.library import EffectLibrary
from genesim.models.perturbation.nested import Recipe, Verdict, learned_residual, tried
from genesim.models.perturbation.programs import Axes, Told, Vocabulary
from genesim.models.perturbation.residual import ResidualEffect, fit_residual, targets_of
from genesim.models.perturbation.stack import Stack, cross_fitted, fit_stack

N_GENES, N_SINGLE, N_DOUBLE, NOISE = 80, 10, 30, 0.1
RECIPE = Recipe(10, 0.1, 5, 20, 200, 0)


def true_effects(dose: np.ndarray, synergy: float) -> np.ndarray:
    """Singles lie in four programs; a double adds a fifth, as the product of its parts' places in the first."""
    draw = np.random.default_rng(0)
    programs = np.linalg.qr(draw.normal(size=(N_GENES, 5)))[0].T * np.sqrt(N_GENES)
    place = 0.25 * draw.normal(size=(dose.shape[1], 4))
    first = dose * place[:, 0]
    product = (first.sum(1) ** 2 - (first**2).sum(1)) / 2
    return dose @ place @ programs[:4] + synergy * 4 * product[:, None] * programs[4]


def pairs() -> np.ndarray:
    """Doses of all doubles, in an order without a pattern."""
    every = list(combinations(range(N_SINGLE), 2))
    dose = np.zeros((len(every), N_SINGLE))
    for row, i in enumerate(np.random.default_rng(1).permutation(len(every))):
        dose[row, list(every[i])] = 1
    return dose


def library_of(truth: np.ndarray, dose: np.ndarray) -> EffectLibrary:
    effect = truth + NOISE * np.random.default_rng(2).normal(size=truth.shape)
    se = np.full(truth.shape, NOISE)
    context, target = np.zeros(len(dose), np.int64), np.full(dose.shape[1], -1)
    return EffectLibrary(context, dose, effect, se, effect, se, target, shrinks=True).shrunken()


def screen(synergy: float) -> EffectLibrary:
    dose = np.vstack([np.eye(N_SINGLE), pairs()[:N_DOUBLE]])
    return library_of(true_effects(dose, synergy), dose)


def decided(library: EffectLibrary, regime: str = "combination") -> tuple[HeldOut, Stack, Verdict]:
    held = hold_out(library, regime, 10, 0.1, 5, 0)
    assert held is not None
    stack, _ = fit_stack(held, regime)
    return held, stack, tried(library, regime, held, stack, RECIPE)


@pytest.fixture(scope="module")
def synergy() -> tuple[EffectLibrary, Stack, Verdict]:
    library = screen(1.0)
    _, stack, verdict = decided(library)
    return library, stack, verdict


def test_an_interaction_that_no_candidate_expresses_is_found_and_used(
    synergy: tuple[EffectLibrary, Stack, Verdict],
) -> None:
    library, stack, verdict = synergy
    assert verdict.gate.open
    assert verdict.gate.n == N_DOUBLE
    assert verdict.gate.after < 0.6 * verdict.gate.before
    assert verdict.residual is not None
    assert 0 < verdict.residual.n_steps < RECIPE.n_steps
    # Doubles that nobody measured, against the truth without noise.
    new = pairs()[N_DOUBLE:]
    truth = true_effects(new, 1.0)
    made = Candidates(library, 10, 0.1)
    plain = np.stack([verdict.stack.weight @ made.all(0, dose) for dose in new])
    words = verdict.residual.vocabulary
    nothing = np.zeros(N_GENES, bool)
    more = [verdict.residual.of(words.told(made, (), 0, d, p), nothing) for d, p in zip(new, plain, strict=True)]
    before, after = (((p - truth) ** 2).mean() for p in (plain, plain + np.stack(more)))
    assert after < 0.6 * before
    assert verdict.stack.gain > stack.gain
    assert [record["method"] for record in verdict.scores] == ["without_residual", "with_residual"]
    assert verdict.scores[1]["pearson_delta"] > verdict.scores[0]["pearson_delta"]


def test_intervals_are_those_of_the_prediction_that_is_used(synergy: tuple[EffectLibrary, Stack, Verdict]) -> None:
    _, stack, verdict = synergy
    at = [0.5, 0.8, 0.9, 0.95]
    assert verdict.stack.coverage == pytest.approx(at, abs=0.06)
    d, s, a = np.zeros(N_GENES), np.zeros(N_GENES), np.full(N_GENES, 0.05)
    assert verdict.stack.half_width(d, s, a, 0.9).mean() < stack.half_width(d, s, a, 0.9).mean()


def test_noise_is_refused() -> None:
    dose = screen(0.0).dose
    held, stack, verdict = decided(library_of(np.zeros((len(dose), N_GENES)), dose))
    assert not verdict.gate.open
    assert verdict.gate.n == len(held.row)
    assert verdict.residual is None
    assert verdict.stack is stack
    # Training stops before it does harm.
    assert verdict.gate.after < 1.05 * verdict.gate.before


def test_too_few_conditions_decide_nothing() -> None:
    library = screen(1.0)
    few = library.take(np.arange(N_SINGLE + 2))
    held = hold_out(few, "combination", 10, 0.1, 5, 0)
    stack, _ = fit_stack(held, "combination")
    verdict = tried(few, "combination", held, stack, RECIPE)
    assert not verdict.gate.open
    assert verdict.gate.n == 0
    assert verdict.scores == []


def questions(n: int = 6, k: int = 3) -> Told:
    draw = np.random.default_rng(5)
    present = np.tile([1.0, 1.0, 0.0], (n, 1))
    return Told(draw.normal(size=(n, k)), draw.normal(size=(n, 3, 4)), present, draw.normal(size=(n, 2)))


def network() -> ResidualEffect:
    return ResidualEffect(3, 4, 2, rngs=nnx.Rngs(0))


def moved(module: ResidualEffect) -> ResidualEffect:
    graph, parameters = nnx.split(module)
    return nnx.merge(graph, jax.tree.map(lambda p: p + 0.05, parameters))


def test_an_untrained_residual_is_nothing() -> None:
    assert jnp.array_equal(network()(*map(jnp.asarray, questions().arrays)), jnp.zeros((6, 3)))


def test_components_have_no_order_and_those_that_are_not_there_do_not_count() -> None:
    told, net = questions(), moved(network())
    found = net(*map(jnp.asarray, told.arrays))
    turned = replace(told, parts=told.parts[:, [1, 0, 2]])
    other = told.parts.copy()
    other[:, 2] = 1e3
    for same in (turned, replace(told, parts=other)):
        assert net(*map(jnp.asarray, same.arrays)) == pytest.approx(np.asarray(found), abs=1e-5)
    assert float(jnp.abs(found).min()) > 0


def test_gradients_are_finite_and_reach_every_layer() -> None:
    graph, parameters = nnx.split(moved(network()))
    arrays = tuple(map(jnp.asarray, questions().arrays))
    ones = jnp.ones((6, 3))
    gradient = jax.grad(lambda p: nnx.merge(graph, p).losses(arrays, 2 * ones, ones).sum())(parameters)
    for leaf in jax.tree.leaves(gradient):
        assert jnp.isfinite(leaf).all()
        assert jnp.abs(leaf).max() > 0


def test_the_same_seed_trains_the_same_residual() -> None:
    library = screen(1.0)
    held = hold_out(library, "combination", 10, 0.1, 5, 0)
    assert held is not None
    prediction = cross_fitted(held, "combination")[0]["model"]
    recipe = replace(RECIPE, n_steps=100)
    first, again = (learned_residual(library, "combination", held, prediction, recipe, ()) for _ in range(2))
    told = first.vocabulary.told(Candidates(library, 10, 0.1), (), 0, pairs()[-1], prediction[0])
    effects = [residual.of(told, np.zeros(N_GENES, bool)) for residual in (first, again)]
    assert np.array_equal(*effects)
    assert np.abs(effects[0]).max() > 0


def test_target_genes_are_left_to_the_stack() -> None:
    vocabulary = Vocabulary.of(screen(1.0), (), 5)
    made, nothing = Candidates(screen(1.0), 10, 0.1), np.zeros(N_GENES)
    told = Told.together([vocabulary.told(made, (), 0, dose, nothing) for dose in pairs()])
    residual = np.tile(vocabulary.programs.directions[0], (len(pairs()), 1))
    used = np.ones(residual.shape, bool)
    found = fit_residual(vocabulary, told, residual, 0.01 * np.ones(residual.shape), used, np.arange(len(used)), 60, 0)
    one = Told(*(a[:1] for a in told.arrays))
    target = np.arange(N_GENES) == 4
    effect = found.of(one, target)
    assert effect[4] == 0
    assert effect[~target] == pytest.approx(residual[0, ~target], abs=0.25 * np.abs(residual).max())


def test_residuals_as_scores_give_back_the_residual_and_noisy_conditions_count_less() -> None:
    vocabulary = Vocabulary.of(screen(1.0), (), 5)
    directions = vocabulary.programs.directions
    coefficient = np.random.default_rng(4).normal(size=(7, 5))
    residual, se = coefficient @ directions, np.full((7, N_GENES), 0.01)
    se[3] = 10
    scores, weight, unit = targets_of(vocabulary, residual, se, np.ones(se.shape, bool))
    back = (unit * scores / (directions**2).sum(1)) @ directions
    assert back == pytest.approx(residual, abs=1e-9)
    assert weight.mean() == pytest.approx(1)
    assert weight[3].max() < 0.1 * np.delete(weight, 3, 0).min()


def test_axes_are_orthogonal_and_their_first_scores_have_unit_spread() -> None:
    points = np.random.default_rng(6).normal(size=(40, 9)) * np.r_[5, 3, np.ones(7)] + 2
    axes = Axes.of(points, 4)
    gram = axes.directions @ axes.directions.T
    assert gram == pytest.approx(np.diag(np.diag(gram)), abs=1e-9)
    assert axes.scores(points).mean(0) == pytest.approx(0, abs=1e-9)
    assert axes.scores(points)[:, 0].std() == pytest.approx(1)
    assert not Axes.of(np.ones((5, 3)), 2).directions.any()
    assert not Axes.of(np.zeros((0, 3)), 2).directions.any()


def test_a_prior_and_a_component_that_nobody_knows_are_told_as_unknown() -> None:
    library = screen(0.0)
    values = np.random.default_rng(7).normal(size=(N_SINGLE + 1, 12))
    values[3] = np.nan
    prior = (Embedding("sets", values),)
    vocabulary = Vocabulary.of(library, prior, 6)
    wider = replace(library, dose=np.pad(library.dose, ((0, 0), (0, 1))), target=np.full(N_SINGLE + 1, -1))
    made = Candidates(wider, 10, 0.1, prior)
    dose = np.zeros(N_SINGLE + 1)
    dose[[3, N_SINGLE]] = 1
    told = vocabulary.told(made, prior, -1, dose, np.ones(N_GENES))
    assert told.parts.shape == (1, 2, vocabulary.n_features)
    seen, unseen = told.parts[0]
    assert seen[6] == 1  # its own effect is known,
    assert seen[-1] == 0  # its place in the prior is not;
    assert not seen[8:].any()
    assert unseen[6] == 0
    assert unseen[-1] == 1
    assert not unseen[:6].any()
    assert np.isfinite(told.parts).all()
    assert not told.context.any()
