"""Effects that were observed, and which question a wanted perturbation puts to them (its regime).

Effects are differences of mean log expression from the control cells of one context (a cell type, donor or
combination of covariates). A perturbation is a vector of doses, 0 where a component is absent.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from genesim.models.perturbation.shrinkage import joint_shrinkage

KINDS = ("genetic", "knock_out", "crispri", "crispra", "drug", "cytokine", "disease")
"""What a component may be; "genetic" where nothing was said."""
REGIMES = ("seen", "new_context", "combination", "new_perturbation", "new_dose")
_FAMILY = {"knock_out": "loss", "crispri": "loss"}


def family_of(kind: str) -> str:
    """Kinds that are pooled: knock-out and CRISPRi both lose a gene; an activation is no knock-out of another sign."""
    return _FAMILY.get(kind, kind)


@dataclass(frozen=True)
class EffectLibrary:
    """Effects observed in training, one row a condition (a perturbation in a context).

    Attributes:
        context: Index of the row's context.
        dose: condition x component; 0 where the component is absent.
        effect, se: Observed effect and its standard error, condition x gene.
        shrunk, sd: Posterior mean and standard deviation of the effect, condition x gene (see `joint_shrinkage`).
        target: Column of each component's own gene, -1 where it is not a measured gene.
        kinds: One of `KINDS` per component; components beyond its end are "genetic".
        group: Components of one group (the guides of a gene) are held out together; None: each its own.
        levels: Level of each covariate, context x covariate; None where contexts have one covariate.
        covariates: Names of these covariates.
        profile: Mean log expression of control cells, context x gene; None where it is not known.
        control_se: Its standard error, which all effects of a context share; None where it is not known.
        shrinks: Whether `shrunk` and `sd` come from `joint_shrinkage`, and are to be had anew from fewer rows.
    """

    context: np.ndarray
    dose: np.ndarray
    effect: np.ndarray
    se: np.ndarray
    shrunk: np.ndarray
    sd: np.ndarray
    target: np.ndarray
    kinds: tuple[str, ...] = ()
    group: np.ndarray | None = None
    levels: np.ndarray | None = None
    covariates: tuple[str, ...] = ("context",)
    profile: np.ndarray | None = None
    control_se: np.ndarray | None = None
    shrinks: bool = False

    @property
    def n_conditions(self) -> int:
        return len(self.context)

    def take(self, rows: np.ndarray) -> EffectLibrary:
        """The library of some rows (a boolean mask or indices)."""
        arrays = {k: getattr(self, k)[rows] for k in ("context", "dose", "effect", "se", "shrunk", "sd")}
        return replace(self, **arrays)

    def shrunken(self) -> EffectLibrary:
        """With `shrunk` and `sd` of these very rows."""
        if not self.shrinks:
            return self
        mean, sd = joint_shrinkage(self.effect, self.se, self.context, self.control_se)
        return replace(self, shrunk=mean, sd=sd)

    def target_mask(self, dose: np.ndarray) -> np.ndarray:
        """True at the measured target genes of a perturbation: they are left out of losses and metrics."""
        mask = np.zeros(self.effect.shape[1], bool)
        own = self.target[dose > 0]
        mask[own[own >= 0]] = True
        return mask

    @cached_property
    def family(self) -> np.ndarray:
        """Family of each component, as text."""
        n = self.dose.shape[1]
        return np.array([family_of(k) for k in (*self.kinds, *["genetic"] * (n - len(self.kinds)))][:n], dtype=object)

    def families(self, dose: np.ndarray) -> frozenset[str]:
        """Families of the components that are there."""
        return frozenset(self.family[dose > 0])

    def akin(self, dose: np.ndarray) -> np.ndarray:
        """Rows whose components are of the same families as those of `dose`: only these are pooled with it."""
        if len(set(self.family)) <= 1:
            return np.ones(self.n_conditions, bool)
        wanted = self.families(dose)
        return np.array([self.families(row) == wanted for row in self.dose], bool)

    @cached_property
    def grouped(self) -> np.ndarray:
        """condition x group: True where any component of the group is there."""
        if self.group is None:
            return self.dose > 0
        n = self.dose.shape[1]
        group = np.r_[self.group, np.arange(len(self.group), n) + int(self.group.max(initial=-1)) + 1]
        out = np.zeros((self.n_conditions, int(group.max(initial=-1)) + 1), bool)
        for component in range(n):
            out[:, group[component]] |= self.dose[:, component] > 0
        return out

    def level_of(self, context: int) -> np.ndarray:
        """Level of each covariate in a context; -1 in an unknown one."""
        if context < 0:
            return np.full(len(self.covariates), -1)
        return np.array([context]) if self.levels is None else self.levels[context]

    @cached_property
    def row_levels(self) -> np.ndarray:
        """condition x covariate."""
        return self.context[:, None] if self.levels is None else self.levels[self.context]

    @cached_property
    def gram(self) -> np.ndarray:
        """Inner products of shrunk effects, target genes left out; condition x condition."""
        masked = self.shrunk.copy()
        for i, dose in enumerate(self.dose):
            masked[i, self.target_mask(dose)] = 0.0
        return masked @ masked.T

    @cached_property
    def full_gram(self) -> np.ndarray:
        """Inner products of shrunk effects over all genes; condition x condition."""
        return self.shrunk @ self.shrunk.T


def same_components(library: EffectLibrary, dose: np.ndarray) -> np.ndarray:
    """Rows that hold exactly the components of `dose`, at any dose."""
    return ((library.dose > 0) == (dose > 0)).all(1)


def same_doses(library: EffectLibrary, dose: np.ndarray) -> np.ndarray:
    """Rows of exactly these doses, but for rounding."""
    return np.isclose(library.dose, dose, rtol=1e-6, atol=0).all(1)


def known_alone(library: EffectLibrary) -> np.ndarray:
    """Components that were measured on their own."""
    alone = library.dose[(library.dose > 0).sum(1) == 1]
    return (alone > 0).any(0) if len(alone) else np.zeros(library.dose.shape[1], bool)


def stratum_of(library: EffectLibrary, context: int, dose: np.ndarray, levels: np.ndarray | None = None) -> str:
    """The regime, and for a new context which covariate is new.

    "new_context": other perturbations are known there. "new_context:donor": nothing is known of this donor (the
    first such covariate is named). "new_context:donor (partly)", with two covariates or more: the perturbation
    was never measured in this donor, others were.

    Args:
        context: Index, -1 if it is not one of the library's.
        levels: Levels of its covariates, where it is not; -1 for a level that no context has.
    """
    rows = same_components(library, dose)
    own = rows & (library.context == context)
    if own.any():
        return "seen" if (own & same_doses(library, dose)).any() else "new_dose"
    if not rows.any():
        return "combination" if known_alone(library)[dose > 0].all() else "new_perturbation"
    level = library.level_of(context) if levels is None else levels
    for k, name in enumerate(library.covariates):
        if level[k] not in library.row_levels[:, k]:
            return f"new_context:{name}"
    if len(library.covariates) > 1:
        for k, name in enumerate(library.covariates):
            if level[k] not in library.row_levels[rows, k]:
                return f"new_context:{name} (partly)"
    return "new_context"


def regime_of(library: EffectLibrary, context: int, dose: np.ndarray) -> str:
    """Which of `REGIMES` a perturbation in a context falls in, given what the library holds."""
    return stratum_of(library, context, dose).split(":")[0]


def strata(library: EffectLibrary) -> tuple[str, ...]:
    """Everything that a question may be, apart from "seen"."""
    names = library.covariates
    found = ["new_context", *(f"new_context:{name}" for name in names)]
    if len(names) > 1:
        found += [f"new_context:{name} (partly)" for name in names]
    return (*found, "combination", "new_perturbation", "new_dose")
