"""Shrinkage, candidates and the gated stack on effects whose structure is known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from genesim.models.perturbation.candidates import CANDIDATES, Candidates, EffectLibrary, regime_of
from genesim.models.perturbation.intervals import fit_law, inside
from genesim.models.perturbation.shrinkage import joint_shrinkage, mean_difference
from genesim.models.perturbation.stack import default_stack, fit_stack, hold_out, spread_of

N_GENES = 80


def library_of(
    context: list[int],
    dose: np.ndarray,
    effect: np.ndarray,
    se: float = 0.01,
    target: np.ndarray | None = None,
) -> EffectLibrary:
    dose = np.asarray(dose, float)
    return EffectLibrary(
        np.array(context),
        dose,
        effect,
        np.full(effect.shape, se),
        effect,
        np.full(effect.shape, se),
        np.full(dose.shape[1], -1) if target is None else target,
    )


def test_shrinkage_keeps_large_effects_and_removes_noise() -> None:
    rng = np.random.default_rng(0)
    se = rng.uniform(0.05, 0.2, 3000)
    truth = np.where(rng.random(3000) < 0.05, rng.normal(0, 1, 3000), 0.0)
    seen = truth + se * rng.normal(size=3000)
    (mean,), (sd,) = joint_shrinkage(seen[None], se[None], np.zeros(1, int))
    null, large = truth == 0, np.abs(truth) > 1
    assert ((mean - truth) ** 2).mean() < 0.35 * ((seen - truth) ** 2).mean()
    assert np.abs(mean[null]).mean() < 0.15 * np.abs(seen[null]).mean()
    assert np.abs(mean[large] / seen[large] - 1).mean() < 0.1
    assert (sd**2).mean() == pytest.approx(((mean - truth) ** 2).mean(), rel=0.2)
    # One common prior variance does worse.
    tau = max((seen**2 - se**2).mean(), 0)
    assert ((mean - truth) ** 2).mean() < 0.7 * ((seen * tau / (tau + se**2) - truth) ** 2).mean()


def test_pure_noise_shrinks_to_nothing_and_zero_error_is_no_information() -> None:
    rng = np.random.default_rng(1)
    se = np.full(2000, 0.3)
    mean, _ = joint_shrinkage(se * rng.normal(size=(1, 2000)), se[None], np.zeros(1, int))
    assert np.abs(mean).mean() < 0.02
    (mean,), (sd,) = joint_shrinkage(np.array([[1.0, 2.0]]), np.array([[0.0, 0.1]]), np.zeros(1, int))
    assert (mean[0], sd[0]) == (0.0, 0.0)
    assert mean[1] == pytest.approx(2.0, rel=0.05)


def test_conditions_that_are_alike_borrow_from_each_other_but_not_their_controls_noise() -> None:
    rng = np.random.default_rng(4)
    n, genes, own, shared = 12, 2000, 0.08, 0.06
    truth = np.outer(rng.normal(size=n), np.where(rng.random(genes) < 0.2, rng.normal(size=genes), 0.0)) * 0.1
    seen = truth + own * rng.normal(size=(n, genes)) + shared * rng.normal(size=genes)
    se, control = np.full(seen.shape, np.hypot(own, shared)), np.full((1, genes), shared)
    alone = np.stack([joint_shrinkage(y[None], s[None], np.zeros(1, int))[0][0] for y, s in zip(seen, se)])
    blind, _ = joint_shrinkage(seen, se, np.zeros(n, int))
    mean, sd = joint_shrinkage(seen, se, np.zeros(n, int), control)
    loss = [float(((p - truth) ** 2).mean()) for p in (mean, blind, alone)]
    assert loss[0] < 0.7 * loss[1]
    assert loss[0] < 0.7 * loss[2]
    # No direction is taken to be without effects for certain, so errors are somewhat smaller than it says.
    assert loss[0] < (sd**2).mean() < 2.5 * loss[0]


def test_errors_that_controls_alone_would_exceed_are_no_obstacle() -> None:
    rng = np.random.default_rng(7)
    effect, se = rng.normal(size=(6, 200)), np.full((6, 200), 0.1)
    se[:3, :150] = 0.0
    mean, sd = joint_shrinkage(effect, se, np.zeros(6, int), np.full((1, 200), 0.3))
    assert np.isfinite(mean).all()
    assert np.isfinite(sd).all()
    assert not mean[:3, :150].any()


def test_held_out_effects_do_not_share_the_controls_noise_with_what_they_are_predicted_from() -> None:
    rng = np.random.default_rng(5)
    n, genes, own, shared = 20, 4000, 0.05, 0.1
    effect = own * rng.normal(size=(n, genes)) + shared * rng.normal(size=genes)
    se = np.full(effect.shape, np.hypot(own, shared))
    bare = EffectLibrary(np.zeros(n, int), np.eye(n), effect, se, effect, se, np.full(n, -1))
    r = {}
    for name, library in (("bare", bare), ("known", replace(bare, control_se=np.full((1, genes), shared)))):
        held = hold_out(library, "new_perturbation", 3, 0.1, 5, 0)
        assert held is not None
        mean = held.candidates[:, CANDIDATES.index("mean_effect")]
        r[name] = np.mean([np.corrcoef(a, b)[0, 1] for a, b in zip(mean, held.truth)])
        assert (held.truth**2).mean() == pytest.approx((held.se**2).mean(), rel=0.1)
    assert r["bare"] > 0.8
    assert abs(r["known"]) < 0.05


def test_standard_error_of_a_difference_is_calibrated() -> None:
    rng = np.random.default_rng(2)
    a, b = rng.normal(size=(500, 12, 40)), rng.normal(size=(500, 200, 40))
    z = [
        np.divide(*mean_difference(x.mean(0), x.var(0, ddof=1), 12, y.mean(0), y.var(0, ddof=1), 200))
        for x, y in zip(a, b)
    ]
    assert np.std(z) == pytest.approx(1.0, abs=0.05)


def test_dose_is_interpolated_and_held() -> None:
    effect = np.vstack([np.ones(N_GENES), 3 * np.ones(N_GENES)])
    made = Candidates(library_of([0, 0], [[1.0], [2.0]], effect), 3, 0.1)
    for dose, expected in ((0.5, 0.5), (1.0, 1.0), (1.5, 2.0), (2.0, 3.0), (9.0, 3.0)):
        assert made.single(0, 0, dose) == pytest.approx(np.full(N_GENES, expected))


def test_candidates_say_what_they_should() -> None:
    rng = np.random.default_rng(3)
    a, b = rng.normal(size=(2, N_GENES))
    library = library_of([0, 0, 1, 1], [[1, 0, 0], [0, 1, 0], [1, 0, 0], [0, 0, 1]], np.stack([a, b, 2 * a, -b]))
    made = Candidates(library, 2, 0.1)
    both = np.array([1.0, 1.0, 0.0])
    np.testing.assert_allclose(made.additive(0, both), a + b)
    np.testing.assert_allclose(made.additive(1, both), 2 * a + b)  # B is known from context 0 only
    np.testing.assert_allclose(made.other_contexts(1, np.array([1.0, 0, 0])), a)
    assert made.other_contexts(0, np.array([0, 1.0, 0])) is None
    np.testing.assert_allclose(made.mean_effect(0), (a + b) / 2)
    np.testing.assert_allclose(made.mean_effect(7), (3 * a) / 4)
    assert made.bilinear(both) is None
    assert regime_of(library, 0, np.array([1.0, 0, 0])) == "seen"
    assert regime_of(library, 0, np.array([0, 0, 1.0])) == "new_context"
    assert regime_of(library, 0, both) == "combination"
    assert regime_of(library.take(np.array([0])), 0, both) == "new_perturbation"


def test_bilinear_predicts_unseen_targets_in_a_low_rank_world() -> None:
    """Effects that follow gene modules are predicted for a new gene of a module; scrambled targets fail."""
    rng = np.random.default_rng(4)
    module = np.repeat(np.arange(4), N_GENES // 4)
    world = rng.normal(size=(4, 4))[module][:, module] + 0.1 * rng.normal(size=(N_GENES, N_GENES))
    trained, unseen = np.arange(0, N_GENES, 2), np.arange(1, N_GENES, 2)

    def correlation(target: np.ndarray) -> float:
        library = library_of([0] * len(trained), np.eye(N_GENES)[trained], world[trained], target=target)
        made = Candidates(library, 4, 0.1)
        return float(
            np.mean(
                [np.corrcoef(made.bilinear(np.eye(N_GENES)[g]) - made.mean, world[g] - made.mean)[0, 1] for g in unseen]
            )
        )

    assert correlation(np.arange(N_GENES)) > 0.55
    assert abs(correlation(rng.permutation(N_GENES))) < 0.3


def additive_world(interaction: float) -> EffectLibrary:
    rng = np.random.default_rng(5)
    singles = rng.normal(size=(6, N_GENES))
    doses, effects = list(np.eye(6)), list(singles)
    for i in range(6):
        for j in range(i):
            doses.append(np.eye(6)[i] + np.eye(6)[j])
            effects.append(singles[i] + singles[j] + interaction * rng.normal(size=N_GENES))
    noisy = np.stack(effects) + 0.05 * rng.normal(size=(len(effects), N_GENES))
    return library_of([0] * len(effects), np.stack(doses), noisy, se=0.05)


def test_stack_finds_additivity_and_its_intervals_widen_with_interaction() -> None:
    halves = []
    for interaction in (0.0, 0.8):
        held = hold_out(additive_world(interaction), "combination", 3, 0.1, 5, seed=0)
        stack, scores = fit_stack(held, "combination")
        table = {s["method"]: s for s in scores}
        assert held is not None
        assert stack.n_held_out == 15
        assert stack.weight[CANDIDATES.index("additive")] > 0.7
        assert table["model"]["mae"] < 0.7 * table["mean_effect"]["mae"]
        assert table["model"]["centred_pearson_delta"] > 0.6
        assert table["no_change"]["pearson_delta"] == 0
        halves.append(float(stack.half_width(np.ones(1), np.zeros(1), held.active[:1].mean(1), 0.95)[0]))
        prediction = np.einsum("k,nkg->ng", stack.weight, held.candidates)
        features = (prediction, spread_of(held.candidates, "combination"), held.active)
        assert inside(stack.law, 0.95, *features, held.truth, held.se).mean() == pytest.approx(0.95, abs=0.03)
    assert halves[0] < 0.3
    assert halves[1] > 1.0


def test_intervals_cover_what_moves_as_well_as_what_does_not() -> None:
    rng = np.random.default_rng(6)
    shape = (30, 1000)
    active = np.broadcast_to(np.where(np.arange(1000) < 50, 1.0, 0.0), shape)
    # Heavier tails where genes move than a normal law has.
    error = np.where(active > 0, 0.3 * rng.standard_t(3, shape), 0.02 * rng.normal(size=shape))
    se, used, nothing = np.full(shape, 0.02), np.ones(shape, bool), np.zeros(shape)
    truth = error + se * rng.normal(size=shape)
    law = fit_law(nothing[:15], nothing[:15], active[:15], truth[:15], se[:15], used[:15])
    found = inside(law, 0.9, nothing[15:], nothing[15:], active[15:], truth[15:], se[15:])
    for group in (active[15:] > 0, active[15:] == 0):
        assert found[group].mean() == pytest.approx(0.9, abs=0.04)
    # One quantile over all genes is that of the many that do not move.
    blind = fit_law(nothing[:15], nothing[:15], nothing[:15], truth[:15], se[:15], used[:15])
    found = inside(blind, 0.9, nothing[15:], nothing[15:], nothing[15:], truth[15:], se[15:])
    assert found[active[15:] > 0].mean() < 0.6


def test_held_out_conditions_leave_no_trace() -> None:
    """A held-out combination whose own effect is absurd changes none of its predictions."""
    library = additive_world(0.0)
    spoiled = library.shrunk.copy()
    spoiled[-1] = 1e6
    other = EffectLibrary(library.context, library.dose, spoiled, library.se, spoiled, library.sd, library.target)
    one, two = (hold_out(x, "combination", 3, 0.1, 5, seed=0) for x in (library, other))
    assert one is not None
    assert two is not None
    last = library.n_conditions - 1
    np.testing.assert_allclose(one.candidates[one.row == last], two.candidates[two.row == last])


def test_regimes_without_held_out_conditions_keep_the_default() -> None:
    held = hold_out(additive_world(0.0), "new_context", 3, 0.1, 5, seed=0)
    assert held is None
    stack, scores = fit_stack(held, "new_context")
    assert scores == []
    assert np.isnan(stack.half_width(np.ones(3), np.zeros(3), np.zeros(3), 0.95)).all()
    assert (stack.weight == default_stack("new_context").weight).all()


def test_pure_noise_is_not_trusted() -> None:
    rng = np.random.default_rng(6)
    library = library_of([0] * 12, np.eye(12), rng.normal(size=(12, N_GENES)))
    _, scores = fit_stack(hold_out(library, "new_perturbation", 3, 0.1, 5, seed=0), "new_perturbation")
    table = {s["method"]: s for s in scores}
    assert abs(table["model"]["pearson_delta"]) < 0.25
    assert abs(table["model"]["pds"] - 0.5) < 0.25
