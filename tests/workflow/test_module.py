"""The workflow as a module of another one, as Snakemake's workflow catalog has it: with that one's own config."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

pytest.importorskip("snakemake", reason="the workflow extra is not installed")
ROOT = Path(__file__).resolve().parents[2]

# Beside the genesim rules, a rule of its own that goes on from their outputs.
OTHER = """
configfile: "other.yaml"

module genesim:
    snakefile:
        {snakefile!r}
    config:
        config["genesim"]

use rule * from genesim as genesim_*

rule count_cells:
    default_target: True
    input:
        rules.genesim_all.input,
        cells="ours/sim/sim.h5ad",
    output:
        "n_cells.txt",
    shell:
        "python -c 'import h5py; print(len(h5py.File(\\"{{input.cells}}\\")[\\"obs/_index\\"]))' > {{output}}"
"""


def other_workflow(folder: Path, genesim: dict[str, Any]) -> None:
    (folder / "workflow").mkdir(parents=True)
    (folder / "workflow" / "Snakefile").write_text(OTHER.format(snakefile=str(ROOT / "Snakefile")))
    (folder / "other.yaml").write_text(yaml.safe_dump({"genesim": genesim}))


def snakemake(folder: Path, workflow: Any, *arguments: str) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, "-m", "snakemake", "--cores", "2", *arguments]
    return subprocess.run(words, cwd=folder, env=workflow.environment, capture_output=True, text=True, check=False)


@pytest.fixture
def ours(tiny_config: dict[str, Any]) -> dict[str, Any]:
    return {"pathvars": {"results": "ours"}, **tiny_config}


def test_another_workflow_imports_every_rule_with_its_own_config(
    tmp_path: Path, workflow: Any, ours: dict[str, Any]
) -> None:
    other_workflow(tmp_path, ours)
    shown = snakemake(tmp_path, workflow, "--dry-run", "--printshellcmds")
    text = shown.stdout + shown.stderr
    assert shown.returncode == 0, text
    planned = dict(re.findall(r"^(\w+) +(\d+)$", text, re.M))
    assert planned.pop("count_cells") == "1"
    assert planned.pop("total") == "14"
    assert all(name.startswith("genesim_") for name in planned)
    outputs = [path for line in re.findall(r"^ +output: (.*)$", text, re.M) for path in line.split(", ")]
    assert all(path.startswith("ours/") or path == "n_cells.txt" for path in outputs)
    assert "results/demo" not in text
    assert '"n_cells": 240' in text  # of the other workflow's config


def test_its_config_is_checked_as_ever(tmp_path: Path, workflow: Any, ours: dict[str, Any]) -> None:
    other_workflow(tmp_path, {**ours, "sed": 1})
    shown = snakemake(tmp_path, workflow, "--dry-run")
    assert shown.returncode != 0
    assert "unknown key 'sed'" in shown.stdout + shown.stderr


@pytest.mark.slow
def test_the_other_workflow_goes_on_from_the_outputs(tmp_path: Path, workflow: Any, ours: dict[str, Any]) -> None:
    other_workflow(tmp_path, ours)
    shown = snakemake(tmp_path, workflow)
    assert shown.returncode == 0, (shown.stdout + shown.stderr)[-5000:]
    assert (tmp_path / "n_cells.txt").read_text().strip() == "240"
    assert (tmp_path / "ours" / "report.html").stat().st_size
