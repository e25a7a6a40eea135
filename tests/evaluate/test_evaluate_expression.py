"""The expression evaluation: real-like data pass, a planted defect is named, copies are found."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy import sparse
from two_types import SMALL, cells

from genesim.errors import InputError
from genesim.evaluate.expression import evaluate_expression
from genesim.evaluate.score_table import ScoreTable


def run(simulated: tuple[sparse.csr_matrix, np.ndarray], **changes: object) -> ScoreTable:
    test, train, null = cells(1), cells(2), cells(3, dependent=False)
    arguments = {
        "labels_test": test[1],
        "labels_simulated": simulated[1],
        "labels_train": train[1],
        "labels_null": null[1],
        "config": SMALL,
    } | changes
    return ScoreTable(evaluate_expression(test[0], simulated[0], train[0], null[0], **arguments))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def faithful() -> ScoreTable:
    return run(cells(4))


def test_faithful_cells_reach_the_floor_and_the_null_does_not(faithful: ScoreTable) -> None:
    for metric in ("classifier_auc", "classifier_auc_harder", "gene_correlation_within_type"):
        score = faithful[metric]
        assert score.level in ("good", "near"), (metric, score)
        assert abs(score.null - score.floor) > 0.15, metric
    assert faithful["exact_copies_cells"].value == 0
    assert faithful["nearest_neighbour_share"].verdict == "no sign of copying"
    assert faithful["train_on_synthetic"].value > 0.9


def test_a_naive_generator_is_called_no_better_than_the_null() -> None:
    naive = run(cells(6, dependent=False))
    for metric in ("classifier_auc", "gene_correlation_within_type"):
        assert naive[metric].level == "bad", metric


def test_copied_cells_are_named_although_they_look_perfect() -> None:
    counts, labels = cells(2)
    copied = run((counts[::-1], labels[::-1]))
    assert copied["classifier_auc"].level in ("good", "near")
    assert copied["exact_copies_cells"].value == 1
    assert copied["nearest_neighbour_share"].verdict == "copies training data"


def test_same_seed_same_scores(faithful: ScoreTable) -> None:
    assert run(cells(4)) == faithful


def test_without_labels_train_or_null() -> None:
    bare = ScoreTable(evaluate_expression(cells(1)[0], cells(4)[0].toarray(), config=SMALL))
    metrics = [s.metric for s in bare]
    assert "mmd2" in metrics
    assert "log_fold_change_slope" not in metrics
    assert "nearest_neighbour_share" not in metrics
    assert all(np.isfinite(s.floor) and np.isnan(s.null) for s in bare)
    assert bare["mmd2"].n == 100


def test_a_type_that_one_set_lacks_is_left_out_of_comparisons_within_types() -> None:
    counts, labels = cells(4)
    only = labels == "B cell"
    lacking = run((counts[only], labels[only]))
    assert "log_fold_change_slope" not in [s.metric for s in lacking]
    assert lacking["classifier_auc"].level != "good"


def test_bad_input_is_refused_by_name() -> None:
    test, train = cells(1)[0], cells(2)[0]
    with pytest.raises(InputError, match="simulated cells: has 5 cells"):
        evaluate_expression(test, train[:5], config=SMALL)
    with pytest.raises(InputError, match="align all data sets"):
        evaluate_expression(test, train[:, :70], config=SMALL)
    with pytest.raises(InputError, match="one label a cell"):
        evaluate_expression(test, train, labels_test=np.zeros(3), config=SMALL)


@pytest.mark.slow
def test_real_cells_pass_and_independent_genes_do_not(shared_data: Path) -> None:
    import anndata

    data = anndata.read_h5ad(shared_data / "expression" / "onek1k_40donors.h5ad")
    counts, labels = sparse.csr_matrix(data.X, dtype=np.int64), data.obs["cell_type"].to_numpy(str)
    order = np.random.default_rng(0).permutation(len(labels))
    test, train, held = np.array_split(order, 3)
    shuffled = counts[train].toarray()
    rng = np.random.default_rng(1)
    for label in np.unique(labels[train]):
        rows = np.flatnonzero(labels[train] == label)
        for gene in range(shuffled.shape[1]):
            shuffled[rows, gene] = shuffled[rng.permutation(rows), gene]
    scores = ScoreTable(
        evaluate_expression(
            counts[test],
            counts[held],
            counts[train],
            sparse.csr_matrix(shuffled),
            labels_test=labels[test],
            labels_simulated=labels[held],
            labels_train=labels[train],
            labels_null=labels[train],
        )
    )
    assert scores["classifier_auc"].level == "good"
    assert scores["classifier_auc"].null > 0.7
    assert scores["gene_correlation_within_type"].level in ("good", "near")
    assert scores["nearest_neighbour_share"].level == "good"
