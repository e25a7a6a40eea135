"""Common variants that are nearly independent: what kinship and structure are estimated from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from genesim.data.genotypes.record import ABSENT, Genotypes
from genesim.data.genotypes.store import StoredGenotypes
from genesim.data.ploidy import kind_of

MIN_MAF = 0.05
MAX_MISSING = 0.05
MAX_R2 = 0.2
WINDOW = 500_000
# More candidates than this add time and no precision: a genome holds about as many independent common variants.
MAX_CANDIDATES = 60_000
_MAX_DOSAGES, _BLOCK_CALLS = 2**27, 2**24


@dataclass(frozen=True)
class ThinnedVariants:
    """LD-thinned common autosomal variants.

    Attributes:
        row: Rows of the genotypes, ascending within a contig.
        dosage: float32 [variant, donor], 0-2, NaN missing.
        n_megabases: Distinct megabases that hold one: how much of a genome was looked at.
    """

    row: Int[np.ndarray, " variant"]
    dosage: Float[np.ndarray, "variant donor"]
    n_megabases: int

    @property
    def n_variants(self) -> int:
        return len(self.row)


def thinned_variants(
    genotypes: Genotypes | StoredGenotypes, columns: np.ndarray | None = None, max_candidates: int = MAX_CANDIDATES
) -> ThinnedVariants:
    """Autosomal diploid variants of MAF >= 0.05 of which no two within 500 kb have r2 >= 0.2.

    Greedy along each contig, as `plink --indep-pairwise 500kb 0.2` (the first of two in LD stays). Where there are
    more than `max_candidates`, or than 2^27 dosages (512 MiB) hold, every k-th is a candidate.

    Args:
        genotypes: Phase does not matter.
        columns: Positions of the donors that count; None takes all.
    """
    columns = np.arange(genotypes.n_donors) if columns is None else columns
    contig = genotypes.variants["contig"].astype(str).to_numpy()
    autosomal = np.isin(contig, [name for name in np.unique(contig) if kind_of(name) == "autosome"])
    rows = np.flatnonzero(autosomal)
    rows = rows[_common(genotypes, rows, columns)]
    start = genotypes.variants["start"].to_numpy()
    rows = rows[np.lexsort((start[rows], contig[rows]))]
    most = min(max_candidates, max(1, _MAX_DOSAGES // max(1, len(columns))))
    rows = rows[:: max(1, -(-len(rows) // most))]
    dosage = _dosage(genotypes, rows, columns)
    unit = dosage - np.nanmean(dosage, 1, keepdims=True) if len(rows) else dosage.copy()
    np.nan_to_num(unit, copy=False)
    unit /= np.maximum(np.sqrt(np.einsum("ij,ij->i", unit, unit))[:, None], 1e-12)
    kept: list[int] = []
    for name in np.unique(contig[rows]):
        here = np.flatnonzero(contig[rows] == name)
        kept.extend(here[_greedy(unit[here], start[rows[here]])])
    chosen = np.array(sorted(kept), np.int64)
    places = set(zip(contig[rows[chosen]], start[rows[chosen]] // 1_000_000, strict=True))
    return ThinnedVariants(rows[chosen], dosage[chosen], len(places))


def _blocks(
    genotypes: Genotypes | StoredGenotypes, rows: np.ndarray, columns: np.ndarray
) -> Iterator[tuple[slice, np.ndarray]]:
    """Alleles [variant, donor, 2] of some of `rows` after some."""
    at_once = max(1, _BLOCK_CALLS // max(1, len(columns)))
    for first in range(0, len(rows), at_once):
        here = slice(first, first + at_once)
        yield here, genotypes.subset(variants=rows[here], donors=columns).alleles


def _dosage(genotypes: Genotypes | StoredGenotypes, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    dosage = np.empty((len(rows), len(columns)), np.float32)
    for here, alleles in _blocks(genotypes, rows, columns):
        dosage[here] = np.where((alleles < 0).any(-1), np.nan, alleles.clip(0).sum(-1))
    return dosage


def _common(genotypes: Genotypes | StoredGenotypes, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Which of `rows` are common, mostly called and diploid in these donors."""
    good = np.zeros(len(rows), bool)
    for here, alleles in _blocks(genotypes, rows, columns):
        called = (alleles >= 0).all(-1)
        n_called = called.sum(1)
        copies = (alleles.clip(0).sum(-1) * called).sum(1)
        frequency = copies / np.maximum(2 * n_called, 1)
        haploid = (alleles[..., 1] == ABSENT).any(1)
        common = np.minimum(frequency, 1 - frequency) >= MIN_MAF
        good[here] = common & ~haploid & (n_called >= (1 - MAX_MISSING) * len(columns))
    return good


def _greedy(unit: np.ndarray, start: np.ndarray) -> np.ndarray:
    """Rows kept of one contig; `unit` are centred dosages of norm 1, by position."""
    kept = np.zeros(len(unit), np.int64)
    n, first = 0, 0
    held = np.empty_like(unit)
    for i in range(len(unit)):
        while first < n and start[i] - start[kept[first]] > WINDOW:
            first += 1
        if first == n or np.abs(held[first:n] @ unit[i]).max() ** 2 < MAX_R2:
            kept[n], held[n] = i, unit[i]
            n += 1
    return kept[:n]
