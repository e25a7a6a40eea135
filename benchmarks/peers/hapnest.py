"""HAPNEST's algorithm (Wharrie et al. 2023, Bioinformatics 39:btad535), written anew from its description.

Along a new haplotype, again and again: a training haplotype of the population is drawn, and an age
T ~ Gamma(2, Ne / N) and a length L ~ Exp(mean 1 / (2 T rho)) in cM; it is copied for that length, without the alleles
that are younger than T. HAPNEST takes allele ages from the Atlas of Variant Age; here the age is the expectation for
the allele's frequency x, -4 Ne x ln(x) / (1 - x) generations (Kimura and Ohta 1973, Genetics 75:199, equation 13), next
to which T is small, so few alleles are dropped. N is the number of training haplotypes of the population, Ne and rho
are the tool's defaults.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int, Int8

from genesim import rng

NE = {"AFR": 11_900, "EAS": 11_700, "EUR": 11_700}
RHO = {"AFR": 0.77, "EAS": 0.58, "EUR": 0.68}
SUPER = {"YRI": "AFR", "AFR": "AFR", "CHB": "EAS", "OTH": "EAS"}
"""Superpopulation of a label whose rates are used; EUR for all others. OTH mixes Asia and America."""


def draw(
    train: Int8[np.ndarray, "haplotype variant"],
    codes: Int[np.ndarray, " haplotype"],
    asked: Int[np.ndarray, " drawn"],
    labels: list[str],
    centimorgans: Float[np.ndarray, " variant"],
    seed: int,
) -> Int8[np.ndarray, "drawn variant"]:
    """One haplotype for each population code of `asked`."""
    random = rng.generator(seed, "benchmark", "hapnest")
    n_variants = train.shape[1]
    out = np.empty((len(asked), n_variants), np.int8)
    rates = [SUPER.get(label, "EUR") for label in labels]
    members = [np.flatnonzero(codes == code) for code in range(len(labels))]
    x = np.clip(train.mean(0), 0.5 / len(train), 1 - 0.5 / len(train))
    relative_age = -4 * x * np.log(x) / (1 - x)  # in units of Ne
    for row, code in enumerate(asked):
        pool, ne, rho = members[code], NE[rates[code]], RHO[rates[code]]
        at = 0
        while at < n_variants:
            age = random.gamma(2, ne / len(pool))
            length = random.exponential(1 / (2 * age * rho))
            end = int(np.searchsorted(centimorgans, centimorgans[at] + length, side="right"))
            end = min(max(end, at) + 1, n_variants)  # the variant that passes the end is copied as well
            piece = slice(at, end)
            out[row, piece] = train[pool[random.integers(len(pool))], piece] * (relative_age[piece] * ne >= age)
            at = end
    return out
