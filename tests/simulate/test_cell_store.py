"""Shards of cells come back as they were written, the empty one of more shards than cells too."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy import sparse

from genesim.simulate.cell_store import CellShard


@pytest.mark.parametrize("shape", [(0, 5), (3, 5), (4, 2)])
def test_a_shard_comes_back_whole(shape: tuple[int, int], tmp_path: Path) -> None:
    counts = np.arange(np.prod(shape), dtype=np.int32).reshape(shape) % 3 * (shape[1] == 2)
    written = CellShard(sparse.csr_matrix(counts), np.linspace(1, 2, shape[0]), 7, "0" * 64)
    written.save(tmp_path / "shard")
    read = CellShard.load(tmp_path / "shard")
    assert (read.first, read.plan, read.counts.dtype) == (7, "0" * 64, np.int32)
    np.testing.assert_array_equal(read.counts.toarray(), counts)
    np.testing.assert_array_equal(read.library, written.library)
