"""SIGKILL in the middle: nothing partial at the final paths, and the rerun ends where an unbroken run does."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
import pytest
import yaml
from pysam import bcftools

from genesim.provenance.manifest import verify_manifest
from genesim.train.store import load_model

# A verb that is killed once it has written `what` of its output.
KILLED = """
import os, signal, sys
from genesim.{module} import {what}
import genesim.{user}
user = sys.modules["genesim.{user}"]

def killed_after(*given, **named):
    {what}(*given, **named)
    os.kill(os.getpid(), signal.SIGKILL)

user.{what} = killed_after
from genesim.cli.app import main
main()
"""


def killed_verb(module: str, what: str, user: str, *arguments: object) -> None:
    code = KILLED.format(module=module, what=what, user=user)
    child = subprocess.run([sys.executable, "-c", code, *map(str, arguments)], capture_output=True, check=False)
    assert child.returncode == -signal.SIGKILL, child.stderr.decode()


def verb(*arguments: object) -> None:
    code = "from genesim.cli.app import main; main()"
    child = subprocess.run([sys.executable, "-c", code, *map(str, arguments)], capture_output=True, check=False)
    assert child.returncode == 0, child.stderr.decode()


def names(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


def test_a_killed_prepare_leaves_nothing_and_goes_through_the_second_time(
    tiny_run: Path, tiny_config: dict[str, Any], tmp_path: Path
) -> None:
    folder = tiny_run / "results" / "example"
    files = {"h5ad": "cells.h5ad", "vcf": "donors.vcf.gz", "donors": "donors.tsv", "genes": "genes.gtf"}
    inputs = {key: str(folder / name) for key, name in files.items()}
    (tmp_path / "run.yaml").write_text(yaml.safe_dump({"inputs": {**inputs, "contigs": ["21"]}}))
    (tmp_path / "out").mkdir()
    command = ["prepare", "--config", tmp_path / "run.yaml", "--out", tmp_path / "out" / "cohort"]
    killed_verb("data.write", "write_h5ad", "data.cohort", *command)
    lock, left = names(tmp_path / "out")
    assert lock == ".lock-cohort"  # of a process that is no more: it holds nothing
    assert left.startswith(".tmp-")
    assert left.endswith("-cohort")
    assert names(tmp_path / "out" / left) == ["cells.h5ad"]  # it was killed half way
    verb(*command)
    assert names(tmp_path / "out") == ["cohort"]
    verify_manifest(tmp_path / "out" / "cohort")


@pytest.mark.slow
def test_a_killed_simulate_keeps_what_was_there(tiny_run: Path, tmp_path: Path) -> None:
    models = tiny_run / "results" / "models"
    scenario = tmp_path / "scenario.yaml"
    scenario.write_text("{population: {n_donors: 5}, cells: {n_cells: 10}}")
    out = tmp_path / "out"
    shutil.copytree(tiny_run / "results" / "sim", out / "sim")
    command = ["simulate", "--models", models, "--scenario", scenario, "--out", out / "sim"]
    killed_verb("data.genotypes", "write_vcf", "simulate.dataset", *command)
    assert names(out)[0] == ".lock-sim"
    assert len(names(out)) == 3
    verify_manifest(out / "sim")
    assert ad.read_h5ad(out / "sim" / "sim.h5ad", backed="r").n_obs == 240
    verb(*command)
    assert names(out) == ["sim"]
    verify_manifest(out / "sim")
    assert ad.read_h5ad(out / "sim" / "sim.h5ad", backed="r").n_obs == 10


def copy_of(run: Path, target: Path, *without: str) -> Path:
    """A run with some results not there yet; Snakemake's records and all times are kept."""
    shutil.copytree(run, target, ignore=shutil.ignore_patterns("log.txt", "returncode"))
    for name in without:
        path = target / "results" / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    return target


def kill_when(workflow: Any, directory: Path, config: dict[str, Any], ready: Callable[[], bool], *targets: str) -> None:
    """Start the workflow; kill it and all its children once `ready()`."""
    with open(directory / "killed.txt", "w") as log:
        process = subprocess.Popen(
            workflow.command(directory, config, *targets),
            cwd=Path(__file__).parents[2],
            env=workflow.environment,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        while not ready():
            assert process.poll() is None, (directory / "killed.txt").read_text()[-3000:]
            time.sleep(0.002)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def run_again(workflow: Any, directory: Path, config: dict[str, Any], *targets: str) -> None:
    """As the README says: Snakemake's own lock outlives a kill and has to be taken away first."""
    locked = workflow(directory, config, *targets)
    assert locked.returncode != 0
    assert "--unlock" in locked.stdout + locked.stderr
    assert workflow(directory, config, "--unlock").returncode == 0
    again = workflow(directory, config, *targets)
    assert again.returncode == 0, again.stdout + again.stderr


def assert_equal_trees(a: Any, b: Any) -> None:
    if isinstance(a, dict):
        assert a.keys() == b.keys()
        for key in a:
            assert_equal_trees(a[key], b[key])
    elif isinstance(a, list):
        assert len(a) == len(b)
        for x, y in zip(a, b, strict=True):
            assert_equal_trees(x, y)
    else:
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)


@pytest.mark.slow
def test_a_training_killed_after_a_checkpoint_ends_like_an_unbroken_one(
    tiny_run: Path, workflow: Any, tiny_config: dict[str, Any], tmp_path: Path
) -> None:
    missing = ("models/expression", "sim", "evaluation", "report.html")
    run = copy_of(tiny_run, tmp_path / "a killed run", *missing)
    checkpoints = run / "results" / "checkpoints" / "expression"
    kill_when(workflow, run, tiny_config, lambda: any(checkpoints.glob("vae/[0-9]*/manifest.sha256")))
    model = run / "results" / "models" / "expression"
    assert not [p for p in model.rglob("*") if p.is_file()]
    run_again(workflow, run, tiny_config)

    log = (run / "results" / "logs" / "train_expression.log").read_text()
    assert "training goes on from step" in log
    here, there = run / "results", tiny_run / "results"
    assert_equal_trees(load_model(model).arrays, load_model(there / "models" / "expression").arrays)
    cells, expected = (ad.read_h5ad(r / "sim" / "sim.h5ad") for r in (here, there))
    np.testing.assert_array_equal(cells.X.toarray(), expected.X.toarray())
    records = [bcftools.view("-H", str(r / "sim" / "sim.vcf.gz")) for r in (here, there)]
    assert records[0] == records[1]
    # and so for every byte of every file
    for name in ("models/expression", "sim", "evaluation"):
        assert (here / name / "manifest.sha256").read_bytes() == (there / name / "manifest.sha256").read_bytes()
    assert (here / "report.html").read_bytes() == (there / "report.html").read_bytes()
    assert not list(checkpoints.parent.rglob("*.json"))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["cohort", "sim"])
def test_a_workflow_killed_while_an_artefact_is_written_leaves_nothing_partial(
    name: str, tiny_run: Path, workflow: Any, tiny_config: dict[str, Any], tmp_path: Path
) -> None:
    run = copy_of(tiny_run, tmp_path / "run", name)
    results, target = run / "results", f"results/{name}/manifest.sha256"
    kill_when(workflow, run, tiny_config, lambda: any(results.glob(f".tmp-*-{name}/*")), target)
    assert not [p for p in (results / name).rglob("*") if p.is_file()]
    run_again(workflow, run, tiny_config, target)
    expected = tiny_run / "results" / name / "manifest.sha256"
    assert (results / name / "manifest.sha256").read_bytes() == expected.read_bytes()
    verify_manifest(results / name)
    assert not list(results.glob(".tmp-*"))
