"""Dose laws: interpolation, and a Hill law that drugs share what they know of."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import curve_fit

from genesim.models.perturbation.candidates import CANDIDATES, Candidates
from genesim.models.perturbation.doses import HillLaws, fit_hill, hill
from genesim.models.perturbation.heldout import hold_out
from genesim.models.perturbation.library import EffectLibrary, regime_of
from genesim.models.perturbation.stack import fit_stack

DOSES = np.array([0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0])


def series(ec50: float, n: float, noise: float, random: np.random.Generator, doses: np.ndarray = DOSES) -> tuple:
    amplitude = 2 * hill(doses, ec50, n) + noise * random.normal(size=len(doses))
    return doses, amplitude, np.full(len(doses), noise**2)


def test_hill_goes_from_0_to_1_through_one_half() -> None:
    np.testing.assert_allclose(hill(np.array([0.0, 3.0, 1e9]), 3.0, 1.7), [0, 0.5, 1], atol=1e-9)
    np.testing.assert_allclose(hill(6.0, 3.0, 2.0), 36 / (9 + 36))


def test_hill_is_that_of_least_squares_where_the_doses_say_enough() -> None:
    """Slow oracle: scipy's least squares from a good start."""
    random = np.random.default_rng(0)
    truths = [(0.8, 1.0), (2.0, 1.6), (5.0, 0.8), (9.0, 1.2)]
    given = [series(ec50, n, 0.01, random) for ec50, n in truths]
    for fit, (dose, amplitude, _), start in zip(fit_hill(given), given, truths):
        found, _ = curve_fit(lambda d, a, e, n: a * hill(d, e, n), dose, amplitude, (2.0, *start))
        assert np.log(fit.ec50 / found[1]) == pytest.approx(0, abs=0.2)
        assert np.log(fit.slope / found[2]) == pytest.approx(0, abs=0.2)


def test_a_drug_with_few_and_noisy_doses_borrows_from_the_others() -> None:
    random = np.random.default_rng(1)
    alone, shared, least_squares = [], [], []
    few = DOSES[[1, 3, 5]]
    for _ in range(25):
        ec50 = 3 * np.exp(0.3 * random.normal())
        noisy = series(ec50, 1.2, 0.25, random, few)
        others = [series(3 * np.exp(0.3 * random.normal()), 1.2, 0.03, random) for _ in range(8)]
        shared.append(np.log(fit_hill([noisy, *others])[0].ec50 / ec50))
        alone.append(np.log(fit_hill([noisy])[0].ec50 / ec50))
        try:
            found, _ = curve_fit(lambda d, a, e: a * hill(d, np.exp(e), 1.2), few, noisy[1], (2.0, 1.0))
            least_squares.append(np.clip(found[1] - np.log(ec50), -5, 5))
        except RuntimeError:
            least_squares.append(5.0)
    assert np.mean(np.square(shared)) < 0.5 * np.mean(np.square(alone))
    assert np.mean(np.square(shared)) < 0.5 * np.mean(np.square(least_squares))


def drugs(n_drugs: int = 4, n_genes: int = 60, seed: int = 2) -> tuple[EffectLibrary, list[tuple[np.ndarray, float]]]:
    random = np.random.default_rng(seed)
    rows, doses, truth = [], [], []
    for drug in range(n_drugs):
        direction, ec50 = random.normal(size=n_genes), float(np.exp(random.normal(1, 0.4)))
        truth.append((direction, ec50))
        for dose in DOSES[::2]:
            rows.append(direction * hill(dose, ec50, 1.0) + 0.03 * random.normal(size=n_genes))
            doses.append(np.where(np.arange(n_drugs) == drug, dose, 0.0))
    effect = np.stack(rows)
    se = np.full(effect.shape, 0.03)
    kinds = ("drug",) * n_drugs
    library = EffectLibrary(
        np.zeros(len(rows), int), np.stack(doses), effect, se, effect, se, np.full(n_drugs, -1), kinds
    )
    return library, truth


def test_an_unmeasured_dose_is_predicted_by_the_law_and_better_than_by_a_line() -> None:
    library, truth = drugs()
    made = Candidates(library, 3, 0.1)
    error = {"hill": 0.0, "dose_interpolation": 0.0}
    for drug, (direction, ec50) in enumerate(truth):
        for dose in (0.3, 3.0, 30.0):
            asked = np.where(np.arange(len(truth)) == drug, dose, 0.0)
            assert regime_of(library, 0, asked) == "new_dose"
            predicted = made.all(0, asked)
            for name in error:
                wanted = direction * hill(dose, ec50, 1.0)
                error[name] += float(((predicted[CANDIDATES.index(name)] - wanted) ** 2).mean())
    assert error["hill"] < 0.3 * error["dose_interpolation"]


def test_the_stack_of_new_doses_chooses_the_law_where_it_holds_and_no_law_without_drugs() -> None:
    library, _ = drugs()
    stack, scores = fit_stack(hold_out(library, "new_dose", 3, 0.1, 5, 0), "new_dose")
    table = {s["method"]: s["mae"] for s in scores}
    n = len(CANDIDATES)
    share = stack.weight[:n] + stack.weight[n:]
    assert share[CANDIDATES.index("hill")] > 0.5
    assert table["model"] < table["dose_interpolation"]
    genetic = EffectLibrary(
        **{f: getattr(library, f) for f in ("context", "dose", "effect", "se", "shrunk", "sd", "target")}
    )
    assert HillLaws(genetic).fits == {}
    two = library.take(np.flatnonzero(library.dose.max(1) > 5))
    assert HillLaws(two).fits == {}
