"""First-order Markov chain over observed alleles, one an ancestry: a null that knows only neighbouring LD."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int, Int8

from genesim.models.haplotypes.chain import HiddenChain, check_trainable

PSEUDOCOUNT = 0.5  # Jeffreys' prior of a proportion


def observed_chain(transitions: Float[np.ndarray, "ancestry variant 2 2"]) -> HiddenChain:
    """A chain whose state is the allele itself."""
    emission = np.tile(np.array([0.0, 1.0]), (transitions.shape[1], 1))
    return HiddenChain(transitions, emission)


def fit_markov(
    alleles: Int8[np.ndarray, "haplotype variant"],
    ancestry: Int[np.ndarray, " haplotype"],
    n_ancestries: int,
) -> HiddenChain:
    """p(x_m | x_{m-1}, a) from pair counts plus 1/2, over pairs in which both alleles are observed.

    Raises:
        InputError, ConditionError, TrainingError: See `check_trainable`.
    """
    alleles, codes = check_trainable(alleles, ancestry, n_ancestries)
    counts = np.full((n_ancestries, alleles.shape[1], 2, 2), PSEUDOCOUNT)
    for code in range(n_ancestries):
        rows = alleles[codes == code]
        for allele in (0, 1):
            counts[code, 0, :, allele] += (rows[:, 0] == allele).sum()
            for before in (0, 1):
                counts[code, 1:, before, allele] += ((rows[:, :-1] == before) & (rows[:, 1:] == allele)).sum(0)
    return observed_chain(counts / counts.sum(-1, keepdims=True))
