"""Tables and matrices written piece by piece read back whole; what does not fit leaves nothing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from genesim.data.write_stream import write_dense_blocks, write_parquet_parts
from genesim.errors import InputError
from genesim.provenance.record import Provenance

MADE = Provenance("simulate", 0, {}, synthetic=True)


def shell(n: int = 7, genes: int = 3) -> ad.AnnData:
    return ad.AnnData(
        obs=pd.DataFrame({"donor": "d"}, index=[f"c{i}" for i in range(n)]),
        var=pd.DataFrame(index=[f"g{i}" for i in range(genes)]),
    )


def test_blocks_read_back_in_memory_and_from_disk(tmp_path: Path) -> None:
    values = np.random.default_rng(0).random((7, 3)).astype(np.float32)
    path = write_dense_blocks(shell(), iter([values[:4], values[4:]]), tmp_path / "rates.h5ad", MADE)
    read = ad.read_h5ad(path)
    np.testing.assert_array_equal(read.X, values)
    assert list(read.obs_names) == [f"c{i}" for i in range(7)]
    assert read.uns["genesim"]["synthetic"]
    backed = ad.read_h5ad(path, backed="r")
    np.testing.assert_array_equal(backed[2:5].to_memory().X, values[2:5])


@pytest.mark.parametrize("sizes", [(4,), (4, 4), ()])
def test_blocks_that_do_not_fit_leave_nothing(tmp_path: Path, sizes: tuple[int, ...]) -> None:
    blocks = [np.zeros((n, 3), np.float32) for n in sizes]
    with pytest.raises(InputError, match="do not make 7 cells"):
        write_dense_blocks(shell(), blocks, tmp_path / "rates.h5ad", MADE)
    with pytest.raises(InputError, match="of 3 genes"):
        write_dense_blocks(shell(), [np.zeros((7, 2), np.float32)], tmp_path / "rates.h5ad", MADE)
    assert list(tmp_path.iterdir()) == []


def test_parts_become_row_groups_of_one_table(tmp_path: Path) -> None:
    made = 0

    def parts() -> Iterator[pd.DataFrame]:
        nonlocal made
        for i in range(3):
            made += 1
            yield pd.DataFrame({"donor": [f"d{i}"] * 2, "x": np.float32([i, -i])})

    path = write_parquet_parts(parts(), tmp_path / "t.parquet", MADE)
    table = pd.read_parquet(path)
    assert table["donor"].tolist() == ["d0", "d0", "d1", "d1", "d2", "d2"]
    assert table["x"].dtype == np.float32
    assert pq.ParquetFile(path).num_row_groups == made == 3
    assert b"genesim" in pq.read_schema(path).metadata
    with pytest.raises(InputError, match="no table"):
        write_parquet_parts([], tmp_path / "none.parquet")
    assert not (tmp_path / "none.parquet").exists()
