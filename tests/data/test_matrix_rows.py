"""`stack_rows`: SciPy's vstack, which lets go of what it has copied."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse

from genesim.data.matrix import stack_rows


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
