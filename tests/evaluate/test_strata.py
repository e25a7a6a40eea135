"""Likeness within cell types, batches and held-out donors: a defect is seen where it is, and nowhere else."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from two_types import SMALL, cells

from genesim.errors import InputError
from genesim.evaluate.expression import evaluate_expression
from genesim.evaluate.score import Score
from genesim.evaluate.score_table import ScoreTable
from genesim.evaluate.strata import WITHIN, strata

N = 400
BATCH = np.array(["b1", "b2"])[np.arange(N) // 2 % 2]
DONOR = np.array([f"person {i}" for i in (30, 4, 111, 20)])[np.arange(N) // 4 % 4]
B, T = (np.arange(N) % 2 == i for i in (0, 1))


def thinned(counts: sparse.csr_matrix, rows: np.ndarray, share: float, seed: int = 0) -> sparse.csr_matrix:
    """Counts of these rows thinned in every second gene: a defect of expression that depth alone does not show."""
    dense = counts.toarray()
    block = np.ix_(rows, np.arange(0, dense.shape[1], 2))
    dense[block] = np.random.default_rng(seed).binomial(dense[block], share)
    return sparse.csr_matrix(dense)


def run(simulated: sparse.csr_matrix, test: sparse.csr_matrix | None = None, **changes: Any) -> ScoreTable:
    train, null = cells(2, N), cells(3, N, dependent=False)
    labels = cells(1, N)[1]
    given = {
        "train": train[0],
        "labels_test": labels,
        "labels_simulated": labels,
        "labels_train": labels,
        "labels_null": labels,
        "batches": dict.fromkeys(("test", "simulated", "train", "null"), BATCH),
        "donors": DONOR,
        "config": SMALL,
    } | changes
    test = cells(1, N)[0] if test is None else test
    return ScoreTable(evaluate_expression(test, simulated, null=null[0], **given))


@pytest.fixture(scope="module")
def faithful() -> ScoreTable:
    return run(cells(4, N)[0])


def test_every_stratum_has_every_metric_beside_floor_and_null(faithful: ScoreTable) -> None:
    names = ["cell type: B cell", "cell type: T cell", "batch: b1", "batch: b2"]
    names += [f"held-out donor: {i}" for i in (1, 2, 3, 4)]
    frame = faithful.within.to_frame()
    assert frame["stratum"].drop_duplicates().tolist() == names
    assert frame["metric"].tolist() == list(WITHIN) * len(names)
    assert frame["subject"].unique().tolist() == ["expression"]
    assert np.isfinite(frame[["value", "low", "high", "floor", "null"]]).all(axis=None)
    assert frame.groupby("stratum")["n"].first()[names].tolist() == [200] * 4 + [100] * 4
    assert not frame["headline"].any()


def test_faithful_cells_are_told_from_real_ones_nowhere(faithful: ScoreTable) -> None:
    for score in faithful.within:
        if score.metric == "classifier_auc_harder":
            assert score.value < 0.65, score
            assert score.level not in ("bad",), score


@pytest.mark.parametrize(
    ("rows", "stratum", "others"),
    [
        (B, "cell type: B cell", ["cell type: T cell"]),
        (BATCH == "b2", "batch: b2", ["batch: b1"]),
    ],
)
def test_a_defect_of_one_type_or_batch_is_seen_there(rows: np.ndarray, stratum: str, others: list[str]) -> None:
    spoiled = run(thinned(cells(4, N)[0], rows, 0.3))
    # The null has right means, so that of an error of means the verdict is no better known than "short of the floor".
    for metric, level in (("classifier_auc_harder", "bad"), ("gene_mean_rmse", "middle")):
        worst = spoiled["expression", metric, stratum]
        assert worst.level == level, worst
        for other in others:
            fine = spoiled["expression", metric, other]
            assert fine.level not in ("middle", "bad"), fine
            assert fine.value < worst.value - 0.1


def test_a_donor_unlike_all_others_is_as_far_from_training_donors() -> None:
    own = thinned(cells(1, N)[0], DONOR == "person 111", 0.1)
    table = run(cells(4, N)[0], own)
    # "person 111" is the first by name. No model can know it: the floor says so, and the verdict is no blame.
    strange = table["expression", "gene_mean_rmse", "held-out donor: 1"]
    usual = [table["expression", "gene_mean_rmse", f"held-out donor: {i}"] for i in (2, 3, 4)]
    assert strange.value > 2 * max(score.value for score in usual)
    assert strange.floor > 2 * max(score.floor for score in usual)
    assert strange.level in ("good", "near", "unknown")


def test_names_of_donors_are_told_nowhere(faithful: ScoreTable) -> None:
    assert "person" not in faithful.to_frame().to_csv() + faithful.text()


def test_without_training_cells_a_donor_is_no_floor_for_itself() -> None:
    own = thinned(cells(1, N)[0], DONOR == "person 111", 0.1)
    table = run(
        cells(4, N)[0],
        own,
        train=None,
        labels_train=None,
        batches=dict.fromkeys(("test", "simulated", "null"), BATCH),
    )
    score = table["expression", "gene_mean_rmse", "held-out donor: 1"]
    assert score.floor > 2 * table["expression", "gene_mean_rmse", "held-out donor: 2"].floor


def test_only_strata_that_every_set_has_cells_enough_for() -> None:
    other = np.array(["new batch"] * N)
    table = run(cells(4, N)[0], batches={"test": BATCH, "simulated": other, "train": BATCH, "null": BATCH})
    assert not [s for s in table.within if s.stratum.startswith("batch")]
    few = SMALL.model_copy(update={"min_cells_per_stratum": 150})
    assert {s.stratum.split(":")[0] for s in run(cells(4, N)[0], config=few).within} == {"cell type", "batch"}
    most = SMALL.model_copy(update={"max_strata": 1, "max_cells_per_stratum": 50})
    some = run(cells(4, N)[0], config=most).within
    assert {s.stratum for s in some} == {"cell type: B cell", "batch: b1", "held-out donor: 1"}
    assert {s.n for s in some} == {50}
    assert not run(cells(4, N)[0], config=SMALL.model_copy(update={"max_strata": 0})).within.scores
    with pytest.raises(InputError, match="3 donors for the test cells"):
        run(cells(4, N)[0], donors=np.array(["d", "d", "d"]))


def test_all_sets_of_a_stratum_have_one_mix_of_types() -> None:
    generator = np.random.default_rng(0)
    sizes = {"test": 600, "simulated": 900, "train": 700}
    shares = {"test": [0.7, 0.2, 0.1], "simulated": [0.1, 0.6, 0.3], "train": [0.4, 0.6, 0.0]}
    codes = {name: generator.choice(3, size, p=shares[name]) for name, size in sizes.items()}
    labels = {name: np.array(["x", "y", "z"])[own] for name, own in codes.items()}
    batches = {name: np.array(["b"] * size) for name, size in sizes.items()}
    found = {s.name: s for s in strata(labels, codes, batches, {}, 0, SMALL)}
    assert set(found) == {"cell type: x", "cell type: y", "batch: b"}  # the training cells have no z
    rows = found["batch: b"].rows
    mixes = {name: np.bincount(codes[name][own], minlength=3) for name, own in rows.items()}
    assert mixes["test"].tolist() == mixes["simulated"].tolist() == mixes["train"].tolist()
    assert mixes["test"][2] == 0
    # As in the test cells, as far as the 300 cells go and the simulated cells of type x.
    assert mixes["test"][0] == min(round(300 * np.mean(codes["test"] == 0)), np.sum(codes["simulated"] == 0))
    assert all((np.diff(own) > 0).all() for own in rows.values())


def test_a_table_counts_whole_data_sets_and_prints_a_line_a_stratum(faithful: ScoreTable) -> None:
    assert sum(faithful.counts().values()) == len(faithful.overall) == len(faithful) - len(faithful.within)
    assert faithful["classifier_auc_harder"].stratum == ""
    text = faithful.text()
    assert text.count("cell type: B cell") == 1
    assert "expression, within: Classifier AUC, expression + depth" in text
    frame = faithful.to_frame()
    assert ScoreTable.from_frame(frame) == faithful
    without = frame[frame["stratum"] == ""].drop(columns="stratum")
    assert ScoreTable.from_frame(without) == faithful.overall
    assert ScoreTable.from_frame(frame.assign(stratum=frame["stratum"].replace("", np.nan))) == faithful


def test_report_shows_strata_apart_and_escapes_their_names(faithful: ScoreTable) -> None:
    from genesim.report.html import render_report

    hostile = Score("expression", "gene_mean_rmse", 0.1, 0.05, 0.15, 0.1, 0.4, 50, "cell type: <script>")
    page = render_report(title="t", scores=(faithful + ScoreTable([hostile])).to_frame())
    assert "expression, within cell types, batches and held-out donors" in page
    assert "cell type: &lt;script&gt;" in page
    assert "cell type: <script>" not in page
    alone = render_report(title="t", scores=pd.DataFrame(faithful.overall.to_frame()))
    assert "within cell types, batches" not in alone
