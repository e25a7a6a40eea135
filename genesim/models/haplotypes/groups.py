"""Groups of haplotypes within an ancestry, by k-means on principal components.

Labels are coarse, and a chain remembers only its last state: what keeps distant variants together in real
haplotypes (finer ancestry, long shared haplotypes) has to be told to it, by transitions of the group's own.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int, Int8

N_COMPONENTS = 10
MAX_VARIANTS = 5_000  # common variants that the components rest on, evenly taken: LD makes more of them redundant
MIN_MAF = 0.05
_ROWS = 1024


def principal_components(
    alleles: Int8[np.ndarray, "haplotype variant"], seed: int
) -> Float[np.ndarray, "haplotype pc"] | None:
    """Leading components of common variants, centred; missing alleles count as the frequency; None without any."""
    from sklearn.utils.extmath import randomized_svd

    n_alternate, n_called = np.zeros((2, alleles.shape[1]), int)
    blocks = [slice(at, at + _ROWS) for at in range(0, len(alleles), _ROWS)]  # the haplotypes may fill much of memory
    for rows in blocks:
        n_alternate += (alleles[rows] == 1).sum(0)
        n_called += (alleles[rows] >= 0).sum(0)
    frequency = n_alternate / np.maximum(n_called, 1)
    common = np.flatnonzero(np.minimum(frequency, 1 - frequency) >= MIN_MAF)
    if len(common) > MAX_VARIANTS:
        common = common[np.linspace(0, len(common) - 1, MAX_VARIANTS).astype(int)]
    n_components = min(N_COMPONENTS, len(alleles), len(common))
    if not n_components:
        return None
    centred = np.empty((len(alleles), len(common)), np.float32)
    for rows in blocks:
        here = alleles[rows][:, common]
        centred[rows] = np.where(here >= 0, here - frequency[common], 0)
    left, values, _ = randomized_svd(centred, n_components, random_state=seed)
    return left * values


def group_haplotypes(
    alleles: Int8[np.ndarray, "haplotype variant"],
    ancestry: Int[np.ndarray, " haplotype"],
    n_ancestries: int,
    group_size: int,
    seed: int,
) -> tuple[Int[np.ndarray, " haplotype"], Float[np.ndarray, "ancestry group"]]:
    """Split each ancestry into groups of about `group_size` haplotypes, at least one.

    Returns:
        Group code of each haplotype, and the share of each group in each ancestry (rows sum to 1; an
        ancestry without haplotypes has one group of its own).
    """
    from sklearn.cluster import KMeans

    sizes = np.bincount(ancestry, minlength=n_ancestries)
    components = principal_components(alleles, seed) if (sizes >= 2 * group_size).any() else None
    code = np.zeros(len(alleles), int)
    n_groups, shares = 0, []
    for label in range(n_ancestries):
        rows = np.flatnonzero(ancestry == label)
        n_here = max(1, len(rows) // group_size)
        mine = np.zeros(len(rows), int)
        if n_here > 1 and components is not None:
            mine = KMeans(n_here, n_init=3, random_state=seed).fit_predict(components[rows])
        _, mine = np.unique(mine, return_inverse=True)
        counts = np.bincount(mine, minlength=1)
        code[rows] = n_groups + mine
        shares.append((n_groups, counts / max(counts.sum(), 1) if len(rows) else np.ones(1)))
        n_groups += len(counts)
    table = np.zeros((n_ancestries, n_groups))
    for label, (first, share) in enumerate(shares):
        table[label, first : first + len(share)] = share
    return code, table
