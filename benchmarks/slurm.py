"""A real SLURM of one node, the workflow on it, and what the controller says of every job: `slurm.csv`, `slurm.json`.

`python benchmarks/slurm.py --config RUN.yaml`, as root, with Debian's slurm-wlm and munge and the `slurm` extra. The
test in `tests/cluster` starts its cluster, and reads its jobs, with what is here. `--sizes FILE` takes
the sizes of models and evaluation from there: whether real inputs get through is asked, not how good the models are.
"""

from __future__ import annotations

import argparse
import csv
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import yaml
from record import write_record

from genesim.provenance.manifest import verify_manifest

ROOT = Path(__file__).resolve().parent.parent
SCRIPTS = ROOT / "tests" / "cluster"
PROGRAMS = ("slurmctld", "slurmd", "sbatch", "squeue", "scontrol", "munged")
DATABASE = ("slurmdbd", "sacct", "mariadbd")
# The controller keeps a job's comment, which is how the plugin names the rule: rule_NAME_wildcards_VALUES.
_COMMENT = re.compile(r"rule_(?P<rule>\w+?)(?:_wildcards_(?P<wildcards>.*))?$")


def missing(*mode: str) -> str | None:
    """Why there can be no cluster (of this `mode`, as in `cluster`) here; None where there can."""
    if os.geteuid() != 0:
        return "a SLURM of one's own needs root"
    lacking = [name for name in (*PROGRAMS, *(DATABASE if mode else ())) if shutil.which(name) is None]
    if lacking:
        packages = "slurm-wlm munge" + (" slurmdbd mariadb-server" if mode else "")
        return f"{', '.join(lacking)} not found: apt-get install --no-install-recommends {packages}"
    if find_spec("snakemake_executor_plugin_slurm") is None:
        return "the slurm extra is not installed"
    if os.path.lexists("/etc/slurm/slurm.conf"):
        return "/etc/slurm/slurm.conf is there: this machine has a cluster already"
    return None


@contextmanager
def cluster(directory: Path, *mode: str) -> Iterator[Path]:
    """Start a cluster whose files are in `directory`; end it whatever happens.

    Args:
        directory: Where its state and logs go.
        mode: "dbd" adds slurmdbd and its database.
    """
    try:
        subprocess.run([SCRIPTS / "up.sh", directory, *mode], check=True, timeout=240)
        yield directory
    finally:
        subprocess.run([SCRIPTS / "down.sh", directory], check=True, timeout=120)


@dataclass(frozen=True)
class Job:
    """One job as the controller tells of it.

    Attributes:
        job: Its number.
        rule: Snakemake's rule.
        wildcards: Values of the rule's wildcards.
        state: COMPLETED, FAILED, ...
        mem_mb: Memory asked for.
        time_limit_min: Time asked for.
        cpus: CPUs given.
        wait_s: From submission to start.
        run_s: From start to end.
    """

    job: int
    rule: str
    wildcards: str
    state: str
    mem_mb: int
    time_limit_min: int
    cpus: int
    wait_s: float
    run_s: float


def _minutes(limit: str) -> int:
    days, _, clock = limit.rpartition("-")
    hours, minutes, seconds = map(int, clock.split(":"))
    return int(days or 0) * 1440 + hours * 60 + minutes + seconds // 60


def _megabytes(size: str) -> int:
    factor = {"M": 1.0, "G": 1024.0, "T": 1024.0**2}[size[-1]]
    return round(float(size[:-1]) * factor)


def jobs() -> list[Job]:
    """All jobs that the controller remembers, in order of submission."""
    shown = subprocess.run(["scontrol", "--oneliner", "show", "job"], capture_output=True, text=True, check=True)
    found = []
    for line in shown.stdout.splitlines():
        values = dict(re.findall(r"(\w+)=(\S*)", line))
        if "JobId" not in values:  # "No jobs in the system"
            continue
        named = _COMMENT.match(values.get("Comment", ""))
        tres = dict(part.split("=") for part in (values.get("ReqTRES") or values["TRES"]).split(","))
        submitted, started, ended = (
            datetime.fromisoformat(values[key]) if values[key][:1].isdigit() else None
            for key in ("SubmitTime", "StartTime", "EndTime")
        )
        found.append(
            Job(
                job=int(values["JobId"]),
                rule=named["rule"] if named else values["JobName"],
                wildcards=(named["wildcards"] if named else None) or "",
                state=values["JobState"],
                mem_mb=_megabytes(tres["mem"]),
                time_limit_min=_minutes(values["TimeLimit"]) if ":" in values["TimeLimit"] else -1,
                cpus=int(tres["cpu"]),
                wait_s=(started - submitted).total_seconds() if started and submitted else -1.0,
                run_s=(ended - started).total_seconds() if ended and started else -1.0,
            )
        )
    return sorted(found, key=lambda job: job.job)


def command(directory: Path, config: Path, *arguments: str) -> list[str]:
    """Words of the workflow on the cluster, all of whose files go into `directory`."""
    # A cluster of this machine's own answers at once.
    quick = ["--latency-wait", "10", "--slurm-init-seconds-before-status-checks", "8"]
    logs = ["--slurm-logdir", str(directory / "slurm_logs"), "--slurm-keep-successful-logs"]
    fixed = ["--profile", "profiles/slurm", "--directory", str(directory), "--configfile", str(config), *quick, *logs]
    return [sys.executable, "-m", "snakemake", *arguments, *fixed]


def environment() -> dict[str, str]:
    """What the jobs inherit: this interpreter's `genesim`."""
    return {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "OMP_NUM_THREADS": "1"}


def placed(config: Path, sizes: Path | None) -> dict[str, Any]:
    """A run's config that holds from any folder: its inputs' paths count from the project's root."""
    values = yaml.safe_load(config.read_text())
    for name in ("h5ad", "vcf", "donors", "genes"):
        if name in values.get("inputs", {}):
            values["inputs"][name] = str((ROOT / values["inputs"][name]).resolve())
    if sizes is not None:
        smaller = yaml.safe_load(sizes.read_text())
        values |= {name: smaller[name] for name in ("models", "evaluate", "report")}
    return {**values, "pathvars": {"results": "results"}}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", type=Path, default=ROOT / "config" / "config.yaml")
    parser.add_argument("--sizes", type=Path, help="config whose models, evaluate and report are taken")
    parser.add_argument("--mode", choices=["squeue", "dbd"], default="squeue")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "slurm.csv")
    given = parser.parse_args()
    mode = ["dbd"] if given.mode == "dbd" else []
    if (reason := missing(*mode)) is not None:
        raise SystemExit(reason)
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder)
        polling = ["--slurm-status-command", "sacct"] if mode else []
        (base / "run.yaml").write_text(yaml.safe_dump(placed(given.config, given.sizes)))
        with cluster(base / "cluster", *mode):
            start = time.monotonic()
            words = command(base / "run", base / "run.yaml", *polling)
            subprocess.run(words, cwd=ROOT, env=environment(), check=True)
            wall_s = time.monotonic() - start
            found = jobs()
        for artefact in (path.parent for path in (base / "run" / "results").rglob("manifest.sha256")):
            if artefact.name != "figures":  # Snakemake puts a time stamp of its own into an output that is a folder
                verify_manifest(artefact)
        page = (base / "run" / "results" / "report.html").stat().st_size
    with open(given.out, "w", newline="") as file:
        writer = csv.DictWriter(file, [field.name for field in fields(Job)], lineterminator="\n")
        writer.writeheader()
        writer.writerows(asdict(job) for job in found)
    shown = subprocess.run(["slurmctld", "-V"], capture_output=True, text=True, check=True)
    write_record(
        given.out.with_suffix(".json"),
        slurm=shown.stdout.strip(),
        mode=given.mode,
        config=given.config.name,
        sizes=None if given.sizes is None else given.sizes.name,
        report_bytes=page,
        wall_s=round(wall_s, 1),
        n_jobs=len(found),
        n_completed=sum(job.state == "COMPLETED" for job in found),
    )


if __name__ == "__main__":
    main()
