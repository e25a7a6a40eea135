"""Genetic maps: from base pairs to centimorgans and back, on one contig."""

from __future__ import annotations

import os
import zlib
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from genesim.data.contigs import reconcile_contigs
from genesim.data.coordinates import to_zero_based
from genesim.data.parquet import read_parquet
from genesim.errors import InputError

CENTIMORGANS_PER_BASE = 1.2e-6  # mean sex-averaged rate of the autosomes (Kong et al. 2002, Nat Genet 31:241)


@dataclass(frozen=True)
class ContigMap:
    """Piecewise linear map of one contig; 1.2 cM/Mb without points and beyond them.

    Attributes:
        position: 0-based, non-decreasing, bp.
        centimorgans: Non-decreasing, of each position.
    """

    position: Int[np.ndarray, " point"]
    centimorgans: Float[np.ndarray, " point"]

    @classmethod
    def flat(cls) -> ContigMap:
        """The map without points: 1.2 cM/Mb throughout."""
        return cls(np.zeros(1, int), np.zeros(1))

    @classmethod
    def unrecombining(cls) -> ContigMap:
        """A map whose contig does not recombine (chrY outside PAR, MT)."""
        return cls(np.array([-(2**40), 2**40]), np.zeros(2))

    def at(self, position: Int[np.ndarray, " point"]) -> Float[np.ndarray, " point"]:
        """Genetic position (cM) of 0-based `position`."""
        inside = np.interp(position, self.position, self.centimorgans)
        before = np.minimum(position - self.position[0], 0) * CENTIMORGANS_PER_BASE
        after = np.maximum(position - self.position[-1], 0) * CENTIMORGANS_PER_BASE
        return inside + before + after

    def base(self, centimorgans: Float[np.ndarray, " point"]) -> Int[np.ndarray, " point"]:
        """0-based position, in bp, of `centimorgans`: the inverse of `at`."""
        wanted = np.asarray(centimorgans, float)
        inside = np.interp(wanted, self.centimorgans, self.position)
        before = np.minimum(wanted - self.centimorgans[0], 0) / CENTIMORGANS_PER_BASE
        after = np.maximum(wanted - self.centimorgans[-1], 0) / CENTIMORGANS_PER_BASE
        return np.rint(inside + before + after).astype(np.int64)

    def morgans(self, start: int, end: int) -> float:
        """Genetic length of [start, end)."""
        low, high = self.at(np.array([start, end]))
        return float(high - low) / 100


def read_genetic_map(path: str | os.PathLike[str]) -> pd.DataFrame:
    """A map's table: `.parquet`, `.csv`, or columns apart by tabs or spaces; all but parquet also `.gz`.

    Raises:
        InputError: It cannot be read.
    """
    name = os.fspath(path).lower().removesuffix(".gz")
    try:
        if name.endswith(".parquet"):
            return read_parquet(path)
        return pd.read_csv(path, sep="," if name.endswith(".csv") else r"\s+")
    except (OSError, zlib.error, ValueError, EOFError) as error:
        raise InputError(
            f"cannot be read ({error})",
            where=os.fspath(path),
            remedy="give a table with the columns contig, pos (1-based) and cM",
        ) from error


def contig_map(contig: str, genetic_map: pd.DataFrame | None, column: str = "cM") -> ContigMap:
    """The map of one contig.

    Args:
        genetic_map: Columns `contig` (or `chr`), `pos` (1-based) and `column`; None is 1.2 cM/Mb.
        column: Which column of genetic positions, in cM.

    Raises:
        InputError: A map without those columns, or whose cM decrease.
        JoinError: A map without the contig.
    """
    if genetic_map is None:
        return ContigMap.flat()
    table = genetic_map.rename(columns={"chr": "contig"})
    lacking = [name for name in ("contig", "pos", column) if name not in table.columns]
    if lacking:
        raise InputError(
            f"lacks the columns {', '.join(lacking)}", where="genetic map", remedy=f"name them contig, pos, {column}"
        )
    names = table["contig"].astype(str)
    here = table[names == reconcile_contigs(names.unique(), [contig], where="genetic map")[contig]]
    position, centimorgans = to_zero_based(here["pos"].to_numpy()), here[column].to_numpy(float)
    if (np.diff(position) < 0).any() or (np.diff(centimorgans) < 0).any():
        raise InputError(
            f"positions or cM of contig '{contig}' decrease",
            where="genetic map",
            remedy="sort the map by position",
        )
    return ContigMap(position, centimorgans)


def sex_maps(contig: str, genetic_map: pd.DataFrame | None) -> Mapping[str, ContigMap]:
    """Maps of `female` and `male` meioses: columns `cM_female` and `cM_male` where the table has them, else `cM`."""
    specific = genetic_map is not None and {"cM_female", "cM_male"} <= set(genetic_map.columns)
    return {sex: contig_map(contig, genetic_map, f"cM_{sex}" if specific else "cM") for sex in ("female", "male")}


def contig_extent(contig: str, starts: Int[np.ndarray, " variant"], lengths: Mapping[str, int | None]) -> int:
    """End of the contig in bp: its declared length, else one past its last variant."""
    last = int(starts.max()) + 1 if len(starts) else 0
    return max(lengths.get(contig) or 0, last)
