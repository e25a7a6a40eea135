"""Whether values are counts: finite, not negative, whole; and the cast to int32."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from scipy import sparse

from genesim.data.matrix import shape_of, stored_values
from genesim.errors import H5adError

TOLERANCE = 1e-6
"""Largest distance from a whole number that is put down to rounding."""
_LARGEST = np.iinfo(np.int32).max


def problem_of(values: np.ndarray) -> tuple[str, np.ndarray] | None:
    """What keeps `values` from being counts, and the mask of the offending ones; None if nothing does."""
    if values.dtype.kind in "bu" or values.dtype.kind == "i":
        tests = [("negative", values < 0)] if values.dtype.kind == "i" else []
    elif values.dtype.kind == "f":
        with np.errstate(invalid="ignore"):
            fractional = np.abs(values - np.rint(values)) > TOLERANCE
        tests = [
            ("NaN", np.isnan(values)),
            ("infinite", np.isinf(values)),
            ("negative", values < -TOLERANCE),
            ("fractional", fractional),
        ]
    else:
        return f"not numbers ({values.dtype})", np.ones(values.shape, bool)
    tests.append(("larger than a 32-bit integer", values > _LARGEST))
    return next(((word, mask) for word, mask in tests if mask.any()), None)


def to_counts(
    block: sparse.csr_matrix,
    first_row: int,
    describe: Callable[[int, int], str],
    hint: Callable[[], str],
    where: str,
) -> sparse.csr_matrix:
    """`block` as canonical CSR of int32 (sorted, duplicates summed, no stored zeros), in arrays of its own.

    Args:
        block: Rows of a count matrix.
        first_row: Row of the whole matrix that the block begins with.
        describe: Words for a position `(row, column)` of the whole matrix.
        hint: Where integers may be found; asked only on failure.
        where: The matrix to name in errors.

    Raises:
        H5adError: A value is no count.
    """
    found = problem_of(block.data)
    if found is not None:
        word, bad = found
        at = int(np.argmax(bad))
        row = int(np.searchsorted(block.indptr, at, side="right")) - 1
        place = describe(first_row + row, int(block.indices[at]))
        raise H5adError(
            f"{int(bad.sum()):,} of {block.data.size:,} stored values are {word}; first: {block.data[at]} in {place}",
            where=where,
            remedy=hint(),
        )
    data = block.data if block.data.dtype.kind in "biu" else np.rint(block.data)
    counts = sparse.csr_matrix((data.astype(np.int32), block.indices.copy(), block.indptr.copy()), shape=block.shape)
    counts.sum_duplicates()
    counts.eliminate_zeros()
    return counts


def layers_with_counts(nodes: Mapping[str, Any], where: str) -> list[str]:
    """Names of the nodes whose first values are counts and not all zero."""
    names = []
    for name, node in nodes.items():
        try:
            shape_of(node, where)
        except H5adError:
            continue
        values = stored_values(node)
        if values.size and problem_of(values) is None and values.any():
            names.append(name)
    return names


def hint_for(nodes: Mapping[str, Any], chosen: str, where: str) -> str:
    """What to do where `chosen` holds no counts: name the layers that do."""
    names = layers_with_counts({name: node for name, node in nodes.items() if name != chosen}, where)
    if not names:
        return "give raw counts (not normalised or log values); no layer of this data holds any"
    named = " or ".join("X (layer=None)" if name == "X" else f"layer='{name}'" for name in names)
    return f"counts are in {named}: choose it"
