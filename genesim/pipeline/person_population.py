"""New donors' dosages at an effect model's variants, a block of donors at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd
from jaxtyping import Float

from genesim import rng
from genesim.estimators.effect_donors import match_sites, matched_dosages
from genesim.estimators.haplotypes import HaplotypeModel

BLOCK = 64
"""Donors drawn at once: memory holds all variants of the haplotype model for these only."""


def population_dosages(
    variants: pd.DataFrame, haplotypes: Sequence[HaplotypeModel], n_donors: int, seed: int
) -> Iterator[Float[np.ndarray, "variant donor"]]:
    """Dosages of `n_donors` new donors of the training ancestry mix, block by block.

    Variants that no haplotype model has are drawn at their training frequency under Hardy-Weinberg, unlinked.

    Args:
        variants: Of the effect model: contig, start, ref, alt, frequency.
        haplotypes: One model, or one a contig; may be empty.
    """
    seed = rng.seed(seed, "person", "population")
    labels = haplotypes[0].assign_ancestry(n_donors) if haplotypes else None
    matches = [match_sites(variants, model.variants) for model in haplotypes]
    frequency = np.clip(variants["frequency"].to_numpy(float), 0, 1)
    for first in range(0, n_donors, BLOCK):
        last = min(first + BLOCK, n_donors)
        stream = rng.generator(seed, "hardy-weinberg", first)
        dosage = stream.binomial(2, frequency[:, None], (len(variants), last - first)).astype(np.float32)
        for model, match in zip(haplotypes, matches, strict=True):
            if labels is not None and match.found.any():
                drawn = matched_dosages(model.sample_for(labels.iloc[first:last], seed=seed), match)
                dosage = np.where(np.isnan(drawn), dosage, drawn)
        yield dosage


def n_linked(variants: pd.DataFrame, haplotypes: Sequence[HaplotypeModel]) -> int:
    """Variants of the effect model that a haplotype model draws."""
    found = np.zeros(len(variants), bool)
    for model in haplotypes:
        found |= match_sites(variants, model.variants).found
    return int(found.sum())
