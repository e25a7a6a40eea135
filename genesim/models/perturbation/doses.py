"""How an effect grows with dose: interpolation, and a Hill law that drugs share what they know of.

Both say which sum of the observed effects the effect at a dose is, so that they can be traced back.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from genesim.models.perturbation.library import EffectLibrary

HILL_KINDS = ("drug", "cytokine")
MIN_DOSES = 3
"""Fewer doses than this cannot tell a Hill law from a line."""
# Grid of log EC50 (in spans of the doses observed) and of log n; the prior of n is that of most drug screens.
_N_EC50, _N_SLOPE, _SLOPE_SD = 81, 31, 0.5
_MARGIN = np.log(30.0)
_MODEL_ERROR = 0.05
_N_ROUNDS = 20


def hill(dose: np.ndarray | float, ec50: np.ndarray | float, n: np.ndarray | float) -> np.ndarray:
    """d^n / (EC50^n + d^n); 0 at dose 0."""
    d = np.asarray(dose, float)
    with np.errstate(divide="ignore"):
        return 1 / (1 + np.exp(-np.asarray(n) * (np.log(d) - np.log(ec50))))


def interpolation_weights(library: EffectLibrary, rows: np.ndarray, dose: np.ndarray) -> np.ndarray:
    """Weight of each row of the library in the effect at `dose`, over `rows` of one context and set of components.

    The relative dose is the mean over components of dose / largest dose of that component in `rows`. Effects
    start at 0 at dose 0 and stay at that of the largest dose beyond it: nothing observed says otherwise.
    """
    active = dose > 0
    largest = library.dose[rows][:, active].max(0)
    known = (library.dose[rows][:, active] / largest).mean(1)
    wanted = float(np.minimum(dose[active] / largest, 1.0).mean())
    order = np.argsort(known, kind="stable")
    grid = np.r_[0.0, known[order]]
    upper = int(np.clip(np.searchsorted(grid, wanted - 1e-9), 1, len(grid) - 1))
    step = grid[upper] - grid[upper - 1]
    share = 1.0 if step <= 0 else float(np.clip((wanted - grid[upper - 1]) / step, 0, 1))
    weight = np.zeros(library.n_conditions)
    weight[rows[order[upper - 1]]] += share
    if upper > 1:
        weight[rows[order[upper - 2]]] += 1 - share
    return weight


def at_dose(library: EffectLibrary, rows: np.ndarray, dose: np.ndarray) -> np.ndarray:
    """Effect at `dose` by linear interpolation; see `interpolation_weights`."""
    return interpolation_weights(library, rows, dose) @ library.shrunk


@dataclass(frozen=True)
class HillFit:
    """Posterior means of one dose series.

    Attributes:
        ec50, slope: EC50 in units of dose, and n.
        log_ec50_sd: Posterior standard deviation of log EC50.
    """

    ec50: float
    slope: float
    log_ec50_sd: float


def fit_hill(series: Sequence[tuple[np.ndarray, np.ndarray, np.ndarray]]) -> list[HillFit]:
    """EC50 and slope of each dose series; log EC50 ~ N(mu, tau^2) over series, mu and tau learned (EM).

    amplitude = A d^n / (EC50^n + d^n) + noise, A free and profiled out, log n ~ N(0, 0.5^2). A drug whose doses
    say little is drawn to the others'. Posterior on a grid: no start value, no local optimum.

    Args:
        series: Per drug: doses > 0, amplitudes, and the variances of their errors.
    """
    if not series:
        return []
    logs = np.log(np.concatenate([d for d, _, _ in series]))
    ec50 = np.linspace(logs.min() - _MARGIN, logs.max() + _MARGIN, _N_EC50)
    slope = np.linspace(np.log(0.25), np.log(6.0), _N_SLOPE)
    log_slope_prior = -0.5 * (slope / _SLOPE_SD) ** 2
    likelihood = []
    for dose, amplitude, variance in series:
        h = hill(dose[:, None, None], np.exp(ec50)[None, :, None], np.exp(slope)[None, None, :])
        w = (1 / np.maximum(variance + (_MODEL_ERROR * np.abs(amplitude).max(initial=0.0)) ** 2, 1e-12))[:, None, None]
        scale = (w * h * amplitude[:, None, None]).sum(0) / np.maximum((w * h * h).sum(0), 1e-300)
        likelihood.append(-0.5 * (w * (amplitude[:, None, None] - scale * h) ** 2).sum(0) + log_slope_prior)
    centre, spread = float(logs.mean()), float(ec50[-1] - ec50[0]) / 4
    for _ in range(_N_ROUNDS):
        marginal = [_normalised(lik - 0.5 * ((ec50 - centre) / spread)[:, None] ** 2) for lik in likelihood]
        mean = np.array([(p.sum(1) * ec50).sum() for p in marginal])
        var = np.array([(p.sum(1) * ec50**2).sum() for p in marginal]) - mean**2
        centre = float(mean.mean())
        # One pseudo-observation of a spread of e keeps a handful of like drugs from being made equal.
        spread = float(np.sqrt((((mean - centre) ** 2 + var).sum() + 1.0) / (len(series) + 1)))
    slopes = [float(np.exp((p.sum(0) * slope).sum())) for p in marginal]
    return [
        HillFit(float(np.exp(m)), n, float(np.sqrt(max(v, 0.0)))) for m, v, n in zip(mean, var, slopes, strict=True)
    ]


def _normalised(log_density: np.ndarray) -> np.ndarray:
    p = np.exp(log_density - log_density.max())
    return p / p.sum()


class HillLaws:
    """Hill laws of the drugs of a library that have `MIN_DOSES` doses or more in some context."""

    def __init__(self, library: EffectLibrary) -> None:
        self.library = library
        self.fits: dict[tuple[int, int], HillFit] = {}
        kinds = np.array([*library.kinds, *["genetic"] * library.dose.shape[1]])[: library.dose.shape[1]]
        alone = (library.dose > 0).sum(1) == 1
        found: dict[tuple[int, int], np.ndarray] = {}
        for component in np.flatnonzero(np.isin(kinds, HILL_KINDS)):
            for context in np.unique(library.context[alone & (library.dose[:, component] > 0)]):
                rows = np.flatnonzero(alone & (library.dose[:, component] > 0) & (library.context == context))
                if len(np.unique(library.dose[rows, component])) >= MIN_DOSES:
                    found[int(context), int(component)] = rows
        for kind in HILL_KINDS:
            mine = [key for key in found if kinds[key[1]] == kind]
            fits = fit_hill([self._amplitudes(found[key], key[1]) for key in mine])
            self.fits |= dict(zip(mine, fits, strict=True))
        self._rows = found

    def _amplitudes(self, rows: np.ndarray, component: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Dose, and the effect along the direction that the doses share, of which the larger doses know most."""
        gram = self.library.gram[np.ix_(rows, rows)]
        dose = self.library.dose[rows, component]
        values, vectors = np.linalg.eigh(gram)
        direction = vectors[:, -1] * np.sign(vectors[np.argmax(dose), -1] or 1.0)
        length = max(float(values[-1]), 1e-300)
        amplitude = gram @ direction / np.sqrt(length)
        noise = (self.library.se[rows] ** 2).mean(1)
        return dose, amplitude, noise

    def weights(self, context: int, component: int, dose: float) -> np.ndarray | None:
        """Weight of each row in the effect at a dose; None without a law."""
        fit = self.fits.get((context, component))
        if fit is None:
            return None
        rows = self._rows[context, component]
        h = hill(self.library.dose[rows, component], fit.ec50, fit.slope)
        w = 1 / np.maximum((self.library.se[rows] ** 2).mean(1), 1e-12)
        weight = np.zeros(self.library.n_conditions)
        weight[rows] = float(hill(dose, fit.ec50, fit.slope)) * w * h / max(float((w * h * h).sum()), 1e-300)
        return weight
