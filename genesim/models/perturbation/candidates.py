"""Closed-form predictions of a perturbation's effect: the baselines that any model has to beat.

Effects are differences of mean log expression from the control cells of one context (a cell type, donor or
combination of covariates). A perturbation is a vector of doses, 0 where a component is absent.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

CANDIDATES = ("mean_effect", "other_contexts", "additive", "bilinear")
REGIMES = ("seen", "new_context", "combination", "new_perturbation")


@dataclass(frozen=True)
class EffectLibrary:
    """Effects observed in training, one row a condition (a perturbation in a context).

    Attributes:
        context: Index of the row's context.
        dose: condition x component; 0 where the component is absent.
        effect, se: Observed effect and its standard error, condition x gene.
        shrunk, sd: Posterior mean and standard deviation of the effect, condition x gene.
        target: Column of each component's own gene, -1 where it is not a measured gene.
    """

    context: np.ndarray
    dose: np.ndarray
    effect: np.ndarray
    se: np.ndarray
    shrunk: np.ndarray
    sd: np.ndarray
    target: np.ndarray

    @property
    def n_conditions(self) -> int:
        return len(self.context)

    def take(self, rows: np.ndarray) -> EffectLibrary:
        """The library of some rows (a boolean mask or indices)."""
        arrays = {k: getattr(self, k)[rows] for k in ("context", "dose", "effect", "se", "shrunk", "sd")}
        return replace(self, **arrays)

    def target_mask(self, dose: np.ndarray) -> np.ndarray:
        """True at the measured target genes of a perturbation: they are left out of losses and metrics."""
        mask = np.zeros(self.effect.shape[1], bool)
        own = self.target[dose > 0]
        mask[own[own >= 0]] = True
        return mask


def same_components(library: EffectLibrary, dose: np.ndarray) -> np.ndarray:
    """Rows that hold exactly the components of `dose`, at any dose."""
    return ((library.dose > 0) == (dose > 0)).all(1)


def at_dose(library: EffectLibrary, rows: np.ndarray, dose: np.ndarray) -> np.ndarray:
    """Effect at `dose` by linear interpolation over the rows of one context and one set of components.

    The relative dose is the mean over components of dose / largest dose of that component in `rows`. Effects
    start at 0 at dose 0 and stay at that of the largest dose beyond it: nothing observed says otherwise.
    """
    active = dose > 0
    largest = library.dose[rows][:, active].max(0)
    known = (library.dose[rows][:, active] / largest).mean(1)
    wanted = float(np.minimum(dose[active] / largest, 1.0).mean())
    order = np.argsort(known, kind="stable")
    grid = np.r_[0.0, known[order]]
    effects = np.vstack([np.zeros(library.effect.shape[1]), library.shrunk[rows][order]])
    upper = int(np.clip(np.searchsorted(grid, wanted - 1e-9), 1, len(grid) - 1))
    step = grid[upper] - grid[upper - 1]
    share = 1.0 if step <= 0 else float(np.clip((wanted - grid[upper - 1]) / step, 0, 1))
    return (1 - share) * effects[upper - 1] + share * effects[upper]


def _over_contexts(library: EffectLibrary, rows: np.ndarray, dose: np.ndarray) -> np.ndarray:
    contexts = np.unique(library.context[rows])
    return np.mean([at_dose(library, rows[library.context[rows] == c], dose) for c in contexts], axis=0)


class Candidates:
    """All candidate predictions from one library."""

    def __init__(self, library: EffectLibrary, n_components: int, ridge: float) -> None:
        self.library = library
        self.mean = library.shrunk.mean(0) if library.n_conditions else np.zeros(library.effect.shape[1], np.float64)
        self._bilinear = self._fit_bilinear(n_components, ridge)

    def mean_effect(self, context: int) -> np.ndarray:
        """Mean over all observed perturbations, of the context itself where it has two or more."""
        own = self.library.context == context
        return self.library.shrunk[own].mean(0) if own.sum() >= 2 else self.mean

    def other_perturbations(self, context: int, dose: np.ndarray) -> np.ndarray | None:
        """Mean effect of the other perturbations, the centre of centred scores; None without any."""
        rows = ~same_components(self.library, dose)
        own = rows & (self.library.context == context)
        rows = own if own.sum() >= 2 else rows
        return self.library.effect[rows].mean(0) if rows.any() else None

    def single(self, context: int, component: int, dose: float) -> np.ndarray | None:
        """Effect of one component: of the context itself, else the mean over other contexts, else None."""
        wanted = np.zeros(self.library.dose.shape[1])
        wanted[component] = dose
        rows = np.flatnonzero(same_components(self.library, wanted))
        own = rows[self.library.context[rows] == context]
        if len(own):
            return at_dose(self.library, own, wanted)
        return _over_contexts(self.library, rows, wanted) if len(rows) else None

    def other_contexts(self, context: int, dose: np.ndarray) -> np.ndarray | None:
        """Mean effect of the same perturbation in the other contexts."""
        rows = np.flatnonzero(same_components(self.library, dose) & (self.library.context != context))
        return _over_contexts(self.library, rows, dose) if len(rows) else None

    def additive(self, context: int, dose: np.ndarray) -> np.ndarray:
        """Sum of the components' own effects; an unseen component counts as the mean effect."""
        total = np.zeros(self.library.effect.shape[1])
        for component in np.flatnonzero(dose > 0):
            one = self.single(context, int(component), float(dose[component]))
            total += self.mean_effect(context) if one is None else one
        return total

    def _fit_bilinear(self, n_components: int, ridge: float) -> tuple[np.ndarray, ...] | None:
        """Y = G W P' + b by two ridges (Ahlmann-Eltze et al. 2025, Nat. Methods, 10.1038/s41592-025-02772-6).

        G: gene embedding, principal components of the training effects. P: of a perturbation, the sum of its
        target genes' rows of G. Only conditions with measured targets take part.
        """
        library = self.library
        usable = np.array([(library.target[d > 0] >= 0).all() for d in library.dose], bool)
        if usable.sum() < 3:
            return None
        y = library.shrunk[usable]
        centre = y.mean(0)
        _, s, vt = np.linalg.svd(y - centre, full_matrices=False)
        k = int(min(n_components, (s > 1e-9).sum()))
        if k == 0:
            return None
        genes = vt[:k].T * s[:k]
        p = np.stack([genes[library.target[d > 0]].sum(0) for d in library.dose[usable]])
        left = np.linalg.solve(genes.T @ genes + ridge * np.eye(k), genes.T @ (y - centre).T)
        weight = np.linalg.solve(p.T @ p + ridge * np.eye(k), p.T @ left.T).T
        return genes, weight, centre

    def bilinear(self, dose: np.ndarray) -> np.ndarray | None:
        """Prediction from the target genes' place in expression space; None where one is not measured."""
        target = self.library.target[dose > 0]
        if self._bilinear is None or (target < 0).any():
            return None
        genes, weight, centre = self._bilinear
        return genes @ (weight @ genes[target].sum(0)) + centre

    def all(self, context: int, dose: np.ndarray) -> np.ndarray:
        """Every candidate in the order of `CANDIDATES` (candidate x gene).

        One that cannot say anything falls back on the simpler one before it: other contexts and bilinear on
        the mean effect.
        """
        mean = self.mean_effect(context)
        others, linear = self.other_contexts(context, dose), self.bilinear(dose)
        return np.stack(
            [
                mean,
                mean if others is None else others,
                self.additive(context, dose),
                mean if linear is None else linear,
            ]
        )


def regime_of(library: EffectLibrary, context: int, dose: np.ndarray) -> str:
    """Which of `REGIMES` a perturbation in a context falls in, given what the library holds."""
    rows = same_components(library, dose)
    if (rows & (library.context == context)).any():
        return "seen"
    if rows.any():
        return "new_context"
    alone = library.dose[(library.dose > 0).sum(1) == 1]
    known = (alone > 0).any(0) if len(alone) else np.zeros(library.dose.shape[1], bool)
    return "combination" if known[dose > 0].all() else "new_perturbation"
