"""Library sizes: a smoothed bootstrap of log library size in each (label x batch) group.

Each group keeps quantiles, not its cells. Draws are smoothed by a Gaussian kernel and shrunk so that the
variance stays that of the data (Silverman 1986, section 6.4); rare groups borrow from their label, and a
label from all cells, as if `_PRIOR_CELLS` further cell had been seen there.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from genesim.nn.random import power_of_two, row_keys, row_normal

_N_QUANTILES = 129
_PRIOR_CELLS = 1.0
"""More than one would carry the depth of the others into small labels, and take fold changes between labels along."""
_GRID = (np.arange(_N_QUANTILES) + 0.5) / _N_QUANTILES


def _quantiles(values: np.ndarray, weights: np.ndarray) -> Float[np.ndarray, " quantile"]:
    """Quantiles at the grid's mid-points of a weighted sample (midpoint convention)."""
    order = np.argsort(values, kind="stable")
    values, weights = values[order], weights[order]
    position = (np.cumsum(weights) - 0.5 * weights) / weights.sum()
    return np.interp(_GRID, position, values)


@partial(jax.jit, static_argnames="n_rows")
def _normals(key: jax.Array, start: Array, n_rows: int) -> Float[Array, "row 2"]:
    return row_normal(row_keys(key, n_rows, start), 2)


@dataclass(frozen=True)
class LibrarySampler:
    """Quantiles of log library size [label + 1, batch + 1, quantile]; the last label and batch stand for any.

    Attributes:
        quantiles: Natural log of library size, at probabilities (i + 1/2) / n.
        bandwidth: Kernel SD of each group, in the same unit.
    """

    quantiles: Float[np.ndarray, "label batch quantile"]
    bandwidth: Float[np.ndarray, "label batch"]

    @classmethod
    def fit(
        cls,
        log_library: Float[np.ndarray, " cell"],
        label: Int[np.ndarray, " cell"],
        batch: Int[np.ndarray, " cell"],
        n_labels: int,
        n_batches: int,
    ) -> LibrarySampler:
        """Fit to the training cells; `label` and `batch` are codes, -1 where unknown."""
        values = np.asarray(log_library, np.float64)
        quantiles = np.empty((n_labels + 1, n_batches + 1, _N_QUANTILES), np.float32)
        bandwidth = np.empty((n_labels + 1, n_batches + 1), np.float32)
        pooled = _quantiles(values, np.ones(len(values)))

        def group(chosen: np.ndarray, parent: np.ndarray) -> tuple[np.ndarray, float]:
            own = values[chosen]
            both = np.concatenate([own, parent])
            weights = np.concatenate([np.ones(len(own)), np.full(len(parent), _PRIOR_CELLS / len(parent))])
            found = _quantiles(both, weights)
            # Half of Silverman's rule (1986, eq. 3.31): the rule itself smears groups of two modes.
            spread = min(found.std(), (np.quantile(found, 0.75) - np.quantile(found, 0.25)) / 1.34)
            return found, 0.45 * spread * (len(own) + _PRIOR_CELLS) ** -0.2

        for b in range(n_batches + 1):
            in_batch = np.ones(len(values), bool) if b == n_batches else batch == b
            quantiles[n_labels, b], bandwidth[n_labels, b] = group(in_batch, pooled)
        for a in range(n_labels):
            in_label = label == a
            parent, bandwidth[a, n_batches] = group(in_label, pooled)
            quantiles[a, n_batches] = parent
            for b in range(n_batches):
                quantiles[a, b], bandwidth[a, b] = group(in_label & (batch == b), parent)
        return cls(quantiles, bandwidth)

    def sample(
        self, key: jax.Array, label: Int[np.ndarray, " cell"], batch: Int[np.ndarray, " cell"], start: int = 0
    ) -> Float[np.ndarray, " cell"]:
        """Log library sizes; code -1 takes the margin. Row i's draw depends on its codes and `start + i`."""
        n = len(label)
        draw = _normals(key, jnp.int32(start), power_of_two(n))
        first, second = np.asarray(draw, np.float64)[:n].T
        from scipy.special import ndtr

        rows = self.quantiles[label, batch].astype(np.float64)  # -1 is the last row, the margin
        position = np.clip(ndtr(first) * _N_QUANTILES - 0.5, 0, _N_QUANTILES - 1)
        below = np.minimum(position.astype(int), _N_QUANTILES - 2)
        part = position - below
        cells = np.arange(n)
        value = (1 - part) * rows[cells, below] + part * rows[cells, below + 1]
        width = self.bandwidth[label, batch].astype(np.float64)
        mean, variance = rows.mean(axis=1), np.maximum(rows.var(axis=1), 1e-12)
        return mean + (value + width * second - mean) / np.sqrt(1 + width**2 / variance)
