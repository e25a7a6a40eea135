"""Names as plain Python strings, so that anndata and parquet write them under every pandas version."""

from __future__ import annotations

import numpy as np
import pandas as pd


def plain_index(index: pd.Index, name: str | None = None) -> pd.Index:
    """`index` as an object Index of `str`, called `name` (its own name where None)."""
    texts = [str(value) for value in index]
    return pd.Index(texts, dtype=object, name=index.name if name is None else name)


def plain_labels(values: pd.Series) -> pd.Categorical:
    """`values` as an unordered categorical of plain strings; missing stays missing.

    Integer-valued floats lose their `.0`: pandas makes floats of integer ids beside a missing one.
    Levels are sorted and unused ones dropped, so the result depends on the values only.
    """
    codes, distinct = pd.factorize(values)
    text = [_text(value) for value in distinct]
    levels = pd.Index(sorted(set(text)), dtype=object)
    # The appended -1 is where code -1 (missing) lands.
    renumber = np.append(levels.get_indexer(pd.Index(text, dtype=object)), -1)
    return pd.Categorical.from_codes(renumber[codes], categories=levels)


def _text(value: object) -> str:
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def plain_frame(frame: pd.DataFrame) -> pd.DataFrame:
    """Copy of `frame` whose index, column names, string columns and string levels are plain objects."""
    index = plain_index(frame.index)
    columns: dict[str, pd.Series] = {}
    for name, column in frame.items():
        kind: object = column.dtype
        values: object
        if isinstance(kind, pd.CategoricalDtype):
            levels = kind.categories
            if _is_text(levels):
                plain_levels = pd.Index(levels.astype(object), dtype=object)
                kind = pd.CategoricalDtype(plain_levels, ordered=kind.ordered)
                values = pd.Categorical.from_codes(column.cat.codes.to_numpy(), dtype=kind)
            else:
                values = column.array.copy()
        elif _is_text(column):
            kind = object
            values = column.astype(object).where(column.notna(), None).to_numpy(dtype=object, copy=True)
        else:
            values = column.array.copy()
        # As Series with a dtype: pandas 3 makes Arrow strings of any other sequence of text.
        columns[str(name)] = pd.Series(values, index=index, dtype=kind)  # type: ignore[call-overload]
    plain = pd.DataFrame(columns, index=index)
    plain.columns = pd.Index([str(name) for name in frame.columns], dtype=object)
    plain.attrs = dict(frame.attrs)
    return plain


def _is_text(values: pd.Index | pd.Series) -> bool:
    return values.dtype == object or isinstance(values.dtype, pd.StringDtype)


def some(names: object, n: int = 5) -> str:
    """The first `n` names quoted, and how many there are in all: for messages."""
    listed = [str(name) for name in names]  # type: ignore[attr-defined]
    shown = ", ".join(f"'{name}'" for name in listed[:n])
    return f"{shown}, ... ({len(listed)} in all)" if len(listed) > n else shown or "none"
