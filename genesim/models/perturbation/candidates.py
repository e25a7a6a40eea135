"""Closed-form predictions of a perturbation's effect: the baselines that any model has to beat.

Every one is a weighted sum of the training effects (and of another screen's), so that a prediction can be
traced back to what it came from, exactly.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from genesim.models.perturbation.bilinear import Bilinear
from genesim.models.perturbation.contexts import ContextTransfer
from genesim.models.perturbation.doses import HillLaws, at_dose, interpolation_weights
from genesim.models.perturbation.kernels import Embedding
from genesim.models.perturbation.library import (
    REGIMES,
    EffectLibrary,
    regime_of,
    same_components,
    stratum_of,
)
from genesim.models.perturbation.prior_candidates import PriorTransfer, Screen

__all__ = [
    "CANDIDATES",
    "REGIMES",
    "Candidates",
    "EffectLibrary",
    "Screen",
    "at_dose",
    "regime_of",
    "same_components",
    "stratum_of",
]

CANDIDATES = (
    "mean_effect",
    "other_contexts",
    "additive",
    "bilinear",
    "scaled_contexts",
    "similar_contexts",
    "kernel_ridge",
    "neighbours",
    "other_screen",
    "dose_interpolation",
    "hill",
)
RELEVANT: dict[str, tuple[str, ...]] = {
    "new_context": (
        "mean_effect",
        "other_contexts",
        "additive",
        "bilinear",
        "scaled_contexts",
        "similar_contexts",
        "other_screen",
    ),
    "combination": ("mean_effect", "other_contexts", "additive", "bilinear", "kernel_ridge", "neighbours"),
    "new_perturbation": (
        "mean_effect",
        "other_contexts",
        "additive",
        "bilinear",
        "kernel_ridge",
        "neighbours",
        "other_screen",
    ),
    "new_dose": ("mean_effect", "other_contexts", "additive", "bilinear", "dose_interpolation", "hill"),
}
"""Candidates that have something of their own to say in a regime."""


class Candidates:
    """All candidate predictions from one library."""

    def __init__(
        self,
        library: EffectLibrary,
        n_components: int,
        ridge: float,
        embeddings: Sequence[Embedding] = (),
        screens: Sequence[Screen] = (),
    ) -> None:
        self.library = library
        self.embeddings, self.screens = tuple(embeddings), tuple(screens)
        self.transfer = ContextTransfer(library)
        self._hill: HillLaws | None = None
        self._bilinear = Bilinear(library, n_components, ridge)
        self._priors = PriorTransfer(library, embeddings, screens)
        self._n = library.n_conditions + sum(len(s.effect) for s in self.screens)
        self.basis = np.vstack([library.shrunk, *(np.nan_to_num(s.effect) for s in self.screens), library.effect])
        """Shrunk training effects, each screen's, and the training effects as observed: what weights are weights of."""

    @property
    def active(self) -> np.ndarray:
        """Mean squared effect of each gene over all conditions: what moved before may move again."""
        return (self.library.shrunk**2).mean(0)

    @property
    def mean(self) -> np.ndarray:
        """Mean over all conditions."""
        return self._said(self._mean(-1, None))

    def _said(self, weight: np.ndarray) -> np.ndarray:
        return weight @ self.basis[: len(weight)]

    def _mean(self, context: int, dose: np.ndarray | None) -> np.ndarray:
        """Equal weights over conditions of the same families, of the context itself where it has two or more."""
        library = self.library
        akin = np.ones(library.n_conditions, bool) if dose is None else library.akin(dose)
        own = akin & (library.context == context)
        rows = own if own.sum() >= 2 else akin
        return rows / max(int(rows.sum()), 1)

    def mean_effect(self, context: int, dose: np.ndarray | None = None) -> np.ndarray:
        """Mean over all observed perturbations, of the context itself where it has two or more."""
        return self._said(self._mean(context, dose))

    def other_perturbations(self, context: int, dose: np.ndarray) -> np.ndarray | None:
        """Mean effect of the other perturbations, the centre of centred scores; None without any."""
        rows = ~same_components(self.library, dose) & self.library.akin(dose)
        own = rows & (self.library.context == context)
        rows = own if own.sum() >= 2 else rows
        return self.library.effect[rows].mean(0) if rows.any() else None

    def _single(self, context: int, component: int, dose: float, law: bool) -> np.ndarray | None:
        wanted = np.zeros(self.library.dose.shape[1])
        wanted[component] = dose
        rows = np.flatnonzero(same_components(self.library, wanted))
        own = rows[self.library.context[rows] == context]
        if len(own):
            by_law = self.hill.weights(context, component, dose) if law else None
            return interpolation_weights(self.library, own, wanted) if by_law is None else by_law
        return self.transfer.mean(rows, wanted) if len(rows) else None

    @property
    def hill(self) -> HillLaws:
        if self._hill is None:
            self._hill = HillLaws(self.library)
        return self._hill

    def single(self, context: int, component: int, dose: float) -> np.ndarray | None:
        """Effect of one component: of the context itself, else the mean over other contexts, else None."""
        weight = self._single(context, component, dose, False)
        return None if weight is None else self._said(weight)

    def _others(self, context: int, dose: np.ndarray) -> np.ndarray:
        return np.flatnonzero(same_components(self.library, dose) & (self.library.context != context))

    def other_contexts(self, context: int, dose: np.ndarray) -> np.ndarray | None:
        """Mean effect of the same perturbation in the other contexts."""
        rows = self._others(context, dose)
        return self._said(self.transfer.mean(rows, dose)) if len(rows) else None

    def _additive(self, context: int, dose: np.ndarray, law: bool) -> np.ndarray:
        total = np.zeros(self.library.n_conditions)
        for component in np.flatnonzero(dose > 0):
            one = self._single(context, int(component), float(dose[component]), law)
            total += self._mean(context, dose) if one is None else one
        return total

    def additive(self, context: int, dose: np.ndarray) -> np.ndarray:
        """Sum of the components' own effects; an unseen component counts as the mean effect."""
        return self._said(self._additive(context, dose, False))

    def _by_dose(self, context: int, dose: np.ndarray, law: bool) -> np.ndarray | None:
        """From the same components at other doses in this context; None without."""
        rows = np.flatnonzero(same_components(self.library, dose) & (self.library.context == context))
        if not len(rows):
            return None
        if law and (dose > 0).sum() == 1:
            component = int(np.flatnonzero(dose)[0])
            weight = self.hill.weights(context, component, float(dose[component]))
            if weight is not None:
                return weight
        return interpolation_weights(self.library, rows, dose)

    def bilinear(self, dose: np.ndarray) -> np.ndarray | None:
        """Prediction from the target genes' place in expression space; None where one is not measured."""
        weight = self._bilinear.weights(dose)
        return None if weight is None else self._said(weight)

    def weights(self, context: int, dose: np.ndarray, profile: np.ndarray | None = None) -> np.ndarray:
        """Every candidate in the order of `CANDIDATES`, first of shrunk effects, then of effects as observed.

        One that cannot say anything falls back on the simpler one before it. Shrunk effects are nearer to the
        truth one by one; in a mean over several, noise cancels that shrinkage has paid for with signal.

        Args:
            context: Index; -1 where it is new.
            dose: Per component.
            profile: Mean log expression of control cells, in a context that the library does not know.

        Returns:
            Weights of `basis`, 2 candidates x row.
        """
        mean = self._mean(context, dose)
        rows = self._others(context, dose)
        others = self.transfer.mean(rows, dose) if len(rows) else None
        scaled = self.transfer.scaled(context, rows, dose) if len(rows) else None
        alike = self.transfer.alike(context, rows, dose, profile) if len(rows) else None
        kernel, near = self._priors.by_embedding(context, dose)
        additive = self._additive(context, dose, False)
        by_dose = self._by_dose(context, dose, False)
        by_law = self._by_dose(context, dose, True)
        plain = mean if others is None else others
        found = (
            mean,
            plain,
            additive,
            self._bilinear.weights(dose),
            plain if scaled is None else scaled,
            plain if alike is None else alike,
            kernel,
            near,
            self._priors.other_screen(dose, mean),
            additive if by_dose is None else by_dose,
            self._additive(context, dose, True) if by_law is None else by_law,
        )
        n, k = self.library.n_conditions, len(CANDIDATES)
        out = np.zeros((2 * k, len(self.basis)))
        for i, weight in enumerate(found):
            weight = mean if weight is None else weight
            out[i, : len(weight)] = weight
            out[k + i, self._n :] = weight[:n]
            out[k + i, n : len(weight)] = weight[n:]
        return out

    def all(self, context: int, dose: np.ndarray, profile: np.ndarray | None = None) -> np.ndarray:
        """Every candidate's prediction (2 candidates x gene); see `weights`."""
        return self.weights(context, dose, profile) @ self.basis
