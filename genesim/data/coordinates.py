"""The one place where coordinates change between 1-based (VCF, GTF, GFF3) and 0-based half-open (inside).

A 1-based closed interval [first, last] is the 0-based half-open interval [first - 1, last).
"""

from __future__ import annotations

from typing import TypeVar

import numpy as np
import pandas as pd

LAST_POSITION = 2**31 - 1
"""Largest 1-based position that a VCF can hold (VCF 4.3, 1.3: 32-bit integers)."""

T = TypeVar("T", int, np.ndarray, pd.Series)


def to_zero_based(position: T) -> T:
    """0-based position(s), in bp, of 1-based `position`."""
    return position - 1


def to_one_based(position: T) -> T:
    """1-based position(s), in bp, of 0-based `position`."""
    return position + 1


def interval_to_zero_based(first: T, last: T) -> tuple[T, T]:
    """`(start, end)`, 0-based half-open, of the 1-based closed interval `[first, last]`."""
    return to_zero_based(first), last


def interval_to_one_based(start: T, end: T) -> tuple[T, T]:
    """`(first, last)`, 1-based closed, of the 0-based half-open interval `[start, end)`."""
    return to_one_based(start), end
