"""Scores: the verdict follows from value, interval, floor and null; tables survive a round trip."""

from __future__ import annotations

import math

import pandas as pd
import pytest

from genesim.errors import InputError
from genesim.evaluate.catalog import METRICS
from genesim.evaluate.score import Score, scored
from genesim.evaluate.score_table import ScoreTable
from genesim.metrics.interval import Interval


def make(metric: str, value: float, floor: float, null: float, half: float = 0.0) -> Score:
    return Score("cells", metric, value, value - half, value + half, floor, null, 100)


@pytest.mark.parametrize(
    ("metric", "value", "floor", "null", "half", "verdict", "level"),
    [
        ("ks_gene_mean", 0.021, 0.02, 0.12, 0.001, "at the floor", "good"),
        ("ks_gene_mean", 0.045, 0.02, 0.12, 0.001, "close to the floor", "near"),
        ("ks_gene_mean", 0.045, 0.02, 0.12, 0.03, "at the floor", "good"),
        ("ks_gene_mean", 0.07, 0.02, 0.12, 0.001, "between floor and null", "middle"),
        ("ks_gene_mean", 0.115, 0.02, 0.12, 0.001, "no better than the null", "bad"),
        ("ks_gene_mean", 0.2, 0.02, 0.12, 0.001, "worse than the null", "bad"),
        ("ks_gene_mean", 0.01, 0.02, 0.12, 0.001, "at the floor", "good"),
        ("ks_gene_mean", 0.07, 0.02, 0.12, 0.06, "too noisy to place", "unknown"),
        ("ks_gene_mean", 0.02, 0.02, 0.02, 0.0, "at the floor, as the null is", "good"),
        ("ks_gene_mean", 0.3, 0.02, 0.01, 0.0, "short of the floor; the null does not separate", "middle"),
        ("gene_correlation_within_type", 0.58, 0.59, 0.0, 0.001, "at the floor", "good"),
        ("gene_correlation_within_type", 0.3, 0.59, 0.0, 0.001, "between floor and null", "middle"),
        ("gene_correlation_within_type", 0.7, 0.59, 0.0, 0.001, "at the floor", "good"),
        # A target is a point, not a direction: overshooting is as bad as falling short.
        ("classifier_auc", 0.51, 0.48, 0.9, 0.001, "at the floor", "good"),
        ("classifier_auc", 0.7, 0.5, 0.9, 0.001, "between floor and null", "middle"),
        ("adversarial_accuracy_real", 0.2, 0.5, 1.0, 0.001, "between floor and null", "middle"),
        ("adversarial_accuracy_real", 0.02, 0.5, 1.0, 0.001, "no better than the null", "bad"),
        ("log_fold_change_slope", 0.8, 0.61, 0.2, 0.001, "at the floor", "good"),
        ("log_fold_change_slope", 1.5, 0.61, 0.2, 0.001, "worse than the null", "bad"),
        ("nearest_neighbour_share", 0.5, 0.55, 1.0, 0.01, "no sign of copying", "good"),
        ("nearest_neighbour_share", 0.99, 0.55, 1.0, 0.01, "copies training data", "bad"),
        # An attack recognises people; it does not say that anything is copied.
        ("membership_auc", 0.98, 0.5, 1.0, 0.01, "training donors are recognised", "bad"),
        ("privacy_loss", 0.2, 0.0, 0.4, 0.01, "training donors are partly recognised", "middle"),
        ("membership_auc", 0.51, 0.5, 1.0, 0.02, "no sign of training donors", "good"),
        ("exact_copies_haplotypes", 0.99, 0.0, 1.0, 0.01, "copies training data", "bad"),
        ("ks_gene_mean", 0.1, math.nan, 0.2, 0.01, "no floor to compare with", "unknown"),
        ("ks_gene_mean", 0.1, 0.09, math.nan, 0.02, "at the floor", "good"),
        ("ks_gene_mean", 0.3, 0.09, math.nan, 0.02, "away from the floor; no null given", "unknown"),
        ("ks_gene_mean", math.nan, 0.09, 0.2, 0.0, "not available", "unknown"),
    ],
)
def test_verdicts(metric: str, value: float, floor: float, null: float, half: float, verdict: str, level: str) -> None:
    found = make(metric, value, floor, null, half)
    assert (found.verdict, found.level) == (verdict, level)


def test_normalised_is_zero_at_the_floor_and_one_at_the_null_in_both_directions() -> None:
    for metric, floor, null in (("ks_gene_mean", 0.1, 0.3), ("train_on_synthetic", 0.9, 0.4)):
        at = [make(metric, floor + share * (null - floor), floor, null).normalised for share in (0, 0.25, 1)]
        assert at == pytest.approx([0, 0.25, 1])


def test_intervals_stay_in_the_range_of_the_metric() -> None:
    assert scored("a", "classifier_auc", Interval(0.99, 0.95, 1.03), 0.5, 0.9, 10).high == 1.0
    assert scored("a", "mmd2", Interval(0.001, -0.002, 0.004), 0, 0.1, 10).low == -0.002


def table() -> ScoreTable:
    return ScoreTable(
        [
            make("ks_gene_mean", 0.021, 0.02, 0.12, 0.001),
            make("mmd2", 1.4e-4, -2e-5, 0.01, 1e-5),
            Score("haplotypes 22", "longest_shared_tract", 12345.0, 1e4, 1.5e4, 11000.0, math.nan, 40),
        ]
    )


def test_round_trip_through_parquet_derives_the_verdict_again(tmp_path: pytest.TempPathFactory) -> None:
    frame = table().to_frame()
    assert frame["verdict"].tolist()[0] == "at the floor"
    frame["verdict"] = "excellent"
    frame.to_parquet(f"{tmp_path}/scores.parquet")
    back = ScoreTable.from_frame(pd.read_parquet(f"{tmp_path}/scores.parquet"))
    assert back == table()
    assert "excellent" not in back.text()


def test_text_has_floor_null_and_verdict_on_every_row() -> None:
    lines = table().text().splitlines()
    assert [line for line in lines if line and not line.startswith(" ")] == ["cells", "haplotypes 22"]
    row = next(line for line in lines if "Gene means" in line)
    for part in ("0.021", "[0.020, 0.022]", "0.120", "at the floor"):
        assert part in row
    assert "12,345" in lines[-1]
    assert "–" in lines[-1]
    assert ScoreTable().text() == ""


def test_look_up_and_counts() -> None:
    scores = table()
    assert scores["mmd2"].value == 1.4e-4
    assert scores["cells", "mmd2"] is scores["mmd2"]
    assert scores.counts() == {"good": 3, "near": 0, "middle": 0, "bad": 0, "unknown": 0}
    assert len(scores + ScoreTable([scores["mmd2"]])) == 4
    with pytest.raises(InputError, match="name one of"):
        scores["classifier_auc"]


def test_unknown_metrics_and_incomplete_tables_are_refused() -> None:
    with pytest.raises(InputError, match="known metrics"):
        make("beauty", 1, 1, 1)
    with pytest.raises(InputError, match="no column floor"):
        ScoreTable.from_frame(table().to_frame().drop(columns="floor"))


def test_every_metric_has_words_and_targets_where_needed() -> None:
    for name, info in METRICS.items():
        assert info.label, name
        assert info.meaning.endswith("."), name
        assert info.direction != "target" or info.target is not None, name
