"""The cells that a report draws: all, or as many as a picture can show."""

from __future__ import annotations

from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
from jaxtyping import Int

from genesim import rng
from genesim.data.cohort import DONOR
from genesim.data.expression import read_expression

MOST_CELLS = 50_000
"""Cells of each side on the page: beyond it a draw of so many, and one cell of each donor that would have none."""
MOST_DONORS = 1000
"""Donors of each side in the figures of genotypes."""


def drawn_rows(donor: pd.Series, seed: int, name: str) -> Int[np.ndarray, " cell"]:
    """Positions, ascending, of the cells that are shown: all of them, or a draw that every donor has a part in."""
    if len(donor) <= MOST_CELLS:
        return np.arange(len(donor))
    chosen = rng.generator(seed, "report", "drawn", name).permutation(len(donor))
    rest = chosen[MOST_CELLS:]
    codes = pd.factorize(donor)[0]
    lacking = rest[~np.isin(codes[rest], codes[chosen[:MOST_CELLS]])]
    first = lacking[~pd.Series(codes[lacking]).duplicated().to_numpy()]
    return np.sort(np.concatenate([chosen[:MOST_CELLS], first]))


def shown_cells(cells: ad.AnnData, seed: int) -> ad.AnnData:
    """Cells of a cohort, in memory; those on disk are read as far as they are shown."""
    rows = drawn_rows(cells.obs[DONOR], seed, "real")
    if len(rows) < cells.n_obs:
        cells = cells[rows]
    return cells.to_memory() if cells.isbacked else cells


def read_shown(path: Path, labels_key: str | None, seed: int) -> tuple[ad.AnnData, int]:
    """Simulated cells as far as they are shown, as `read_expression` gives them; and how many there are."""
    stored = ad.read_h5ad(path, backed="r")
    rows = drawn_rows(stored.obs[DONOR], seed, "simulated")
    if len(rows) == stored.n_obs:
        cells = read_expression(path, donor_key=DONOR, labels_key=labels_key)
        return cells, cells.n_obs
    return read_expression(stored[rows], donor_key=DONOR, labels_key=labels_key), stored.n_obs
