"""Perturbations that were never measured, from what priors or another screen say of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from genesim.models.perturbation.kernels import Embedding, PriorSmoother
from genesim.models.perturbation.library import EffectLibrary

_MIN_OWN = 5
"""Conditions that a context needs to be learned from alone."""


@dataclass(frozen=True)
class Screen:
    """Effects of single components in another screen, on this one's genes.

    Attributes:
        name: Of the screen.
        effect: component x gene, 0 at genes that it lacks; NaN rows for components that it lacks.
    """

    name: str
    effect: np.ndarray


class PriorTransfer:
    """Weights of the training effects (and of other screens') in the effect of an unmeasured perturbation."""

    def __init__(self, library: EffectLibrary, embeddings: Sequence[Embedding], screens: Sequence[Screen]) -> None:
        self.library, self.embeddings, self.screens = library, tuple(embeddings), tuple(screens)
        self._smoothers: dict[tuple[frozenset[str], int], tuple[PriorSmoother, np.ndarray] | None] = {}

    def _smoother(self, context: int, dose: np.ndarray) -> tuple[PriorSmoother, np.ndarray] | None:
        """Kernels over the perturbations of a context (of all, where it has few), and the rows that each averages."""
        library = self.library
        akin = library.akin(dose)
        own = akin & (library.context == context)
        at = context if own.sum() >= _MIN_OWN else -1
        key = (library.families(dose), at)
        if key not in self._smoothers:
            rows = np.flatnonzero(own if at >= 0 else akin)
            distinct, which = np.unique(library.grouped[rows], axis=0, return_inverse=True)
            averaging = np.zeros((len(distinct), library.n_conditions))
            averaging[np.ravel(which), rows] = 1.0
            averaging /= np.maximum(averaging.sum(1, keepdims=True), 1)
            if len(distinct) < 4:
                self._smoothers[key] = None
            else:
                first = [int(rows[np.flatnonzero(np.ravel(which) == i)[0]]) for i in range(len(distinct))]
                places = {}
                for e in self.embeddings:
                    nothing = np.full(e.values.shape[1], np.nan)
                    found = [e.of(library.dose[i]) for i in first]
                    places[e.name] = np.stack([nothing if place is None else place for place in found])
                gram = averaging @ library.gram @ averaging.T
                self._smoothers[key] = PriorSmoother(places, gram), averaging
        return self._smoothers[key]

    def by_embedding(self, context: int, dose: np.ndarray) -> tuple[np.ndarray | None, np.ndarray | None]:
        """Kernel ridge and nearest neighbours."""
        if not self.embeddings:
            return None, None
        fitted = self._smoother(context, dose)
        if fitted is None:
            return None, None
        smoother, averaging = fitted
        asked = {e.name: place for e in self.embeddings if (place := e.of(dose)) is not None}
        found = [smoother.ridge_weights(asked), smoother.neighbour_weights(asked)]
        ridge, near = (None if w is None else w @ averaging for w in found)
        return ridge, near

    def other_screen(self, dose: np.ndarray, mean: np.ndarray) -> np.ndarray | None:
        """The same single in another screen, scaled by what both screens say of the other perturbations.

        Over the first screen that has it; the scale is drawn to 1 as one average perturbation would. The mean
        effects of both screens stand for each other: effect = own mean + scale (theirs - their mean).

        Args:
            dose: Per component.
            mean: Weights of the own mean effect.
        """
        active = np.flatnonzero(dose > 0)
        library, start = self.library, self.library.n_conditions
        size = start + sum(len(s.effect) for s in self.screens)
        for screen in self.screens:
            n = len(screen.effect)
            known = ~np.isnan(screen.effect).any(1)
            if known[active].all():
                weight = np.zeros(size)
                single = np.flatnonzero(((library.dose > 0).sum(1) == 1) & library.akin(dose))
                component = library.dose[single].argmax(1)
                both = known[component]
                slope, theirs = 1.0, np.zeros(n)
                if both.sum() >= 2:
                    b = screen.effect[component[both]]
                    theirs = np.bincount(component[both], minlength=n) / both.sum()
                    b = b - b.mean(0)
                    a = library.shrunk[single[both]] - library.shrunk[single[both]].mean(0)
                    pull = (b * b).sum() / both.sum()
                    slope = float(((a * b).sum() + pull) / max((b * b).sum() + pull, 1e-300))
                    weight[: library.n_conditions] = mean
                for c in active:
                    weight[start : start + n] -= slope * theirs
                    weight[start + c] += slope
                return weight
            start += n
        return None
