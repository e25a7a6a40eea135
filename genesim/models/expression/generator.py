"""The trained parts as one generator of counts: library size -> latent -> rates -> NB counts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Bool, Float, Int
from scipy import sparse

from genesim import rng
from genesim.models.expression.draws import draw_counts
from genesim.models.expression.flow import LatentFlow
from genesim.models.expression.margins import GeneMargins
from genesim.models.expression.negative_binomial import theta_within
from genesim.models.expression.vae import NbVae
from genesim.types import Condition

_BLOCK_ELEMENTS = 2**22
"""Largest cells x genes of one compiled call (16 MiB in float32)."""


class CountGenerator(Protocol):
    """What a generator of counts offers, the model and its baselines alike."""

    @property
    def n_genes(self) -> int: ...

    def sample(self, key: jax.Array, condition: Condition, start: int = 0) -> sparse.csr_matrix:
        """Counts, one cell a row of `condition`; row i depends on `key`, its condition and `start + i`."""
        ...


class CountBaseline(CountGenerator, Protocol):
    """A generator in closed form, whose class also restores it from its arrays."""

    def arrays(self) -> dict[str, Any]:
        """What `restore` of its class needs, for storage."""
        ...


def block_size(n_genes: int) -> int:
    """Cells of one compiled call: a power of two between 16 and 2048, bounded by memory."""
    return int(2 ** np.clip(np.floor(np.log2(_BLOCK_ELEMENTS / n_genes)), 4, 11))


def take(condition: Condition, rows: Any) -> Condition:
    """Rows of a condition."""
    return Condition(condition.categories[rows], condition.continuous[rows], condition.log_library[rows])


def in_blocks(
    compute: Callable[[Any, int], Any], rows: Any, n_rows: int, size: int
) -> Float[np.ndarray, "row feature"]:
    """Apply `compute(rows of one block, number of its first row)` block by block.

    The last block is filled up with its last row, so that every block has one shape and compiles once.
    """
    parts = []
    for first in range(0, n_rows, size):
        chosen = np.minimum(np.arange(first, first + size), n_rows - 1)
        block = jax.tree.map(lambda leaf, chosen=chosen: np.asarray(leaf)[chosen], rows)
        parts.append(np.asarray(compute(block, first))[: n_rows - first])
    return np.concatenate(parts) if parts else np.zeros((0, 0), np.float32)


@nnx.jit
def _rates(
    vae: NbVae, flow: LatentFlow, key: jax.Array, condition: Condition, start: Array
) -> Float[Array, "cell gene"]:
    return jnp.exp(vae.log_rates(flow.sample(key, condition, start), condition))


@nnx.jit
def _latents(flow: LatentFlow, key: jax.Array, condition: Condition, start: Array) -> Float[Array, "cell latent"]:
    return flow.sample(key, condition, start)


@nnx.jit
def _log_dispersion(vae: NbVae, condition: Condition) -> Float[Array, "cell gene"]:
    return vae.log_dispersion(condition)


@dataclass(frozen=True)
class ExpressionGenerator:
    """NB-VAE decoder behind a conditional latent flow, then a map of each gene's margin where there is one."""

    vae: NbVae
    flow: LatentFlow
    margins: GeneMargins | None = None
    label_column: int | None = None

    @property
    def n_genes(self) -> int:
        return self.vae.n_genes

    def dispersion(self, condition: Condition) -> Float[np.ndarray, "cell gene"]:
        """Inverse dispersion theta of each cell's genes (variance mu + mu^2 / theta)."""

        def block(rows: Condition, first: int) -> Array:
            return _log_dispersion(self.vae, rows)

        # It depends on the levels alone, and few combinations of them are many cells.
        _, row, of_cell = np.unique(condition.categories, axis=0, return_index=True, return_inverse=True)
        found = in_blocks(block, take(condition, row), len(row), block_size(self.n_genes))
        return np.exp(found.astype(np.float64))[np.reshape(of_cell, -1)]

    def latents(self, key: jax.Array, condition: Condition, start: int = 0) -> Float[np.ndarray, "cell latent"]:
        """Latents drawn from the flow, one a row of `condition`."""

        def block(rows: Condition, first: int) -> Array:
            return _latents(self.flow, rng.child(key, "latent"), rows, jnp.int32(start + first))

        return in_blocks(block, condition, condition.n_examples, block_size(self.n_genes))

    def rates(self, key: jax.Array, condition: Condition, start: int = 0) -> Float[np.ndarray, "cell gene"]:
        """Each gene's expected share of the cell's counts: rows sum to 1. Planted effects multiply these."""

        def block(rows: Condition, first: int) -> Array:
            stream = rng.child(key, "latent")
            return _rates(self.vae, self.flow, stream, rows, jnp.int32(start + first))

        return in_blocks(block, condition, condition.n_examples, block_size(self.n_genes))

    def counts(
        self,
        key: jax.Array,
        rates: Float[np.ndarray, "cell gene"],
        condition: Condition,
        start: int = 0,
        fold: Float[np.ndarray, "cell gene"] | None = None,
        between: Float[np.ndarray, "cell gene"] | None = None,
        unmapped: Bool[np.ndarray, " cell"] | None = None,
    ) -> sparse.csr_matrix:
        """Counts around library size times rate, changed by `fold`, with dispersion less `between` (`theta_within`).

        Cells that are `unmapped` keep the network's own distribution instead of their label's.
        """
        library = np.exp(np.asarray(condition.log_library, np.float64))[:, None]
        theta, label = self.dispersion(condition), self.margin_label(condition)
        if unmapped is not None:
            label = np.where(unmapped, -1, label)
        if between is not None:
            theta = theta_within(theta, between)
        return draw_counts(rng.child(key, "counts"), rates * library, theta, start, fold, self.margins, label)

    def margin_label(self, condition: Condition) -> Int[np.ndarray, " cell"]:
        """Number of the label whose margins a cell gets; the number after the last is all labels together."""
        if self.label_column is None:
            return np.zeros(condition.n_examples, np.int64)
        n_labels = self.vae.n_levels[self.label_column]
        label = np.asarray(condition.categories, np.int64)[:, self.label_column]
        return np.where((label >= 0) & (label < n_labels), label, n_labels)

    def sample(self, key: jax.Array, condition: Condition, start: int = 0) -> sparse.csr_matrix:
        """Counts, one cell a row of `condition`."""
        return self.counts(key, self.rates(key, condition, start), condition, start)
