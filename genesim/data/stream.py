"""Streams of minibatches: a pure function of (seed, step), so that exact resume needs no iterator state.

`ArrayStream` shuffles (stochastic gradients). `WholeStream` gives all rows at every step (EM).
Values stay NumPy on the host; sparse values travel sparse where that is fewer bytes, and the loop makes them dense.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from functools import cached_property, lru_cache
from typing import Any, Protocol, TypeAlias, runtime_checkable

import numpy as np
import scipy.sparse as sp

from genesim import rng
from genesim.errors import InputError, TrainingError
from genesim.types import Condition, Minibatch, SparseRows

Values: TypeAlias = np.ndarray | sp.csr_matrix | sp.csr_array
"""Example x feature."""


@runtime_checkable
class Stream(Protocol):
    """What the training loop needs of its data.

    Attributes:
        constant: True where every step gives the same minibatch, which is then moved to the device once.
    """

    constant: bool

    @property
    def n_examples(self) -> int:
        """Rows of data, padding not counted."""
        ...

    @property
    def fingerprint(self) -> str:
        """SHA-256 of everything that decides the minibatches: the data, the seed, the sizes."""
        ...

    def __call__(self, step: int) -> Minibatch:
        """The minibatch of one step, of the same shapes at every step."""
        ...

    def ordered(self) -> Iterator[Minibatch]:
        """All rows once, in order, in minibatches of one shape."""
        ...


def checked_rows(values: Any, condition: Condition, size: int) -> None:
    """Check that `values` (anything with a shape) and `condition` have the same rows, and the size of a minibatch."""
    if len(values.shape) != 2:
        raise InputError(
            f"values have {len(values.shape)} dimensions", where="stream", remedy="give examples x features"
        )
    for name, rows in (
        ("categories", condition.categories),
        ("continuous", condition.continuous),
        ("log_library", condition.log_library),
    ):
        if rows.shape[0] != values.shape[0]:
            raise InputError(
                f"condition.{name} has {rows.shape[0]} rows, values have {values.shape[0]}",
                where="stream",
                remedy="give one row of the condition for each example, in the same order",
            )
    if size < 1:
        raise InputError(f"minibatch_size is {size}", where="stream", remedy="give at least 1")


def _rows_first(values: Values) -> Values:
    """Sparse values in the layout whose rows are cheap to take; anything else as an array."""
    if not sp.issparse(values):
        return np.asarray(values)
    rows = values.tocsr()  # type: ignore[union-attr]
    if rows.has_canonical_format:
        return rows
    rows = rows.copy()
    rows.sum_duplicates()
    return rows


def on_host(condition: Condition) -> Condition:
    """`condition` as NumPy arrays of the types that models take."""
    return Condition(
        np.asarray(condition.categories, np.int32),
        np.asarray(condition.continuous, np.float32),
        np.asarray(condition.log_library, np.float32),
    )


def most_stored(stored: np.ndarray, size: int) -> int:
    """The most stored values that any minibatch of `size` rows can have.

    Args:
        stored: Stored values of each row.
        size: Rows of a minibatch.
    """
    n = len(stored)
    if n == 0:
        return 0
    # Where an epoch ends inside a minibatch, a row can stand in it once more than the whole epochs that it spans.
    shuffled = np.repeat(np.sort(stored)[::-1], -(-size // n) + 1)[:size].sum()
    n_last = (n - 1) % size + 1
    ordered = stored[n - n_last :].sum() + (size - n_last) * stored[-1]
    return int(max(shuffled, ordered))


def packed(rows: sp.csr_matrix, capacity: int) -> SparseRows | np.ndarray:
    """Canonical CSR rows as float32, padded to `capacity` stored values; dense where that takes no more bytes."""
    n_rows, n_columns = rows.shape
    if 2 * capacity >= n_rows * n_columns:
        return rows.toarray().astype(np.float32, copy=False)
    data = np.zeros(capacity, np.float32)
    data[: rows.nnz] = rows.data
    columns = np.arange(n_columns - rows.nnz, n_columns - rows.nnz + capacity, dtype=np.int32)
    columns[: rows.nnz] = rows.indices
    return SparseRows(data, columns, rows.indptr.astype(np.int32), n_columns)


def joined(values: SparseRows | np.ndarray, condition: Condition, rows: np.ndarray, n_real: int) -> Minibatch:
    """`values` beside the condition of `rows`; those from `n_real` on are padding (weight 0)."""
    weight = np.zeros(len(rows), np.float32)
    weight[:n_real] = 1.0
    at_rows = Condition(condition.categories[rows], condition.continuous[rows], condition.log_library[rows])
    return Minibatch(values=values, condition=at_rows, weight=weight)


def _minibatch(
    values: Values, condition: Condition, rows: np.ndarray, n_real: int, capacity: int | None = None
) -> Minibatch:
    """Gather `rows`; those from `n_real` on are padding. int8 (alleles) stays int8, the rest is float32.

    Sparse rows stay sparse where they have a `capacity`.
    """
    chosen = values[rows]
    if sp.issparse(chosen) and capacity is not None:
        return joined(packed(chosen, capacity), condition, rows, n_real)
    dense = chosen.toarray() if sp.issparse(chosen) else chosen
    dense = dense if dense.dtype == np.int8 else dense.astype(np.float32, copy=False)
    return joined(dense, condition, rows, n_real)


def _fingerprint(values: Values, condition: Condition, settings: tuple[object, ...]) -> str:
    digest = hashlib.sha256(repr(settings).encode())
    parts = [values] if isinstance(values, np.ndarray) else [values.data, values.indices, values.indptr]
    for array in (*parts, condition.categories, condition.continuous, condition.log_library):
        digest.update(f"{array.dtype}{array.shape}".encode())
        digest.update(np.ascontiguousarray(array).view(np.uint8).reshape(-1).data)
    return digest.hexdigest()


def padded_rows(start: int, size: int, n_examples: int) -> tuple[np.ndarray, int]:
    """`size` row numbers from `start` on; beyond the end the last row repeats, as padding.

    A real row is repeated because it is the one padding that every model can evaluate without a NaN.
    """
    rows = np.minimum(np.arange(start, start + size), n_examples - 1)
    return rows, min(size, n_examples - start)


def refuse_empty(n_examples: int) -> None:
    """Raise where there is nothing to give."""
    if n_examples == 0:
        raise TrainingError("the stream holds no examples", where="stream", remedy="check the filters and the split")


class ArrayStream:
    """Shuffled minibatches of an array.

    Epochs are one endless row of permutations, each from a stream named by (seed, name, epoch); step s
    takes the positions [s * minibatch_size, (s + 1) * minibatch_size). The last minibatch of an epoch is
    thus completed from the next permutation: every row is seen equally often and no training step holds
    padding. With fewer rows than `minibatch_size` a minibatch spans several epochs.

    Args:
        values: Example x feature, dense or scipy CSR; int8 stays int8, any other type becomes float32. Minibatches
            of CSR are `SparseRows` where these take fewer bytes than dense rows.
        condition: One row an example.
        minibatch_size: Examples in a step.
        seed: The user's seed.
        name: Tells apart the streams of one run ("train", "validation").

    Raises:
        InputError: The rows of `values` and `condition` differ in number, or the size is not positive.
    """

    constant = False

    def __init__(
        self,
        values: Values,
        condition: Condition,
        minibatch_size: int,
        seed: int,
        name: str = "",
    ) -> None:
        checked_rows(values, condition, minibatch_size)
        self._values = _rows_first(values)
        self._capacity: int | None = None
        if not isinstance(self._values, np.ndarray) and self._values.dtype != np.int8:
            self._capacity = most_stored(np.diff(self._values.indptr), minibatch_size)
        self._condition = on_host(condition)
        self.minibatch_size = minibatch_size
        self.seed = seed
        self.name = name
        # A cache of a pure function: it never changes what a step holds.
        self._permutation = lru_cache(maxsize=4)(self._draw_permutation)

    def _draw_permutation(self, epoch: int) -> np.ndarray:
        return rng.generator(self.seed, "stream", self.name, epoch).permutation(self.n_examples)

    @property
    def n_examples(self) -> int:
        return self._values.shape[0]

    @cached_property
    def fingerprint(self) -> str:
        settings = ("array", self.minibatch_size, self.seed, self.name)
        return _fingerprint(self._values, self._condition, settings)

    def rows(self, step: int) -> np.ndarray:
        """Row numbers of the examples in `step`."""
        refuse_empty(self.n_examples)
        start, stop = step * self.minibatch_size, (step + 1) * self.minibatch_size
        first, last = start // self.n_examples, (stop - 1) // self.n_examples
        joined = np.concatenate([self._permutation(epoch) for epoch in range(first, last + 1)])
        return joined[start - first * self.n_examples : stop - first * self.n_examples]

    def __call__(self, step: int) -> Minibatch:
        """Minibatch of `step`; all weights are 1."""
        return _minibatch(self._values, self._condition, self.rows(step), self.minibatch_size, self._capacity)

    def ordered(self) -> Iterator[Minibatch]:
        """All rows once, in order; the last minibatch is padded to the same shape with weight 0."""
        refuse_empty(self.n_examples)
        for start in range(0, self.n_examples, self.minibatch_size):
            rows, n_real = padded_rows(start, self.minibatch_size, self.n_examples)
            yield _minibatch(self._values, self._condition, rows, n_real, self._capacity)


class WholeStream:
    """The whole data at every step, padded with weight 0 to a multiple of `minibatch_size` (for EM).

    Args:
        values: Example x feature, dense or scipy CSR; int8 stays int8, any other type becomes float32.
        condition: One row an example.
        minibatch_size: Rows of one compiled chunk of a pass.

    Raises:
        InputError: The rows of `values` and `condition` differ in number, or the size is not positive.
    """

    constant = True

    def __init__(
        self,
        values: Values,
        condition: Condition,
        minibatch_size: int,
    ) -> None:
        checked_rows(values, condition, minibatch_size)
        self._values = _rows_first(values)
        self._condition = on_host(condition)
        self.minibatch_size = minibatch_size

    @property
    def n_examples(self) -> int:
        return self._values.shape[0]

    @cached_property
    def fingerprint(self) -> str:
        return _fingerprint(self._values, self._condition, ("whole", self.minibatch_size))

    @cached_property
    def _whole(self) -> Minibatch:
        refuse_empty(self.n_examples)
        size = -(-self.n_examples // self.minibatch_size) * self.minibatch_size
        rows, n_real = padded_rows(0, size, self.n_examples)
        return _minibatch(self._values, self._condition, rows, n_real)

    def __call__(self, step: int) -> Minibatch:
        """The whole data, the same at every step."""
        return self._whole

    def ordered(self) -> Iterator[Minibatch]:
        """All rows once, in order, in chunks of `minibatch_size`, the last one padded."""
        refuse_empty(self.n_examples)
        for start in range(0, self.n_examples, self.minibatch_size):
            rows, n_real = padded_rows(start, self.minibatch_size, self.n_examples)
            yield _minibatch(self._values, self._condition, rows, n_real)
