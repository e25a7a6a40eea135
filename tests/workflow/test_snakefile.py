"""The workflow schedules its jobs, and a bad config fails before the DAG."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("snakemake", reason="the workflow extra is not installed")
ROOT = Path(__file__).resolve().parents[2]


def snakemake(*arguments):
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    return subprocess.run(
        [sys.executable, "-m", "snakemake", "--nolock", *arguments],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=environment,
        check=False,
    )


def test_a_bare_dry_run_schedules_every_rule(tmp_path):
    shown = snakemake("-n", "--config", f"pathvars={{results: {tmp_path}}}")
    text = shown.stdout + shown.stderr
    assert shown.returncode == 0, text
    for rule in ("example", "prepare_genotypes", "train_haplotypes", "simulate_genotypes", "evaluate", "report"):
        assert rule in text


def test_a_bad_value_fails_before_the_dag_with_its_key():
    shown = snakemake("-n", "--config", "seed=-1")
    text = shown.stdout + shown.stderr
    assert shown.returncode != 0
    assert "seed" in text
    assert "Job stats" not in text


def test_a_config_of_one_s_own_replaces_the_example(tmp_path):
    inputs = {"h5ad": "cells.h5ad", "vcf": "d.vcf.gz", "donors": "d.tsv", "genes": "g.gtf"}
    for name in inputs.values():
        (tmp_path / name).touch()
    config = tmp_path / "run.yaml"
    lines = [f"pathvars: {{results: {tmp_path}/out}}", "inputs:", "  contigs: ['1', '2']", "  donor_key: donor"]
    lines += ["  labels_key: cell_type", *(f"  {key}: {tmp_path / name}" for key, name in inputs.items())]
    config.write_text("\n".join([*lines, "scenario: {}"]))
    shown = snakemake("-n", "--configfile", str(config))
    text = shown.stdout + shown.stderr
    assert shown.returncode == 0, text
    assert "rule prepare_genotypes" in text
    assert "rule example" not in text
