"""The workflow on a real slurmctld and slurmd: `make test-cluster`, as root. Skipped with a reason elsewhere."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import slurm
import yaml

from genesim.estimators.expression import ExpressionModel
from genesim.provenance.manifest import verify_manifest

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.slow

# Rule and contig: memory (MB) and minutes of a first attempt, as the rules have them.
JOBS = {
    ("example", ""): (2000, 30),
    ("prepare_genotypes", "21"): (2000, 30),
    ("prepare_genotypes", "22"): (2000, 30),
    ("prepare", ""): (4000, 30),
    ("train_expression", ""): (6000, 120),
    ("train_haplotypes", "21"): (8000, 120),
    ("train_haplotypes", "22"): (8000, 120),
    ("train_effects", ""): (6000, 120),
    ("simulate_genotypes", "21"): (4000, 30),
    ("simulate_genotypes", "22"): (4000, 30),
    ("simulate", ""): (6000, 30),
    ("evaluate", ""): (6000, 60),
    ("report", ""): (6000, 30),
}
ARTEFACTS = ["cohort", "models/expression", "models/effects", "models/haplotypes/21", "sim", "evaluation"]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Directory of a running cluster."""
    if (reason := slurm.missing()) is not None:
        pytest.skip(reason)
    with slurm.cluster(tmp_path_factory.mktemp("cluster")) as directory:
        pids = [int(path.read_text()) for path in (directory / "run").glob("*.pid")]
        assert len(pids) == 2  # slurmctld and slurmd
        yield directory
    assert not [pid for pid in pids if Path(f"/proc/{pid}").exists()]
    assert not os.path.lexists("/etc/slurm/slurm.conf")


def run(directory: Path, config: dict[str, Any], *arguments: str) -> subprocess.CompletedProcess[str]:
    """The workflow with the slurm profile; a hang is a failure."""
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / "run.yaml"
    path.write_text(yaml.safe_dump({"pathvars": {"results": "results"}, **config}))
    return subprocess.run(
        slurm.command(directory, path, *arguments),
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=slurm.environment(),
        check=False,
        timeout=1500,
    )


@pytest.fixture(scope="module")
def whole_run(
    cluster: Path, tiny_values: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, list[slurm.Job]]:
    """The tiny example from raw files to the report, and its jobs."""
    directory = tmp_path_factory.mktemp("run")
    shown = run(directory, tiny_values)
    assert shown.returncode == 0, shown.stderr[-5000:]
    return directory, slurm.jobs()


def test_every_job_ran_on_the_cluster_with_what_its_rule_asks_for(whole_run: tuple[Path, list[slurm.Job]]) -> None:
    _, jobs = whole_run
    assert {job.state for job in jobs} == {"COMPLETED"}
    assert len(jobs) == len(JOBS)  # none was tried twice
    assert {(job.rule, job.wildcards): (job.mem_mb, job.time_limit_min) for job in jobs} == JOBS


def test_the_outputs_are_whole_and_nothing_remains(whole_run: tuple[Path, list[slurm.Job]]) -> None:
    directory, _ = whole_run
    results = directory / "results"
    for name in ARTEFACTS:
        verify_manifest(results / name)
    for name in ("sim/sim.vcf.gz", "sim/sim.h5ad", "report.html"):
        assert (results / name).stat().st_size
    assert not list(results.rglob(".tmp-*"))
    queued = subprocess.run(["squeue", "--noheader"], capture_output=True, text=True, check=True)
    assert queued.stdout.strip() == ""
    node = subprocess.run(["sinfo", "-ho", "%T"], capture_output=True, text=True, check=True)
    assert node.stdout.strip() == "idle"


def losses(model: Path) -> dict[str, np.ndarray]:
    """Every step's loss of the network and of its flow."""
    history = ExpressionModel.load(model).history
    return {name: np.asarray(values) for name, values in history.items() if name.endswith("loss")}


def srun(n_tasks: int, directory: Path, config: Path) -> tuple[Path, set[str]]:
    """Train the expression model by so many tasks; where it was written, and what the tasks say of themselves."""
    out = directory / f"{n_tasks}_tasks"
    words = ["srun", f"--ntasks={n_tasks}", "--cpus-per-task=1", "--mem=8000", "--time=30"]
    words += ["genesim", "train", "expression", "--config", str(config), "--out", str(out)]
    words += ["--cohort", str(directory / "results" / "cohort"), "--distributed", "auto"]
    flags = {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": "--xla_force_host_platform_device_count=1"}
    shown = subprocess.run(
        words,
        capture_output=True,
        text=True,
        cwd=directory,
        env={**slurm.environment(), **flags},
        check=False,
        timeout=1500,
    )
    said = shown.stdout + shown.stderr
    assert shown.returncode == 0, said[-5000:]
    verify_manifest(out)
    return out, set(re.findall(r"process \d of \d, \d devices", said))


def test_two_tasks_of_srun_learn_what_one_does(cluster: Path, tiny_config: dict[str, Any], tmp_path: Path) -> None:
    shown = run(tmp_path, tiny_config, "results/cohort/manifest.sha256")
    assert shown.returncode == 0, shown.stderr[-5000:]
    tiny_config["models"]["expression"]["method"] = "vae"  # without the trials of `auto`
    config = tmp_path / "train.yaml"
    config.write_text(yaml.safe_dump(tiny_config))
    (alone, said), (shared, both_said) = (srun(n, tmp_path, config) for n in (1, 2))
    assert said == {"process 1 of 1, 1 devices"}
    assert both_said == {"process 1 of 2, 2 devices", "process 2 of 2, 2 devices"}
    one, two = losses(alone), losses(shared)
    assert {"vae_loss", "flow_loss"} <= set(one)
    assert one.keys() == two.keys()
    for name, values in one.items():
        np.testing.assert_allclose(two[name], values, rtol=1e-4, err_msg=name)
    assert abs(one["vae_loss"][0] - one["vae_loss"][-1]) > 1e-2 * abs(one["vae_loss"][0])  # something was learned


# Needs more than the first attempt gives, and holds it for as long as SLURM takes to look.
HOG = """
rule hog:
    output:
        "hog.txt",
    resources:
        mem_mb=lambda wildcards, attempt: 300 * attempt**2,
        runtime=5,
    shell:
        "python -c 'import time; held = bytearray(500 << 20); time.sleep(15)' && echo done > {output}"
"""


def test_a_job_over_its_memory_is_tried_again_with_more_once(cluster: Path, tmp_path: Path) -> None:
    before = {job.job for job in slurm.jobs()}
    (tmp_path / "Snakefile").write_text(HOG)
    (tmp_path / "none.yaml").write_text("{}")
    words = slurm.command(tmp_path, tmp_path / "none.yaml", "--snakefile", str(tmp_path / "Snakefile"))
    shown = subprocess.run(
        words, capture_output=True, text=True, cwd=ROOT, env=slurm.environment(), check=False, timeout=600
    )
    assert shown.returncode == 0, shown.stderr[-5000:]
    jobs = [job for job in slurm.jobs() if job.job not in before]
    assert [(job.rule, job.mem_mb) for job in jobs] == [("hog", 300), ("hog", 1200)]
    assert jobs[0].state != "COMPLETED"
    assert jobs[1].state == "COMPLETED"
    assert (tmp_path / "hog.txt").read_text() == "done\n"
