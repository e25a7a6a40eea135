"""Dealing: random assignments where inputs are not paired. What is dealt is invented, and marked as such."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pandas as pd

from genesim import rng
from genesim.data.names import plain_frame
from genesim.errors import JoinError

_GAP = 1_000_000
"""Distance, in bp, between neighbouring variants from which on they belong to different regions."""
_GENE_LENGTH = 10_000
"""Length, in bp, of a dealt gene."""


def deal_donors(cell_donors: Iterable[object], genotyped: pd.DataFrame | pd.Index, seed: int) -> dict[str, str]:
    """Assign each donor of the cells a genotyped donor of its own, at random.

    Args:
        cell_donors: Donor of each cell (repeats are fine), or the donors.
        genotyped: Genotyped donors: a table indexed by them, or their index.
        seed: The user's seed.

    Returns:
        `{donor of the cells: genotyped donor}`, one to one; it depends on the names, not on their order.

    Raises:
        JoinError: Fewer donors have genotypes than have cells.
    """
    donors = sorted({str(donor) for donor in cell_donors})
    index = genotyped.index if isinstance(genotyped, pd.DataFrame) else genotyped
    pool = np.array(sorted({str(donor) for donor in index}), dtype=object)
    if len(donors) > len(pool):
        raise JoinError(
            f"{len(donors)} donors have cells and only {len(pool)} have genotypes, so they cannot be dealt",
            remedy="give genotypes of more donors, or cells of fewer",
        )
    drawn = rng.generator(seed, "deal donors").permutation(pool)[: len(donors)]
    return {donor: str(genotype) for donor, genotype in zip(donors, drawn)}


def dealt_table(dealt: dict[str, str], table: pd.DataFrame | None) -> pd.DataFrame:
    """The donor table after dealing, to give to `join_donors`.

    A dealt donor is the genotyped person: ancestry, sex and all else are that person's. The person's own row,
    and rows under the names of dealt donors, make way for it.

    Args:
        dealt: As `deal_donors` gives it.
        table: As `read_donor_table` gives it, or None.

    Returns:
        Indexed by `donor`; the columns of `table`, `genotype_id` and `dealt`.
    """
    table = pd.DataFrame(index=pd.Index([], dtype=object)) if table is None else table
    names = table.index.to_series()
    genotype = table["genotype_id"].where(table["genotype_id"] != "", names) if "genotype_id" in table else names
    people = table.set_axis(pd.Index(genotype, dtype=object))
    new = people.reindex(list(dealt.values())).set_axis(pd.Index(list(dealt), dtype=object))
    new["genotype_id"] = list(dealt.values())
    for column in ("ancestry", "sex"):
        if column in new:
            new[column] = new[column].where(new[column].notna(), "unknown")
    others = table[~genotype.isin(list(dealt.values())) & ~table.index.isin(list(dealt))]
    parts = [part.assign(dealt=flag) for part, flag in ((new, True), (others, False)) if len(part)]
    return plain_frame(pd.concat(parts).rename_axis("donor"))


def deal_genes(genes: Iterable[object], variants: pd.DataFrame, seed: int) -> pd.DataFrame:
    """Give genes positions, evenly spread over the genotyped regions, in random order and on random strands.

    A region is a run of variants of one contig without a gap of 1 Mb or more.

    Args:
        genes: Names of the genes.
        variants: Columns `contig` and `start` (0-based).
        seed: The user's seed.

    Returns:
        Indexed by gene, in the given order: `contig`, `start`, `end`, `strand`, `tss` (0-based half-open;
        genes are 10 kb at most and lie within their region), `dealt` (True).

    Raises:
        JoinError: There are no variants to place genes among.
    """
    names = pd.Index([str(gene) for gene in genes], dtype=object, name="gene")
    contigs, firsts, ends = _regions(variants)
    if not len(contigs):
        raise JoinError("there are no variants to deal genes among", remedy="give genotypes with variants")
    random = rng.generator(seed, "deal genes")
    n_genes = len(names)
    lengths = ends - firsts
    # Midpoints of equal shares of all regions laid end to end; gene i takes slot order[i].
    before = np.concatenate([[0], np.cumsum(lengths)])
    offsets = ((2 * random.permutation(n_genes) + 1) * int(before[-1])) // (2 * max(n_genes, 1))
    region = np.searchsorted(before, offsets, side="right") - 1
    tss = firsts[region] + offsets - before[region]
    forward = random.random(n_genes) < 0.5
    start = np.where(forward, tss, np.maximum(tss + 1 - _GENE_LENGTH, firsts[region]))
    end = np.where(forward, np.minimum(tss + _GENE_LENGTH, ends[region]), tss + 1)
    frame = pd.DataFrame(
        {
            "contig": contigs[region],
            "start": start.astype(np.int64),
            "end": end.astype(np.int64),
            "strand": np.where(forward, "+", "-").astype(object),
            "tss": tss.astype(np.int64),
            "dealt": np.ones(n_genes, dtype=bool),
        },
        index=names,
    )
    return plain_frame(frame)


def _regions(variants: pd.DataFrame) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Contig, first position and end of each region, in the order of contigs and positions."""
    contigs: list[str] = []
    firsts: list[int] = []
    ends: list[int] = []
    for contig, rows in variants.groupby("contig", sort=False, observed=True):
        positions = np.sort(rows["start"].to_numpy(dtype=np.int64))
        cuts = np.flatnonzero(np.diff(positions) >= _GAP)
        for first, last in zip(np.concatenate([[0], cuts + 1]), np.concatenate([cuts, [len(positions) - 1]])):
            contigs.append(str(contig))
            firsts.append(int(positions[first]))
            ends.append(int(positions[last]) + 1)
    return np.array(contigs, dtype=object), np.array(firsts, np.int64), np.array(ends, np.int64)
