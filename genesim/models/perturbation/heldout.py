"""Held-out conditions that copy a question: what the stack, its scores and its intervals are learned from.

A fold hides everything that the question would not have: with a new perturbation every condition that holds
it (or another guide of its gene), with a new donor every condition of that donor. Effects of a context share its
controls, and with them an error that would pass for skill: it is taken apart (see `_apart`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from genesim import rng
from genesim.models.perturbation.candidates import Candidates, Screen
from genesim.models.perturbation.kernels import Embedding
from genesim.models.perturbation.library import EffectLibrary, same_components, stratum_of

# Up to this many groups each is left out alone.
_LEAVE_ONE_OUT = 25
MAX_GROUPS = 200
"""Groups that are held out, at most; more teach the weights nothing new and cost memory."""
# Noise that takes the controls' error apart, in units of it: the share that training effects get.
_FISSION = float(np.sqrt(0.5))


@dataclass(frozen=True)
class HeldOut:
    """Held-out conditions of one regime.

    Attributes:
        row, fold: Row of the library, and the fold it was held out in.
        candidates: condition x 2 candidates x gene, see `Candidates.weights`.
        centre: Mean effect of the other perturbations in training; NaN where there are none.
        truth, se, used: Observed effect, its standard error, and the genes that count; condition x gene.
        active: Mean squared effect of each gene in training, condition x gene.
        informed: A prior that someone gave was known.
    """

    row: np.ndarray
    fold: np.ndarray
    candidates: np.ndarray
    centre: np.ndarray
    truth: np.ndarray
    se: np.ndarray
    used: np.ndarray
    active: np.ndarray
    informed: bool = False


def _groups(library: EffectLibrary, stratum: str) -> list[tuple[np.ndarray, np.ndarray]]:
    """Pairs (rows to predict, rows to hide) that put a condition in a stratum."""
    regime, _, which = stratum.partition(":")
    grouped = library.grouped
    distinct, kind = np.unique(grouped, axis=0, return_inverse=True)
    kind = np.ravel(kind)
    groups: list[tuple[np.ndarray, np.ndarray]] = []
    if which and not which.endswith(" (partly)"):
        level = library.row_levels[:, library.covariates.index(which)]
        return [(rows, rows) for value in np.unique(level) if len(rows := np.flatnonzero(level == value))]
    for k, components in enumerate(distinct):
        rows = np.flatnonzero(kind == k)
        if regime == "new_context":
            place = library.context[rows]
            if which:
                place = library.row_levels[rows, library.covariates.index(which.removesuffix(" (partly)"))]
            values = np.unique(place)
            if len(values) > 1:
                groups += [(rows[place == c], rows[place == c]) for c in values]
        elif regime == "combination" and components.sum() > 1:
            groups.append((rows, rows))
        elif regime == "new_perturbation" and components.sum() == 1:
            groups.append((rows, np.flatnonzero(grouped[:, components].any(1))))
        elif regime == "new_dose":
            for row in rows:
                same = same_components(library, library.dose[row]) & (library.context == library.context[row])
                if (library.dose[same] != library.dose[row]).any():
                    groups.append((np.array([row]), np.array([row])))
    return groups


def _apart(
    library: EffectLibrary, hidden: np.ndarray, draw: np.random.Generator
) -> tuple[EffectLibrary, np.ndarray, np.ndarray]:
    """The rows that are not hidden; effects and errors of all rows, whose control error is independent of theirs.

    Data fission (Leiner et al. 2025, J. Am. Stat. Assoc. 120:135): with e ~ N(0, se^2) of a control mean, c + t e and
    c - e / t have independent errors. Training effects get the former, the truth the latter; only contexts on both
    sides need it.
    """
    rest = library.take(~hidden)
    effect, variance = library.effect, library.se**2
    if library.control_se is not None:
        noise = draw.normal(size=library.control_se.shape) * library.control_se
        noise[~np.isin(np.arange(len(noise)), np.intersect1d(library.context[hidden], rest.context))] = 0.0
        varied = np.where(noise != 0, library.control_se, 0.0) ** 2
        less = _FISSION * noise[rest.context]
        rest = replace(
            rest,
            effect=rest.effect - less,
            shrunk=rest.shrunk - less,  # if it is not to be had anew
            se=np.sqrt(rest.se**2 + _FISSION**2 * varied[rest.context]),
            control_se=np.sqrt(library.control_se**2 + _FISSION**2 * varied),
        )
        effect = effect + noise[library.context] / _FISSION
        variance = variance + varied[library.context] / _FISSION**2
    return rest.shrunken(), effect, np.sqrt(variance)


@dataclass(frozen=True, eq=False)
class Split:
    """One fold of a regime.

    Attributes:
        fold: Its number.
        rest: Conditions that a question of the regime would have, with effects of their own control noise.
        rows: Conditions to predict, as rows of the whole library.
        effect, se: Effects of all rows of the whole library that share no noise with `rest`, and their errors.
    """

    fold: int
    rest: EffectLibrary
    rows: np.ndarray
    effect: np.ndarray
    se: np.ndarray


def judged(library: EffectLibrary) -> np.ndarray:
    """Genes that a condition is judged by: all with a standard error, but its targets (condition x gene)."""
    return (library.se > 0) & ~np.stack([library.target_mask(dose) for dose in library.dose])


def splits(
    library: EffectLibrary, regime: str, n_folds: int, seed: int, leave_one_out: int = _LEAVE_ONE_OUT
) -> Iterator[Split]:
    """The folds of a regime, in an order that a seed decides.

    A condition without a gene to judge it by (none but targets has a standard error) is left out, and so is one that
    others hidden in the same fold moved to a harder regime.

    Args:
        regime: A regime, or one of `library.strata`.
        n_folds: Where there are more than `leave_one_out` groups; up to that many, each is left out alone.
    """
    groups = _groups(library, regime)
    shuffled = rng.generator(seed, "perturbation", "folds", regime).permutation(len(groups))
    chosen = shuffled[:MAX_GROUPS]
    n_chosen = len(chosen)
    fold_of = np.full(len(groups), -1)
    fold_of[chosen] = np.arange(n_chosen) % (n_chosen if n_chosen <= leave_one_out else n_folds)
    usable = np.asarray(judged(library).any(1))
    for fold in np.unique(fold_of[fold_of >= 0]):
        inside = [groups[i] for i in np.flatnonzero(fold_of == fold)]
        hidden = np.zeros(library.n_conditions, bool)
        for _, hide in inside:
            hidden[hide] = True
        if hidden.all():
            continue
        draw = rng.generator(seed, "perturbation", "controls", regime, int(fold))
        rest, effect, se = _apart(library, hidden, draw)
        rows = [
            int(row)
            for wanted, _ in inside
            for row in wanted
            if usable[row] and _asks(stratum_of(rest, int(library.context[row]), library.dose[row]), regime)
        ]
        yield Split(int(fold), rest, np.array(rows, dtype=np.int64), effect, se)


class Gathered:
    """Held-out conditions, put together one after the other."""

    def __init__(self, library: EffectLibrary, embeddings: Sequence[Embedding] = ()) -> None:
        self.library = library
        self._informed = any(e.given for e in embeddings)
        self._rows: list[int] = []
        self._folds: list[int] = []
        self._arrays: list[tuple[np.ndarray, ...]] = []

    def add(self, split: Split, made: Candidates, row: int, candidates: np.ndarray) -> None:
        """A condition that `made`, the candidates of the split, predicted."""
        centre = made.other_perturbations(int(self.library.context[row]), self.library.dose[row])
        nothing = np.full(self.library.effect.shape[1], np.nan)
        self._rows.append(row)
        self._folds.append(split.fold)
        self._arrays.append(
            (candidates, nothing if centre is None else centre, split.effect[row], split.se[row], made.active)
        )

    def done(self) -> HeldOut | None:
        """All of them; None without any."""
        if not self._rows:
            return None
        candidates, centre, truth, se, active = (np.stack(values) for values in zip(*self._arrays, strict=True))
        rows, folds = np.array(self._rows), np.array(self._folds)
        used = judged(self.library)[rows]
        return HeldOut(rows, folds, candidates, centre, truth, se, used, active, self._informed)


def hold_out(
    library: EffectLibrary,
    regime: str,
    n_components: int,
    ridge: float,
    n_folds: int,
    seed: int,
    embeddings: Sequence[Embedding] = (),
    screens: Sequence[Screen] = (),
) -> HeldOut | None:
    """Predict the conditions of a regime from libraries that do not hold them; None where there are none.

    Args:
        regime: A regime, or one of `library.strata`.
        embeddings, screens: Priors; they must not come from the effects that are held out.
    """
    found = Gathered(library, embeddings)
    for split in splits(library, regime, n_folds, seed):
        made = Candidates(split.rest, n_components, ridge, embeddings, screens)
        for row in split.rows:
            found.add(split, made, int(row), made.all(int(library.context[row]), library.dose[row]))
    return found.done()


def _asks(found: str, wanted: str) -> bool:
    """A stratum that was found is the one wanted, or part of the regime that was."""
    return found == wanted or (":" not in wanted and found.split(":")[0] == wanted)
