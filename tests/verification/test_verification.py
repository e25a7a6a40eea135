"""The suite sees what it is there to see: a check passes, a wrong parameter fails, and the exit code says so."""

from __future__ import annotations

import csv
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import verify

# The cheapest; the suite itself is `make verify`.
NAME = "hmm_likelihood"
FOLDER = Path(__file__).resolve().parents[2] / "verification"


def run(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    monkeypatch.setattr(sys, "argv", ["verify.py", *map(str, arguments)])
    with pytest.raises(SystemExit) as stop:
        verify.main()
    return 1 if isinstance(stop.value.code, str) else int(stop.value.code or 0)


def test_a_check_passes_and_leaves_a_plot_and_a_row(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert run(monkeypatch, NAME, "--out", tmp_path) == 0
    assert (tmp_path / "plots" / f"{NAME}.png").read_bytes()[:4] == b"\x89PNG"
    with open(tmp_path / "verification.csv", newline="") as file:
        (row,) = csv.DictReader(file)
    assert (row["name"], row["passed"], row["wrong_rejected"]) == (NAME, "True", "True")
    assert float(row["value"]) <= float(row["high"]) < float(row["wrong_value"])


def test_a_wrong_parameter_fails_and_so_does_a_check_that_sees_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    check = verify.CHECKS[NAME]
    for factor, code in ((0.98, 0), (1.0, 1)):  # a "wrong" factor of 1 must be found out
        monkeypatch.setitem(verify.CHECKS, NAME, replace(check, wrong=factor))
        assert run(monkeypatch, NAME, "--out", tmp_path) == code
    monkeypatch.setitem(verify.CHECKS, NAME, replace(check, run=lambda factor: check.run(1.02 * factor)))
    assert run(monkeypatch, NAME, "--out", tmp_path) == 1
    assert not verify.verify(NAME)[-1]


def test_an_unknown_name_lists_what_there_is(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    assert run(monkeypatch, "nothing") == 2
    assert "ld_decay" in capsys.readouterr().err


def test_the_recorded_suite_is_right() -> None:
    with open(FOLDER / "verification.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    names = [row["name"] for row in rows]
    assert names == [name for name in verify.CHECKS if name in names]
    assert set(verify.CHECKS) - set(names) <= {"ld_decay"}  # the longest has no record yet
    assert {(row["passed"], row["wrong_rejected"]) for row in rows} == {("True", "True")}
    assert {path.stem for path in (FOLDER / "plots").iterdir()} == set(names)
    assert all(path.stat().st_size < 60_000 for path in (FOLDER / "plots").iterdir())
