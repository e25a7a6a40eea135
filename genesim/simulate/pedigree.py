"""Relatives: founders' haplotypes handed down a pedigree, with the exact truth of who has what from whom.

Each meiosis starts with either copy of the parent and switches with rate 1 a morgan of the genetic map
(Haldane 1919, J Genet 8:299: a Poisson number of crossovers, no interference). Copy 0 is the mother's, copy 1
the father's. A father hands the whole of chrX outside the pseudoautosomal regions (PAR) to daughters and chrY to
sons; in a PAR his copies recombine, outwards from its border. MT is the mother's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from genesim import rng
from genesim.data.genetic_map import ContigMap, contig_extent, sex_maps
from genesim.data.genotypes.record import ABSENT, MISSING, Genotypes
from genesim.data.ploidy import FEMALE, MALE, Intervals, inside, kind_of, par_intervals
from genesim.errors import JoinError, VcfError
from genesim.simulate.pedigree_table import Member, read_pedigree

COLUMNS = ["donor", "copy", "contig", "start", "end", "founder", "founder_copy"]


@dataclass(frozen=True)
class Descent:
    """Where one copy of one contig comes from: stretch i is [start[i], start[i + 1]) of founder copy code[i]."""

    start: np.ndarray
    code: np.ndarray

    def at(self, position: np.ndarray) -> np.ndarray:
        """Founder copy at each 0-based position."""
        return self.code[np.searchsorted(self.start, position, side="right") - 1]


Copies = tuple[Descent | None, Descent | None]


def recombine(copies: tuple[Descent, Descent], first: int, breaks: np.ndarray, end: int) -> Descent:
    """The gamete that begins with copy `first` and switches at each of the `breaks` (bp)."""
    begins = np.append(0, breaks)
    ends = np.append(breaks, end)
    starts, codes = [], []
    for number, (low, high) in enumerate(zip(begins.tolist(), ends.tolist(), strict=True)):
        if low >= high:
            continue
        source = copies[(first + number) % 2]
        begin = np.searchsorted(source.start, low, side="right") - 1
        stop = np.searchsorted(source.start, high, side="left")
        starts.append(np.append(low, source.start[begin + 1 : stop]))
        codes.append(source.code[begin:stop])
    start, code = np.concatenate(starts), np.concatenate(codes)
    fresh = np.append(True, code[1:] != code[:-1])
    return Descent(start[fresh], code[fresh])


def crossovers(scale: ContigMap, start: int, end: int, stream: np.random.Generator) -> np.ndarray:
    """Sorted positions (bp) of the crossovers of one meiosis in [start, end)."""
    low, high = scale.at(np.array([start, end]))
    places = np.sort(stream.uniform(low, high, stream.poisson((high - low) / 100)))
    return np.clip(scale.base(places), start, end)


def _paternal_x(
    copies: Copies, son: bool, scale: ContigMap, par: Intervals, end: int, stream: np.random.Generator
) -> Descent:
    """A father's chrX: his X (copy 0) outside PAR for daughters; in the PARs his X and Y recombine.

    For a son the stretch outside PAR is meaningless: he has no such copy.
    """
    x, y = copies
    if x is None or y is None:
        raise JoinError("a father has no chrX", where="pedigree", remedy="check sexes")
    inner = [(max(0, begin), min(stop, end)) for begin, stop in par if begin < end]
    breaks = np.sort(np.concatenate([np.zeros(0, int), *(crossovers(scale, *each, stream) for each in inner)]))
    # Whatever recombines, the longest stretch outside PAR is the X (daughters) or the Y (sons).
    borders = [0, *(border for each in sorted(inner) for border in each), end]
    gap = max(range(0, len(borders), 2), key=lambda at: borders[at + 1] - borders[at])
    before = int((breaks <= borders[gap]).sum())
    return recombine((x, y), (int(son) + before) % 2, breaks, end)


@dataclass(frozen=True)
class _Contig:
    name: str
    end: int
    scales: Mapping[str, ContigMap]
    par: Intervals

    def child(self, member: Member, mother: Copies, father: Copies, seed: int) -> Copies:
        """The copies of a child."""
        streams = [rng.generator(seed, "pedigree", self.name, member.donor, side) for side in ("mother", "father")]
        kind = kind_of(self.name)
        if kind == "MT":
            return mother[0], None
        if kind == "Y":
            return (father[0] if member.sex == MALE else None), None
        if kind == "X":
            scale = self.scales[MALE]
            paternal = _paternal_x(father, member.sex == MALE, scale, self.par, self.end, streams[1])
        else:
            paternal = self._gamete(father, MALE, streams[1])
        return self._gamete(mother, FEMALE, streams[0]), paternal

    def _gamete(self, copies: Copies, sex: str, stream: np.random.Generator) -> Descent:
        first = int(stream.integers(2))
        breaks = crossovers(self.scales[sex], 0, self.end, stream)
        return recombine((copies[0], copies[1]), first, breaks, self.end)  # type: ignore[arg-type]

    def founder(self, number: int, sex: str) -> Copies:
        """A founder's copies: founder copy 2 * number and the next."""
        copies = [Descent(np.zeros(1, np.int64), np.array([2 * number + copy])) for copy in (0, 1)]
        kind = kind_of(self.name)
        if kind == "MT" or (kind == "Y" and sex == MALE):
            return copies[0], None
        return (None, None) if kind == "Y" else (copies[0], copies[1])

    def pieces(self, descent: Descent, male_second_x: bool) -> list[tuple[int, int, int]]:
        """Stretches (start, end, founder copy); of a male's second chrX only those in PAR."""
        rows = zip(descent.start.tolist(), [*descent.start[1:].tolist(), self.end], descent.code.tolist(), strict=True)
        if not male_second_x:
            return list(rows)
        cut = [(max(a, low), min(b, high), code) for a, b, code in rows for low, high in self.par]
        return sorted(piece for piece in cut if piece[0] < piece[1])


def simulate_pedigree(
    founders: Genotypes,
    pedigree: pd.DataFrame,
    genetic_map: pd.DataFrame | None = None,
    seed: int = 0,
    par: Intervals | None = None,
) -> tuple[Genotypes, pd.DataFrame]:
    """Genotypes of everyone in a pedigree.

    Args:
        founders: Phased genotypes of the founders (rows without parents), by their ids. chrX, chrY and MT must have
            the copies of the founder's sex: see `set_ploidy`.
        pedigree: Columns `donor`, `father`, `mother` ("", "0" or missing for a founder), `sex` (female, male), in
            any order of rows. `nuclear_families`, `half_siblings` and `first_cousins` make common ones.
        genetic_map: Columns `contig`, `pos` (1-based) and `cM`, or `cM_female` and `cM_male`; 1.2 cM/Mb without.
        seed: A meiosis depends on the seed, the contig and the child's id only.
        par: Pseudoautosomal regions of chrX, 0-based half-open; by the contig's length where None.

    Returns:
        Genotypes of all members in the pedigree's order (founders too; copy 0 from the mother), and the descent
        of every copy: `donor`, `copy`, `contig`, `start`, `end` (0-based half-open, bp), `founder`, `founder_copy`.

    Raises:
        InputError: A pedigree that cannot be (cycles, one parent only, a father who is female, ...).
        JoinError: Founders without genotypes.
        VcfError: Founders with unphased heterozygotes.
    """
    members = read_pedigree(pedigree)
    ids = [member.donor for member in members.values() if member.is_founder]
    absent = [donor for donor in ids if donor not in founders.donors]
    if absent:
        raise JoinError(
            f"{len(absent)} founders have no genotypes, the first is '{absent[0]}'",
            where="pedigree",
            remedy="name the founders as the genotypes do: draw them with donors=founders_of(pedigree)",
        )
    chosen = founders.subset(donors=ids)
    mixed = ~chosen.phased & (chosen.alleles >= 0).all(axis=2) & (chosen.alleles[:, :, 0] != chosen.alleles[:, :, 1])
    if mixed.any():
        variant, donor = np.argwhere(mixed)[0]
        raise VcfError(
            f"{int(mixed.sum())} heterozygous calls of founders are not phased",
            where=f"variant {chosen.variants.index[variant]}, donor {ids[donor]}",
            remedy="phase the genotypes first, with Beagle or SHAPEIT for example",
        )
    order = list(pedigree["donor"].astype(str))
    index = pd.Index(order, dtype=object, name="donor")
    column_of = {donor: number for number, donor in enumerate(ids)}
    names = founders.variants["contig"].to_numpy(object)
    alleles = np.full((founders.n_variants, len(order), 2), MISSING, np.int8)
    phased = np.zeros(alleles.shape[:2], bool)
    table: list[tuple[str, int, str, int, int, str, int]] = []
    for contig in dict.fromkeys(names):
        rows = np.flatnonzero(names == contig)
        position = founders.variants["start"].to_numpy()[rows]
        end = contig_extent(contig, position, founders.contig_lengths)
        bounds = par_intervals(contig, founders.contig_lengths, par) if kind_of(contig) == "X" else ()
        about = _Contig(contig, end, sex_maps(contig, genetic_map), bounds)
        descents: dict[str, Copies] = {}
        for number, donor in enumerate(ids):
            descents[donor] = about.founder(number, members[donor].sex)
        for donor, member in members.items():  # parents come before their children
            if not member.is_founder:
                descents[donor] = about.child(member, descents[member.mother], descents[member.father], seed)
        given = chosen.alleles[rows]
        for column, donor in enumerate(order):
            single = kind_of(contig) == "X" and members[donor].sex == MALE
            if members[donor].is_founder:
                alleles[rows, column] = given[:, column_of[donor]]
                phased[rows, column] = chosen.phased[rows, column_of[donor]]
            else:
                for copy, descent in enumerate(descents[donor]):
                    alleles[rows, column, copy] = _alleles(given, descent, position, copy)
                if single:
                    alleles[rows[~inside(position, bounds)], column, 1] = ABSENT
                phased[rows, column] = alleles[rows, column, 0] != MISSING
            for copy, descent in enumerate(descents[donor]):
                if descent is not None:
                    for start, stop, code in about.pieces(descent, single and copy == 1):
                        table.append((donor, copy, contig, start, stop, ids[code // 2], code % 2))
    made = Genotypes(alleles, phased, founders.variants, index, dict(founders.contig_lengths))
    return made, pd.DataFrame(table, columns=COLUMNS)


def _alleles(given: np.ndarray, descent: Descent | None, position: np.ndarray, copy: int) -> np.ndarray:
    """Alleles [variant] of one inherited copy; where a founder lacks the copy that is handed on, missing."""
    if descent is None:
        return np.full(len(position), ABSENT if copy else MISSING, np.int8)
    code = descent.at(position)
    found = given[np.arange(len(position)), code // 2, code % 2]
    return np.where(found == ABSENT, MISSING, found)
