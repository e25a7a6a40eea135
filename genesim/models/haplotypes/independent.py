"""Independent variants, with one allele frequency an ancestry: the null that every score stands beside."""

from __future__ import annotations

import numpy as np
from jaxtyping import Int, Int8

from genesim.models.haplotypes.chain import HiddenChain, check_trainable
from genesim.models.haplotypes.markov import PSEUDOCOUNT, observed_chain


def fit_independent(
    alleles: Int8[np.ndarray, "haplotype variant"],
    ancestry: Int[np.ndarray, " haplotype"],
    n_ancestries: int,
) -> HiddenChain:
    """p(x_m | a) from allele counts plus 1/2, as a chain whose rows are all that distribution.

    Raises:
        InputError, ConditionError, TrainingError: See `check_trainable`.
    """
    alleles, codes = check_trainable(alleles, ancestry, n_ancestries)
    counts = np.full((n_ancestries, alleles.shape[1], 2), PSEUDOCOUNT)
    for code in range(n_ancestries):
        for allele in (0, 1):
            counts[code, :, allele] += (alleles[codes == code] == allele).sum(0)
    frequency = counts / counts.sum(-1, keepdims=True)
    return observed_chain(np.repeat(frequency[:, :, None, :], 2, axis=2))
