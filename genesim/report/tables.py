"""Values as text for a reader: numbers, nested settings and frames as rows of a table."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any, TypeAlias

import pandas as pd

Table: TypeAlias = Mapping[str, Any] | pd.DataFrame
_MOST_ROWS = 500


def number(value: float) -> str:
    """Three significant digits: 0.541, 12.3, 1,248, 1.4e-04; a dash where there is none."""
    if not math.isfinite(value):
        return "–"
    if value == 0:
        return "0"
    size = abs(value)
    if size >= 100:
        return f"{value:,.0f}"
    if size >= 10:
        return f"{value:.1f}"
    return f"{value:.3f}" if size >= 0.0095 else f"{value:.4f}" if size >= 0.00095 else f"{value:.1e}"


def text(value: Any) -> str:
    """One value in words: whole numbers with separators, none as a dash, control characters removed."""
    if value is None or value is pd.NA:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}" if abs(value) >= 10_000 else str(value)
    if isinstance(value, float):
        return f"{value:,.0f}" if value.is_integer() and abs(value) < 1e15 else f"{value:.6g}"
    words = str(value)
    return "".join(c for c in words if c.isprintable() or c in "\n\t")


def _flat(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Nested mappings and lists of mappings as dotted keys."""
    if isinstance(value, Mapping) and value:
        for key, inner in value.items():
            yield from _flat(inner, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list | tuple) and any(isinstance(x, Mapping) for x in value):
        for i, inner in enumerate(value, 1):
            yield from _flat(inner, f"{path}.{i}" if path else str(i))
    elif isinstance(value, list | tuple):
        yield path, ", ".join(text(x) for x in value) or "–"
    elif isinstance(value, Mapping):
        yield path, "–"
    else:
        yield path, text(value)


def as_table(table: Table) -> tuple[list[str], list[list[str]], int]:
    """Column heads (none for nested settings), rows of text, and how many rows a long table was cut by."""
    if isinstance(table, pd.DataFrame):
        shown = table.head(_MOST_ROWS)
        rows = [
            [number(v) if isinstance(v, float) else text(v) for v in row]
            for row in shown.itertuples(index=False, name=None)
        ]
        heads = [text(c) for c in table.columns]
        n_rows = len(table)
    else:
        flat = list(_flat(table))
        heads, n_rows = [], len(flat)
        rows = [[text(key), value] for key, value in flat[:_MOST_ROWS]]
    return heads, rows, n_rows - len(rows)
