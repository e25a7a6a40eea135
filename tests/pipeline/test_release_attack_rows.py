"""Attacks within groups go from the evaluation's record into the fairness paper, those not scored with the reason."""

from __future__ import annotations

from typing import Any

from genesim.pipeline.release_groups import attack_rows


def group(name: str, value: float | None, verdict: str = "no sign") -> dict[str, Any]:
    ends = {"low": None, "high": None} if value is None else {"low": value - 0.1, "high": value + 0.1}
    sizes = {"n_train": 30 if value else "<5", "n_holdout": 30}
    return {"attribute": "sex", "group": name, "attack": "nearest", "value": value, **ends, **sizes, "verdict": verdict}


def test_the_worst_group_is_first_and_small_ones_are_noted() -> None:
    audit = {"valid": True, "groups": [group("F", 0.55), group("M", 0.7), group("X", None, "inconclusive: too few")]}
    rows, notes = attack_rows(audit)
    assert [row.group for row in rows] == ["M", "F"]
    assert rows[0].gap == 0.7 - 0.5
    assert "nearest simulated cell" in rows[0].label
    assert notes == ["attacks on cells, sex X: inconclusive: too few"]


def test_an_audit_that_is_not_valid_scores_no_group() -> None:
    rows, notes = attack_rows({"valid": False, "groups": [group("F", 0.9)]})
    assert rows == []
    assert notes == ["attacks on cells, sex F: the audit is not valid"]


def test_no_audit_gives_nothing() -> None:
    assert attack_rows({}) == ([], [])
    assert attack_rows({"conclusion": "not made", "reason": "too few donors"}) == ([], [])
