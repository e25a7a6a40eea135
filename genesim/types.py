"""The arrays that travel between floors: `Condition`, `SparseRows` and `Minibatch`, pytrees of fixed shape.

Shape names used across the package: `cell`, `gene`, `donor`, `haplotype`, `variant`, `example`
(a row of a minibatch: a cell or a haplotype), `feature` (a gene or a variant), `latent`.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Condition:
    """What a draw is conditioned on, one row an example.

    Attributes:
        categories: Level codes of the categorical covariates; -1 means unknown level.
        continuous: Standardised continuous covariates.
        log_library: Natural log of the library size (0 where the model has none).
    """

    categories: Int[Array | np.ndarray, "example categorical"]
    continuous: Float[Array | np.ndarray, "example continuous"]
    log_library: Float[Array | np.ndarray, " example"]

    @property
    def n_examples(self) -> int:
        return self.categories.shape[0]


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class SparseRows:
    """Rows of a CSR matrix, padded to a fixed number of stored values: at 5 % density about an eighth of the bytes.

    Attributes:
        data: Stored values; 0 in the padding.
        columns: Column of each value; the padding counts on from `n_columns`, so that positions stay sorted and unique.
        starts: Where each row begins in `data`, and where the last one ends (CSR's indptr).
        n_columns: Columns of the dense rows.
    """

    data: Float[Array | np.ndarray, " entry"]
    columns: Int[Array | np.ndarray, " entry"]
    starts: Int[Array | np.ndarray, " row_and_end"]
    n_columns: int = field(metadata={"static": True})

    @property
    def n_rows(self) -> int:
        return self.starts.shape[0] - 1

    def rows(self) -> Int[Array, " entry"]:
        """Row of each value; the padding counts to the last row."""
        # It is the number of rows that begin at or before the value, less one; an empty row adds to it too.
        begins = jnp.zeros(self.data.shape[0], jnp.int32).at[self.starts[1:-1]].add(1, mode="drop")
        return jnp.cumsum(begins)

    def dense(self) -> Float[Array, "row column"]:
        """The same values as a dense array, made on the device."""
        at = jnp.zeros((self.n_rows, self.n_columns), jnp.float32).at[self.rows(), self.columns]
        return at.set(self.data, mode="drop", unique_indices=True, indices_are_sorted=True)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Minibatch:
    """One training step's data; its shapes never change, so every step compiles once.

    Models see dense values: the training loop makes `SparseRows`, which streams may give, dense on the device.

    Attributes:
        values: Counts (cell x gene) or alleles (haplotype x variant, -1 missing).
        condition: Covariates of each example.
        weight: 1 for a real example, 0 for padding.
        stored: The values again as they were stored, where the stream gave them sparse: what is zero where a count
            is zero can be left out.
    """

    values: Float[Array | np.ndarray, "example feature"] | Int[Array | np.ndarray, "example feature"] | SparseRows
    condition: Condition
    weight: Float[Array | np.ndarray, " example"]
    stored: SparseRows | None = None

    def dense(self) -> Minibatch:
        """The same minibatch with dense values; sparse ones are kept in `stored`."""
        if not isinstance(self.values, SparseRows):
            return self
        return replace(self, values=self.values.dense(), stored=self.values)
