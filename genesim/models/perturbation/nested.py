"""Is a trained residual worth its place? Held-out conditions inside held-out conditions say so.

For every outer fold the weights of the stack and the residual are learned from its rest alone, by holding out again
inside of it, and both predict the outer conditions: nothing of these is part of anything that predicts them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float

from genesim.models.perturbation.candidates import Candidates, Screen
from genesim.models.perturbation.gate import SHUT, Gate, decide
from genesim.models.perturbation.heldout import Gathered, HeldOut, hold_out, splits
from genesim.models.perturbation.intervals import fit_law
from genesim.models.perturbation.kernels import Embedding
from genesim.models.perturbation.library import EffectLibrary
from genesim.models.perturbation.programs import Told, Vocabulary
from genesim.models.perturbation.residual import EffectResidual, fit_residual
from genesim.models.perturbation.stack import Stack, coverage_shares, cross_fitted, scored, spread_of, squared_loss

_OUTER_FOLDS, _LEAST = 5, 3
# Up to this many groups each is left out alone: a network is trained for each.
_LEAVE_ONE_OUT = 8


@dataclass(frozen=True)
class Recipe:
    """What effects are held out and residuals are trained with.

    Attributes:
        n_components, ridge, n_folds: Of the closed-form candidates and the stack.
        n_programs, n_steps: Of the residual.
        seed: Of folds and networks.
    """

    n_components: int
    ridge: float
    n_folds: int
    n_programs: int
    n_steps: int
    seed: int


@dataclass(frozen=True)
class Verdict:
    """What nested cross-validation found in a regime.

    Attributes:
        gate: Whether the residual is used.
        residual: Trained on all conditions; None where the gate is shut.
        stack: With intervals and gains of the prediction that is used.
        scores: Records of "without_residual" and "with_residual" on the same nested conditions, as `fit_stack`.
    """

    gate: Gate
    residual: EffectResidual | None
    stack: Stack
    scores: list[dict[str, float | str | int]]


def learned_residual(
    library: EffectLibrary,
    regime: str,
    held: HeldOut,
    prediction: Float[np.ndarray, "condition gene"],
    recipe: Recipe,
    embeddings: Sequence[Embedding],
) -> EffectResidual:
    """Learn what cross-fitted predictions of held-out conditions leave over.

    Args:
        library: That `held` comes from.
        prediction: Of `held`, each from the other folds.
    """
    vocabulary = Vocabulary.of(library, embeddings, recipe.n_programs)
    at = {int(row): i for i, row in enumerate(held.row)}
    told: dict[int, Told] = {}
    # The same folds as `held`: a component's own effect must be what the question had.
    for split in splits(library, regime, recipe.n_folds, recipe.seed):
        made = Candidates(split.rest, recipe.n_components, recipe.ridge)
        for row in split.rows:
            context, dose = int(library.context[row]), library.dose[row]
            told[int(row)] = vocabulary.told(made, embeddings, context, dose, prediction[at[int(row)]])
    questions = Told.together([told[int(row)] for row in held.row])
    residual = held.truth - prediction
    return fit_residual(vocabulary, questions, residual, held.se, held.used, held.fold, recipe.n_steps, recipe.seed)


def nested_predictions(
    library: EffectLibrary,
    regime: str,
    recipe: Recipe,
    embeddings: Sequence[Embedding],
    screens: Sequence[Screen],
) -> tuple[HeldOut, np.ndarray, np.ndarray] | None:
    """Outer conditions, and their predictions without and with a residual; None where nothing is left to learn from."""
    found = Gathered(library, embeddings)
    before, after = [], []
    how = (recipe.n_components, recipe.ridge)
    for split in splits(library, regime, _OUTER_FOLDS, recipe.seed, _LEAVE_ONE_OUT):
        inner = hold_out(split.rest, regime, *how, recipe.n_folds, recipe.seed, embeddings, screens)
        if inner is None or len(inner.row) < _LEAST or len(np.unique(inner.fold)) < 2:
            continue
        methods, weight = cross_fitted(inner, regime)
        residual = learned_residual(split.rest, regime, inner, methods["model"], recipe, embeddings)
        made = Candidates(split.rest, *how, embeddings, screens)
        for row in split.rows:
            context, dose = int(library.context[row]), library.dose[row]
            candidates = made.all(context, dose)
            plain = weight @ candidates
            told = residual.vocabulary.told(made, embeddings, context, dose, plain)
            found.add(split, made, int(row), candidates)
            before.append(plain)
            after.append(plain + residual.of(told, library.target_mask(dose)))
    held = found.done()
    return None if held is None else (held, np.stack(before), np.stack(after))


def tried(
    library: EffectLibrary,
    regime: str,
    held: HeldOut,
    stack: Stack,
    recipe: Recipe,
    embeddings: Sequence[Embedding] = (),
    screens: Sequence[Screen] = (),
) -> Verdict:
    """Train a residual, and use it where nested conditions gain more than one standard error by it.

    Args:
        library: Training conditions.
        held, stack: What `hold_out` and `fit_stack` gave for the regime.
    """
    nested = nested_predictions(library, regime, recipe, embeddings, screens)
    if nested is None or len(held.row) < _LEAST:
        return Verdict(SHUT, None, stack, [])
    outer, before, after = nested
    plain, better = squared_loss(before, outer), squared_loss(after, outer)
    gate = decide(plain, better, least=_LEAST)
    scores = [
        scored(regime, name, prediction, outer)
        for name, prediction in (("without_residual", before), ("with_residual", after))
    ]
    if not gate.open:
        return Verdict(gate, None, stack, scores)
    residual = learned_residual(library, regime, held, cross_fitted(held, regime)[0]["model"], recipe, embeddings)
    if not residual.n_steps:
        return Verdict(replace(gate, open=False), None, stack, scores)
    law = fit_law(after, spread_of(outer.candidates, regime), outer.active, outer.truth, outer.se, outer.used)
    gain = squared_loss(outer.candidates[:, 0], outer) - better
    n = len(gain)
    changed = replace(
        stack,
        law=law,
        n_held_out=n,
        gain=float(gain.mean()),
        gain_se=float(gain.std(ddof=1) / np.sqrt(n)),
        coverage=coverage_shares(after, outer, regime),
    )
    return Verdict(gate, residual, changed, scores)
