"""The workflow scattered: as many jobs as are asked for, and the results of a run that is not scattered."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from genesim.rng import seed

SCATTERED = {"effect_shards": 3, "cell_shards": 2, "replicates": 2}
SAME = ("models/effects", "models/expression", "sim", "evaluation")


def manifests(results: Path) -> dict[str, bytes]:
    """Digests of every file of the artefacts that must not depend on the shards."""
    return {name: (results / name / "manifest.sha256").read_bytes() for name in SAME}


def test_every_shard_and_seed_is_a_job_of_its_own(tmp_path: Path, workflow: Any, tiny_config: dict[str, Any]) -> None:
    shown = workflow(tmp_path, {**tiny_config, "workflow": SCATTERED}, "--dry-run", "--printshellcmds")
    text = shown.stdout + shown.stderr
    assert shown.returncode == 0, text
    planned = {name: int(n) for name, n in re.findall(r"^(\w+) +(\d+)$", text, re.M)}
    assert planned["train_effects_init"] == 1
    assert planned["train_effects_shard"] == 3
    assert planned["simulate_cells"] == 2
    assert planned["simulate_replicate"] == planned["evaluate_replicate"] == planned["replicate_scores"] == 1
    assert sorted(set(re.findall(r"--shard (\d/\d)", text))) == ["1/2", "1/3", "2/2", "2/3", "3/3"]
    assert f"--seed {seed(0, 'replicate', 2)} " in text


@pytest.mark.slow
def test_a_scattered_run_ends_with_the_same_bytes(
    tiny_run: Path, tmp_path: Path, workflow: Any, tiny_config: dict[str, Any]
) -> None:
    run = tmp_path / "scattered"
    shutil.copytree(tiny_run, run, ignore=shutil.ignore_patterns("log.txt", "returncode"))
    for name in (*SAME[:1], *SAME[2:]):
        shutil.rmtree(run / "results" / name)
    made = workflow(run, {**tiny_config, "workflow": SCATTERED})
    assert made.returncode == 0, (made.stdout + made.stderr)[-5000:]
    assert manifests(run / "results") == manifests(tiny_run / "results")
    scores = pd.read_parquet(run / "results" / "replicates" / "scores.parquet")
    first = pd.read_parquet(run / "results" / "evaluation" / "scores.parquet")
    assert dict(scores.groupby("replicate")["seed"].first()) == {1: 0, 2: seed(0, "replicate", 2)}
    pd.testing.assert_frame_equal(
        scores[scores["replicate"] == 1].drop(columns=["replicate", "seed"]).reset_index(drop=True),
        first.reset_index(drop=True),
        check_dtype=False,
    )
    sims = [run / "results" / name / "sim" / "manifest.sha256" for name in (".", "replicates/2")]
    assert sims[0].read_bytes() != sims[1].read_bytes()
