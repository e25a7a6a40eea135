"""Missing and untyped alleles of given donors, filled by a haplotype model."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Int, Int8

from genesim.data.genotypes.record import ABSENT, MISSING, Genotypes
from genesim.estimators.haplotype_inputs import aligned_alleles, stacked_copies

if TYPE_CHECKING:
    from genesim.estimators.haplotypes import HaplotypeModel


def impute_genotypes(
    model: HaplotypeModel,
    geno: Genotypes,
    haplotypes: Int8[np.ndarray, "haplotype variant"],
    codes: Int[np.ndarray, " haplotype"],
    *,
    untyped: bool,
) -> Genotypes:
    """See `HaplotypeModel.impute`; `haplotypes` and ancestry `codes` are those of `geno`."""
    pieces, order = [], []
    for part in model.contigs:
        alleles, rows = aligned_alleles(geno, haplotypes, part.variants)
        keep = np.ones(len(rows), bool) if untyped else rows >= 0
        if not keep.any():
            continue
        if (alleles[:, keep] == MISSING).any():
            likely = (part.chain.impute(alleles, codes) > 0.5).astype(np.int8)
            alleles = np.where(alleles == MISSING, likely, alleles)
        filled = stacked_copies(alleles[:, keep])
        haploid = (haplotypes[1::2] == ABSENT).all(1) if haplotypes.size else np.zeros(0, bool)
        filled[:, haploid, 1] = ABSENT
        pieces.append(filled)
        order.append(np.flatnonzero(keep) if untyped else rows[keep])
    if untyped:
        variants, together = model.variants, np.concatenate(pieces)
    else:
        together = np.empty_like(geno.alleles)
        for piece, rows in zip(pieces, order, strict=True):
            together[rows] = piece
        variants = geno.variants
    return Genotypes(
        alleles=together,
        phased=np.ones(together.shape[:2], bool),
        variants=variants,
        donors=geno.donors,
        contig_lengths=dict(geno.contig_lengths or model.contig_lengths),
        report=dict(geno.report),
    )
