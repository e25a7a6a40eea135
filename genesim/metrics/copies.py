"""Which rows of counts are equal to a row of other counts, from fingerprints of 16 bytes a row.

A fingerprint is two sums over genes of count x a fixed random 64-bit number, modulo 2^64. Rows that are equal have
equal fingerprints; rows that differ by d have equal ones with probability 2^-(64 - k) a sum, where 2^k is the largest
power of two that divides all of d (Dietzfelbinger et al. 1997, J Algorithms 25:19): none in a million times a million
pairs of cells. So copies are found block by block, in memory that does not grow with the genes.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int, UInt64
from scipy import sparse

from genesim.metrics.distribution import Matrix

_SEED = 20_231


class Fingerprints(NamedTuple):
    """Of each row: two hashes of its counts, and how many genes have a count."""

    first: UInt64[np.ndarray, " row"]
    second: UInt64[np.ndarray, " row"]
    detected: Int[np.ndarray, " row"]


def fingerprints(counts: Matrix) -> Fingerprints:
    """Fingerprints of the rows of integer counts; the layout of sparse counts does not matter."""
    matrix = sparse.csr_matrix(counts).astype(np.int64)
    matrix.sum_duplicates()
    matrix.eliminate_zeros()
    factors = np.random.default_rng(_SEED).integers(0, 2**64, (counts.shape[1], 2), np.uint64, endpoint=False)
    unsigned = matrix.astype(np.uint64)
    hashes = [np.asarray(unsigned @ np.ascontiguousarray(factors[:, i])) for i in (0, 1)]
    return Fingerprints(hashes[0], hashes[1], np.diff(matrix.indptr).astype(np.int64))


def joined(parts: list[Fingerprints]) -> Fingerprints:
    """The fingerprints of blocks, one after the other."""
    return Fingerprints(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def copies_of(rows: Fingerprints, known: Fingerprints, min_detected: int = 5) -> Bool[np.ndarray, " row"]:
    """Which of `rows` have exactly the counts of some row of `known`.

    Rows with fewer than `min_detected` genes are not called copies: they coincide by chance.
    """
    order = np.argsort(known.first, kind="stable")
    first, second = known.first[order], known.second[order]
    at = np.minimum(np.searchsorted(first, rows.first), len(first) - 1)
    return (first[at] == rows.first) & (second[at] == rows.second) & (rows.detected >= min_detected)


def exact_copies(simulated: Matrix, train: Matrix, min_detected: int = 5) -> Bool[np.ndarray, " cell"]:
    """Which simulated cells have exactly the counts of some training cell; see `copies_of`."""
    return copies_of(fingerprints(simulated), fingerprints(train), min_detected)
