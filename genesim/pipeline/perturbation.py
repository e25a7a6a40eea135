"""Cross-validation of perturbation predictions on an AnnData: leave out, fit, predict, score beside every baseline."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import anndata as ad
import numpy as np
import pandas as pd
from scipy import sparse

from genesim.config.evaluate import EvaluateConfig
from genesim.config.model import PerturbationConfig
from genesim.console import log
from genesim.data.expression import read_expression
from genesim.data.perturbation_split import (
    Labels,
    PerturbationSplit,
    contexts,
    folds,
    leave_out_combinations,
    leave_out_contexts,
    leave_out_perturbations,
    leave_out_replicates,
    require_columns,
)
from genesim.errors import ConditionError, ConfigError
from genesim.estimators.perturbation import PerturbationModel
from genesim.evaluate.perturbation import PERTURBATION_METRICS, Basis, HeldOut, Panel, Predicted, perturbation_scores
from genesim.evaluate.perturbation_baselines import Means
from genesim.evaluate.score_table import ScoreTable
from genesim.metrics.perturbation import weights_of
from genesim.metrics.perturbation_genes import welch_t
from genesim.models.perturbation.counts import perturb_counts
from genesim.rng import generator

Task = Literal["perturbation", "combination", "context", "replicate"]
MIN_TRUTH = 10
"""Cells a held-out condition needs to be scored."""


@dataclass(frozen=True)
class Setting:
    """What is left out of what.

    Attributes:
        task: Kind of thing left out.
        labels: Columns of obs and how to read them.
        covariate_keys: Columns that make the context.
        key: Column whose levels are left out, for the tasks "context" and "replicate".
        library_key: Column with library sizes, where the genes are a panel.
        n_folds: Groups that are left out together; None leaves out one at a time.
        names: What to leave out; None takes all that can be.
    """

    task: Task
    labels: Labels
    covariate_keys: tuple[str, ...] = ()
    key: str | None = None
    library_key: str | None = None
    n_folds: int | None = None
    names: tuple[str, ...] | None = None


def log_normalised(counts: sparse.csr_matrix, library: np.ndarray, reference: float) -> np.ndarray:
    """log1p(counts / (library / reference)), dense float64 (cell x gene)."""
    scaled = sparse.diags(reference / np.maximum(library, 1e-9)) @ sparse.csr_matrix(counts, dtype=np.float64)
    return sparse.csr_matrix(scaled).log1p().toarray()


def splits(cells: ad.AnnData, setting: Setting, seed: int) -> Iterator[PerturbationSplit]:
    """The folds of a setting.

    Raises:
        ConditionError: Nothing can be left out.
    """
    obs, labels = cells.obs, setting.labels
    parts = labels.read(obs)
    if setting.task in ("context", "replicate"):
        require_columns(obs, [str(setting.key)])
        known = sorted(set(obs[str(setting.key)].astype(str)))
    elif setting.task == "combination":
        alone = {next(iter(p)) for p in set(parts) if len(p) == 1}
        known = sorted({labels.name(p) for p in set(parts) if len(p) > 1 and p <= alone})
    else:
        known = sorted({part for p in set(parts) if len(p) == 1 for part in p})
    names = known if setting.names is None else list(setting.names)
    if not names:
        raise ConditionError("there is nothing to leave out", where=f"task '{setting.task}'", remedy="choose another")
    groups = [(name,) for name in names] if setting.n_folds is None else folds(names, setting.n_folds, seed)
    for group in groups:
        keys = setting.covariate_keys
        if setting.task == "perturbation":
            yield leave_out_perturbations(obs, labels, group, covariate_keys=keys, seed=seed)
        elif setting.task == "combination":
            yield leave_out_combinations(obs, labels, group, covariate_keys=keys, seed=seed)
        elif setting.task == "context":
            yield leave_out_contexts(obs, labels, str(setting.key), group, covariate_keys=keys, seed=seed)
        else:
            yield leave_out_replicates(obs, labels, str(setting.key), group, covariate_keys=keys)


@dataclass(frozen=True)
class Fold:
    """One fold, ready for any method.

    Attributes:
        split: What was left out.
        train: Training cells.
        given: Control cells to predict from, of every context to be predicted.
        held: Held-out conditions; `given` of each is log-normalised from the cells of its context.
        parts: Targets of each condition.
        others: Training cells of the same perturbation (in another context or replicate), log-normalised; fewer than
            two where there are none.
        means: Mean effects of training.
        reference: Library size that all cells are normalised to.
        library: Library size of each cell of `given`.
    """

    split: PerturbationSplit
    train: ad.AnnData
    given: ad.AnnData
    held: tuple[HeldOut, ...]
    parts: tuple[frozenset[str], ...]
    others: tuple[np.ndarray, ...]
    means: Means
    reference: float
    library: np.ndarray

    def rows(self, held: HeldOut) -> np.ndarray:
        """Rows of `given` of a condition's context."""
        return np.flatnonzero(self.given.obs["context"].to_numpy() == held.context)


class Prepared:
    """A data set, read and normalised once for all folds of a setting.

    Args:
        adata: Counts, or the path of an h5ad.
        setting: What is left out.
        max_given: Most control cells of a context that predictions are made from.
        seed: Of everything drawn.

    Raises:
        ConfigError: The task needs `key`.
        H5adError: Cells that cannot be used, or a column that is missing.
    """

    def __init__(
        self, adata: ad.AnnData | str | Path, setting: Setting, *, max_given: int = 400, seed: int = 0
    ) -> None:
        if setting.task in ("context", "replicate") and setting.key is None:
            raise ConfigError(f"task '{setting.task}' needs a column", where="setting", remedy="give key=")
        labels = setting.labels
        columns = [labels.perturbation, labels.target, *setting.covariate_keys, setting.key, setting.library_key]
        wanted = list(dict.fromkeys(c for c in columns if c is not None))
        self.cells = read_expression(adata, covariate_keys=wanted)
        self.setting, self.max_given, self.seed = setting, max_given, seed
        self.parts = labels.read(self.cells.obs)
        # A left-out replicate is of the same context as the others.
        keys = list(setting.covariate_keys)
        if setting.task == "context" and setting.key not in keys:
            keys.append(str(setting.key))
        self.covariates = tuple(keys)
        self.context = contexts(self.cells.obs, keys)
        if setting.library_key is None:
            self.library = np.asarray(self.cells.X.sum(1), np.float64).ravel()
        else:
            self.library = self.cells.obs[setting.library_key].to_numpy(np.float64)
        is_control = np.array([not p for p in self.parts])
        self.reference = float(np.median(self.library[is_control]))
        self.log = log_normalised(self.cells.X, self.library, self.reference)
        names = self.cells.var_names.astype(str)
        self.target = {t: names.get_loc(t) for p in set(self.parts) for t in p if t in names}

    def basis(self) -> Basis:
        """Components of all real cells: no method's, and no single condition's."""
        return Basis.fit(self.log)

    def folds(self) -> Iterator[Fold]:
        """Every fold; conditions with fewer than `MIN_TRUTH` cells or controls are left out of the scores."""
        for split in splits(self.cells, self.setting, self.seed):
            yield self._fold(split)

    def _fold(self, split: PerturbationSplit) -> Fold:
        setting, replicate = self.setting, self.setting.task == "replicate"
        means = Means.of(self.log[split.train], self.parts[split.train], self.context[split.train], self.target)
        conditions: dict[tuple[str, frozenset[str]], list[int]] = {}
        for row in np.flatnonzero(split.test):
            conditions.setdefault((self.context[row], self.parts[row]), []).append(int(row))
        given_rows: dict[str, np.ndarray] = {}
        held, parts, others = [], [], []
        for context, targets in sorted(conditions, key=lambda key: (key[0], sorted(key[1]))):
            truth, control = (
                np.array(conditions[context, targets]),
                np.flatnonzero(split.truth & (self.context == context)),
            )
            if context not in given_rows:
                pool = np.flatnonzero(split.input & (self.context == context))
                draw = generator(self.seed, "perturbation folds", "given", context).permutation(len(pool))
                given_rows[context] = np.sort(pool[draw[: self.max_given]])
            if min(len(truth), len(control), len(given_rows[context])) < MIN_TRUTH:
                continue
            used = np.ones(self.log.shape[1], bool)
            used[[self.target[t] for t in targets if t in self.target]] = False
            centre = means.centre(context, targets)
            # The other perturbations of the context, measured: what tells this one from them.
            rest = np.array([bool(p) and p != targets for p in self.parts]) & (self.context == context)
            nothing = np.full(len(used), np.nan)
            weight = weights_of(welch_t(self.log[truth], self.log[rest])[None])[0] if rest.sum() > 1 else nothing
            name = setting.labels.name(targets)
            group = f"{context} {split.names[0]}" if replicate else context
            held.append(
                HeldOut(
                    name,
                    context,
                    group,
                    self.log[truth],
                    self.log[control],
                    self.log[given_rows[context]],
                    used,
                    nothing if centre is None else centre,
                    weight,
                )
            )
            parts.append(targets)
            same = np.flatnonzero(split.train & (self.parts == targets))
            draw = generator(self.seed, "perturbation folds", "others", name, context).permutation(len(same))
            others.append(self.log[np.sort(same[draw[: self.max_given]])])
        if not held:
            raise ConditionError(
                f"no condition of {', '.join(split.names)} has {MIN_TRUTH} cells and as many controls",
                where="evaluation of perturbations",
                remedy="leave out another one",
            )
        rows = np.concatenate([given_rows[c] for c in dict.fromkeys(h.context for h in held)])
        given = self.cells[rows].copy()
        given.obs["context"] = self.context[rows]
        train = self.cells[np.flatnonzero(split.train)].copy()
        library = self.library[rows]
        return Fold(split, train, given, tuple(held), tuple(parts), tuple(others), means, self.reference, library)


def baseline_predictions(fold: Fold, seed: int, *, log_shift: Sequence[str] = ()) -> dict[str, list[Predicted | None]]:
    """Every baseline of a fold, with cells by the same count layer as the model's.

    "other_cells" is the training cells of the same perturbation, of other contexts or replicates, as they are.

    Args:
        fold: The fold.
        seed: Of the counts.
        log_shift: Baselines to give a second time, their effect added to log expression as the field does
            (`<name>_log_shift`).
    """
    found: dict[str, list[Predicted | None]] = {}
    for i, (held, parts) in enumerate(zip(fold.held, fold.parts, strict=True)):
        for name, effect in fold.means.predictions(held.context, parts):
            cells = held.given if name == "no_change" else shifted_cells(fold, held, effect, seed)
            found.setdefault(name, [None] * len(fold.held))[i] = Predicted(effect, cells)
            if name in log_shift:
                shifted = np.maximum(held.given + effect, 0.0)
                found.setdefault(f"{name}_log_shift", [None] * len(fold.held))[i] = Predicted(effect, shifted)
        others = fold.others[i]
        if len(others) > 1:
            effect = others.mean(0) - held.given.mean(0)
            found.setdefault("other_cells", [None] * len(fold.held))[i] = Predicted(effect, others)
    return found


def shifted_cells(fold: Fold, held: HeldOut, effect: np.ndarray, seed: int) -> np.ndarray:
    """The given controls of a condition moved by an effect through the count layer, log-normalised (cell x gene)."""
    rows = fold.rows(held)
    counts, size = sparse.csr_matrix(fold.given.X)[rows], fold.library[rows] / fold.reference
    return _log_counts(perturb_counts(counts, size, effect, seed), fold, rows)


def _log_counts(counts: sparse.csr_matrix, fold: Fold, rows: np.ndarray) -> np.ndarray:
    """Predicted counts normalised as the real ones are: by their own total, or by the library size of the cell."""
    library = fold.library[rows]
    whole = np.asarray(fold.given.X[rows].sum(1), np.float64).ravel()
    if np.allclose(whole, library):
        library = np.asarray(counts.sum(1), np.float64).ravel()
    return log_normalised(counts, library, fold.reference)


def model_predictions(
    fold: Fold,
    prepared: Prepared,
    *,
    priors: Mapping[str, Any] | None = None,
    config: PerturbationConfig | None = None,
    seed: int = 0,
) -> list[Predicted]:
    """`PerturbationModel` fitted on the training cells of a fold, through its public face."""
    setting = prepared.setting
    labels = setting.labels
    model = PerturbationModel.fit(
        fold.train,
        labels.target or labels.perturbation,
        labels.control,
        covariate_keys=prepared.covariates,
        library_key=setting.library_key,
        separator=labels.separator,
        priors=priors,
        config=config,
        seed=seed,
    )
    found = []
    for held, parts in zip(fold.held, fold.parts, strict=True):
        rows = fold.rows(held)
        amounts: Mapping[str, float] = dict.fromkeys(sorted(parts), 1.0)
        made = model.predict(fold.given[rows].copy(), amounts, seed=seed)
        effect, low, high = (
            made.varm[key][held.context].to_numpy(np.float64) for key in ("delta", "delta_low", "delta_high")
        )
        found.append(Predicted(effect, _log_counts(sparse.csr_matrix(made.X), fold, rows), low, high))
    return found


def cross_validate(
    adata: ad.AnnData | str | Path,
    setting: Setting,
    *,
    config: PerturbationConfig | None = None,
    max_cells: int = 400,
    log_shift: Sequence[str] = (),
    seed: int = 0,
) -> pd.DataFrame:
    """Scores of the model and of every baseline by condition, with the ceiling.

    Returns:
        A row a method and condition: `method`, `condition`, `context`, `left_out` and `PERTURBATION_METRICS`.
        Methods: "ceiling", the baselines (`evaluate.perturbation_baselines.BASELINES`) and "genesim".

    Raises:
        ConditionError: Nothing can be left out, or no fold can be scored.
    """
    prepared = Prepared(adata, setting, max_given=max_cells, seed=seed)
    held: list[HeldOut] = []
    left_out: list[str] = []
    predicted: dict[str, list[Predicted | None]] = {}
    for fold in prepared.folds():
        made: dict[str, list[Predicted | None]] = dict(baseline_predictions(fold, seed, log_shift=log_shift))
        made["genesim"] = list(model_predictions(fold, prepared, config=config, seed=seed))
        for name in {*made, *predicted}:
            before = predicted.setdefault(name, [None] * len(held))
            before += made.get(name, [None] * len(fold.held))
        held += fold.held
        left_out += [",".join(fold.split.names)] * len(fold.held)
        log.info("perturbation: scored without %s", ", ".join(fold.split.names))
    return score_methods(held, predicted, left_out, prepared.basis(), max_cells=max_cells, seed=seed)


def score_methods(
    held: Sequence[HeldOut],
    predicted: Mapping[str, Sequence[Predicted | None]],
    left_out: Sequence[str],
    basis: Basis,
    *,
    max_cells: int = 400,
    seed: int = 0,
) -> pd.DataFrame:
    """A row a method and condition, ceiling first; a method is scored where it predicted every condition."""
    panel = Panel(held, basis, max_cells=max_cells, seed=seed)
    tables = {"ceiling": panel.ceiling()}
    for name, parts in predicted.items():
        whole = [p for p in parts if p is not None]
        if len(whole) == len(held):
            tables[name] = panel.score(whole)
        else:
            log.info("perturbation: %s speaks of %d of %d conditions only", name, len(whole), len(held))
    frames = []
    for name, table in tables.items():
        table.insert(0, "method", name)
        table.insert(3, "left_out", list(left_out))
        frames.append(table)
    return pd.concat(frames, ignore_index=True)


def evaluate_perturbations(
    adata: ad.AnnData | str | Path,
    perturbation_key: str,
    control: str = "control",
    *,
    leave_out: Task = "perturbation",
    key: str | None = None,
    covariate_keys: Sequence[str] = (),
    library_key: str | None = None,
    n_folds: int | None = None,
    config: PerturbationConfig | None = None,
    evaluate: EvaluateConfig | None = None,
    seed: int = 0,
) -> tuple[ScoreTable, pd.DataFrame]:
    """How well held-out perturbations of this data set are predicted.

    Args:
        adata: Counts, or the path of an h5ad.
        perturbation_key, control: As in `PerturbationModel.fit`.
        leave_out: "perturbation", "combination", "context" (of `key`: a cell type, line or donor) or "replicate".
        key: Column of obs whose levels are left out.
        covariate_keys, library_key: As in `PerturbationModel.fit`.
        n_folds: Groups left out together; None leaves out one at a time.
        config: Of the model.
        evaluate: Intervals and cells compared.
        seed: Of everything drawn.

    Returns:
        The model's scores between ceiling and no change; and the means of every method beside it.

    Raises:
        ConditionError: See `cross_validate`.
    """
    evaluate = evaluate or EvaluateConfig()
    labels = Labels(perturbation_key, control)
    setting = Setting(leave_out, labels, tuple(covariate_keys), key, library_key, n_folds)
    table = cross_validate(adata, setting, config=config, max_cells=min(evaluate.max_cells, 400), seed=seed)
    parts = {str(name): rows for name, rows in table.groupby("method", sort=False)}
    subject = f"perturbations, {leave_out} left out"
    scores = perturbation_scores(
        parts["genesim"], parts["ceiling"], parts["no_change"], subject=subject, config=evaluate, seed=seed
    )
    return ScoreTable(scores), table.groupby("method", sort=False)[list(PERTURBATION_METRICS)].mean()
