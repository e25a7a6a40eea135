"""The null: every gene an independent negative binomial a label, with the cell's library size as offset."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from jaxtyping import Float, Int
from scipy import sparse

from genesim import rng
from genesim.models.expression.draws import draw_counts
from genesim.models.expression.negative_binomial import fit_theta
from genesim.types import Condition

_MAX_CELLS = 2000
"""Cells of a label that its dispersions are fitted on; means use all."""


def label_of(condition: Condition, label_column: int | None) -> Int[np.ndarray, " cell"]:
    """Label codes of a condition's rows; -1 (any label) where there is no label column."""
    if label_column is None:
        return np.full(condition.n_examples, -1)
    return np.asarray(condition.categories)[:, label_column]


def as_dense(counts: Any) -> Float[np.ndarray, "cell gene"]:
    """Dense float64 copy of dense or sparse counts."""
    return np.asarray(counts.toarray() if hasattr(counts, "toarray") else counts, np.float64)


@dataclass(frozen=True)
class IndependentNb:
    """NB margins [label + 1, gene]; the last row is fitted to all cells and serves unknown labels.

    Attributes:
        frequency: Expected share of a cell's counts.
        theta: Inverse dispersion.
        label_column: Column of the condition's categories that holds the label; None where there is none.
    """

    frequency: Float[np.ndarray, "label gene"]
    theta: Float[np.ndarray, "label gene"]
    label_column: int | None

    @classmethod
    def fit(
        cls, counts: Any, condition: Condition, n_labels: int, label_column: int | None, seed: int = 0
    ) -> IndependentNb:
        """Fit to counts [cell, gene] (dense or CSR); label codes lie in `condition`.

        A gene unseen in a label gets a quarter count at the pooled frequency there.
        """
        label = label_of(condition, label_column)
        library = np.exp(np.asarray(condition.log_library, np.float64))
        groups = [np.flatnonzero(label == a) for a in range(n_labels)] + [np.arange(len(label))]
        n_genes = counts.shape[1]
        pooled = (np.asarray(counts.sum(axis=0), np.float64).ravel() + 0.25) / (library.sum() + 0.25 * n_genes)
        frequency = np.empty((n_labels + 1, n_genes))
        theta = np.empty((n_labels + 1, n_genes))
        for a, cells in enumerate(groups):
            total = np.asarray(counts[cells].sum(axis=0), np.float64).ravel()
            expected = 0.25 * n_genes * pooled
            frequency[a] = (total + expected) / (library[cells].sum() + expected.sum())
            if len(cells) > _MAX_CELLS:
                cells = np.sort(rng.generator(seed, "independent_nb", a).choice(cells, _MAX_CELLS, replace=False))
            if len(cells) > 1:
                theta[a] = fit_theta(as_dense(counts[cells]), library[cells][:, None] * frequency[a])
            else:
                theta[a] = 1.0
        return cls(frequency, theta, label_column)

    def arrays(self) -> dict[str, Any]:
        """What `restore` needs."""
        return {"frequency": self.frequency, "theta": self.theta}

    @classmethod
    def restore(cls, arrays: dict[str, Any], label_column: int | None) -> IndependentNb:
        """Undo `arrays`."""
        return cls(arrays["frequency"], arrays["theta"], label_column)

    @property
    def n_genes(self) -> int:
        return self.frequency.shape[1]

    def margins(self, condition: Condition) -> tuple[Float[np.ndarray, "cell gene"], Float[np.ndarray, "cell gene"]]:
        """Mean and inverse dispersion of every cell and gene."""
        label = label_of(condition, self.label_column)
        library = np.exp(np.asarray(condition.log_library, np.float64))
        return library[:, None] * self.frequency[label], self.theta[label]

    def sample(self, key: jax.Array, condition: Condition, start: int = 0) -> sparse.csr_matrix:
        """Counts, one cell a row of `condition`."""
        mean, theta = self.margins(condition)
        return draw_counts(rng.child(key, "counts"), mean, theta, start)
