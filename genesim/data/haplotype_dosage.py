"""Dosage of a gene in one donor, from the alleles on its two haplotypes and what is known of their phase."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from math import prod

Pair = tuple[float, float]


@dataclass(frozen=True)
class Hit:
    """A record that changes a gene in a donor.

    Attributes:
        block: Hits of one block are phased to each other; an unphased heterozygous call is a block by itself.
        expression: What is left of it on the first and second haplotype, 1 normal; equal in haploid calls.
        function: The same of functional protein.
        carried: Which haplotypes carry a changed allele.
    """

    block: Hashable
    expression: Pair
    function: Pair
    carried: tuple[bool, bool]
    haploid: bool
    mechanisms: tuple[str, ...]
    variants: tuple[str, ...]


@dataclass(frozen=True)
class Combined:
    """Dosage, its bounds over the arrangements that phase leaves open, and how the alleles lie.

    `zygosity` is heterozygous, homozygous, hemizygous, compound_heterozygous or phase_unknown.
    """

    dosage: float
    low: float
    high: float
    function: float
    zygosity: str


def combine(hits: Sequence[Hit]) -> Combined:
    """Multiply the factors of each haplotype, and average the two.

    Blocks whose phase to each other is unknown lie either way round with equal chance; the dosage is the
    expectation over that, and `low` and `high` are its extremes: two heterozygous losses of 1 are 0 in trans and
    0.5 in cis.
    """
    blocks: dict[Hashable, list[Hit]] = {}
    for hit in hits:
        blocks.setdefault(hit.block, []).append(hit)
    expression = [_product([hit.expression for hit in block]) for block in blocks.values()]
    function = [_product([hit.function for hit in block]) for block in blocks.values()]
    low, high = _bounds(expression)
    uneven = sum(e[0] != e[1] or f[0] != f[1] for e, f in zip(expression, function, strict=True))
    # Orientations are independent: the mean of each haplotype is the product of the blocks' means.
    dosage = prod(sum(pair) / 2 for pair in expression)
    return Combined(
        dosage,
        min(low, dosage),  # rounding must not put the bounds on the wrong side
        max(high, dosage),
        prod(sum(pair) / 2 for pair in function),
        "phase_unknown" if uneven > 1 else _zygosity(hits),
    )


def _product(pairs: Sequence[Pair]) -> Pair:
    return prod(pair[0] for pair in pairs), prod(pair[1] for pair in pairs)


def _bounds(blocks: Sequence[Pair]) -> Pair:
    """Least and greatest dosage over every way round of every block."""
    reached = {(1.0, 1.0)}
    for a, b in blocks:
        pairs = [(x * a, y * b) for x, y in reached] + [(x * b, y * a) for x, y in reached]
        # Mirror images and what differs by rounding are one, so that many equal alleles stay few states.
        reached = {(round(min(pair), 12), round(max(pair), 12)) for pair in pairs}
    dosages = [(x + y) / 2 for x, y in reached]
    return min(dosages), max(dosages)


def _zygosity(hits: Sequence[Hit]) -> str:
    if all(hit.haploid for hit in hits):
        return "hemizygous"
    if any(all(hit.carried) for hit in hits):
        distinct = any(all(hit.carried) and len(hit.variants) > 1 for hit in hits)
        return "compound_heterozygous" if distinct else "homozygous"
    both = [any(hit.carried[side] for hit in hits) for side in (0, 1)]
    return "compound_heterozygous" if all(both) else "heterozygous"
