"""What other contexts say of a perturbation in this one: their mean, scaled, or weighted by likeness.

A context is a cell type, a donor, a batch: the spread of a perturbation's effect over contexts is a random
effect, and noisy contexts count less.
"""

from __future__ import annotations

import numpy as np

from genesim.models.perturbation.doses import interpolation_weights
from genesim.models.perturbation.library import EffectLibrary, same_components

# Widths of the likeness kernel, as shares of the median distance; the infinite one is the plain mean.
_WIDTHS = (np.inf, 1.0, 0.5, 0.25, 0.125)


def profile_distances(profiles: np.ndarray, others: np.ndarray) -> np.ndarray:
    """1 - Pearson's r between control profiles (context x gene)."""

    def standard(x: np.ndarray) -> np.ndarray:
        x = x - x.mean(1, keepdims=True)
        return x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)

    return np.maximum(1 - standard(profiles) @ standard(others).T, 0.0)


class ContextTransfer:
    """Weights of the library's rows in a perturbation's effect in a context where it was not measured."""

    def __init__(self, library: EffectLibrary) -> None:
        self.library = library
        self._noise = (library.se**2).mean(1)
        self._width: float | None = None
        self._distance = None if library.profile is None else profile_distances(library.profile, library.profile)
        present = np.unique(library.context)
        apart = None if self._distance is None else self._distance[np.ix_(present, present)]
        apart = None if apart is None else apart[np.triu_indices(len(present), 1)]
        self._scale = 1.0 if apart is None or not len(apart) else max(float(np.median(apart)), 1e-9)

    def by_context(self, rows: np.ndarray, dose: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Contexts in `rows`, and each one's own answer as weights of the library's rows."""
        contexts = np.unique(self.library.context[rows])
        each = [interpolation_weights(self.library, rows[self.library.context[rows] == c], dose) for c in contexts]
        return contexts, np.stack(each)

    def mean(self, rows: np.ndarray, dose: np.ndarray) -> np.ndarray:
        """Random-effects mean over contexts: weight 1 / (variance between contexts + error variance)."""
        _, each = self.by_context(rows, dose)
        return self._precision(each) @ each

    def _precision(self, each: np.ndarray) -> np.ndarray:
        m = len(each)
        if m == 1:
            return np.ones(1)
        noise = (each**2) @ self._noise
        gram = each @ self.library.gram @ each.T
        spread = (np.trace(gram) - gram.sum() / m) / (m - 1) / self.library.effect.shape[1]
        variance = max(spread - float(noise.mean()), 0.0) + noise
        weight = 1 / np.maximum(variance, 1e-12 * max(float(variance.max()), 1e-300))
        return weight / weight.sum()

    def scaled(self, context: int, rows: np.ndarray, dose: np.ndarray) -> np.ndarray:
        """The mean, each context first scaled to this one.

        The scale of context c is the slope of this context's effects on c's over the other perturbations that
        both have, drawn to 1 as one average perturbation of slope 1 would.
        """
        contexts, each = self.by_context(rows, dose)
        slopes = np.array([self._slope(context, int(c), dose) for c in contexts])
        return (self._precision(each) * slopes) @ each

    def _slope(self, context: int, source: int, dose: np.ndarray) -> float:
        library = self.library
        usable = ~same_components(library, dose) & library.akin(dose)
        here = np.flatnonzero(usable & (library.context == context))
        there = np.flatnonzero(usable & (library.context == source))
        if not len(here) or not len(there):
            return 1.0
        match = (library.dose[here][:, None] == library.dose[there][None]).all(2)
        a, b = np.nonzero(match)
        if not len(a):
            return 1.0
        cross = library.gram[here[a], there[b]].sum()
        square = library.gram[there[b], there[b]]
        pull = square.mean()
        return float((cross + pull) / max(square.sum() + pull, 1e-300))

    def alike(self, context: int, rows: np.ndarray, dose: np.ndarray, profile: np.ndarray | None) -> np.ndarray | None:
        """Contexts weighted by how like their control cells are to this one's; None where these are not known."""
        library = self.library
        if library.profile is None or self._distance is None:
            return None
        if profile is not None:
            distance = profile_distances(profile[None], library.profile)[0]
        elif 0 <= context < len(library.profile):
            distance = self._distance[context]
        else:
            return None
        contexts, each = self.by_context(rows, dose)
        if len(contexts) == 1:
            return None
        if self._width is None:
            self._width = self._chosen_width(self._distance)
        return self._likeness(distance[contexts], self._width) @ each

    def _likeness(self, distance: np.ndarray, width: float) -> np.ndarray:
        weight = (
            np.exp(-(distance - distance.min()) / (width * self._scale)) if np.isfinite(width) else distance * 0 + 1
        )
        return weight / weight.sum()

    def _chosen_width(self, distance: np.ndarray) -> float:
        """The width that predicts each row best from the other contexts' rows of the same perturbation."""
        library = self.library
        losses: list[np.ndarray] = []
        for row in range(library.n_conditions):
            same = same_components(library, library.dose[row]) & (library.context != library.context[row])
            rows = np.flatnonzero(same)
            if len(np.unique(library.context[rows])) < 2:
                continue
            contexts, each = self.by_context(rows, library.dose[row])
            loss = []
            for width in _WIDTHS:
                weight = -(self._likeness(distance[library.context[row], contexts], width) @ each)
                weight[row] += 1
                loss.append(weight @ library.gram @ weight)
            losses.append(np.array(loss))
        if len(losses) < 2:
            return 1.0
        return _WIDTHS[int(np.argmin(np.sum(losses, axis=0)))]
