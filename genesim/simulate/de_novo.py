"""De novo point mutations: Poisson numbers in each copy that a child received, inherited by its descendants."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from genesim import rng
from genesim.config.new_variants import DeNovo
from genesim.data.ploidy import kind_of
from genesim.errors import JoinError
from genesim.simulate.bases import Reference, point_mutations
from genesim.simulate.pedigree_table import Member, read_pedigree
from genesim.simulate.sites import NewVariant, Sites


def draw_de_novo(
    law: DeNovo,
    reference: Reference,
    sites: Sites,
    spans: Mapping[str, Sequence[tuple[int, int]]],
    seed: int,
    pedigree: pd.DataFrame | None = None,
    ibd: pd.DataFrame | None = None,
) -> list[NewVariant]:
    """Mutations: Poisson(rate x bases that are not N) on each copy of each child (of every donor without a
    pedigree) on every contig but MT; those that would fall where a child has no copy do not happen."""
    members = read_pedigree(pedigree) if pedigree is not None else {}
    column = {donor: number for number, donor in enumerate(sites.donors)}
    absent = [donor for donor in members if donor not in column]
    if absent:
        raise JoinError(
            f"'{absent[0]}' is in the pedigree and has no genotypes",
            where="pedigree",
            remedy="give the genotypes that simulate_pedigree returned",
        )
    children = [donor for donor in sites.donors if not members or (donor in members and not members[donor].is_founder)]
    family = _Transmission(members, ibd, column) if ibd is not None else None
    found = []
    for contig, stretches in spans.items():
        if kind_of(contig) == "MT":  # another rate, and heteroplasmy
            continue
        stream = rng.generator(seed, "de novo", contig)
        for low, high in stretches:
            mean = law.rate * reference.n_known(contig, low, high)
            counts = stream.poisson(mean, 2 * len(children))
            owner = np.repeat([2 * column[child] + copy for child in children for copy in (0, 1)], counts)
            drawn = point_mutations(
                reference, contig, (low, high), len(owner), law.spectrum, sites.taken[contig], stream
            )
            for (start, ref, alt), haplotype in zip(drawn, owner.tolist(), strict=True):
                if sites.has(contig, start, haplotype):
                    heirs = family.heirs(contig, start, haplotype) if family else [haplotype]
                    found.append(NewVariant(contig, start, ref, alt, "de_novo", tuple(heirs)))
    return found


class _Transmission:
    """Who inherited a copy, stretch by stretch: a child's copy that descends from the same founder copy as its
    parent's does at a place came from it (of an inbred parent with both copies alike, from the first)."""

    def __init__(self, members: Mapping[str, Member], ibd: pd.DataFrame, column: Mapping[str, int]) -> None:
        self._column = column
        self._names = {number: donor for donor, number in column.items()}
        self._children: dict[str, list[tuple[str, int]]] = {}
        for member in members.values():
            if not member.is_founder:
                for copy, parent in enumerate((member.mother, member.father)):
                    self._children.setdefault(parent, []).append((member.donor, copy))
        self._stretches = {
            key: (part["start"].to_numpy(), part["end"].to_numpy(), part[["founder", "founder_copy"]].to_numpy(object))
            for key, part in ibd.groupby(["donor", "copy", "contig"], sort=False)
        }

    def _source(self, donor: str, copy: int, contig: str, position: int) -> tuple[str, int] | None:
        stretch = self._stretches.get((donor, copy, contig))
        if stretch is None:
            return None
        at = int(np.searchsorted(stretch[0], position, side="right")) - 1
        return tuple(stretch[2][at]) if at >= 0 and position < stretch[1][at] else None

    def heirs(self, contig: str, position: int, haplotype: int) -> list[int]:
        """The haplotype itself and all that inherited it at this position."""
        donor, copy = self._names[haplotype // 2], haplotype % 2
        found = [haplotype]
        sources = [self._source(donor, c, contig, position) for c in (0, 1)]
        handed_on = sources[copy] is not None and not (copy == 1 and sources[0] == sources[1])
        for child, side in self._children.get(donor, []) if handed_on else []:
            # chrX, chrY and MT: a child's one copy (copy 0) is the mother's, on chrY the father's.
            side = 0 if kind_of(contig) == "Y" else side
            if self._source(child, side, contig, position) == sources[copy]:
                found += self.heirs(contig, position, 2 * self._column[child] + side)
        return found
