"""Parquet tables: whatever is damaged in one, and wherever pandas stumbles over it, is one kind of error."""

from __future__ import annotations

import os

import pandas as pd


def read_parquet(path: str | os.PathLike[str]) -> pd.DataFrame:
    """A parquet file as a table.

    Raises:
        OSError: It cannot be opened, or Arrow finds it damaged.
        ValueError: It is no parquet, or what pandas wrote into it (types, names of the index) makes no sense.
    """
    try:
        return pd.read_parquet(path)
    except (OSError, ValueError, MemoryError):
        raise
    # pandas takes types and names from the file's text as they are: a changed byte is any error at all.
    except Exception as error:
        raise ValueError(f"damaged: {type(error).__name__}: {error}") from error
