"""Reading a donor x donor table of kinship coefficients."""

from __future__ import annotations

import os
import zlib
from pathlib import Path

import pandas as pd

from genesim.data.parquet import read_parquet
from genesim.errors import InputError


def read_kinship(path: str | os.PathLike[str]) -> pd.DataFrame:
    """Read a square table: donors in the header and in the first column; TSV, CSV (also `.gz`) or parquet.

    What its values mean is checked where it is used (`estimators.effect_structure.checked_kinship`).

    Raises:
        InputError: Unreadable, or of a suffix that tells no format.
    """
    path, where = Path(path), os.fspath(path)
    suffixes = [suffix.lower() for suffix in path.suffixes if suffix.lower() != ".gz"]
    suffix = suffixes[-1] if suffixes else ""
    separator = {".tsv": "\t", ".txt": "\t", ".csv": ","}.get(suffix)
    if separator is None and suffix != ".parquet":
        raise InputError("the suffix tells no format", where=where, remedy="name it .tsv, .csv or .parquet by content")
    try:
        if separator is None:
            return read_parquet(path)
        # Ids are text: 0012 is not 12. The rest is numbers, or is refused later.
        return pd.read_csv(path, sep=separator, dtype={0: str}).pipe(lambda table: table.set_index(table.columns[0]))
    except (OSError, zlib.error, ValueError, EOFError, pd.errors.ParserError) as error:
        text = getattr(error, "strerror", None) or str(error).strip().splitlines()[0]
        raise InputError(f"cannot be read ({text})", where=where, remedy="check the path and the file") from error
