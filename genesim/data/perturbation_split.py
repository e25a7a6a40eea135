"""Leave perturbations, combinations, contexts, donors, doses or replicates out of training, without leaks.

A split names four sets of cells. Nothing that was left out is trained on under another name: guides of a target, orders
of a combination ("B+A" is "A+B"), and combinations that hold a left-out target go with it. Controls are divided too:
some are trained on and perturbed (`input`), the others only serve the true effect (`truth`). Were they the same cells,
their noise would be part of the prediction and of the truth, and pass for skill (Vinas Torne et al. 2025).
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from jaxtyping import Bool

from genesim import rng
from genesim.errors import ConditionError, ConfigError, H5adError, TrainingError

LeftOut = Literal["perturbation", "combination", "cell type", "donor", "dose", "replicate"]


@dataclass(frozen=True)
class Labels:
    """How the columns of obs say what was done to a cell.

    Attributes:
        perturbation: Column of labels such as "A", "A+B" or the control.
        control: Label of control cells; also a part that means nothing ("A+control" is "A").
        separator: Between the parts of a label.
        target: Column that names the target of each cell where `perturbation` names guides or constructs; its
            labels are read as those of `perturbation` are.
    """

    perturbation: str
    control: str = "control"
    separator: str = "+"
    target: str | None = None

    def parts(self, label: object) -> frozenset[str]:
        """Targets of a label; none for the control."""
        parts = (part.strip() for part in str(label).split(self.separator))
        return frozenset(part for part in parts if part and part != self.control)

    def name(self, parts: Collection[str]) -> str:
        """One name for a set of targets."""
        return self.separator.join(sorted(parts)) or self.control

    def read(self, obs: pd.DataFrame) -> np.ndarray:
        """Set of targets of every cell.

        Raises:
            H5adError: A column is missing, or one label stands for different targets.
        """
        columns = [name for name in (self.perturbation, self.target) if name is not None]
        require_columns(obs, columns)
        text = obs[columns[-1]].astype(str)
        if self.target is not None:
            mixed = text.groupby(obs[self.perturbation].astype(str).to_numpy()).nunique()
            if (mixed > 1).any():
                raise H5adError(
                    f"'{mixed.index[mixed > 1][0]}' stands for several targets",
                    where=f"obs['{self.perturbation}'] and obs['{self.target}']",
                    remedy="give each guide one target",
                )
        known = {label: self.parts(label) for label in text.unique()}
        found = np.empty(len(obs), dtype=object)
        found[:] = [known[label] for label in text]
        return found


@dataclass(frozen=True)
class PerturbationSplit:
    """Which cells are trained on, predicted from, and predicted; boolean masks over the rows of obs.

    Attributes:
        left_out: What kind of thing was left out.
        names: What was left out.
        train: Cells that may be trained on, controls among them.
        test: Perturbed cells to be predicted.
        input: Control cells to make predictions from.
        truth: Control cells that the true effect is taken against; never trained on, never in `input`.
    """

    left_out: LeftOut
    names: tuple[str, ...]
    train: Bool[np.ndarray, " cell"]
    test: Bool[np.ndarray, " cell"]
    input: Bool[np.ndarray, " cell"]
    truth: Bool[np.ndarray, " cell"]


def require_columns(obs: pd.DataFrame, names: Sequence[str]) -> None:
    """Raise H5adError where a column of obs is missing."""
    for name in names:
        if name not in obs.columns:
            close = difflib.get_close_matches(name, [str(c) for c in obs.columns], 1)
            raise H5adError(
                f"has no column '{name}'",
                where="obs",
                remedy=f"did you mean '{close[0]}'?" if close else f"columns are {', '.join(map(str, obs.columns))}",
            )


def _check_known(wanted: Collection[str], known: Collection[str], where: str) -> None:
    if not wanted:
        raise ConditionError("nothing is named to be left out", where=where, remedy="name one or more")
    unknown = sorted(set(wanted) - set(known))
    if unknown:
        close = difflib.get_close_matches(unknown[0], list(known), 1)
        some = ", ".join(sorted(known)[:8])
        raise ConditionError(
            f"'{unknown[0]}' is not in the data",
            where=where,
            remedy=f"did you mean '{close[0]}'?" if close else f"choose among {some}",
        )


def halve_controls(is_control: np.ndarray, context: np.ndarray, index: pd.Index, share: float, seed: int) -> np.ndarray:
    """Mask of the controls kept for the truth: a `share` of each context's, at least one where it has two.

    Cells are taken in the order of their names, so the result does not depend on the order of rows.
    """
    if not 0 < share < 1:
        raise ConfigError(f"truth_share is {share}", where="split", remedy="give a share between 0 and 1")
    names = index.to_numpy().astype(str)
    kept = np.zeros(len(names), bool)
    for level in sorted(set(context[is_control])):
        rows = np.flatnonzero(is_control & (context == level))
        rows = rows[np.argsort(names[rows], kind="stable")]
        n = int(np.clip(round(share * len(rows)), 1, len(rows) - 1)) if len(rows) > 1 else 0
        kept[rng.generator(seed, "perturbation split", str(level)).permutation(rows)[:n]] = True
    return kept


def contexts(obs: pd.DataFrame, keys: Sequence[str]) -> np.ndarray:
    """Context of each cell: the levels of `keys` joined by "|"."""
    require_columns(obs, keys)
    if not keys:
        return np.full(len(obs), "all", dtype=object)
    return obs[list(keys)].astype(str).agg("|".join, axis=1).to_numpy(dtype=object)


def _finished(
    left_out: LeftOut,
    names: Collection[str],
    train: np.ndarray,
    test: np.ndarray,
    is_control: np.ndarray,
    truth: np.ndarray,
    context: np.ndarray,
) -> PerturbationSplit:
    """Controls that only serve the truth leave training; both kinds are kept to the contexts of the test cells."""
    if not test.any():
        raise TrainingError(f"no perturbed cell has {', '.join(names)}", where="split", remedy="leave out another one")
    train = train & ~truth
    here = np.isin(context, list(set(context[test])))
    given = is_control & train & here
    if not (train & ~is_control).any() or not given.any() or not (truth & here).any():
        lacking = "perturbed cells" if not (train & ~is_control).any() else "controls to predict from or compare with"
        raise TrainingError(
            f"without {', '.join(sorted(names))} there are no {lacking}",
            where="split",
            remedy="leave out less, or use fewer covariate_keys",
        )
    return PerturbationSplit(left_out, tuple(sorted(names)), train, test, given, truth & here)


def leave_out_perturbations(
    obs: pd.DataFrame,
    labels: Labels,
    targets: Collection[str],
    *,
    covariate_keys: Sequence[str] = (),
    truth_share: float = 0.5,
    seed: int = 0,
) -> PerturbationSplit:
    """No cell that carries one of `targets`, alone or in a combination, is trained on; all of them are tested.

    Args:
        obs: One row a cell.
        labels: Columns and how to read them.
        targets: To leave out.
        covariate_keys: Columns that make the context, within which controls are divided.
        truth_share: Share of each context's controls kept for the true effect.
        seed: Of the division of the controls.

    Raises:
        ConditionError: A target is not in the data.
        TrainingError: Nothing is left to train on, or there are no controls.
        H5adError: A column is missing.
    """
    parts = labels.read(obs)
    _check_known(targets, {t for p in set(parts) for t in p}, "perturbations to leave out")
    carries = np.array([bool(p & set(targets)) for p in parts])
    is_control = np.array([not p for p in parts])
    context = contexts(obs, covariate_keys)
    truth = halve_controls(is_control, context, obs.index, truth_share, seed)
    return _finished("perturbation", targets, ~carries, carries, is_control, truth, context)


def leave_out_combinations(
    obs: pd.DataFrame,
    labels: Labels,
    combinations: Collection[str],
    *,
    covariate_keys: Sequence[str] = (),
    truth_share: float = 0.5,
    seed: int = 0,
) -> PerturbationSplit:
    """The named combinations are tested; larger ones that hold one are in neither part; the parts alone are trained on.

    Raises:
        ConditionError: A combination is not in the data, has one part only, or has a part that was not measured alone.
        TrainingError, H5adError: See `leave_out_perturbations`.
    """
    parts = labels.read(obs)
    wanted = {labels.parts(name) for name in combinations}
    known = {labels.name(p): p for p in set(parts)}
    _check_known([labels.name(p) for p in wanted], known, "combinations to leave out")
    alone = {next(iter(p)) for p in set(parts) if len(p) == 1}
    for one in wanted:
        lacking = sorted(one - alone)
        if len(one) < 2 or lacking:
            raise ConditionError(
                f"'{labels.name(one)}' has one part only"
                if len(one) < 2
                else f"'{lacking[0]}' of '{labels.name(one)}' was not measured alone",
                where="combinations to leave out",
                remedy="name combinations whose parts were measured, or use leave_out_perturbations",
            )
    test = np.array([p in wanted for p in parts])
    holds = np.array([any(one <= p for one in wanted) for p in parts])
    is_control = np.array([not p for p in parts])
    context = contexts(obs, covariate_keys)
    truth = halve_controls(is_control, context, obs.index, truth_share, seed)
    return _finished("combination", [labels.name(p) for p in wanted], ~holds, test, is_control, truth, context)


def leave_out_contexts(
    obs: pd.DataFrame,
    labels: Labels,
    key: str,
    levels: Collection[str],
    *,
    covariate_keys: Sequence[str] = (),
    truth_share: float = 0.5,
    seed: int = 0,
    left_out: LeftOut = "cell type",
) -> PerturbationSplit:
    """No perturbed cell of the named levels (cell types, lines, donors) is trained on; their controls are given.

    Args:
        key: Column of obs with the levels. All that shares a level is left out, whatever its other covariates.
        levels: To leave out.
        covariate_keys: Columns that make the context; `key` is added where it is not among them.

    Raises:
        ConditionError, TrainingError, H5adError: See `leave_out_perturbations`.
    """
    parts = labels.read(obs)
    require_columns(obs, [key])
    level = obs[key].astype(str).to_numpy()
    _check_known(levels, set(level), f"levels of obs['{key}'] to leave out")
    is_control = np.array([not p for p in parts])
    inside = np.isin(level, list(levels))
    context = contexts(obs, list(dict.fromkeys([*covariate_keys, key])))
    truth = halve_controls(is_control, context, obs.index, truth_share, seed)
    return _finished(left_out, levels, is_control | ~inside, inside & ~is_control, is_control, truth, context)


def leave_out_donors(
    obs: pd.DataFrame, labels: Labels, donor_key: str, donors: Collection[str], **options: object
) -> PerturbationSplit:
    """`leave_out_contexts` of people: no perturbed cell of theirs is trained on, in any cell type."""
    return leave_out_contexts(obs, labels, donor_key, donors, left_out="donor", **options)  # type: ignore[arg-type]


def leave_out_replicates(
    obs: pd.DataFrame,
    labels: Labels,
    key: str,
    replicates: Collection[str],
    *,
    covariate_keys: Sequence[str] = (),
) -> PerturbationSplit:
    """No cell of the named replicates is trained on or predicted from, controls included: they are the truth.

    Raises:
        ConditionError, TrainingError, H5adError: See `leave_out_perturbations`.
    """
    parts = labels.read(obs)
    require_columns(obs, [key])
    level = obs[key].astype(str).to_numpy()
    _check_known(replicates, set(level), f"replicates in obs['{key}'] to leave out")
    is_control = np.array([not p for p in parts])
    inside = np.isin(level, list(replicates))
    context = contexts(obs, covariate_keys)
    split = _finished("replicate", replicates, ~inside, inside & ~is_control, is_control, inside & is_control, context)
    seen = {(c, p) for c, p in zip(context[split.train], parts[split.train])}
    known = np.array([(c, p) in seen for c, p in zip(context, parts)])
    if not (split.test & known).any():
        raise TrainingError(
            "no other replicate has the same perturbations", where="split", remedy="leave out fewer replicates"
        )
    return split


def leave_out_doses(
    obs: pd.DataFrame,
    labels: Labels,
    dose_key: str,
    doses: Collection[float],
    *,
    covariate_keys: Sequence[str] = (),
    truth_share: float = 0.5,
    seed: int = 0,
) -> PerturbationSplit:
    """No cell of one of `doses` is trained on: in a combination ("1+2"), if any part has it.

    Raises:
        ConditionError, TrainingError, H5adError: See `leave_out_perturbations`; a dose that is no number.
    """
    parts = labels.read(obs)
    require_columns(obs, [dose_key])
    is_control = np.array([not p for p in parts])
    text = obs[dose_key].astype(str).to_numpy()
    read: dict[str, frozenset[float]] = {}
    for value in np.unique(text[~is_control]):
        try:
            read[value] = frozenset(float(part) for part in value.split(labels.separator))
        except ValueError:
            raise H5adError(
                f"dose '{value}' of a perturbed cell is not a number",
                where=f"obs['{dose_key}']",
                remedy="give one number a cell, or one a part joined as the labels are",
            ) from None
    wanted = {float(d) for d in doses}
    _check_known([f"{d:g}" for d in wanted], {f"{d:g}" for v in read.values() for d in v}, "doses to leave out")
    test = np.array([not c and bool(read[t] & wanted) for c, t in zip(is_control, text)])
    context = contexts(obs, covariate_keys)
    truth = halve_controls(is_control, context, obs.index, truth_share, seed)
    return _finished("dose", [f"{d:g}" for d in wanted], ~test, test, is_control, truth, context)


def folds(names: Collection[str], n_folds: int, seed: int) -> list[tuple[str, ...]]:
    """Names dealt into `n_folds` groups to leave out in turn; sizes differ by one at most, order does not matter.

    Raises:
        ConfigError: Fewer names than folds, or fewer than two folds.
    """
    ordered = sorted(set(names))
    if not 2 <= n_folds <= len(ordered):
        raise ConfigError(
            f"{n_folds} folds of {len(ordered)} names", where="folds", remedy="give 2 folds or more, and as many names"
        )
    dealt = rng.generator(seed, "perturbation split", "folds").permutation(len(ordered))
    return [tuple(sorted(ordered[i] for i in dealt[k::n_folds])) for k in range(n_folds)]
