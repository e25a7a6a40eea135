"""Integer counts around given means: negative binomial by inversion, a row at a time, straight to CSR.

Compiled by numba: an entry costs one logarithm, one exponential and, where it is zero (most are), nothing
more; gamma-Poisson draws cost about ten times as much.
"""

from __future__ import annotations

import jax
import numpy as np
from jaxtyping import Array, Float, Int
from numba import njit, prange
from scipy import sparse

from genesim.models.expression.margins import NO_MARGINS, GeneMargins
from genesim.nn.random import row_seeds

MAX_COUNT = 2**30
"""Largest rate of a drawn count, far above any cell's: beyond it, draws would wrap around in int32."""
_INVERSION_LIMIT = 500.0
"""Means above this are drawn as a gamma-Poisson mixture: the search would be long, and P(0) underflow at 745."""
_TINY = 1e-18


@njit(inline="always")
def _next(state):  # type: ignore[no-untyped-def]
    """The next state and 64 random bits of SplitMix64 (Steele 2014, OOPSLA)."""
    state = state + np.uint64(0x9E3779B97F4A7C15)
    z = state
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return state, z ^ (z >> np.uint64(31))


@njit(inline="always")
def _uniform(state):  # type: ignore[no-untyped-def]
    state, bits = _next(state)
    return state, (bits >> np.uint64(11)) * 1.1102230246251565e-16  # 2^-53


@njit
def _negative_binomial(state, mean, theta):  # type: ignore[no-untyped-def]
    """State, a count, and where in [0, 1) of the count's own probability the uniform fell."""
    if mean <= 0.0:
        state, v = _uniform(state)
        return state, np.int64(0), v
    if mean > _INVERSION_LIMIT:
        state, bits = _next(state)
        np.random.seed(np.int64(bits & np.uint64(0x7FFFFFFF)))
        rate = np.random.gamma(theta, mean / theta)
        count = np.int64(np.random.poisson(min(rate, float(MAX_COUNT))))
        state, v = _uniform(state)
        return state, count, v
    state, u = _uniform(state)
    odds = mean / (theta + mean)
    probability = np.exp(-theta * np.log1p(mean / theta))
    count = np.int64(0)
    while u >= probability:
        u -= probability
        count += 1
        probability *= odds * (theta + count - 1.0) / count
        if probability < _TINY and count > mean:  # rounding has eaten the rest of the tail
            return state, count, 0.5
    return state, count, u / probability


@njit
def _distribution(table, edges, x):  # type: ignore[no-untyped-def]
    """P(count <= x), linear between edges."""
    if x < 0:
        return 0.0
    j = np.searchsorted(edges[: len(table)], x)
    if j == 0:
        return float(table[0])
    if j >= len(table):
        return 1.0
    share = (x - edges[j - 1]) / (edges[j] - edges[j - 1])
    return table[j - 1] + share * (table[j] - table[j - 1])


@njit
def _mapped(drawn, target, edges, x, v):  # type: ignore[no-untyped-def]
    """The count at the same quantile of the target, for a drawn count and its place within its probability."""
    below = _distribution(drawn, edges, x - 1)
    u = below + v * (_distribution(drawn, edges, x) - below)
    if u < target[0]:
        return np.int64(0)
    j = np.searchsorted(target, u, side="right")
    if j >= len(target):  # beyond all that was drawn when the map was made
        return x
    share = (u - target[j - 1]) / (target[j] - target[j - 1])
    return np.int64(edges[j - 1]) + np.int64(share * (edges[j] - edges[j - 1])) + 1


@njit
def _changed(state, count, mean, theta, fold):  # type: ignore[no-untyped-def]
    """State and the count after its rate is multiplied by `fold`, coupled to the count before.

    Below 1 each molecule stays with probability `fold`; above 1 molecules come from the posterior of the
    cell's gamma rate given `count`. Both carry NB(mean, theta) to NB(fold * mean, theta) exactly.
    """
    if fold == 1.0:
        return state, count
    if fold > 1.0:
        shape = theta + count
        more = min((fold - 1.0) * shape * mean / (theta + mean), float(MAX_COUNT))
        state, extra, _ = _negative_binomial(state, more, shape)
        return state, count + extra
    if count > 64:
        state, bits = _next(state)
        np.random.seed(np.int64(bits & np.uint64(0x7FFFFFFF)))
        return state, np.int64(np.random.binomial(count, fold))
    kept = np.int64(0)
    for _ in range(count):
        state, u = _uniform(state)
        kept += u < fold
    return state, kept


@njit(parallel=True, cache=True)
def _draw(seeds, mean, theta, fold, label, first, drawn, target, edges, index, value, n):  # type: ignore[no-untyped-def]
    for row in prange(mean.shape[0]):
        state = seeds[row]
        filled = 0
        mapped = edges.shape[0] > 0 and label[row] >= 0
        for gene in range(mean.shape[1]):
            centre = min(mean[row, gene], float(MAX_COUNT))
            scale = theta[row, gene]
            begin = end = 0
            if mapped:
                table = label[row] * mean.shape[1] + gene
                begin, end = first[table], first[table + 1]
            # Most entries are zero whatever theta is, for P(0) >= exp(-mean) >= 1 - mean: no need to work it out.
            ahead, u = _uniform(state)
            least = 1.0 - centre
            if centre > 0.0 and u < least and (begin == end or u * drawn[begin] < least * target[begin]):
                state, count = ahead, np.int64(0)
            else:
                state, count, v = _negative_binomial(state, centre, scale)
                if mapped:
                    count = _mapped(drawn[begin:end], target[begin:end], edges, count, v)
            if fold.shape[0]:
                state, count = _changed(state, count, centre, scale, fold[row, gene])
            if count > 0:
                index[row, filled] = gene
                value[row, filled] = min(count, np.int64(2147483647))
                filled += 1
        n[row] = filled


@njit(parallel=True, cache=True)
def _flatten(index, value, start, flat_index, flat_value):  # type: ignore[no-untyped-def]
    for row in prange(index.shape[0]):
        for i in range(start[row + 1] - start[row]):
            flat_index[start[row] + i] = index[row, i]
            flat_value[start[row] + i] = value[row, i]


def draw_counts(
    key: jax.Array,
    mean: Float[Array | np.ndarray, "cell gene"],
    theta: Float[Array | np.ndarray, "*#cell gene"],
    start: int = 0,
    fold: Float[np.ndarray, "cell gene"] | None = None,
    margins: GeneMargins | None = None,
    label: Int[np.ndarray, " cell"] | None = None,
) -> sparse.csr_matrix:
    """One count for each mean, CSR int32 [cell, gene]: negative binomial, then `margins`, then `fold`.

    Args:
        key: Stream of the draw.
        mean: Expected counts, library size times rate; held at `MAX_COUNT`.
        theta: Inverse dispersion, a gene or a cell and gene.
        start: Number of the first row, where a long draw is made in chunks: row i of the draw depends
            on `key`, its own arguments and `start + i`, on nothing else.
        fold: Factor on each rate. The count under a factor is coupled to the count without: molecules are
            thinned or added, so that two draws with the same key differ by the factor's effect only.
        margins: Map of each gene's counts onto the training cells' distribution.
        label: Which label's map a cell gets, needed with `margins`; -1 for none.
    """
    mean = np.asarray(mean, np.float32)
    theta = np.broadcast_to(np.asarray(theta, np.float32), mean.shape)
    words = row_seeds(key, len(mean), start)
    seeds = (words[:, 0] << np.uint64(32)) | words[:, 1]
    changes = np.zeros((0, 0), np.float32) if fold is None else np.asarray(fold, np.float32)
    used = margins or NO_MARGINS
    code = np.zeros(len(mean), np.int64) if label is None else np.asarray(label, np.int64)
    index, value = np.empty(mean.shape, np.int32), np.empty(mean.shape, np.int32)
    n = np.empty(len(mean), np.int64)
    maps = (used.first, used.drawn, used.target, used.edges)
    _draw(seeds, mean, theta, changes, code, *maps, index, value, n)  # type: ignore[call-arg]
    indptr = np.concatenate([[0], np.cumsum(n)])
    flat_index, flat_value = np.empty(indptr[-1], np.int32), np.empty(indptr[-1], np.int32)
    _flatten(index, value, indptr, flat_index, flat_value)
    return sparse.csr_matrix((flat_value, flat_index, indptr), shape=mean.shape)
