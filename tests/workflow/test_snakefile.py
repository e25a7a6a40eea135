"""The workflow schedules its jobs, keeps to the rules of good workflows, and refuses a bad config before the DAG."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

pytest.importorskip("snakemake", reason="the workflow extra is not installed")
ROOT = Path(__file__).resolve().parents[2]
RULES = {
    "example",
    "prepare_genotypes",
    "prepare",
    "train_expression",
    "train_haplotypes",
    "train_effects",
    "simulate_genotypes",
    "simulate",
    "evaluate",
    "report",
}
SCATTERED_RULES = {"train_haplotypes_shard", "train_effects_init", "train_effects_shard", "simulate_cells"}
REPLICATE_RULES = {"simulate_replicate", "evaluate_replicate", "replicate_scores"}
PERTURBATION_RULES = {"train_perturbation", "perturb", "perturbation_effects"}


def snakemake(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Snakemake as a user starts it: from the project's root."""
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    return subprocess.run(
        [sys.executable, "-m", "snakemake", "--nolock", *arguments],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=environment,
        check=False,
    )


def rule_blocks() -> dict[str, str]:
    """Text of every rule that runs a command."""
    text = "\n".join(path.read_text() for path in sorted((ROOT / "workflows" / "rules").glob("*.smk")))
    parts = re.split(r"^ *rule (\w+):$", text, flags=re.M)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def test_a_bare_dry_run_schedules_every_rule_and_writes_below_results(tmp_path: Path) -> None:
    shown = snakemake("-n", "--config", f"pathvars={{results: {tmp_path}}}")
    text = shown.stdout + shown.stderr
    assert shown.returncode == 0, text
    assert {name for name in RULES if re.search(rf"^{name} +\d+$", text, re.M)} == RULES
    # Two runs must not write each other's logs.
    for key in ("output", "log", "benchmark"):
        paths = [p for line in re.findall(rf"^ +{key}: (.*)$", text, re.M) for p in line.split(", ")]
        assert paths
        assert all(path.startswith(str(tmp_path)) for path in paths)


def test_shards_of_haplotypes_are_fitted_by_jobs_of_their_own_and_joined(tmp_path: Path) -> None:
    config = (f"pathvars={{results: {tmp_path}}}", "models={haplotypes: {shards: 3}}")
    shown = snakemake("-n", "--config", *config)
    text = shown.stdout + shown.stderr
    assert shown.returncode == 0, text
    n_contigs = len(re.findall(r"^rule train_haplotypes:$", text, re.M))
    assert n_contigs >= 1
    assert len(re.findall(r"^rule train_haplotypes_shard:$", text, re.M)) == 3 * n_contigs


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ("seed=-1", "key 'seed' is -1"),
        ("models={haplotypes: {n_stats: 3}}", "unknown key 'models.haplotypes.n_stats' -> did you mean 'n_states'?"),
        ("inputs={h5ad: a.h5ad, vcf: b.vcf.gz}", "key 'inputs.contigs' is empty"),
        ("perturbation={h5ad: a.h5ad}", "key 'perturbation.sweep' is empty"),
    ],
)
def test_a_bad_value_fails_before_the_dag_with_its_key(config: str, said: str) -> None:
    """More of them, without Snakemake: tests/config/test_run.py."""
    shown = snakemake("-n", "--config", config)
    text = shown.stdout + shown.stderr
    assert shown.returncode != 0
    assert said in text
    assert "Building DAG" not in text
    assert "Traceback" not in text


def test_a_config_of_one_s_own_replaces_the_example(tmp_path: Path) -> None:
    names = {"h5ad": "cells.h5ad", "vcf": "d.vcf.gz", "donors": "d.tsv", "genes": "g.gtf"}
    inputs: dict[str, Any] = {key: str(tmp_path / name) for key, name in names.items()}
    for path in inputs.values():
        Path(path).touch()
    config = tmp_path / "run.yaml"
    values = {"inputs": {**inputs, "contigs": ["1", "HLA*2"]}, "pathvars": {"results": str(tmp_path / "out")}}
    config.write_text(yaml.safe_dump(values))
    shown = snakemake("-n", "--configfile", str(config))
    text = shown.stdout + shown.stderr
    assert shown.returncode == 0, text
    assert "rule prepare_genotypes" in text
    assert "rule example" not in text
    assert "wildcards: contig=HLA*2" in text


def test_a_missing_input_is_named(tmp_path: Path) -> None:
    inputs = {"h5ad": str(tmp_path / "lost.h5ad"), "vcf": str(tmp_path / "lost.vcf.gz"), "contigs": ["1"]}
    config = tmp_path / "run.yaml"
    config.write_text(yaml.safe_dump({"inputs": inputs, "pathvars": {"results": str(tmp_path / "out")}}))
    shown = snakemake("-n", "--configfile", str(config))
    assert shown.returncode != 0
    assert "MissingInputException" in shown.stdout + shown.stderr
    assert "lost.vcf.gz" in shown.stdout + shown.stderr


def test_every_rule_declares_what_a_cluster_and_a_reader_need() -> None:
    blocks = rule_blocks()
    assert set(blocks) == RULES | SCATTERED_RULES | REPLICATE_RULES | PERTURBATION_RULES
    for name, block in blocks.items():
        for directive in ("output", "log", "benchmark", "conda", "threads", "resources", "shell"):
            assert re.search(rf"^ +{directive}:$|^ +{directive}: \S", block, re.M), f"{name} has no {directive}"
        assert re.search(r"mem_mb=lambda wildcards, attempt: \d+ \* attempt", block), name  # more on a retry
        assert re.search(r"runtime=\d+", block), name
        assert "retries:" not in block, name
        assert "{log:q} 2>&1" in block, name
        assert not re.search(r"\{(output|log|params\.\w+|wildcards\.\w+)\}", block.split("shell:")[1]), name  # unquoted


def test_the_linter_and_the_formatter_are_content() -> None:
    shown = snakemake("--lint")
    assert shown.returncode == 0, shown.stdout + shown.stderr
    assert "good condition" in shown.stdout + shown.stderr
    files = ["Snakefile", "workflows"]
    formatted = subprocess.run(
        [sys.executable, "-m", "snakefmt", "--check", *files], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert formatted.returncode == 0, formatted.stderr


@pytest.mark.parametrize("name", ["default", "slurm"])
def test_profiles_are_whole(name: str) -> None:
    profile = yaml.safe_load((ROOT / "profiles" / name / "config.yaml").read_text())
    assert profile["rerun-incomplete"] is True
    assert ("executor" in profile) == (name == "slurm")


def test_snakemake_makes_its_own_report_of_a_run(tiny_run: Path, workflow: Any, tiny_config: dict[str, Any]) -> None:
    shown = workflow(tiny_run, tiny_config, "--report", "snakemake.html")
    assert shown.returncode == 0, shown.stderr
    page = (tiny_run / "snakemake.html").read_text(encoding="utf-8")
    assert all(name in page for name in RULES)
    assert "every figure beside its floor" in page  # the caption of our report
