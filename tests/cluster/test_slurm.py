"""The workflow on a real slurmctld and slurmd, polled by squeue, and by sacct from a real slurmdbd and its MariaDB.

As root, with Debian's packages; skipped with a reason elsewhere. All tests of a cluster are in this file: a machine has
one at a time, and files are shared out between processes.
"""

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
WITHOUT_DATABASE = pytest.mark.parametrize("cluster", ["squeue"], indirect=True)
WITH_DATABASE = pytest.mark.parametrize("cluster", ["dbd"], indirect=True)

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
def cluster(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Directory of a running cluster; it has a database where the parameter is `dbd`."""
    mode = ["dbd"] if request.param == "dbd" else []
    if (reason := slurm.missing(*mode)) is not None:
        pytest.skip(reason)
    with slurm.cluster(tmp_path_factory.mktemp("cluster"), *mode) as directory:
        pids = [int(path.read_text()) for path in [*(directory / "run").glob("*.pid"), *directory.glob("run/my/pid")]]
        assert len(pids) == (4 if mode else 2)  # slurmctld and slurmd; slurmdbd and mariadbd
        yield directory
    assert not [pid for pid in pids if Path(f"/proc/{pid}").exists()]
    assert not os.path.lexists("/etc/slurm/slurm.conf")
    assert not os.path.lexists("/etc/slurm/slurmdbd.conf")


def shell(words: list[str], directory: Path, n_seconds: int) -> subprocess.CompletedProcess[str]:
    """Run a command from `directory`; a hang is a failure."""
    # The compiler need not optimise what runs once.
    flags = {"XLA_FLAGS": f"{os.environ.get('XLA_FLAGS', '')} --xla_backend_optimization_level=0"}
    environment = {**slurm.environment(), **flags}
    return subprocess.run(
        words, capture_output=True, text=True, cwd=directory, env=environment, check=False, timeout=n_seconds
    )


def run(directory: Path, config: dict[str, Any], *arguments: str) -> subprocess.CompletedProcess[str]:
    """The workflow with the slurm profile."""
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / "run.yaml"
    path.write_text(yaml.safe_dump({"pathvars": {"results": "results"}, **config}))
    return shell(slurm.command(directory, path, *arguments), ROOT, 1500)


def snakemake(directory: Path, snakefile: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Another workflow with the slurm profile."""
    (directory / "Snakefile").write_text(snakefile)
    (directory / "none.yaml").write_text("{}")
    given = ["--snakefile", str(directory / "Snakefile"), *arguments]
    return shell(slurm.command(directory, directory / "none.yaml", *given), ROOT, 600)


@pytest.fixture(scope="module")
def whole_run(
    cluster: Path, tiny_values: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, list[slurm.Job]]:
    """The tiny example from raw files to the report, and its jobs."""
    directory = tmp_path_factory.mktemp("run")
    shown = run(directory, tiny_values)
    assert shown.returncode == 0, shown.stderr[-5000:]
    return directory, slurm.jobs()


@WITHOUT_DATABASE
def test_every_job_ran_on_the_cluster_with_what_its_rule_asks_for(whole_run: tuple[Path, list[slurm.Job]]) -> None:
    _, jobs = whole_run
    assert {job.state for job in jobs} == {"COMPLETED"}
    assert len(jobs) == len(JOBS)  # none was tried twice
    assert {(job.rule, job.wildcards): (job.mem_mb, job.time_limit_min) for job in jobs} == JOBS


@WITHOUT_DATABASE
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
    words[:0] = ["env", "JAX_PLATFORMS=cpu", "XLA_FLAGS=--xla_force_host_platform_device_count=1"]
    shown = shell(words, directory, 1500)
    said = shown.stdout + shown.stderr
    assert shown.returncode == 0, said[-5000:]
    verify_manifest(out)
    return out, set(re.findall(r"process \d of \d, \d devices", said))


@pytest.mark.slow
@WITHOUT_DATABASE
def test_two_tasks_of_srun_learn_what_one_does(
    whole_run: tuple[Path, list[slurm.Job]], tiny_config: dict[str, Any]
) -> None:
    directory, _ = whole_run
    tiny_config["models"]["expression"]["method"] = "vae"  # without the trials of `auto`
    config = directory / "train.yaml"
    config.write_text(yaml.safe_dump(tiny_config))
    (alone, said), (shared, both_said) = (srun(n, directory, config) for n in (1, 2))
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


@pytest.mark.slow
@WITHOUT_DATABASE
def test_a_job_over_its_memory_is_tried_again_with_more_once(cluster: Path, tmp_path: Path) -> None:
    before = {job.job for job in slurm.jobs()}
    shown = snakemake(tmp_path, HOG)
    assert shown.returncode == 0, shown.stderr[-5000:]
    jobs = [job for job in slurm.jobs() if job.job not in before]
    assert [(job.rule, job.mem_mb) for job in jobs] == [("hog", 300), ("hog", 1200)]
    assert jobs[0].state != "COMPLETED"
    assert jobs[1].state == "COMPLETED"
    assert (tmp_path / "hog.txt").read_text() == "done\n"


# `first` fails at its first attempt; `second` follows.
FOLLOWED = """
rule second:
    input:
        "first.txt",
    output:
        "second.txt",
    resources:
        mem_mb=500,
        runtime=5,
    shell:
        "cp {input} {output}"


rule first:
    output:
        "first.txt",
    resources:
        mem_mb=lambda wildcards, attempt: 500 * attempt,
        runtime=5,
    shell:
        "if [ -e tried ]; then echo done > {output}; else touch tried; exit 1; fi"
"""


@WITH_DATABASE
def test_sacct_tells_how_jobs_ended(cluster: Path, tmp_path: Path) -> None:
    shown = snakemake(tmp_path, FOLLOWED, "--slurm-status-command", "sacct")
    assert shown.returncode == 0, shown.stderr[-5000:]
    assert (tmp_path / "second.txt").read_text() == "done\n"
    words = ["sacct", "--noheader", "--parsable2", "--allocations", "--format=Account,State,ReqMem"]
    told = subprocess.run(words, capture_output=True, text=True, check=True)
    assert [line.split("|") for line in told.stdout.splitlines()] == [
        ["root", "FAILED", "500M"],
        ["root", "COMPLETED", "1000M"],
        ["root", "COMPLETED", "500M"],
    ]
