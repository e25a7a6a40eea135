"""Planted generators that tell whether a privacy audit works: one that memorises, one that never saw a member.

An attack that fails says something only if the same attack, on the same donors, exposes a generator that copies.
"""

from __future__ import annotations

import numpy as np
from scipy import sparse

from genesim.evaluate.donor_attacks import DonorCells

NOISE = 0.05
"""Share of a cell's molecules that a planted copy loses, and gets back at random."""


def resampled(cells: DonorCells, n: int, generator: np.random.Generator, noise: float = NOISE) -> DonorCells:
    """`n` cells drawn with replacement, each with a little noise of its own.

    Each molecule is lost with probability `noise` (binomial thinning); as many, on average, come back with the mean
    profile of the cell's label. No cell is an exact copy, and totals are kept on average.
    """
    rows = np.sort(generator.integers(0, len(cells), n))
    drawn = cells.take(rows)
    kept = drawn.counts.tocsr().astype(np.int64)
    kept.sum_duplicates()
    kept.data = generator.binomial(kept.data, 1 - noise)
    kept.eliminate_zeros()
    added: list[sparse.csr_matrix] = []
    order: list[np.ndarray] = []
    n_genes = kept.shape[1]
    for label in np.unique(drawn.labels):
        at = np.flatnonzero(drawn.labels == label)
        profile = np.asarray(drawn.counts[at].sum(axis=0), np.float64).ravel()
        size = generator.poisson(noise * drawn.library[at])
        genes = generator.choice(n_genes, size=int(size.sum()), p=profile / profile.sum())
        cell = np.repeat(np.arange(len(at)), size)
        added.append(sparse.csr_matrix((np.ones(len(genes), np.int64), (cell, genes)), shape=(len(at), n_genes)))
        order.append(at)
    extra = sparse.vstack(added, "csr")[np.argsort(np.concatenate(order), kind="stable")]
    return DonorCells(sparse.csr_matrix(kept + extra), drawn.labels, drawn.donors)
