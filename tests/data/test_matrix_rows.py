"""`stack_rows`: SciPy's vstack, which lets go of what it has copied."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse

from genesim.data import matrix
from genesim.data.matrix import gather_rows, stack_rows


@pytest.mark.parametrize("rows", [(0, 5, 3), (4,), (0,), (2, 0, 0, 7)])
def test_parts_are_stacked_as_scipy_does(rows: tuple[int, ...]) -> None:
    random = np.random.default_rng(0)
    parts = [sparse.csr_matrix(random.poisson(0.5, (n, 6)).astype(np.int32)) for n in rows]
    whole = sparse.vstack(parts, format="csr")
    found = stack_rows(parts)
    assert parts == []
    for name in ("data", "indices", "indptr"):
        mine, theirs = getattr(found, name), getattr(whole, name)
        np.testing.assert_array_equal(mine, theirs)
        assert mine.dtype == theirs.dtype
    assert found.shape == whole.shape


@pytest.mark.parametrize("values", [1, 10, 2**24])
@pytest.mark.parametrize("rows", [(0, 5, 3), (4,), (0,), (2, 0, 0, 7)])
def test_parts_that_come_one_by_one_are_gathered_alike(
    rows: tuple[int, ...], values: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(matrix, "_STACK_VALUES", values)
    random = np.random.default_rng(1)
    parts = [sparse.csr_matrix(random.poisson(0.5, (n, 6)).astype(np.int32)) for n in rows]
    whole, found = sparse.vstack(parts, format="csr"), gather_rows(iter(parts))
    np.testing.assert_array_equal(found.toarray(), whole.toarray())
    assert (found.shape, found.dtype) == (whole.shape, whole.dtype)
