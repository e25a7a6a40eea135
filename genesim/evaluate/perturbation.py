"""Predicted perturbations against what was measured: effects, and the cells that carry them.

Two disjoint sets of control cells are at work: predictions are made from `given` and a predicted effect is a change
from it, the true effect is a change from `control`. No predictor brings controls of its own, and no noise of a shared
control passes for skill. Target genes are left out everywhere.

The ceiling is one half of the true cells as the prediction of the other half; the null is no change.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float

from genesim import rng
from genesim.config.evaluate import EvaluateConfig
from genesim.errors import InputError
from genesim.evaluate.score import Score, scored
from genesim.metrics import perturbation as metrics
from genesim.metrics.distribution import mmd2_unbiased, squared_bandwidth
from genesim.metrics.interval import Interval
from genesim.metrics.perturbation_genes import (
    DifferentialExpression,
    differential_expression,
    overlap_at_n,
    precision_at_n,
)

EFFECT_METRICS = (
    "pearson_delta",
    "pearson_delta_top20",
    "centred_pearson_delta",
    "centred_pearson_delta_top20",
    "weighted_r2",
    "pds_l1",
    "pds_l2",
    "pds_cosine",
    "centroid_accuracy",
    "prediction_rank",
    "effect_mae",
    "effect_coverage",
)
CELL_METRICS = (
    "energy_distance",
    "energy_distance_genes",
    "mmd2_perturbed",
    "mmd2_perturbed_genes",
    "de_overlap",
    "de_precision",
)
PERTURBATION_METRICS = (*EFFECT_METRICS, *CELL_METRICS)
N_TOP = 20


@dataclass(frozen=True)
class HeldOut:
    """A condition that was left out of training, as it was measured. Expression is log1p of normalised counts.

    Attributes:
        name: Perturbation.
        context: Context it was measured in.
        group: Conditions of one group are told apart from each other by the discriminating scores.
        truth: Perturbed cells.
        control: Control cells that the true effect is taken against.
        given: Control cells that predictions are made from.
        used: Genes that count; the targets do not.
        centre: Mean effect of the other perturbations known in training; NaN where there are none.
        weight: Weights of genes (`metrics.perturbation.weights_of`); NaN where there is nothing to contrast with.
    """

    name: str
    context: str
    group: str
    truth: Float[np.ndarray, "cell gene"]
    control: Float[np.ndarray, "control gene"]
    given: Float[np.ndarray, "given gene"]
    used: Bool[np.ndarray, " gene"]
    centre: Float[np.ndarray, " gene"]
    weight: Float[np.ndarray, " gene"]

    @property
    def effect(self) -> Float[np.ndarray, " gene"]:
        """Observed effect."""
        return self.truth.mean(0) - self.control.mean(0)

    @property
    def se(self) -> Float[np.ndarray, " gene"]:
        """Standard error of the observed effect."""
        parts = [x.var(0, ddof=1) / len(x) for x in (self.truth, self.control)]
        return np.sqrt(parts[0] + parts[1])


@dataclass(frozen=True)
class Predicted:
    """What a method says of one condition.

    Attributes:
        effect: Change of mean log expression from `HeldOut.given`.
        cells: Predicted cells, log1p of normalised counts; None where a method predicts means only.
        low, high: Interval of the effect; None where a method gives none.
    """

    effect: Float[np.ndarray, " gene"]
    cells: Float[np.ndarray, "cell gene"] | None = None
    low: Float[np.ndarray, " gene"] | None = None
    high: Float[np.ndarray, " gene"] | None = None


@dataclass(frozen=True)
class Basis:
    """Principal components that every method is compared in, fitted on real cells of the whole data set.

    Components of the cells of one side would make the other look apart (they hold its noise).
    """

    mean: Float[np.ndarray, " gene"]
    loadings: Float[np.ndarray, "gene component"]

    @classmethod
    def fit(cls, cells: Float[np.ndarray, "cell gene"], n_components: int = 50) -> Basis:
        from sklearn.decomposition import PCA

        k = max(1, min(n_components, min(cells.shape) - 1))
        pca = PCA(k, svd_solver="covariance_eigh" if cells.shape[1] <= 2500 else "arpack", random_state=0).fit(cells)
        return cls(pca.mean_, pca.components_.T)

    def __call__(self, cells: Float[np.ndarray, "cell gene"]) -> Float[np.ndarray, "cell component"]:
        return (cells - self.mean) @ self.loadings


def _few(cells: np.ndarray, most: int, seed: int, *names: str) -> np.ndarray:
    if len(cells) <= most:
        return cells
    return cells[np.sort(rng.generator(seed, "evaluate", "perturbation", *names).permutation(len(cells))[:most])]


def _stack(held: Sequence[HeldOut], field: str) -> np.ndarray:
    return np.stack([getattr(h, field) for h in held])


def score_effects(held: Sequence[HeldOut], predicted: Sequence[Predicted]) -> pd.DataFrame:
    """`EFFECT_METRICS` of every condition (rows as `held`); NaN where a metric cannot be had.

    Top genes are those of largest |observed effect| / standard error, so that the truth chooses them.
    """
    true, se, used, centre = (_stack(held, f) for f in ("effect", "se", "used", "centre"))
    weight = _stack(held, "weight")
    guess = np.stack([p.effect for p in predicted])
    known, weighed = np.isfinite(centre).all(1), np.isfinite(weight).all(1)
    top = metrics.most_changed(true / np.maximum(se, 1e-9), used, N_TOP)
    table = pd.DataFrame(index=range(len(held)), columns=list(EFFECT_METRICS), dtype=float)
    table["pearson_delta"] = metrics.pearson_delta(guess, true, used)
    table["pearson_delta_top20"] = metrics.pearson_delta(guess, true, top)
    table["effect_mae"] = metrics.mean_absolute_error(guess, true, used)
    if known.any():
        parts = (guess[known], true[known])
        table.loc[known, "centred_pearson_delta"] = metrics.pearson_delta(*parts, used[known], centre[known])
        table.loc[known, "centred_pearson_delta_top20"] = metrics.pearson_delta(*parts, top[known], centre[known])
    both = known & weighed
    if both.any():
        table.loc[both, "weighted_r2"] = metrics.weighted_r2(
            guess[both], true[both], used[both], weight[both], centre[both]
        )
    if all(p.low is not None and p.high is not None for p in predicted):
        low, high = (np.stack([getattr(p, side) for p in predicted]) for side in ("low", "high"))
        table["effect_coverage"] = metrics.interval_coverage(true, low, high, used, se)
    given, control = (np.stack([getattr(h, side).mean(0) for h in held]) for side in ("given", "control"))
    groups = np.array([h.group for h in held])
    for group in dict.fromkeys(groups):
        at = np.flatnonzero(groups == group)
        if len(at) < 2:
            continue
        here = (guess[at], true[at], used[at])
        for distance in ("l1", "l2", "cosine"):
            table.loc[at, f"pds_{distance}"] = metrics.perturbation_discrimination(*here, distance)
        table.loc[at, "prediction_rank"] = metrics.prediction_rank(*here)
        means = (guess[at] + given[at], true[at] + control[at], used[at])
        table.loc[at, "centroid_accuracy"] = metrics.centroid_accuracy(*means)
    return table


@dataclass(frozen=True)
class _Judged:
    """What the true cells of a condition give once, for all methods."""

    truth: np.ndarray
    scores: np.ndarray
    genes: DifferentialExpression
    control: np.ndarray
    bandwidths: tuple[float, float]


def _judge(held: HeldOut, basis: Basis, most: int, seed: int) -> _Judged:
    truth = _few(held.truth, most, seed, "truth", held.name, held.context)
    control = _few(held.control, most, seed, "control", held.name, held.context)
    scores, kept = basis(truth), truth[:, held.used]
    bandwidths = (squared_bandwidth(scores), squared_bandwidth(kept))
    return _Judged(truth, scores, differential_expression(truth, control), control, bandwidths)


class Panel:
    """Held-out conditions, ready for any number of methods to be scored on.

    Args:
        held: Conditions.
        basis: Principal components to compare cells in.
        max_cells: Most cells of each kind that distances and tests see.
        seed: Of the subsamples.

    Raises:
        InputError: No condition.
    """

    def __init__(self, held: Sequence[HeldOut], basis: Basis, *, max_cells: int = 400, seed: int = 0) -> None:
        if not held:
            raise InputError(
                "there are no held-out conditions", where="evaluation of perturbations", remedy="leave some out"
            )
        self.held, self.basis, self.max_cells, self.seed = tuple(held), basis, max_cells, seed
        self._judged = [_judge(h, basis, max_cells, seed) for h in held]

    def score(self, predicted: Sequence[Predicted]) -> pd.DataFrame:
        """All `PERTURBATION_METRICS`, one row a condition, with its `condition` and `context`.

        Raises:
            InputError: A number of predictions that is not the number of conditions.
        """
        if len(self.held) != len(predicted):
            raise InputError(
                f"{len(self.held)} conditions and {len(predicted)} predictions",
                where="evaluation of perturbations",
                remedy="give one prediction a held-out condition",
            )
        table = pd.concat([score_effects(self.held, predicted), self._cells(predicted)], axis=1)
        table.insert(0, "condition", [h.name for h in self.held])
        table.insert(1, "context", [h.context for h in self.held])
        return table

    def _cells(self, predicted: Sequence[Predicted]) -> pd.DataFrame:
        """`CELL_METRICS`; NaN where a method predicts no cells.

        E-distance with Euclidean distances and MMD with five Gaussian kernels, both U-statistics, on 50 components
        and on the genes used. Predicted cells are tested against `given`, true cells against `control`.
        """
        rows = []
        for h, p, judged in zip(self.held, predicted, self._judged, strict=True):
            row = dict.fromkeys(CELL_METRICS, float("nan"))
            if p.cells is not None:
                cells = _few(p.cells, self.max_cells, self.seed, "predicted", h.name, h.context)
                given = _few(h.given, self.max_cells, self.seed, "given", h.name, h.context)
                scores, kept, truth = self.basis(cells), cells[:, h.used], judged.truth[:, h.used]
                row["energy_distance"] = metrics.energy_distance(judged.scores, scores)
                row["energy_distance_genes"] = metrics.energy_distance(truth, kept)
                row["mmd2_perturbed"] = mmd2_unbiased(judged.scores, scores, bandwidth=judged.bandwidths[0])
                row["mmd2_perturbed_genes"] = mmd2_unbiased(truth, kept, bandwidth=judged.bandwidths[1])
                genes = differential_expression(cells, given)
                row["de_overlap"] = overlap_at_n(genes, judged.genes, h.used)
                row["de_precision"] = precision_at_n(genes, judged.genes, h.used)
            rows.append(row)
        return pd.DataFrame(rows, columns=list(CELL_METRICS))

    def null(self) -> pd.DataFrame:
        """Scores of no change: the given controls as they are."""
        return self.score([Predicted(np.zeros(h.given.shape[1]), h.given) for h in self.held])

    def ceiling(self, n_repeats: int = 3) -> pd.DataFrame:
        """Scores of one random half of the true cells as prediction of the other, means of `n_repeats` divisions.

        Halves are noisier than the whole, so a very good method may score above it.
        """
        repeats = []
        for k in range(n_repeats):
            halves, predictions = [], []
            for h in self.held:
                draw = rng.generator(self.seed, "evaluate", "perturbation", "halves", k, h.name, h.context)
                order = draw.permutation(len(h.truth))
                a, b = np.array_split(h.truth[order], 2)
                halves.append(replace(h, truth=b))
                predictions.append(Predicted(a.mean(0) - h.given.mean(0), a))
            repeats.append(Panel(halves, self.basis, max_cells=self.max_cells, seed=self.seed).score(predictions))
        table = repeats[0].copy()
        for name in PERTURBATION_METRICS:
            table[name] = np.mean([r[name].to_numpy(float) for r in repeats], axis=0)
        return table


def perturbation_scores(
    table: pd.DataFrame,
    floor: pd.DataFrame,
    null: pd.DataFrame,
    *,
    subject: str = "perturbations",
    config: EvaluateConfig | None = None,
    seed: int = 0,
) -> list[Score]:
    """Means over conditions as scores, each between its ceiling (the floor of the table) and no change (the null).

    Args:
        table, floor, null: Scores by condition of the method, of `Panel.ceiling` and of `Panel.null`.
        subject: Name of the rows.
        config: Coverage of the intervals; ten bootstrap draws (over conditions) for every half-sample.
        seed: Seeds the bootstrap.
    """
    config = config or EvaluateConfig()
    draw = rng.generator(seed, "evaluate", "perturbation", "bootstrap")
    tail, scores = (1 - config.coverage) / 2, []
    for name in PERTURBATION_METRICS:
        found = table[name].to_numpy(float)
        found = found[np.isfinite(found)]
        if not len(found):
            continue
        means = found[draw.integers(0, len(found), (10 * config.n_bootstrap, len(found)))].mean(1)
        low, high = np.quantile(means, [tail, 1 - tail]) if len(found) > 1 else (np.nan, np.nan)
        interval = Interval(float(found.mean()), float(low), float(high))
        best, naive = (float(t[name].mean()) for t in (floor, null))  # NaN where a metric cannot be had
        scores.append(scored(subject, name, interval, best, naive, len(found)))
    return scores
