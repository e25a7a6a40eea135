"""The places that genotypes leave free for new variants, and which copies donors have there."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool

from genesim.data.genotypes.record import ABSENT, MISSING, Genotypes


@dataclass(frozen=True)
class NewVariant:
    """A variant to put in; `haplotypes` are 2 * donor + copy of its carriers, one at least, and `expression` is what it
    leaves of its copy's mRNA."""

    contig: str
    start: int
    ref: str
    alt: str
    kind: str
    haplotypes: tuple[int, ...]
    gene: str = ""
    transcript: str = ""
    gene_name: str = ""
    expression: float = 1.0


@dataclass(frozen=True)
class Sites:
    """Of each contig: taken positions (each base of a longer REF too), and copies along the variants.

    Attributes:
        taken: Positions in use; drawing a new variant adds its own.
        start: Positions of the contig's variants, sorted.
        kinds: Which pattern of copies each of them has.
        patterns: Patterns [pattern, donor, 2]: whether donors have the copy.
        donors: Ids, in the order of the genotypes.
    """

    taken: dict[str, set[int]]
    start: dict[str, np.ndarray]
    kinds: dict[str, np.ndarray]
    patterns: dict[str, Bool[np.ndarray, "pattern donor 2"]]
    donors: tuple[str, ...]

    @classmethod
    def of(cls, geno: Genotypes) -> Sites:
        """The sites of genotypes."""
        names = geno.variants["contig"].to_numpy(object)
        begins = geno.variants["start"].to_numpy()
        lengths = geno.variants["ref"].map(len).to_numpy()
        taken: dict[str, set[int]] = {}
        start, kinds, patterns = {}, {}, {}
        for contig in dict.fromkeys(names):
            rows = np.flatnonzero(names == contig)
            rows = rows[np.argsort(begins[rows], kind="stable")]
            taken[contig] = {
                p for b, n in zip(begins[rows].tolist(), lengths[rows].tolist(), strict=True) for p in range(b, b + n)
            }
            start[contig] = begins[rows]
            here = geno.alleles[rows]
            second = here[:, :, 1] != ABSENT
            # A missing haploid call may be of someone without any copy (chrY of females).
            first = second | (here[:, :, 0] != MISSING)
            packed = np.packbits(np.stack([first, second], axis=2).reshape(len(rows), -1), axis=1)
            unique, kinds[contig] = np.unique(packed, axis=0, return_inverse=True)
            flat = np.unpackbits(unique, axis=1, count=2 * geno.n_donors).astype(bool)
            patterns[contig] = flat.reshape(len(unique), geno.n_donors, 2)
        return cls(taken, start, kinds, patterns, tuple(map(str, geno.donors)))

    def copies_near(self, contig: str, position: int) -> Bool[np.ndarray, "donor 2"]:
        """Which copies donors have at a position: those at the nearest variant of the genotypes."""
        start = self.start[contig]
        right = min(int(np.searchsorted(start, position)), len(start) - 1)
        left = max(right - 1, 0)
        nearest = left if position - start[left] <= start[right] - position else right
        return self.patterns[contig][self.kinds[contig].reshape(-1)[nearest]]

    def has(self, contig: str, position: int, haplotype: int) -> bool:
        """Whether a haplotype (2 * donor + copy) exists at a position."""
        return bool(self.copies_near(contig, position)[haplotype // 2, haplotype % 2])
