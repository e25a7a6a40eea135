"""Jobs polled by sacct from a real slurmdbd and its MariaDB: `make test-cluster`. Skipped with a reason elsewhere."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import slurm

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.slow

# `first` fails at its first attempt; `second` follows.
SNAKEFILE = """
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


@pytest.fixture(scope="module")
def accounting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Directory of a running cluster with a database."""
    if (reason := slurm.missing("dbd")) is not None:
        pytest.skip(reason)
    with slurm.cluster(tmp_path_factory.mktemp("cluster"), "dbd") as directory:
        pids = [int(path.read_text()) for path in [*(directory / "run").glob("*.pid"), directory / "run/my/pid"]]
        assert len(pids) == 4  # slurmctld, slurmd, slurmdbd and mariadbd
        yield directory
    assert not [pid for pid in pids if Path(f"/proc/{pid}").exists()]
    assert not os.path.lexists("/etc/slurm/slurm.conf")
    assert not os.path.lexists("/etc/slurm/slurmdbd.conf")


def test_sacct_tells_how_jobs_ended(accounting: Path, tmp_path: Path) -> None:
    (tmp_path / "Snakefile").write_text(SNAKEFILE)
    (tmp_path / "none.yaml").write_text("{}")
    given = ["--snakefile", str(tmp_path / "Snakefile"), "--slurm-status-command", "sacct"]
    shown = subprocess.run(
        slurm.command(tmp_path, tmp_path / "none.yaml", *given),
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=slurm.environment(),
        check=False,
        timeout=600,
    )
    assert shown.returncode == 0, shown.stderr[-5000:]
    assert (tmp_path / "second.txt").read_text() == "done\n"
    told = subprocess.run(
        ["sacct", "--noheader", "--parsable2", "--allocations", "--format=Account,State,ReqMem"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert [line.split("|") for line in told.stdout.splitlines()] == [
        ["root", "FAILED", "500M"],
        ["root", "COMPLETED", "1000M"],
        ["root", "COMPLETED", "500M"],
    ]
