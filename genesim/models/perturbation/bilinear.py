"""The bilinear baseline: a perturbation by its target genes' place in expression space."""

from __future__ import annotations

import numpy as np

from genesim.models.perturbation.library import EffectLibrary


class Bilinear:
    """Y = G W P' + b by two ridges (Ahlmann-Eltze et al. 2025, Nat. Methods, 10.1038/s41592-025-02772-6).

    G: gene embedding, principal components of the training effects. P: of a perturbation, the sum of its target
    genes' rows of G. Only conditions with measured targets take part. With Y - b = U S V', G = V S:
    G W p = (Y - b)' U D U' P (P'P + r)^-1 p, D = S^2 / (S^2 + r): weights of the training effects.
    """

    def __init__(self, library: EffectLibrary, n_components: int, ridge: float) -> None:
        self.library, self.n_components, self.ridge = library, n_components, ridge
        self._fits: dict[frozenset[str], tuple[np.ndarray, np.ndarray, np.ndarray] | None] = {}

    def _fit(self, usable: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
        library = self.library
        rows = np.flatnonzero(usable)
        if len(rows) < 3:
            return None
        centred = np.eye(len(rows)) - 1 / len(rows)
        gram = centred @ library.full_gram[np.ix_(rows, rows)] @ centred
        values, vectors = np.linalg.eigh(gram)
        values, vectors = values[::-1], vectors[:, ::-1]
        k = int(min(self.n_components, (values > max(1e-18, 1e-12 * values[0])).sum()))
        if k == 0:
            return None
        left = vectors[:, :k]
        p = np.stack([self._target_place(library.dose[row], rows, left) for row in rows])
        shrink = values[:k] / (values[:k] + self.ridge)
        inner = np.linalg.solve(p.T @ p + self.ridge * np.eye(k), p.T @ left)
        return rows, left, (left * shrink) @ inner.T

    def _target_place(self, dose: np.ndarray, rows: np.ndarray, left: np.ndarray) -> np.ndarray:
        """Sum of the target genes' rows of G."""
        y = self.library.shrunk[np.ix_(rows, self.library.target[dose > 0])]
        return ((y - y.mean(0)).T @ left).sum(0)

    def weights(self, dose: np.ndarray) -> np.ndarray | None:
        """Weight of each training effect; None where a target is not measured."""
        library = self.library
        if (library.target[dose > 0] < 0).any():
            return None
        name = library.families(dose)
        if name not in self._fits:
            measured = ((library.target >= 0) | (library.dose <= 0)).all(1)
            self._fits[name] = self._fit(measured & library.akin(dose))
        fitted = self._fits[name]
        if fitted is None:
            return None
        rows, left, inner = fitted
        weight = inner @ self._target_place(dose, rows, left)
        out = np.zeros(library.n_conditions)
        out[rows] = weight - weight.mean() + 1 / len(rows)
        return out
