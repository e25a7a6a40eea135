"""Rare loss-of-function alleles of named genes: premature stops, frameshifts and broken splice sites.

Each haplotype carries one with the gene's cumulative frequency. Which carriers share an allele follows Ewens'
law for neutral infinite alleles (1972, Theor Popul Biol 3:87): the next carrier has an allele of its own with
probability theta / (theta + k), else that of one of the k before it. Terms are the Sequence Ontology's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from genesim import rng
from genesim.config.new_variants import Consequence, LossOfFunction
from genesim.data.coding import CodingTranscript
from genesim.errors import ConfigError
from genesim.simulate.bases import BASES, COMPLEMENT, Reference
from genesim.simulate.sites import NewVariant, Sites

Change = tuple[int, str, str]  # 0-based start, REF, ALT
STOPS = ("TAA", "TAG", "TGA")
TRIES = 200
ESCAPE = 50
"""Bases before the last exon from which on decay spares an mRNA."""


def _oriented(bases: str, strand: str) -> str:
    return "".join(COMPLEMENT.get(base, "N") for base in bases) if strand == "-" else bases


def stop_changes(codon: str) -> list[tuple[int, str]]:
    """Which base (0-2) of a codon becomes what, to make it a stop."""
    if codon in STOPS:
        return []
    return [
        (at, alt)
        for at in range(3)
        for alt in "ACGT"
        if alt != codon[at] and codon[:at] + alt + codon[at + 1 :] in STOPS
    ]


def _stop(gene: CodingTranscript, reference: Reference, stream: np.random.Generator) -> Change | None:
    """A codon that one point mutation makes a stop; never the last codon, which ends the protein anyway."""
    codons = gene.codons
    if len(codons) < 2:
        return None
    bases = codons[int(stream.integers(len(codons) - 1))].tolist()
    # Without a reference the codon is taken to be CGA (arginine), whose CpG makes TGA, the commonest of them.
    codon = (
        "CGA"
        if reference.drawn
        else _oriented("".join(reference.text(gene.contig, b, b + 1) for b in bases), gene.strand)
    )
    changes = [(0, "T")] if reference.drawn else stop_changes(codon)
    if not changes:
        return None
    at, alt = changes[int(stream.integers(len(changes)))]
    return bases[at], _oriented(codon[at], gene.strand), _oriented(alt, gene.strand)


def _frameshift(gene: CodingTranscript, reference: Reference, stream: np.random.Generator) -> Change | None:
    """1, 2 or 4 bases deleted or inserted behind an anchor base, all inside one exon."""
    sizes = np.array([end - start for start, end in gene.exons])
    start, end = gene.exons[int(stream.choice(len(sizes), p=sizes / sizes.sum()))]
    size = int(stream.choice([1, 2, 4], p=[0.6, 0.2, 0.2]))
    if end - start < size + 2:
        return None
    anchor = int(stream.integers(start, end - size))
    if stream.random() < 0.5:
        ref = reference.text(gene.contig, anchor, anchor + size + 1)
        return anchor, ref, ref[0]
    ref = reference.text(gene.contig, anchor, anchor + 1)
    return anchor, ref, ref + BASES[stream.integers(0, 4, size)].tobytes().decode()


def _splice(gene: CodingTranscript, reference: Reference, stream: np.random.Generator, donor: bool) -> Change | None:
    """A point mutation of the GT that begins an intron, or of the AG that ends it."""
    introns = gene.introns
    if not introns:
        return None
    start, end = introns[int(stream.integers(len(introns)))]
    first = int(stream.integers(2))
    position = (start if donor == (gene.strand != "-") else end - 2) + first
    site = "GT" if donor else "AG"
    canonical = site if gene.strand != "-" else _oriented(site[::-1], "-")
    ref = canonical[first] if reference.drawn else reference.text(gene.contig, position, position + 1)
    if ref != canonical[first]:  # this intron has no canonical site
        return None
    return position, ref, str(stream.choice([base for base in "ACGT" if base != ref]))


_MAKERS: dict[Consequence, Callable[[CodingTranscript, Reference, np.random.Generator], Change | None]] = {
    "stop_gained": _stop,
    "frameshift_variant": _frameshift,
    "splice_donor_variant": lambda gene, reference, stream: _splice(gene, reference, stream, donor=True),
    "splice_acceptor_variant": lambda gene, reference, stream: _splice(gene, reference, stream, donor=False),
}


def escapes_decay(gene: CodingTranscript, kind: str, start: int) -> bool:
    """Whether the mRNA of a stop or frameshift at this base is spared by nonsense-mediated decay.

    It is in the last coding exon, or within 50 coding bases before it (Nagy & Maquat 1998, Trends Biochem Sci 23:198).
    Exons without coding bases are unknown here. Broken splice sites do not escape.
    """
    if kind not in ("stop_gained", "frameshift_variant"):
        return False
    exons = gene.exons if gene.strand != "-" else gene.exons[::-1]
    first, last = exons[-1]
    if len(exons) == 1 or first <= start < last:
        return True
    return _bases_to_end(exons[:-1], start, gene.strand) < ESCAPE


def _bases_to_end(exons: Sequence[tuple[int, int]], start: int, strand: str) -> int:
    """Coding bases, in the order of translation, from a base to the end of these exons."""
    after = 0
    for low, high in reversed(exons):
        if low <= start < high:
            return after + (high - start if strand != "-" else start - low + 1)
        after += high - low
    return after


def _site(
    gene: CodingTranscript,
    kinds: Mapping[Consequence, float],
    reference: Reference,
    taken: set[int],
    stream: np.random.Generator,
) -> tuple[str, Change]:
    """One allele at free bases; a kind that the gene has no room for gives way to the others.

    Raises:
        ConfigError: None of the kinds has room.
    """
    left = dict(kinds)
    while left:
        weights = np.array(list(left.values()))
        kind = list(left)[int(stream.choice(len(weights), p=weights / weights.sum()))]
        for _ in range(TRIES):
            change = _MAKERS[kind](gene, reference, stream)
            if change is None or "N" in change[1] or "N" in change[2]:
                continue
            covered = range(change[0], change[0] + len(change[1]))
            if taken.isdisjoint(covered):
                taken.update(covered)
                return kind, change
        del left[kind]
    raise ConfigError(
        f"gene '{gene.gene_name}' ({gene.transcript}) has no free place for {', '.join(kinds)}",
        where="loss_of_function",
        remedy="lower its frequency or diversity, or allow other kinds",
    )


def draw_loss_of_function(
    law: LossOfFunction, coding: Mapping[str, CodingTranscript], reference: Reference, sites: Sites, seed: int
) -> list[NewVariant]:
    """The alleles of each gene that at least one haplotype carries; a gene's draws depend on itself only."""
    found = []
    for name, frequency in law.genes.items():
        gene = coding[name]
        stream = rng.generator(seed, "loss of function", gene.gene)
        middle = (gene.exons[0][0] + gene.exons[-1][1]) // 2
        present = np.flatnonzero(sites.copies_near(gene.contig, middle).reshape(-1))
        carriers = stream.permutation(present[stream.random(len(present)) < frequency]).tolist()
        alleles: list[list[int]] = []
        for before, haplotype in enumerate(carriers):
            if stream.random() < law.diversity / (law.diversity + before):
                alleles.append([haplotype])
            else:
                sizes = np.array([len(allele) for allele in alleles])
                alleles[int(stream.choice(len(sizes), p=sizes / sizes.sum()))].append(haplotype)
        for allele in alleles:
            kind, (start, ref, alt) = _site(gene, dict(law.kinds), reference, sites.taken[gene.contig], stream)
            left = 1.0 if escapes_decay(gene, kind, start) else 1 - law.nmd_efficiency
            about = (gene.gene, gene.transcript, gene.gene_name, left)
            found.append(NewVariant(gene.contig, start, ref, alt, kind, tuple(allele), *about))
    return found
