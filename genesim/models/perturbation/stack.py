"""Weights of the candidates by non-negative stacking, learned on held-out conditions of the regime asked for.

Weights, scores and interval widths come from the same held-out predictions; a fold's scores use weights and
choices of the other folds.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from genesim.metrics.perturbation import mean_absolute_error, pearson_delta, perturbation_discrimination
from genesim.models.perturbation.candidates import CANDIDATES, RELEVANT
from genesim.models.perturbation.heldout import HeldOut, hold_out
from genesim.models.perturbation.intervals import VarianceLaw, fit_law

__all__ = ["STACKED", "HeldOut", "Stack", "default_stack", "fit_stack", "hold_out"]

_PREFERRED = {
    "new_context": "other_contexts",
    "combination": "additive",
    "new_perturbation": "kernel_ridge",
    "new_dose": "dose_interpolation",
}
STACKED = tuple(_PREFERRED)
_ALWAYS = ("mean_effect", "other_contexts", "additive", "bilinear")
COVERAGE_LEVELS = (0.5, 0.8, 0.9, 0.95)


@dataclass(frozen=True)
class Stack:
    """What one regime's predictions are made with.

    Attributes:
        weight: Per candidate, non-negative: of its prediction from shrunk effects, then from observed ones.
        law: Variance of true effects about their predictions.
        n_held_out: Conditions held out.
        gain, gain_se: Mean gain of the squared error over the mean effect, and its standard error.
        coverage: Measured coverage at `COVERAGE_LEVELS`, each fold's law from the others; empty where there are
            less than two folds.
    """

    weight: np.ndarray
    law: VarianceLaw
    n_held_out: int
    gain: float = 0.0
    gain_se: float = 0.0
    coverage: np.ndarray = field(default_factory=lambda: np.zeros(0))

    @property
    def beats_mean(self) -> bool:
        """Held-out predictions are better than the mean effect by more than two standard errors."""
        return self.n_held_out >= 3 and self.gain > 2 * self.gain_se

    def half_width(self, prediction: np.ndarray, spread: np.ndarray, active: np.ndarray, level: float) -> np.ndarray:
        """Half of the interval of the true effect, per gene; NaN where nothing was held out."""
        variance = self.law.variance(prediction, spread, active)
        return self.law.multiplier(level, variance) * np.sqrt(variance)


def spread_of(candidates: np.ndarray, regime: str) -> np.ndarray:
    """Variance over the candidates that have something to say in a regime (..., candidate, gene)."""
    return candidates[..., _relevant(regime), :].var(-2)


class _Mixer:
    """Mixtures a shrunk + b observed of each relevant candidate's two predictions, fitted to some conditions."""

    def __init__(self, held: HeldOut, relevant: np.ndarray) -> None:
        self.shrunk = held.candidates[:, relevant]
        self.observed = held.candidates[:, len(CANDIDATES) + relevant]
        s, o = (x * held.used[:, None] for x in (self.shrunk, self.observed))
        self._ss, self._so, self._oo = (np.einsum("nkg,nkg->nk", a, b) for a, b in ((s, s), (s, o), (o, o)))
        self._st, self._ot = (np.einsum("nkg,ng->nk", a, held.truth) for a in (s, o))

    def convex(self, on: np.ndarray) -> np.ndarray:
        """(a, b) per candidate of least squared error with a + b = 1: the baseline itself, at its best."""
        ss, so, oo, st, ot = (x[on].sum(0) for x in (self._ss, self._so, self._oo, self._st, self._ot))
        square = ss - 2 * so + oo
        step = (ot - st) - (so - ss)
        b = np.where(square > 1e-12 * (ss + oo), step / np.maximum(square, 1e-300), 0.0).clip(0, 1)
        return np.column_stack([1 - b, b])

    def scaled(self, on: np.ndarray) -> np.ndarray:
        """(a, b) per candidate of least squared error, both >= 0: also shrinks what carries over in part only."""
        out = np.zeros((self.shrunk.shape[1], 2))
        ss, so, oo, st, ot = (x[on].sum(0) for x in (self._ss, self._so, self._oo, self._st, self._ot))
        for k in range(len(out)):
            if ss[k] - 2 * so[k] + oo[k] > 1e-12 * (ss[k] + oo[k]):
                gram = np.array([[ss[k], so[k]], [so[k], oo[k]]])
                out[k] = _weights(gram, np.array([st[k], ot[k]]))
            elif ss[k] > 0:
                out[k, 0] = max(st[k] / ss[k], 0.0)
        return out

    def mixed(self, share: np.ndarray) -> np.ndarray:
        """condition x candidate x gene."""
        return share[:, :1] * self.shrunk + share[:, 1:] * self.observed


def _relevant(regime: str) -> np.ndarray:
    return np.array([CANDIDATES.index(name) for name in RELEVANT[regime.split(":")[0]]])


def _preferred(regime: str, informed: bool = True) -> str:
    """What predicts a regime unless something else is better by more than one standard error.

    A prior that someone gave is taken to say something; what the screen's own cells say of a target that no one
    measured has to show that it is better than the mean effect.
    """
    name = _PREFERRED[regime.split(":")[0]]
    return "mean_effect" if name == "kernel_ridge" and not informed else name


def _weights(gram: np.ndarray, cross: np.ndarray) -> np.ndarray:
    """Non-negative least squares from its normal equations; a little ridge shares weight between equals."""
    from scipy.optimize import nnls  # slow to import

    scale = max(np.trace(gram) / len(gram), 1e-12)
    factor = np.linalg.cholesky(gram + 1e-3 * scale * np.eye(len(gram)))
    return nnls(factor.T, np.linalg.solve(factor, cross))[0]


def default_stack(regime: str) -> Stack:
    """The preferred candidate alone, where nothing could be held out."""
    preferred = _preferred(regime)
    return Stack(np.array([float(name == preferred) for name in (*CANDIDATES, *CANDIDATES)]) / 2, VarianceLaw(), 0)


def squared_loss(prediction: np.ndarray, held: HeldOut) -> np.ndarray:
    """Mean squared error of each condition over the genes used."""
    return (((prediction - held.truth) ** 2) * held.used).sum(1) / np.maximum(held.used.sum(1), 1)


def _stacked(blended: np.ndarray, held: HeldOut, on: np.ndarray) -> np.ndarray:
    """Weights of blended candidates by the conditions `on`."""
    masked = blended[on] * held.used[on][:, None]
    gram = (masked @ masked.transpose(0, 2, 1)).sum(0)
    return _weights(gram, np.einsum("nkg,ng->k", masked, held.truth[on]))


def _choice(losses: np.ndarray, preferred: int) -> int:
    """The method that gains most over the preferred one, of those that gain more than one standard error.

    Without any (or with one or two conditions) it is the preferred one: a choice made from noise is worse than none,
    most of all when the condition that was left out is the one that would have decided otherwise.

    Args:
        losses: method x condition.
        preferred: Row of the method that the regime prefers.
    """
    n = losses.shape[1]
    if n < 3:
        return preferred
    gain = losses[preferred] - losses
    mean, error = gain.mean(1), gain.std(1, ddof=1) / np.sqrt(n)
    # Equal but for rounding is no gain.
    worth = mean > np.maximum(error, 1e-9 * losses[preferred].mean())
    return int(np.where(worth, mean, -np.inf).argmax()) if worth.any() else preferred


def scored(regime: str, method: str, prediction: np.ndarray, held: HeldOut) -> dict[str, float | str | int]:
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


def laws_of(prediction: np.ndarray, held: HeldOut, regime: str) -> Iterator[tuple[np.ndarray, VarianceLaw, np.ndarray]]:
    """Each fold's conditions (a mask), the law of the other folds, and the variances that it gives to these conditions.

    There must be two folds or more.
    """
    spread = spread_of(held.candidates, regime)
    for fold in np.unique(held.fold):
        here = held.fold == fold
        arrays = (prediction, spread, held.active, held.truth, held.se, held.used)
        law = fit_law(*(a[~here] for a in arrays))
        yield here, law, law.variance(prediction[here], spread[here], held.active[here])


def half_widths(prediction: np.ndarray, held: HeldOut, regime: str, level: float) -> np.ndarray:
    """Half of each interval of the observed effect (measurement noise included) by the law of the other folds."""
    half = np.zeros(held.truth.shape)
    for here, law, variance in laws_of(prediction, held, regime):
        half[here] = law.multiplier(level, variance) * np.sqrt(variance + held.se[here] ** 2)
    return half


def coverage_of(prediction: np.ndarray, held: HeldOut, regime: str, level: float) -> np.ndarray:
    """Effects inside intervals whose law comes from the other folds (condition x gene), of two folds or more."""
    return np.abs(held.truth - prediction) <= half_widths(prediction, held, regime, level)


def coverage_shares(prediction: np.ndarray, held: HeldOut, regime: str) -> np.ndarray:
    """Mean share over conditions at `COVERAGE_LEVELS`."""
    if len(np.unique(held.fold)) < 2:
        return np.zeros(0)
    shares = [coverage_of(prediction, held, regime, level) & held.used for level in COVERAGE_LEVELS]
    n = np.maximum(held.used.sum(1), 1)
    return np.array([(share.sum(1) / n).mean() for share in shares])


def cross_fitted(held: HeldOut, regime: str) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Held-out predictions of every method (condition x gene), and the weights that all conditions together choose.

    A fold's mixtures, weights and choice come from the other folds. Methods: model, no_change, stack, and each
    candidate that says something in the regime, unscaled. The model chooses between candidates scaled to what
    carries over and their stack.
    """
    relevant = _relevant(regime)
    preferred = int(np.flatnonzero(relevant == CANDIDATES.index(_preferred(regime, held.informed)))[0])
    mixer = _Mixer(held, relevant)
    everything = np.ones(len(held.row), bool)
    folds = np.unique(held.fold)
    plain = np.zeros((len(relevant), *held.truth.shape))
    choices = np.zeros((len(relevant) + 1, *held.truth.shape))  # scaled candidates, stack
    for fold in folds:
        inside = held.fold == fold
        others = ~inside if len(folds) > 1 else inside
        plain[:, inside] = mixer.mixed(mixer.convex(others))[inside].transpose(1, 0, 2)
        scaled = mixer.mixed(mixer.scaled(others))
        choices[:-1, inside] = scaled[inside].transpose(1, 0, 2)
        choices[-1, inside] = np.einsum("k,nkg->ng", _stacked(scaled, held, others), scaled[inside])
    losses = np.stack([squared_loss(prediction, held) for prediction in choices])
    chosen = np.empty_like(held.truth)
    for fold in folds:
        inside = held.fold == fold
        others = ~inside if len(folds) > 1 else inside
        chosen[inside] = choices[_choice(losses[:, others], preferred), inside]
    pick = _choice(losses, preferred)
    share = mixer.scaled(everything)
    part = np.arange(len(relevant)) == pick
    if pick == len(relevant):
        part = _stacked(mixer.mixed(share), held, everything)
    weight = np.zeros(2 * len(CANDIDATES))
    weight[relevant] = share[:, 0] * part
    weight[len(CANDIDATES) + relevant] = share[:, 1] * part
    mean = held.candidates[:, CANDIDATES.index("mean_effect")]
    methods = {"model": chosen, "no_change": np.zeros_like(chosen), "stack": choices[-1]} | {
        CANDIDATES[k]: plain[i]
        for i, k in enumerate(relevant)
        if CANDIDATES[k] in _ALWAYS or not np.allclose(held.candidates[:, k], mean, rtol=1e-6, atol=1e-12)
    }
    return methods, weight


def fit_stack(held: HeldOut | None, regime: str) -> tuple[Stack, list[dict[str, float | str | int]]]:
    """The weights of a regime and the held-out scores of every candidate beside them.

    The model is the regime's preferred candidate, unless the stack or another candidate beats it by more than one
    standard error; each is scaled to what carries over to held-out conditions, which is no change where nothing does.

    Returns:
        The weights, and one record a method of `cross_fitted`: regime, method, n_conditions, pearson_delta,
        centred_pearson_delta, mae, pds; means over held-out conditions, target genes left out.
    """
    if held is None:
        return default_stack(regime), []
    methods, weight = cross_fitted(held, regime)
    chosen, spread = methods["model"], spread_of(held.candidates, regime)
    law = fit_law(chosen, spread, held.active, held.truth, held.se, held.used)
    scores = [scored(regime, name, prediction, held) for name, prediction in methods.items()]
    gain = squared_loss(methods["mean_effect"], held) - squared_loss(chosen, held)
    n = len(held.row)
    error = float(gain.std(ddof=1) / np.sqrt(n)) if n > 1 else 0.0
    return Stack(weight, law, n, float(gain.mean()), error, coverage_shares(chosen, held, regime)), scores
