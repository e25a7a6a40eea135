"""Rare variants that a panel of N haplotypes does not hold and n new haplotypes do.

With w(x) sites of frequency x, a panel is expected to have xi_i = sum_x w(x) Bin(i; N, x) sites of i copies, and n new
haplotypes of the same population

    E_j = sum_x w(x) (1 - x)^N Bin(j; n, x)

sites of j copies that it lacks. w is learned from the panel's xi (of the rarer allele) by the expectation-
maximisation of Poisson counts, which keeps it positive (Richardson 1972, Lucy 1974; for unseen variants, by linear
programming, Zou et al. 2016, Nat Commun 7:13293). It starts from the neutral w = theta / x, and keeps its shape where
the panel says nothing, below 1 / N. In a constant population E_j = theta / j * C(n, j) / C(N + n, j) (Fu 1995, Theor
Popul Biol 48:172), whose sum is the first-order harmonic jackknife of Gravel et al. 2011 (PNAS 108:11983).

Numbers are Poisson, positions uniform, carriers drawn at random: new variants have no LD with others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from jaxtyping import Float, Int
from scipy import stats

from genesim import rng
from genesim.config.new_variants import RareVariants
from genesim.data.genotypes.record import ALT, REF, Genotypes
from genesim.data.ploidy import inside
from genesim.errors import ConfigError, JoinError
from genesim.simulate.bases import Reference, point_mutations
from genesim.simulate.sites import NewVariant, Sites

NEGLIGIBLE = 1e-6  # expected sites of a class that are not worth a draw
ITERATIONS = 200


def rare_counts(panel: Genotypes, rows: np.ndarray, members: np.ndarray) -> tuple[Int[np.ndarray, " count"], int]:
    """Sites by copies of the rarer allele among the members, absent from other donors; and the members' haplotypes.

    Args:
        rows: Variants to count.
        members: Donors (mask) of one ancestry.

    Returns:
        Entry i counts sites with i copies, up to half the haplotypes; the largest number of called copies.
    """
    alleles = panel.alleles[rows]
    called, alternate = (alleles >= REF), (alleles == ALT)
    everyone = called.sum(axis=(1, 2))
    alternate = np.where((2 * alternate.sum(axis=(1, 2)) > everyone)[:, None, None], called & ~alternate, alternate)
    mine, others = (alternate[:, side].sum(axis=(1, 2)) for side in (members, ~members))
    n_haplotypes = int(called[:, members].sum(axis=(1, 2)).max(initial=0))
    return np.bincount(mine[others == 0], minlength=n_haplotypes // 2 + 1)[: n_haplotypes // 2 + 1], n_haplotypes


def frequency_grid(n_total: int) -> Float[np.ndarray, " frequency"]:
    """Frequencies, evenly spaced in their logarithm, from well below one copy in all the haplotypes to a half."""
    return np.geomspace(0.001 / n_total, 0.5, 320)


def neutral_weights(theta: float, grid: Float[np.ndarray, " frequency"]) -> Float[np.ndarray, " frequency"]:
    """Sites around each frequency under theta / x."""
    return np.full(len(grid), theta * np.log(grid[1] / grid[0]))


def learned_weights(
    counts: Int[np.ndarray, " count"], n_haplotypes: int, grid: Float[np.ndarray, " frequency"]
) -> Float[np.ndarray, " frequency"]:
    """Sites around each frequency that explain `counts[i]` sites of i = 1, 2, ... copies among the haplotypes.

    Raises:
        ConfigError: No sites of one copy.
    """
    if n_haplotypes < 4 or len(counts) < 2 or counts[1] == 0:
        raise ConfigError(
            f"the panel has no variants of one copy among {n_haplotypes} haplotypes",
            where="rare",
            remedy="read it with min_allele_count 1 at most, or give theta",
        )
    copies = np.arange(1, len(counts))
    share = stats.binom.pmf(copies[:, None], n_haplotypes, grid)
    share += np.where(
        2 * copies[:, None] < n_haplotypes, stats.binom.pmf(n_haplotypes - copies[:, None], n_haplotypes, grid), 0
    )
    weights = neutral_weights(1.0, grid)
    weights *= counts[1:].sum() / (share @ weights).sum()
    for _ in range(ITERATIONS):
        weights *= (share.T @ (counts[1:] / (share @ weights))) / share.sum(axis=0)
    return weights


def expected_new(
    weights: Float[np.ndarray, " frequency"], grid: Float[np.ndarray, " frequency"], n_panel: int, n_new: int
) -> Float[np.ndarray, " class"]:
    """Expected sites with j = 1, 2, ..., `n_new` carriers among the new haplotypes and none in the panel."""
    return stats.binom.pmf(np.arange(1, n_new + 1)[:, None], n_new, grid) @ (weights * (1 - grid) ** n_panel)


def _labels(ancestry: pd.Series | None, donors: Sequence[str], where: str) -> np.ndarray:
    if ancestry is None:
        return np.full(len(donors), "", object)
    found = ancestry.reindex(list(donors))
    if found.isna().any():
        raise JoinError(
            f"donor '{found.index[found.isna()][0]}' has no ancestry", where=where, remedy="label every donor"
        )
    return found.astype(str).to_numpy(object)


def _rows(panel: Genotypes, contig: str, stretches: Sequence[tuple[int, int]]) -> np.ndarray:
    """Point variants of the panel in the stretches."""
    table = panel.variants
    here = (table["contig"] == contig).to_numpy() & (table["ref"].map(len) == 1).to_numpy()
    here &= (table["alt"].map(len) == 1).to_numpy()
    rows = np.flatnonzero(here & inside(table["start"].to_numpy(), stretches))
    if not len(rows):
        raise JoinError(
            f"has no point variants on contig '{contig}'", where="panel", remedy="give a panel of the same regions"
        )
    return rows


def draw_rare(
    law: RareVariants,
    reference: Reference,
    sites: Sites,
    spans: Mapping[str, Sequence[tuple[int, int]]],
    seed: int,
    panel: Genotypes | None,
    panel_ancestry: pd.Series | None,
    ancestry: pd.Series | None,
) -> list[NewVariant]:
    """New rare variants of every contig, by ancestry where labels are given.

    Raises:
        ConfigError: Labels of one side only, or a panel (of one ancestry) without singletons.
        JoinError: A donor without label, or a panel of other regions.
    """
    if panel is not None and (ancestry is None) != (panel_ancestry is None):
        raise ConfigError(
            "ancestry is given for the donors or for the panel only", where="rare", remedy="give both or neither"
        )
    labels = _labels(ancestry, sites.donors, "ancestry")
    held = None if panel is None else _labels(panel_ancestry, list(panel.donors), "panel_ancestry")
    found = []
    for contig, stretches in spans.items():
        length = sum(high - low for low, high in stretches)
        middle = sites.copies_near(contig, (stretches[0][0] + stretches[-1][1]) // 2)
        for label in dict.fromkeys(labels):
            stream = rng.generator(seed, "rare", contig, label)
            mine = np.flatnonzero((middle & (labels == label)[:, None]).reshape(-1))
            n_panel, counts = law.panel_haplotypes or 0, np.zeros(0, int)
            if panel is not None and held is not None:
                counts, n_panel = rare_counts(panel, _rows(panel, contig, stretches), held == label)
            grid = frequency_grid(n_panel + len(mine))
            if law.theta is None:
                weights = learned_weights(counts, n_panel, grid)
            else:
                weights = neutral_weights(law.theta * length, grid)
            for j, mean in enumerate(expected_new(weights, grid, n_panel, len(mine)), 1):
                if mean < NEGLIGIBLE:
                    break
                for low, high in stretches:
                    number = int(stream.poisson(mean * (high - low) / length))
                    taken = sites.taken[contig]
                    drawn = point_mutations(reference, contig, (low, high), number, law.spectrum, taken, stream)
                    for start, ref, alt in drawn:
                        carriers = stream.choice(mine, j, replace=False).tolist()
                        there = tuple(h for h in carriers if sites.has(contig, start, h))
                        if there:  # on chrX a drawn copy may end at PAR
                            found.append(NewVariant(contig, start, ref, alt, "rare", there))
    return found
