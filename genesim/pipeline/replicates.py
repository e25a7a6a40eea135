"""Scores of several simulations of one scenario, under different seeds, in one table."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from genesim.data.names import plain_frame
from genesim.data.write import write_parquet
from genesim.errors import ArtefactError
from genesim.provenance.manifest import verify_manifest
from genesim.provenance.record import Provenance, hash_input


def join_scores(evaluations: Sequence[str | Path], *, out: str | Path) -> pd.DataFrame:
    """The scores of all evaluations, with `replicate` (from 1, in the order given) and `seed` before each row.

    Args:
        evaluations: Directories that `evaluate_run` wrote.
        out: Parquet to write.

    Raises:
        ArtefactError: A directory is damaged, or no evaluation.
    """
    tables, inputs = [], {}
    for number, folder in enumerate(map(Path, evaluations), 1):
        verify_manifest(folder)
        path = folder / "scores.parquet"
        if not path.is_file():
            raise ArtefactError("has no scores.parquet", where=str(folder), remedy="give what `genesim evaluate` wrote")
        about = json.loads(Path(f"{path}.provenance.json").read_text())
        table = plain_frame(pd.read_parquet(path))
        table.insert(0, "replicate", number)
        table.insert(1, "seed", int(about["seed"]))
        tables.append(table)
        inputs[str(number)] = hash_input(folder)
    joined = pd.concat(tables, ignore_index=True)
    write_parquet(joined, out, Provenance("evaluate --join", int(joined["seed"].iloc[0]), {}, inputs))
    return joined
