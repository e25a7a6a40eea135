"""What the residual network sees of a question: effects, perturbations and contexts as a few numbers each.

Effects are told by their scores on programs (the leading directions of the training effects), a perturbation by the
effect of each component alone and by what priors say of it, a context by its control cells.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from genesim.models.perturbation.candidates import Candidates
from genesim.models.perturbation.kernels import Embedding
from genesim.models.perturbation.library import EffectLibrary

N_CONTEXT, N_PRIOR, N_PARTS = 4, 8, 2
"""Numbers that tell a context and a prior; components that there is room for, at the least."""


@dataclass(frozen=True)
class Axes:
    """Leading directions of some points, in units of the standard deviation along the first.

    Attributes:
        centre: Mean of the points.
        directions: direction x dimension; 0 beyond those that the points have.
    """

    centre: Float[np.ndarray, " dimension"]
    directions: Float[np.ndarray, "direction dimension"]

    @classmethod
    def of(cls, points: Float[np.ndarray, "point dimension"], n: int, *, centred: bool = True) -> Axes:
        """At most `n` directions; of points that are one, all are 0."""
        centre = points.mean(0) if centred and len(points) else np.zeros(points.shape[1])
        moved = points - centre
        directions = np.zeros((n, points.shape[1]))
        # The smaller Gram matrix: there are far more genes than conditions.
        wide = moved.shape[1] > moved.shape[0]
        value, vector = np.linalg.eigh(moved @ moved.T if wide else moved.T @ moved)
        value, vector = value[::-1], vector[:, ::-1]
        k = int(min(n, (value > 1e-9 * max(float(value[0]), 1e-300)).sum())) if len(value) else 0
        if k:
            found = (vector[:, :k] / np.sqrt(value[:k])).T @ moved if wide else vector[:, :k].T
            # The sign is arbitrary: the largest loading is made positive, so that runs agree.
            found = found * np.sign(found[np.arange(k), np.abs(found).argmax(1)])[:, None]
            directions[:k] = found / np.sqrt(value[0] / len(points))
        return cls(centre, directions)

    def scores(self, points: Float[np.ndarray, "... dimension"]) -> Float[np.ndarray, "... direction"]:
        """Where points lie."""
        return (points - self.centre) @ self.directions.T


@dataclass(frozen=True)
class Told:
    """Questions as the network sees them.

    Attributes:
        level: Scores of the closed-form prediction.
        parts: Of each component: scores of its own effect, whether that is known, its dose, and what priors say.
        present: 1 where there is a component.
        context: Scores of the control cells.
    """

    level: Float[np.ndarray, "question program"]
    parts: Float[np.ndarray, "question part feature"]
    present: Float[np.ndarray, "question part"]
    context: Float[np.ndarray, "question axis"]

    def padded(self, n: int) -> Told:
        """With empty questions at the end, `n` in all."""
        more = n - len(self.level)
        return Told(*(np.pad(a, [(0, more)] + [(0, 0)] * (a.ndim - 1)) for a in self.arrays))

    @property
    def arrays(self) -> tuple[np.ndarray, ...]:
        """In the order of the attributes."""
        return self.level, self.parts, self.present, self.context

    @classmethod
    def together(cls, each: Sequence[Told]) -> Told:
        """All questions, with room for the most components of any."""
        room = max(one.present.shape[1] for one in each)
        wide = []
        for one in each:
            more = (0, room - one.present.shape[1])
            parts = np.pad(one.parts, ((0, 0), more, (0, 0)))
            wide.append(cls(one.level, parts, np.pad(one.present, ((0, 0), more)), one.context))
        return cls(*(np.concatenate(arrays) for arrays in zip(*(one.arrays for one in wide), strict=True)))


@dataclass(frozen=True)
class Vocabulary:
    """Programs and axes of one library, and the doses that its components were measured at.

    Attributes:
        programs: Of effects, target genes left out; not centred, for no effect is the origin.
        contexts: Of control profiles.
        priors: By name.
        dose: Largest of each component; 0 where it is unknown.
    """

    programs: Axes
    contexts: Axes
    priors: dict[str, Axes]
    dose: Float[np.ndarray, " component"]

    @classmethod
    def of(cls, library: EffectLibrary, embeddings: Sequence[Embedding], n_programs: int) -> Vocabulary:
        """From training conditions, at most `n_programs`."""
        effects = library.shrunk.copy()
        for row, dose in enumerate(library.dose):
            effects[row, library.target_mask(dose)] = 0.0
        n_genes = effects.shape[1]
        profiles = np.zeros((0, n_genes)) if library.profile is None else library.profile[np.unique(library.context)]
        priors = {}
        measured = np.asarray((library.dose > 0).any(0))
        for prior in embeddings:
            known = prior.values[: len(measured)][measured]
            priors[prior.name] = Axes.of(known[~np.isnan(known).any(1)], N_PRIOR)
        n = min(n_programs, len(effects), n_genes)
        return cls(Axes.of(effects, n, centred=False), Axes.of(profiles, N_CONTEXT), priors, library.dose.max(0))

    @property
    def n_features(self) -> int:
        """Of a component."""
        return len(self.programs.directions) + 2 + (N_PRIOR + 1) * len(self.priors)

    def told(
        self,
        made: Candidates,
        embeddings: Sequence[Embedding],
        context: int,
        dose: Float[np.ndarray, " component"],
        prediction: Float[np.ndarray, " gene"],
        profile: Float[np.ndarray, " gene"] | None = None,
    ) -> Told:
        """A question.

        Args:
            made: Candidates of what the question has.
            embeddings: Priors of all components, of the names that the vocabulary has.
            context: Index; -1 where it is unknown.
            dose: Per component.
            prediction: The closed-form one.
            profile: Mean log expression of control cells, in a context that the library does not know.
        """
        active = np.flatnonzero(dose > 0)
        parts = np.zeros((max(len(active), N_PARTS), self.n_features))
        for slot, component in enumerate(active):
            parts[slot] = self._part(made, embeddings, context, int(component), float(dose[component]))
        present = np.zeros(len(parts))
        present[: len(active)] = 1.0
        library = made.library
        if profile is None and library.profile is not None and 0 <= context < len(library.profile):
            profile = library.profile[context]
        place = np.zeros(N_CONTEXT) if profile is None else self.contexts.scores(profile)
        return Told(self.programs.scores(prediction)[None], parts[None], present[None], place[None])

    def _part(
        self, made: Candidates, embeddings: Sequence[Embedding], context: int, component: int, dose: float
    ) -> np.ndarray:
        alone = made.single(context, component, dose)
        effect = np.zeros(len(self.programs.directions)) if alone is None else self.programs.scores(alone)
        most = self.dose[component] if component < len(self.dose) else 0.0
        found = [effect, [float(alone is not None), dose / most if most > 0 else 1.0]]
        by_name = {prior.name: prior.values for prior in embeddings}
        for name, axes in self.priors.items():
            place = by_name[name][component]
            known = not np.isnan(place).any()
            found += [axes.scores(place) if known else np.zeros(N_PRIOR), [float(known)]]
        return np.concatenate(found)
