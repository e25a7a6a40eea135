"""Admixed donors from a haplotype model: local ancestry first, then alleles that follow it.

chrX is walked along as an autosome is, though males do not recombine it and migrants of either sex bring unlike
numbers of it: its tracts are therefore somewhat too short. chrY and MT have one ancestry each.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from jaxtyping import Int8

from genesim import rng
from genesim.config.scenario import Pulse
from genesim.console import progress
from genesim.data.genetic_map import ContigMap, contig_extent, contig_map
from genesim.data.genotypes.record import Genotypes
from genesim.data.ploidy import MALE, Intervals, kind_of, par_intervals, sexes
from genesim.errors import ConfigError, InputError
from genesim.estimators.haplotype_contig import ContigModel
from genesim.estimators.haplotype_inputs import ancestry_codes
from genesim.simulate.admixture import COLUMNS, Admixture, check_pulses, codes_at

if TYPE_CHECKING:
    from genesim.estimators.haplotypes import HaplotypeModel

Shares = Mapping[str, float] | pd.DataFrame


def read_pulses(pulses: Sequence[Pulse | tuple[int, Mapping[str, float]]], known: Sequence[str]) -> tuple[Pulse, ...]:
    """Checked pulses, given as records or as (generations, {ancestry: share}).

    Raises:
        ConditionError: An ancestry that the model does not know.
        ConfigError: See `check_pulses`.
    """
    made = [p if isinstance(p, Pulse) else Pulse(generations=p[0], ancestry=dict(p[1])) for p in pulses]
    for pulse in made:
        ancestry_codes(list(pulse.ancestry), known)
    return check_pulses(made)


def read_shares(shares: Shares, donors: list[str], known: Sequence[str]) -> pd.DataFrame:
    """Global proportions [donor, ancestry], rows adding up to 1.

    Raises:
        ConditionError: An ancestry that the model does not know.
        InputError: A donor without shares, or shares that are negative, missing or all 0.
    """
    table = (
        shares
        if isinstance(shares, pd.DataFrame)
        else pd.DataFrame([dict(shares)] * len(donors), index=pd.Index(donors))
    )
    ancestry_codes([str(name) for name in table.columns], known)
    table = table.reindex(index=donors).reindex(columns=list(known), fill_value=0.0).astype(float)
    bad = table.index[table.isna().any(axis=1) | (table < 0).any(axis=1) | (table.sum(axis=1) <= 0)]
    if len(bad):
        raise InputError(
            f"the shares of {len(bad)} donors cannot be used, the first is '{bad[0]}'",
            where="shares",
            remedy="give every donor a share of 0 or more of each ancestry, not all 0",
        )
    return table.div(table.sum(axis=1), axis=0)


def scale_of(contig: str, genetic_map: pd.DataFrame | None) -> ContigMap:
    """The genetic map that tracts follow; chrY and MT do not recombine."""
    return ContigMap.unrecombining() if kind_of(contig) in ("Y", "MT") else contig_map(contig, genetic_map)


def draw_admixed(
    part: ContigModel, donors: pd.Index, tracts: pd.DataFrame, names: Sequence[str], seed: int, kind: str
) -> Int8[np.ndarray, "haplotype variant"]:
    """Haplotypes whose alleles follow the local ancestry.

    Each copy is drawn once a source that it has, whole, and the tracts are cut out of these draws: across a
    breakpoint the alleles are then independent, as those of two people are. (Handing local codes to the chain
    would carry its hidden state over the breakpoint, into states that the next ancestry may hardly have.)
    """
    local = codes_at(tracts, part.variants["start"].to_numpy(), list(donors), names)
    owners = [(donor, copy) for donor in donors for copy in (0, 1)]
    alleles = np.zeros(local.shape, np.int8)
    for code, name in enumerate(names):
        mine = local == code
        rows = np.flatnonzero(mine.any(axis=1))
        if not len(rows):
            continue
        keys = rng.keys(rng.key(seed, kind, part.contig), [(*owners[row], "admixed", name) for row in rows])
        drawn = part.chain.sample(keys, np.full(len(rows), code)).alleles
        alleles[rows] = np.where(mine[rows], drawn, alleles[rows])
    return alleles


def carried(
    tracts: pd.DataFrame,
    contig: str,
    lengths: Mapping[str, int | None],
    haploid: bool,
    sex: np.ndarray | None,
    par: Intervals | None,
) -> pd.DataFrame:
    """Tracts of the copies that donors have: no second copy where haploid, of males on chrX only its PARs."""
    kind = kind_of(contig)
    if sex is None or kind == "autosome":
        return tracts[tracts["copy"] == 0] if haploid else tracts
    if kind == "MT":
        return tracts[tracts["copy"] == 0]
    male = np.repeat(sex == MALE, tracts.groupby("donor", sort=False).size())
    second = (tracts["copy"] == 1).to_numpy()
    if kind == "Y":
        return tracts[male & ~second]
    whole = tracts[male & second]
    cut = [
        whole.assign(start=whole["start"].clip(low, high), end=whole["end"].clip(low, high))
        for low, high in par_intervals(contig, lengths, par)
    ]
    kept = pd.concat([tracts[~(male & second)], *cut]).sort_index(kind="stable")
    return kept[kept["start"] < kept["end"]]


def sample_admixed(
    model: HaplotypeModel,
    n_donors: int,
    pulses: Sequence[Pulse | tuple[int, Mapping[str, float]]] | None,
    *,
    seed: int,
    donors: Sequence[str] | None,
    shares: Shares | None,
    generations: float,
    genetic_map: pd.DataFrame | None,
    sex: pd.Series | None,
    par: Intervals | None,
) -> tuple[Genotypes, pd.DataFrame]:
    """See `HaplotypeModel.sample_admixed`."""
    if (pulses is None) == (shares is None):
        raise ConfigError(
            "pulses and shares are both given, or neither",
            where="sample_admixed",
            remedy="give pulses, or shares with generations",
        )
    index = model.assign_ancestry(n_donors, None, donors).index.astype(str).astype(object)
    names = model.ancestries
    if pulses is not None:
        law = Admixture(names, read_pulses(pulses, names))
    else:
        if not generations > 0:
            raise ConfigError(f"generations is {generations}", where="sample_admixed", remedy="give more than 0")
        law = Admixture(names, shares=read_shares(shares, list(index), names), generations=generations)  # type: ignore[arg-type]
    labels = None if sex is None else sexes(sex, index)
    alleles, tables = [], []
    for part in progress(model.contigs, "haplotypes"):
        end = contig_extent(part.contig, part.variants["start"].to_numpy(), model.contig_lengths)
        tracts = law.tracts(list(index), part.contig, end, scale_of(part.contig, genetic_map), seed)
        drawn = draw_admixed(part, index, tracts, names, seed, model.kind)
        alleles.append(model.with_ploidy(part, drawn, labels, par))
        tables.append(carried(tracts, part.contig, model.contig_lengths, part.haploid, labels, par))
    truth = pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=COLUMNS)
    return model.genotypes(alleles, index), truth
