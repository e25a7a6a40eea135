"""Kernel ridge and nearest neighbours over embeddings of perturbations, as sums of the training effects."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product

import numpy as np

RIDGES = (0.03, 0.1, 0.3, 1.0, 3.0, 10.0)
NEIGHBOURS = (1, 3, 5, 10)
MIN_ROWS = 4


@dataclass(frozen=True)
class Embedding:
    """Where components of a perturbation lie by prior knowledge.

    Attributes:
        name: Of the prior.
        values: component x dimension; NaN where the prior does not know the component.
        given: Someone gave it; else it was learned from the screen's own cells.
    """

    name: str
    values: np.ndarray
    given: bool = True

    def of(self, dose: np.ndarray) -> np.ndarray | None:
        """Place of a perturbation: the sum over its components; None where one is unknown."""
        place = self.values[dose > 0].sum(0)
        return None if np.isnan(place).any() else place


def gaussian_kernel(a: np.ndarray, b: np.ndarray, width: float) -> np.ndarray:
    """exp(-||a_i - b_j||^2 / width)."""
    square = (a**2).sum(1)[:, None] + (b**2).sum(1)[None] - 2 * a @ b.T
    return np.exp(-np.maximum(square, 0.0) / width)


def kernel_width(places: np.ndarray) -> float:
    """Median squared distance between two distinct places; 1 where all are one."""
    square = (places**2).sum(1)[:, None] + (places**2).sum(1)[None] - 2 * places @ places.T
    apart = square[np.triu_indices(len(places), 1)]
    apart = apart[apart > 1e-12 * max(float(square.max(initial=0.0)), 1e-300)]
    return float(np.median(apart)) if len(apart) else 1.0


def kernel_ridge_weights(kernel: np.ndarray, query: np.ndarray, ridge: float, intercept: bool = True) -> np.ndarray:
    """Weight of each training effect in a prediction by kernel ridge.

    With a free intercept the kernel is centred (in feature space), so that the intercept is the mean and the weights
    sum to 1. Without one, what is like nothing that was measured does nothing: most perturbations do little, and the
    mean is that of a few strong ones.

    Args:
        kernel: Among training perturbations, n x n.
        query: Between them and the wanted one, n.
    """
    n = len(kernel)
    if not intercept:
        return np.linalg.solve(kernel + ridge * np.eye(n), query)
    column = kernel.mean(0)
    centred = kernel - column[None] - column[:, None] + kernel.mean()
    asked = query - query.mean() - column + kernel.mean()
    return np.linalg.solve(centred + ridge * np.eye(n), asked) + 1 / n


def ridge_smoother(kernel: np.ndarray, ridge: float, intercept: bool = True) -> np.ndarray:
    """Weights of every training effect in every training perturbation's own prediction, n x n."""
    n = len(kernel)
    if not intercept:
        return np.linalg.solve(kernel + ridge * np.eye(n), kernel).T
    column = kernel.mean(0)
    centred = kernel - column[None] - column[:, None] + kernel.mean()
    return np.linalg.solve(centred + ridge * np.eye(n), centred).T + 1 / n


def left_out_losses(smoother: np.ndarray, gram: np.ndarray) -> np.ndarray:
    """Squared error of each training perturbation predicted from the others, exact for ridge.

    With predictions H Y, the left-out residual is (Y - H Y)_i / (1 - H_ii).

    Args:
        smoother: H.
        gram: Y Y'.
    """
    rest = np.eye(len(gram)) - smoother
    return np.einsum("ij,jk,ik->i", rest, gram, rest) / np.maximum(1 - np.diag(smoother), 1e-6) ** 2


def neighbour_weights(similarity: np.ndarray, k: int) -> np.ndarray:
    """1/k for the k most similar; the first of equals."""
    weight = np.zeros(len(similarity))
    near = np.argsort(-similarity, kind="stable")[:k]
    weight[near] = 1 / len(near)
    return weight


def _neighbour_smoother(kernel: np.ndarray, k: int) -> np.ndarray:
    """Each perturbation from its k nearest others."""
    apart = kernel.copy()
    np.fill_diagonal(apart, -np.inf)
    return np.stack([neighbour_weights(row, k) for row in apart])


def _worth(losses: np.ndarray, plain: np.ndarray) -> bool:
    """Better than the mean by more than one standard error of the difference."""
    gain = plain - losses
    return bool(gain.mean() > gain.std(ddof=1) / np.sqrt(len(gain)))


@dataclass(frozen=True)
class _Option:
    """Some priors whose kernels are averaged, over the training perturbations that all of them know."""

    names: tuple[str, ...]
    known: np.ndarray
    places: tuple[np.ndarray, ...]
    widths: tuple[float, ...]
    kernel: np.ndarray

    def query(self, asked: Mapping[str, np.ndarray]) -> np.ndarray | None:
        """Similarity of a wanted perturbation to each known one; None where a prior does not know it."""
        if any(name not in asked for name in self.names):
            return None
        rows = [
            gaussian_kernel(asked[name][None], places, width)[0]
            for name, places, width in zip(self.names, self.places, self.widths, strict=True)
        ]
        return np.mean(rows, axis=0)


class PriorSmoother:
    """Kernel ridge and nearest neighbours, each over the priors and strength that left-out perturbations choose.

    Neither is used where it does not predict left-out training perturbations better than their mean (or no change)
    does, by more than one standard error: a prior that knows nothing is worse than none.
    """

    def __init__(self, places: Mapping[str, np.ndarray], gram: np.ndarray) -> None:
        """Choose priors and strengths.

        Args:
            places: By prior, training perturbation x dimension; NaN rows are unknown.
            gram: Inner products of the training perturbations' effects.
        """
        self.n = len(gram)
        options = [self._option((name,), places) for name in places]
        if len(places) > 1:
            options.append(self._option(tuple(places), places))
        usable = [option for option in options if option.known.sum() >= MIN_ROWS]
        self.ridge: tuple[_Option, float, bool] | None = None
        self.near: tuple[_Option, int] | None = None
        best = {"ridge": 0.0, "near": 0.0}
        for option in usable:
            part = gram[np.ix_(option.known, option.known)]
            n = len(part)
            # The mean, or nothing where that is nearer: what shrinks without knowing anything has no merit.
            plain = min(left_out_losses(np.full((n, n), 1 / n), part), np.diag(part), key=np.sum)
            for ridge, intercept in product(RIDGES, (True, False)):
                losses = left_out_losses(ridge_smoother(option.kernel, ridge, intercept), part)
                if _worth(losses, plain) and (plain - losses).sum() > best["ridge"]:
                    self.ridge, best["ridge"] = (option, ridge, intercept), float((plain - losses).sum())
            for k in NEIGHBOURS:
                if k < n - 1:
                    losses = left_out_losses(_neighbour_smoother(option.kernel, k), part)
                    if _worth(losses, plain) and (plain - losses).sum() > best["near"]:
                        self.near, best["near"] = (option, k), float((plain - losses).sum())

    def _option(self, names: tuple[str, ...], places: Mapping[str, np.ndarray]) -> _Option:
        known = ~np.any([np.isnan(places[name]).any(1) for name in names], axis=0)
        own = tuple(places[name][known] for name in names)
        widths = tuple(kernel_width(place) for place in own)
        kernels = [gaussian_kernel(place, place, width) for place, width in zip(own, widths, strict=True)]
        return _Option(names, known, own, widths, np.mean(kernels, axis=0))

    def ridge_weights(self, asked: Mapping[str, np.ndarray]) -> np.ndarray | None:
        """Weight of each training perturbation by kernel ridge; None where no prior earned its place or knows it."""
        if self.ridge is None:
            return None
        option, ridge, intercept = self.ridge
        query = option.query(asked)
        if query is None:
            return None
        return self._wide(option, kernel_ridge_weights(option.kernel, query, ridge, intercept))

    def neighbour_weights(self, asked: Mapping[str, np.ndarray]) -> np.ndarray | None:
        """Weight of each training perturbation by nearest neighbours; None as above."""
        if self.near is None:
            return None
        option, k = self.near
        query = option.query(asked)
        return None if query is None else self._wide(option, neighbour_weights(query, k))

    def _wide(self, option: _Option, weight: np.ndarray) -> np.ndarray:
        wide = np.zeros(self.n)
        wide[option.known] = weight
        return wide
