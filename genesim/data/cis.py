"""The variants near a gene: positions sorted once a contig, windows found by bisection."""

from __future__ import annotations

import numpy as np
import pandas as pd


class CisIndex:
    """Finds the variants within a window.

    Args:
        variants: Columns `contig` and `start` (0-based, bp), in any order.
    """

    def __init__(self, variants: pd.DataFrame) -> None:
        contigs = np.asarray(variants["contig"], dtype=object)
        starts = variants["start"].to_numpy(dtype=np.int64)
        self._by_contig: dict[str, tuple[np.ndarray, np.ndarray]] = {}
        for contig in pd.unique(contigs):
            rows = np.flatnonzero(contigs == contig)
            rows = rows[np.argsort(starts[rows], kind="stable")]
            self._by_contig[str(contig)] = (starts[rows], rows)

    def within(self, contig: str, tss: int, window: int) -> np.ndarray:
        """Rows, by position, of the variants of `contig` at most `window` bp from 0-based `tss`."""
        if contig not in self._by_contig:
            return np.empty(0, dtype=np.int64)
        starts, rows = self._by_contig[contig]
        low = np.searchsorted(starts, tss - window, side="left")
        high = np.searchsorted(starts, tss + window, side="right")
        return rows[low:high]
