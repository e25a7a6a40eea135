"""Kernels over priors: against scikit-learn, and helpful only where priors know something."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from genesim.models.perturbation.candidates import CANDIDATES, Candidates, Screen
from genesim.models.perturbation.heldout import hold_out
from genesim.models.perturbation.kernels import (
    Embedding,
    PriorSmoother,
    gaussian_kernel,
    kernel_ridge_weights,
    left_out_losses,
    neighbour_weights,
    ridge_smoother,
)
from genesim.models.perturbation.library import EffectLibrary
from genesim.models.perturbation.stack import fit_stack

N, N_GENES = 24, 50


def world(seed: int = 0, signal: float = 1.0) -> tuple[np.ndarray, np.ndarray, EffectLibrary]:
    """Places in 3 dimensions, and effects that follow them."""
    random = np.random.default_rng(seed)
    places = random.normal(size=(N, 3))
    effect = signal * np.tanh(places) @ random.normal(size=(3, N_GENES)) + 0.3 * random.normal(size=(N, N_GENES))
    se = np.full(effect.shape, 0.1)
    library = EffectLibrary(np.zeros(N, int), np.eye(N), effect, se, effect, se, np.full(N, -1))
    return places, effect, library


def test_kernel_ridge_is_that_of_scikit_learn() -> None:
    places, effect, _ = world()
    kernel = gaussian_kernel(places, places, 4.0)
    query = gaussian_kernel(places[:1] + 0.3, places, 4.0)[0]
    from sklearn.kernel_ridge import KernelRidge
    from sklearn.preprocessing import KernelCenterer

    centre = KernelCenterer().fit(kernel)
    peer = KernelRidge(alpha=0.7, kernel="precomputed").fit(centre.transform(kernel.copy()), effect - effect.mean(0))
    expected = peer.predict(centre.transform(query[None].copy()))[0] + effect.mean(0)
    weight = kernel_ridge_weights(kernel, query, 0.7)
    np.testing.assert_allclose(weight @ effect, expected, rtol=1e-9, atol=1e-12)
    assert weight.sum() == pytest.approx(1.0)
    np.testing.assert_allclose(ridge_smoother(kernel, 0.7)[3], kernel_ridge_weights(kernel, kernel[3], 0.7), atol=1e-12)


def test_left_out_losses_are_those_of_leaving_out_with_the_intercept_refitted() -> None:
    places, effect, _ = world()
    kernel = gaussian_kernel(places, places, 4.0)
    fast = left_out_losses(ridge_smoother(kernel, 0.5), effect @ effect.T)
    n = N - 1
    for i in (0, 7):
        rest = np.arange(N) != i
        # The intercept is the mean of the residuals, so the kernel may be centred on all or on the rest.
        k = kernel[np.ix_(rest, rest)]
        one = np.ones((n, 1))
        system = np.block([[k + 0.5 * np.eye(n), one], [one.T, np.zeros((1, 1))]])
        solved = np.linalg.solve(system, np.vstack([effect[rest], np.zeros((1, N_GENES))]))
        predicted = kernel[i, rest] @ solved[:-1] + solved[-1]
        assert fast[i] == pytest.approx(((effect[i] - predicted) ** 2).sum(), rel=1e-6)


def test_neighbours_are_the_most_similar() -> None:
    np.testing.assert_allclose(neighbour_weights(np.array([0.1, 0.9, 0.5, 0.9]), 2), [0, 0.5, 0, 0.5])


def test_a_prior_that_knows_nothing_is_not_used_and_one_that_lacks_a_gene_says_nothing() -> None:
    used = {"informative": 0, "shuffled": 0}
    for seed in range(10):
        places, effect, _ = world(seed)
        shuffled = places[np.random.default_rng(seed + 100).permutation(N)]
        for name, at in (("informative", places), ("shuffled", shuffled)):
            used[name] += PriorSmoother({"p": at}, effect @ effect.T).ridge is not None
    assert used["informative"] == 10
    assert used["shuffled"] <= 3
    places, effect, _ = world()
    holes = places.copy()
    holes[:5] = np.nan
    smoother = PriorSmoother({"p": holes}, effect @ effect.T)
    weight = smoother.ridge_weights({"p": places[0]})
    assert weight is not None
    assert not weight[:5].any()
    assert smoother.ridge_weights({}) is None


@pytest.mark.parametrize("shuffle", [False, True])
def test_priors_help_new_perturbations_when_informative_and_do_no_harm_when_shuffled(shuffle: bool) -> None:
    places, _, library = world(3)
    if shuffle:
        places = places[np.random.default_rng(5).permutation(N)]
    held = hold_out(library, "new_perturbation", 3, 0.1, 5, 0, (Embedding("p", places),))
    stack, scores = fit_stack(held, "new_perturbation")
    table = {s["method"]: s for s in scores}
    if shuffle:
        assert table["model"]["mae"] <= 1.05 * table["mean_effect"]["mae"]
        assert not stack.beats_mean
    else:
        assert table["model"]["mae"] < 0.8 * table["mean_effect"]["mae"]
        assert table["model"]["centred_pearson_delta"] > 0.5
        assert stack.beats_mean


@pytest.mark.parametrize("seed", [3, 4, 5])
def test_what_the_screen_itself_says_must_beat_the_mean_effect_while_a_given_prior_is_preferred(seed: int) -> None:
    places, _, library = world(seed)
    shared = np.random.default_rng(1).normal(size=N_GENES)
    library = replace(library, effect=library.effect + shared, shrunk=library.shrunk + shared)

    def used(where: np.ndarray, given: bool) -> set[str]:
        held = hold_out(library, "new_perturbation", 3, 0.1, 5, 0, (Embedding("p", where, given),))
        weight = fit_stack(held, "new_perturbation")[0].weight.reshape(2, -1).sum(0)
        return {CANDIDATES[k] for k in np.flatnonzero(weight)}

    assert used(places, False) == used(places, True) == {"kernel_ridge"}
    shuffled = places[np.random.default_rng(6 if seed == 3 else 7).permutation(N)]
    assert used(shuffled, False) == {"mean_effect"}
    assert used(shuffled, True) == {"kernel_ridge"}


def test_another_screen_is_scaled_to_this_one() -> None:
    _, effect, library = world(4)
    rest = library.take(np.arange(N) != 0)
    made = Candidates(rest, 3, 0.1, (), (Screen("half", 0.5 * effect),))
    at = CANDIDATES.index("other_screen")
    asked = np.eye(N)[0]
    predicted = made.all(0, asked)[at]
    assert np.corrcoef(predicted, effect[0])[0, 1] > 0.98
    assert (predicted @ effect[0]) / (effect[0] @ effect[0]) == pytest.approx(1.0, abs=0.2)
    lacking = np.where(np.arange(N)[:, None] == 0, np.nan, effect)
    np.testing.assert_allclose(
        Candidates(rest, 3, 0.1, (), (Screen("half", lacking),)).all(0, asked)[at], made.all(0, asked)[0]
    )
