"""A question put to a perturbation model, and the closed-form answer (L0) with its regime, support and interval."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from genesim.config.model import PerturbationConfig
from genesim.console import log
from genesim.estimators.perturbation_inputs import split_kind
from genesim.estimators.perturbation_learn import Learned
from genesim.estimators.perturbation_priors import Priors
from genesim.models.perturbation.candidates import CANDIDATES, Candidates
from genesim.models.perturbation.doses import interpolation_weights
from genesim.models.perturbation.library import EffectLibrary, same_components, same_doses, stratum_of
from genesim.models.perturbation.stack import Stack, spread_of


@dataclass(frozen=True)
class EffectEstimate:
    """Predicted effect in one context: change of mean log expression from control, per gene.

    Attributes:
        delta: Predicted effect.
        low, high: Interval of the true effect at `level` (nominal: exchangeable with the held-out conditions); NaN
            where no condition of this regime could be held out.
        regime: "seen", "new_context", "combination", "new_perturbation" or "new_dose".
        support: "supported" (measured in this context at this dose), "extrapolated" (put together from measured
            parts, as held-out conditions could be) or "unsupported" (a guess: nothing like it was measured, or
            no held-out condition says how good it is).
        stratum: The regime, and for a new context which covariate is new ("new_context:donor").
        level: Of the interval.
        residual: A trained residual is part of it.
    """

    delta: np.ndarray
    low: np.ndarray
    high: np.ndarray
    regime: str
    support: str
    stratum: str = ""
    level: float = 0.95
    residual: bool = False


@dataclass(frozen=True)
class Question:
    """A perturbation in a context, in the library's terms.

    Attributes:
        library: With a column for every component asked for.
        made: Candidates of that library.
        dose: Per component.
        context: Index; -1 where it is unknown.
        stratum: See `library.stratum_of`.
        profile: Mean log expression of control cells in an unknown context; None where not given.
    """

    library: EffectLibrary
    made: Candidates
    dose: np.ndarray
    context: int
    stratum: str
    profile: np.ndarray | None

    @property
    def regime(self) -> str:
        return self.stratum.split(":")[0]

    def own_rows(self) -> np.ndarray:
        """Rows of the same components in the same context."""
        same = same_components(self.library, self.dose) & (self.library.context == self.context)
        if self.stratum == "seen":
            same &= same_doses(self.library, self.dose)
        return np.flatnonzero(same)


class Asker:
    """Turns names and amounts into a `Question`; keeps the candidates of the training library."""

    def __init__(self, learned: Learned, priors: Priors, config: PerturbationConfig, genes: pd.Index) -> None:
        self.learned, self.priors, self.config, self.genes = learned, priors, config, genes
        self._made: Candidates | None = None
        # A name that was never perturbed is taken to be perturbed as most were.
        self.usual_kind = Counter(learned.library.kinds).most_common(1)[0][0] if learned.library.kinds else "genetic"

    def candidates(self, library: EffectLibrary, components: list[str], groups: list[str]) -> Candidates:
        embeddings, screens = self.priors.placed(components, groups)
        return Candidates(library, self.config.n_components, self.config.ridge, embeddings, screens)

    @property
    def made(self) -> Candidates:
        """Candidates of the training library."""
        if self._made is None:
            self._made = self.candidates(self.learned.library, self.learned.components, self.learned.groups)
        return self._made

    def ask(self, amounts: Mapping[str, float], context: str, profile: np.ndarray | None = None) -> Question:
        """The question of amounts above 0 in a context."""
        learned = self.learned
        library, made = learned.library, self.made
        new = [name for name in amounts if name not in learned.components]
        if new:
            log.info("perturbation: %s was never measured in training", ", ".join(new))
            bare = [split_kind(name) for name in new]
            n = library.dose.shape[1]
            kinds = (*library.kinds, *["genetic"] * (n - len(library.kinds)))
            library = replace(
                library,
                dose=np.pad(library.dose, ((0, 0), (0, len(new)))),
                target=np.r_[
                    library.target, self.genes.get_indexer(pd.Index([name for name, _ in bare], dtype=object))
                ],
                kinds=(*kinds, *(kind or self.usual_kind for _, kind in bare)),
            )
            names = [name for name, _ in bare]
            made = self.candidates(library, [*learned.components, *new], [*learned.groups, *names])
        dose = np.array([amounts.get(name, 0.0) for name in (*learned.components, *new)])
        at = learned.contexts.index(context) if context in learned.contexts else -1
        return Question(library, made, dose, at, stratum_of(library, at, dose, self._levels(context, at)), profile)

    def _levels(self, context: str, at: int) -> np.ndarray:
        if at >= 0:
            return self.learned.library.level_of(at)
        parts = context.split("|")
        levels = self.learned.levels
        if len(parts) != len(levels):
            return np.full(len(levels), -1)
        return np.array([own.index(part) if part in own else -1 for own, part in zip(levels, parts, strict=True)])


def structural_spread(relative: float) -> float:
    """What is not known of an effect at a share of the dose measured, as a share of that effect (one SD).

    Between 0 and the dose the response may be any rising curve: at x it is uniform between 0 and 1 as far as x
    lets it, SD sqrt(x (1 - x) / 3) (a band of 0 to 1 at one half). Beyond, it may double a doubling.
    """
    if relative <= 1:
        return float(np.sqrt(max(relative * (1 - relative), 0.0) / 3))
    return float(np.log2(relative)) / 2


def _measured(question: Question, level: float) -> EffectEstimate:
    """Measured in this context, at this dose or (where nothing tells how doses go on) at others."""
    from scipy.stats import norm  # slow to import

    library, dose, rows = question.library, question.dose, question.own_rows()
    weight = interpolation_weights(library, rows, dose)
    delta = weight @ library.shrunk
    variance = (weight @ library.sd) ** 2
    support = "supported"
    if question.stratum != "seen":
        active = dose > 0
        relative = float((dose[active] / library.dose[rows][:, active].max(0)).mean())
        top = np.abs(library.shrunk[rows]).max(0)
        variance = variance + (structural_spread(relative) * top) ** 2
        support = "extrapolated"
    half = float(norm.ppf(0.5 + level / 2)) * np.sqrt(variance)
    return EffectEstimate(delta, delta - half, delta + half, question.regime, support, question.stratum, level)


Residual = Callable[[Question, str, np.ndarray], np.ndarray | None]
"""What a trained residual adds to a closed-form prediction, given the stratum whose stack made it; None: nothing."""


def stratum_used(question: Question, stacks: Mapping[str, Stack]) -> str:
    """The stratum, else its regime where the former could hold nothing out."""
    own = stacks[question.stratum]
    return question.stratum if own.n_held_out or question.regime == question.stratum else question.regime


def weights_of(question: Question, stacks: Mapping[str, Stack]) -> np.ndarray:
    """Weight of each row of the basis in the answer, candidate by candidate (candidate x row)."""
    if _is_measured(question, stacks):
        out = np.zeros((2 * len(CANDIDATES), len(question.made.basis)))
        weight = interpolation_weights(question.library, question.own_rows(), question.dose)
        out[CANDIDATES.index("dose_interpolation"), : len(weight)] = weight
        return out
    each = question.made.weights(question.context, question.dose, question.profile)
    return stacks[stratum_used(question, stacks)].weight[:, None] * each


def residual_of(
    question: Question, stacks: Mapping[str, Stack], prediction: np.ndarray, residual: Residual
) -> np.ndarray | None:
    """What is added to the closed-form prediction; None for what was measured, and where no gate is open."""
    if _is_measured(question, stacks):
        return None
    return residual(question, stratum_used(question, stacks), prediction)


def _is_measured(question: Question, stacks: Mapping[str, Stack]) -> bool:
    return question.stratum == "seen" or (question.stratum == "new_dose" and not stacks["new_dose"].n_held_out)


def answer(question: Question, stacks: Mapping[str, Stack], level: float, residual: Residual) -> EffectEstimate:
    """The closed-form prediction, with a residual where one has earned its place."""
    if _is_measured(question, stacks):
        return _measured(question, level)
    stack = stacks[stratum_used(question, stacks)]
    each = question.made.weights(question.context, question.dose, question.profile)
    candidates = each @ question.made.basis
    delta = stack.weight @ candidates
    more = residual_of(question, stacks, delta, residual)
    delta = delta if more is None else delta + more
    half = stack.half_width(delta, spread_of(candidates, question.regime), question.made.active, level)
    support = "extrapolated" if stacks[question.stratum].n_held_out else "unsupported"
    akin = question.library.akin(question.dose).any()
    if question.regime == "new_perturbation" and not (stack.beats_mean and _informed(stack, each)):
        support = "unsupported"
    if not akin or not stacks[question.stratum].n_held_out:
        support, half = "unsupported", np.full_like(delta, np.nan)
    low, high = delta - half, delta + half
    return EffectEstimate(delta, low, high, question.regime, support, question.stratum, level, more is not None)


def _informed(stack: Stack, each: np.ndarray) -> bool:
    """A candidate that counts says something else than the mean effect."""
    mean = each[CANDIDATES.index("mean_effect")]
    n = len(CANDIDATES)
    share = stack.weight[:n] + stack.weight[n:]
    return any(w > 0 and not np.allclose(row, mean) for w, row in zip(share, each[:n], strict=True))
