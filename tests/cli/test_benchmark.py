"""`genesim benchmark` writes a benchmark and scores an answer; wrong use is told by its exit code."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd


def test_made_and_scored_from_the_shell(genesim: Callable[..., Any], tmp_path: Path) -> None:
    folder, answer = tmp_path / "rare", tmp_path / "answer.tsv"
    made = genesim("benchmark", "rare_type", "--out", folder, "--difficulty", "easy", "--seed", 4)
    assert made.code == 0, made.err
    truth = pd.read_parquet(folder / "truth" / "cells.parquet")
    truth[["cell", "is_rare"]].to_csv(answer, sep="\t", index=False)
    shown = genesim("benchmark", "score", "rare_type", "--data", folder, "--answer", answer)
    assert shown.code == 0, shown.err
    lines = [line.split("\t") for line in shown.out.splitlines()]
    assert lines[0][:3] == ["metric", "value", "null"]
    assert {line[0]: line[1] for line in lines[1:]} == {"recall": "1.0", "precision": "1.0", "f1": "1.0"}

    answer.write_text("cell\tis_rare\ncell000001\tmaybe\n")
    refused = genesim("benchmark", "score", "rare_type", "--data", folder, "--answer", answer)
    assert refused.code == 3
    assert "column 'is_rare'" in refused.err
    (folder / "truth" / "cells.parquet").write_bytes(b"altered")
    assert genesim("benchmark", "score", "rare_type", "--data", folder, "--answer", answer).code == 4
    assert genesim("benchmark", "no_such", "--out", tmp_path / "x").code == 2
    assert genesim("benchmark", "rare_type").code == 2
    assert genesim("benchmark", "score", "rare_type").code == 2
