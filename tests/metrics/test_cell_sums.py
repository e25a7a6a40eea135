"""Sums by blocks: equal to the metrics of whole matrices, for blocks of any size; copies are found by fingerprints."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse

from genesim.metrics import downstream, expression
from genesim.metrics.cell_sums import CellSums, Totals
from genesim.metrics.copies import copies_of, exact_copies, fingerprints, joined

N, GENES, LABELS, PARTS = 150, 40, 3, 4


def cells(seed: int = 0) -> tuple[sparse.csr_matrix, np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    labels, parts = random.integers(0, LABELS, N), random.integers(0, PARTS, N)
    rate = np.exp(random.normal(0, 1, (LABELS, GENES)))[labels] * random.lognormal(0, 0.4, (N, 1))
    counts = random.poisson(rate)
    counts[7] = 0  # a cell without counts
    return sparse.csr_matrix(counts), labels, parts


def sums(size: int) -> CellSums:
    counts, labels, parts = cells()
    found = CellSums(PARTS, LABELS, GENES)
    for first in range(0, N, size):
        rows = slice(first, first + size)
        found.add(counts[rows], labels[rows], parts[rows])
    return found


def same(a: Totals, b: Totals) -> None:
    assert a.n.tolist() == b.n.tolist()
    assert a.seen.tolist() == b.seen.tolist()
    for x, y in zip((a.log, a.square, a.rate, *a.cells), (b.log, b.square, b.rate, *b.cells), strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("size", [1, 7, 64])
def test_blocks_of_any_size_give_the_same_sums(size: int) -> None:
    same(sums(size).over(), sums(N).over())
    same(sums(size).over(np.array([2, 0])), sums(N).over(np.array([2, 0])))


@pytest.mark.parametrize("chosen", [None, [1, 3]])
def test_what_sums_give_is_what_whole_matrices_give(chosen: list[int] | None) -> None:
    counts, labels, parts = cells()
    rows = np.arange(N) if chosen is None else np.flatnonzero(np.isin(parts, chosen))
    totals = sums(11).over(None if chosen is None else np.array(chosen))
    whole, codes, wanted = counts[rows], labels[rows], np.array([0, 2])
    for found, expected in zip(totals.genes(), expression.gene_summaries(whole), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-12)
    for found, expected in zip(totals.cells, expression.cell_summaries(whole), strict=True):
        np.testing.assert_allclose(np.sort(found), np.sort(expected), rtol=1e-12)
    n, everywhere = totals.n[wanted], int(totals.n.sum())
    np.testing.assert_allclose(
        expression.fold_changes_of_sums(totals.rate[wanted], n, totals.rate.sum(axis=0), everywhere),
        expression.log_fold_changes(whole, codes, wanted),
        rtol=1e-9,
    )
    np.testing.assert_allclose(
        downstream.marker_statistics_of_sums(
            totals.log[wanted], totals.square[wanted], n, totals.log.sum(axis=0), totals.square.sum(axis=0), everywhere
        ),
        downstream.marker_statistics(expression.log_normalise(whole), codes, wanted),
        rtol=1e-7,
        atol=1e-9,
    )


def test_fingerprints_find_the_copies_that_a_comparison_of_all_pairs_finds() -> None:
    counts = cells()[0].toarray()
    random = np.random.default_rng(1)
    probes = counts[random.permutation(np.delete(np.arange(N), 7))[:60]].copy()
    # The hardest change to see: one molecule goes from a gene to another one.
    for row in probes[::2]:
        here, there = random.choice(np.flatnonzero(row), 1), random.choice(GENES, 1)
        row[here] -= 1
        row[there] += 1
    equal = (probes[:, None, :] == counts[None]).all(axis=2).any(axis=1)
    expected = equal & ((probes > 0).sum(axis=1) >= 5)
    assert expected.any()
    assert not expected.all()
    assert exact_copies(probes, counts).tolist() == expected.tolist()
    blocks = joined([fingerprints(sparse.csr_matrix(counts[i : i + 13])) for i in range(0, N, 13)])
    assert copies_of(fingerprints(probes), blocks).tolist() == expected.tolist()
    # Neither the order of stored values nor stored zeros are part of a cell.
    shuffled = sparse.csr_matrix((np.array([3, 0, 1, 2, 1, 1]), np.array([4, 2, 0, 1, 3, 5]), np.array([0, 6])), (1, 6))
    tidy = sparse.csr_matrix(shuffled.toarray())
    assert [x.tolist() for x in fingerprints(shuffled)] == [x.tolist() for x in fingerprints(tidy)]
    assert fingerprints(shuffled).detected.tolist() == [5]
