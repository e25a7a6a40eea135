"""Weights of the candidates by non-negative stacking, learned on held-out conditions of the regime asked for.

Held-out conditions copy the question: a perturbation left out of one context, a combination whose parts were
seen, or a perturbation left out everywhere. Weights, scores and interval widths come from the same held-out
predictions; a fold's scores use weights and choices of the other folds.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from genesim import rng
from genesim.metrics.perturbation import mean_absolute_error, pearson_delta, perturbation_discrimination
from genesim.models.perturbation.candidates import CANDIDATES, Candidates, EffectLibrary, regime_of

_PREFERRED = {"new_context": "other_contexts", "combination": "additive", "new_perturbation": "mean_effect"}
STACKED = tuple(_PREFERRED)
# Up to this many groups each is left out alone.
_LEAVE_ONE_OUT = 25


@dataclass(frozen=True)
class Stack:
    """What one regime's predictions are made with.

    Attributes:
        weight: Per candidate, non-negative.
        constant, slope: Variance of a true effect about its prediction d: constant + slope d^2.
        quantile: Multiplier of its root that covered 95 % of the held-out effects; NaN without any.
        n_held_out: Conditions held out.
    """

    weight: np.ndarray
    constant: float
    slope: float
    quantile: float
    n_held_out: int


@dataclass(frozen=True)
class HeldOut:
    """Held-out conditions of one regime.

    Attributes:
        row, fold: Row of the library, and the fold it was held out in.
        candidates: condition x candidate x gene.
        centre: Mean effect of the other perturbations in training; NaN where there are none.
        truth, se, used: Observed effect, its standard error, and the genes that count; condition x gene.
    """

    row: np.ndarray
    fold: np.ndarray
    candidates: np.ndarray
    centre: np.ndarray
    truth: np.ndarray
    se: np.ndarray
    used: np.ndarray


def _groups(library: EffectLibrary, regime: str) -> list[tuple[np.ndarray, np.ndarray]]:
    """Pairs (rows to predict, rows to hide) that put a condition in `regime`."""
    active = library.dose > 0
    distinct, kind = np.unique(active, axis=0, return_inverse=True)
    kind = np.ravel(kind)
    groups = []
    for k, components in enumerate(distinct):
        rows = np.flatnonzero(kind == k)
        contexts = np.unique(library.context[rows])
        if regime == "new_context" and len(contexts) > 1:
            groups += [(rows[library.context[rows] == c], rows[library.context[rows] == c]) for c in contexts]
        elif regime == "combination" and components.sum() > 1:
            groups.append((rows, rows))
        elif regime == "new_perturbation" and components.sum() == 1:
            groups.append((rows, np.flatnonzero(active[:, components].any(1))))
    return groups


def hold_out(
    library: EffectLibrary, regime: str, n_components: int, ridge: float, n_folds: int, seed: int
) -> HeldOut | None:
    """Predict the conditions of a regime from libraries that do not hold them; None where there are none.

    A condition without a gene to judge it by (none but targets has a standard error) is left out.
    """
    groups = _groups(library, regime)
    if not groups:
        return None
    n_groups = len(groups)
    shuffled = rng.generator(seed, "perturbation", "folds", regime).permutation(n_groups)
    fold_of = np.empty(n_groups, np.int64)
    fold_of[shuffled] = np.arange(n_groups) % (n_groups if n_groups <= _LEAVE_ONE_OUT else n_folds)
    judged = (library.se > 0) & ~np.stack([library.target_mask(dose) for dose in library.dose])
    rows, folds, predicted, baseline = [], [], [], []
    nothing = np.full(library.effect.shape[1], np.nan)
    for fold in np.unique(fold_of):
        inside = [groups[i] for i in np.flatnonzero(fold_of == fold)]
        hidden = np.zeros(library.n_conditions, bool)
        for _, hide in inside:
            hidden[hide] = True
        if hidden.all():
            continue
        rest = library.take(~hidden)
        made = Candidates(rest, n_components, ridge)
        for wanted, _ in inside:
            for row in wanted:
                context, dose = int(library.context[row]), library.dose[row]
                # Others hidden in the same fold may have moved it to a harder regime.
                if judged[row].any() and regime_of(rest, context, dose) == regime:
                    rows.append(int(row))
                    folds.append(int(fold))
                    predicted.append(made.all(context, dose))
                    centre = made.other_perturbations(context, dose)
                    baseline.append(nothing if centre is None else centre)
    if not rows:
        return None
    return HeldOut(
        np.array(rows),
        np.array(folds),
        np.stack(predicted),
        np.stack(baseline),
        library.effect[rows],
        library.se[rows],
        judged[rows],
    )


def _weights(gram: np.ndarray, cross: np.ndarray) -> np.ndarray:
    """Non-negative least squares from its normal equations; a little ridge shares weight between equals."""
    from scipy.optimize import nnls  # slow to import

    scale = max(np.trace(gram) / len(gram), 1e-12)
    factor = np.linalg.cholesky(gram + 1e-3 * scale * np.eye(len(gram)))
    return nnls(factor.T, np.linalg.solve(factor, cross))[0]


def _calibrate(prediction: np.ndarray, held: HeldOut) -> tuple[float, float, float]:
    """Variance law of true effects about predictions, and the quantile that covers 95 % of observed ones."""
    from scipy.optimize import nnls  # slow to import

    d, error, noise = (a[held.used] for a in (prediction, held.truth - prediction, held.se**2))
    excess = error**2 - noise
    design = np.column_stack([np.ones_like(d), d**2])
    constant, slope = nnls(design / (noise + 1e-6)[:, None], excess / (noise + 1e-6))[0]
    spread = np.sqrt(constant + slope * d**2 + noise)
    ratio = np.abs(error) / np.maximum(spread, 1e-9)
    return float(constant), float(slope), float(np.quantile(ratio, 0.95))


def default_stack(regime: str) -> Stack:
    """The preferred candidate alone, where nothing could be held out."""
    weight = np.array([float(name == _PREFERRED[regime]) for name in CANDIDATES])
    return Stack(weight, 0.0, 0.0, float("nan"), 0)


def _loss(prediction: np.ndarray, held: HeldOut) -> np.ndarray:
    """Mean squared error of each condition over the genes used."""
    return (((prediction - held.truth) ** 2) * held.used).sum(1) / np.maximum(held.used.sum(1), 1)


def _cross_fitted(held: HeldOut) -> tuple[np.ndarray, np.ndarray]:
    """Predictions of the stack with each fold's weights from the other folds, and the weights from all."""
    masked = held.candidates * held.used[:, None]
    grams = np.einsum("nkg,nlg->nkl", masked, masked)
    crosses = np.einsum("nkg,ng->nk", masked, held.truth)
    predicted = np.empty_like(held.truth)
    folds = np.unique(held.fold)
    for fold in folds:
        inside = held.fold == fold
        others = ~inside if len(folds) > 1 else inside
        w = _weights(grams[others].sum(0), crosses[others].sum(0))
        predicted[inside] = np.einsum("k,nkg->ng", w, held.candidates[inside])
    return predicted, _weights(grams.sum(0), crosses.sum(0))


def _choice(losses: np.ndarray, stack_loss: np.ndarray, regime: str) -> int | None:
    """None (the stack) where it beats the best single candidate by more than one standard error, else that.

    Ties between candidates go to the one the regime prefers. One or two conditions choose nothing.
    """
    preferred = CANDIDATES.index(_PREFERRED[regime])
    n = losses.shape[1]
    if n < 3:
        return preferred
    mean = losses.mean(1)
    best = preferred if mean[preferred] <= mean.min() * (1 + 1e-9) else int(mean.argmin())
    gain = losses[best] - stack_loss
    return None if gain.mean() > gain.std(ddof=1) / np.sqrt(n) else best


def _scored(regime: str, method: str, prediction: np.ndarray, held: HeldOut) -> dict[str, float | str | int]:
    n = len(held.row)
    centred = ~np.isnan(held.centre).any(1)
    plain = pearson_delta(prediction, held.truth, held.used)
    return {
        "regime": regime,
        "method": method,
        "n_conditions": n,
        "pearson_delta": _mean(plain),
        "centred_pearson_delta": _mean(
            pearson_delta(prediction[centred], held.truth[centred], held.used[centred], held.centre[centred])
        ),
        "mae": _mean(mean_absolute_error(prediction, held.truth, held.used)),
        "pds": _mean(perturbation_discrimination(prediction, held.truth, held.used)) if n > 1 else float("nan"),
    }


def _mean(values: np.ndarray) -> float:
    return float(np.nanmean(values)) if np.isfinite(values).any() else float("nan")


def fit_stack(held: HeldOut | None, regime: str) -> tuple[Stack, list[dict[str, float | str | int]]]:
    """The weights of a regime and the held-out scores of every candidate beside them.

    The stack is used only where it beats the best single candidate by more than one standard error.

    Returns:
        The weights, and one record a method (model, no_change, stack, each candidate): regime, method,
        n_conditions, pearson_delta, centred_pearson_delta, mae, pds; means over held-out conditions, target
        genes left out.
    """
    if held is None:
        return default_stack(regime), []
    single = np.einsum("nkg->kng", held.candidates)
    losses = np.stack([_loss(prediction, held) for prediction in single])
    stacked, weights = _cross_fitted(held)
    stack_loss = _loss(stacked, held)
    folds = np.unique(held.fold)
    # A fold's choice is made on the others, so that the model's own score is a held-out one.
    chosen = np.empty_like(held.truth)
    for fold in folds:
        inside = held.fold == fold
        others = ~inside if len(folds) > 1 else inside
        pick = _choice(losses[:, others], stack_loss[others], regime)
        chosen[inside] = stacked[inside] if pick is None else single[pick][inside]
    pick = _choice(losses, stack_loss, regime)
    weight = weights if pick is None else np.eye(len(CANDIDATES))[pick]
    constant, slope, quantile = _calibrate(chosen, held)
    methods = {"model": chosen, "no_change": np.zeros_like(chosen), "stack": stacked}
    methods |= dict(zip(CANDIDATES, single, strict=True))
    scores = [_scored(regime, name, prediction, held) for name, prediction in methods.items()]
    return Stack(weight, constant, slope, quantile, len(held.row)), scores
