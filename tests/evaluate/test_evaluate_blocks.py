"""Cells read by blocks give the rows that cells in memory give, whatever the blocks; sums see all cells."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from scipy import sparse
from two_types import SMALL, cells

from genesim.evaluate.cells import Source, stratified
from genesim.evaluate.expression import compare_expression, evaluate_expression
from genesim.evaluate.expression_sums import SUMMED
from genesim.evaluate.score_table import ScoreTable

FEW = SMALL.model_copy(update={"max_cells": 60})


def in_blocks(counts: sparse.csr_matrix, size: int) -> Source:
    def walk() -> Iterator[sparse.csr_matrix]:
        for first in range(0, counts.shape[0], size):
            yield counts[first : first + size]

    return Source((counts.shape[0], counts.shape[1]), walk)


def rows(size: int | None, train: bool = True) -> ScoreTable:
    sets = {"test": cells(1), "simulated": cells(4, 260), "train": cells(2), "null": cells(3, dependent=False)}
    given = {k: v[0] if size is None else in_blocks(v[0], size) for k, v in sets.items() if train or k != "train"}
    labels = {f"labels_{k}": sets[k][1] for k in given}
    return ScoreTable(evaluate_expression(**given, **labels, config=FEW))  # type: ignore[arg-type]


@pytest.mark.parametrize(("size", "train"), [(7, True), (1000, True), (7, False)])
def test_blocks_of_any_size_give_the_rows_of_cells_in_memory(size: int, train: bool) -> None:
    found, expected = rows(size, train).to_frame(), rows(None, train).to_frame()
    assert found[["metric", "n", "verdict"]].equals(expected[["metric", "n", "verdict"]])
    for column in ("value", "low", "high", "floor", "null"):
        np.testing.assert_allclose(found[column], expected[column], rtol=1e-9, atol=1e-12, err_msg=column)


def test_sums_see_all_cells_and_the_rest_say_how_many_they_saw() -> None:
    table = rows(50)
    n = {s.metric: s.n for s in table.overall}
    assert {n[metric] for metric in SUMMED} == {200}  # as many of each set as the smallest has
    assert {n[m] for m in ("mmd2", "classifier_auc", "gene_correlation_within_type", "train_on_synthetic")} == {60}
    assert n["exact_copies_cells"] == 260
    one, other = cells(1), cells(4)
    whole = compare_expression(one[0], other[0], one[1], other[1], config=SMALL)
    few = compare_expression(one[0], other[0], one[1], other[1], config=FEW)
    assert all(few[metric] == whole[metric] for metric in SUMMED)
    assert few["mmd2"] != whole["mmd2"]


def test_a_stratified_draw_keeps_the_shares_of_labels() -> None:
    labels = np.repeat([0, 1, 2], [700, 290, 10])
    order = np.random.default_rng(0).permutation(1000)
    drawn = stratified(labels, 100, order)
    assert np.bincount(labels[drawn]).tolist() == [70, 29, 1]
    assert (np.diff(drawn) > 0).all()
    assert stratified(labels, 1000, order).tolist() == list(range(1000))
    assert not np.array_equal(drawn, stratified(labels, 100, order[::-1]))
