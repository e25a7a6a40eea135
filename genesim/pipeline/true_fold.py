"""The true effects of simulated donors' genotypes, as one row a donor, from the long table of truth."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

_ROWS = 2**20


def true_fold(path: Path) -> pd.DataFrame:
    """log2 fold changes [donor, gene] in the first cell type of `truth/expression.parquet`.

    The table has a row for each donor, cell type and gene; it is read piece by piece.
    """
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    donors: dict[str, int] = {}
    genes: dict[str, int] = {}
    rows: list[np.ndarray] = []
    columns: list[np.ndarray] = []
    values: list[np.ndarray] = []
    first: str | None = None
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(_ROWS, columns=["donor", "cell_type", "gene", "log2_fold"]):
            if not batch.num_rows:
                continue
            first = batch["cell_type"][0].as_py() if first is None else first
            batch = batch.filter(pc.equal(batch["cell_type"], first))
            for names, known, codes in (("donor", donors, rows), ("gene", genes, columns)):
                here = batch[names].dictionary_encode()
                place = [known.setdefault(name, len(known)) for name in here.dictionary.to_pylist()]
                codes.append(np.array(place, np.int32)[here.indices.to_numpy()])
            values.append(batch["log2_fold"].to_numpy())
    fold = np.full((len(donors), len(genes)), np.nan, np.float32)
    for row, column, value in zip(rows, columns, values, strict=True):
        fold[row, column] = value
    return pd.DataFrame(fold, pd.Index(list(donors), dtype=object), pd.Index(list(genes), dtype=object))
