"""The long table of true effects: written piece by piece, read back piece by piece, equal to the array."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from genesim.data.write_stream import write_parquet_parts
from genesim.pipeline import true_fold as module
from genesim.pipeline.true_fold import true_fold
from genesim.simulate import dataset
from genesim.simulate.dataset import ExpressionTruth

DONORS, TYPES, GENES = pd.Index([f"SIM{i}" for i in range(7)]), ["B", "T", "NK"], ["g2", "g1"]


def truth(n_donors: int = 7, n_genes: int = 2) -> ExpressionTruth:
    fold = np.random.default_rng(3).normal(size=(n_donors, len(TYPES), n_genes)).astype(np.float32)
    return ExpressionTruth(fold, DONORS[:n_donors], TYPES, GENES[:n_genes])


@pytest.mark.parametrize("rows", [1, 13, 2**21])
def test_the_table_is_the_array_however_it_is_cut(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dataset, "_ROWS", rows)
    made = truth()
    table = pd.concat(made.tables(), ignore_index=True)
    assert list(table.columns) == ["gene", "donor", "cell_type", "log2_fold"]
    slow = [
        (gene, donor, cell_type, made.log2_fold[i, j, k])
        for i, donor in enumerate(DONORS)
        for j, cell_type in enumerate(TYPES)
        for k, gene in enumerate(GENES)
    ]
    assert list(table.itertuples(index=False, name=None)) == slow


@pytest.mark.parametrize("rows", [1, 5, 2**20])
def test_the_first_cell_type_comes_back_as_an_array(rows: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_ROWS", rows)
    made = truth()
    write_parquet_parts(made.tables(), tmp_path / "expression.parquet")
    found = true_fold(tmp_path / "expression.parquet")
    np.testing.assert_array_equal(found.loc[DONORS, GENES].to_numpy(), made.log2_fold[:, 0])


def test_no_affected_gene_is_an_empty_table(tmp_path: Path) -> None:
    made = truth(n_genes=0)
    assert [len(table) for table in made.tables()] == [0]
    write_parquet_parts(made.tables(), tmp_path / "expression.parquet")
    assert true_fold(tmp_path / "expression.parquet").empty
