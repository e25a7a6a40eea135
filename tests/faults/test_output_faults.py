"""The place of the output is at fault: full, read-only, or in use by another run."""

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

import numpy as np
import pandas as pd
import pytest

from genesim.config.model import HaplotypeConfig
from genesim.data.genotypes import write_plink, write_vcf
from genesim.data.write import write_csv, write_h5ad, write_parquet
from genesim.errors import ResourceError
from genesim.estimators.haplotypes import HaplotypeModel
from genesim.provenance.lock import hold, lock_path, release
from genesim.provenance.manifest import verify_manifest
from genesim.provenance.record import Provenance

ROOT = Path(__file__).resolve().parents[2]
DONORS = [f"d{i}" for i in range(200)]
PROVENANCE = Provenance("test", 0)


def noise(rows: int = 4000) -> pd.DataFrame:
    return pd.DataFrame(np.random.default_rng(0).random((rows, 4)), columns=list("abcd"))


def an_h5ad(path: Path) -> None:
    import anndata as ad

    write_h5ad(ad.AnnData(noise().to_numpy(np.float32)), path / "x.h5ad", PROVENANCE)


WRITERS: dict[str, Callable[[Path, Any], Any]] = {
    "h5ad": lambda path, geno: an_h5ad(path),
    "vcf": lambda path, geno: write_vcf(geno, path / "x.vcf.gz"),
    "bcf": lambda path, geno: write_vcf(geno, path / "x.bcf"),
    "bed": lambda path, geno: write_plink(geno, path / "x.bed"),
    "pgen": lambda path, geno: write_plink(geno, path / "x.pgen"),
    "parquet": lambda path, geno: write_parquet(noise(), path / "x.parquet", PROVENANCE),
    "csv": lambda path, geno: write_csv(noise(), path / "x.csv"),
    "model": lambda path, geno: HaplotypeModel.fit(geno, config=HaplotypeConfig(method="independent")).save(path / "x"),
}


@pytest.mark.parametrize("writer", WRITERS)
def test_a_full_disk_is_named_and_nothing_is_left(
    writer: str, small_disk: Any, make_genotypes: Any, left_in: Any
) -> None:
    disk, many = small_disk(16), make_genotypes(DONORS, 400)
    with pytest.raises(ResourceError, match=r"No space left|nothing was left at the final path") as raised:
        WRITERS[writer](disk, many)
    assert raised.value.exit_code == 7
    assert str(disk) in str(raised.value)
    assert "free disk space" in str(raised.value)
    assert left_in(disk) == []


def test_prepare_on_a_full_disk_keeps_what_was_there(
    genesim: Any, inputs: Any, config: Any, small_disk: Any, left_in: Any, tmp_path: Path
) -> None:
    assert genesim("prepare", "--config", config(inputs), "--out", tmp_path / "cohort", "--quiet").code == 0
    size = sum(path.stat().st_size for path in (tmp_path / "cohort").rglob("*") if path.is_file())
    disk = small_disk(size // 1024 * 3 // 2 + 16)  # room for one, not for the next beside it
    shutil.copytree(tmp_path / "cohort", disk / "cohort")
    before = left_in(disk)
    shown = genesim("prepare", "--config", config(inputs), "--seed", 1, "--out", disk / "cohort")
    shown.refused(7, "ResourceError", str(disk), "cohort", "No space left", "free disk space")
    assert left_in(disk) == before
    verify_manifest(disk / "cohort")


def test_a_read_only_file_system_is_said_before_the_work(
    genesim: Any, inputs: Any, config: Any, small_disk: Any, left_in: Any
) -> None:
    disk = small_disk(64)
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    inputs["h5ad"] = "never looked at"
    shown = genesim("prepare", "--config", config(inputs), "--out", disk / "deep" / "cohort")
    shown.refused(7, "ResourceError", "cannot be written", "another output")
    assert left_in(disk) == []


def test_a_second_run_on_the_same_output_is_refused_and_the_first_goes_on(
    genesim: Any, inputs: Any, config: Any, left_in: Any, tmp_path: Path
) -> None:
    out = tmp_path / "out" / "cohort"
    holder = (
        "import sys, time; from genesim.provenance.lock import hold; hold(sys.argv[1]); print('held', flush=True)\n"
        "time.sleep(600)"
    )
    first = subprocess.Popen(
        [sys.executable, "-c", holder, str(out)], stdout=subprocess.PIPE, text=True, env={**os.environ}, cwd=ROOT
    )
    try:
        assert first.stdout is not None
        assert first.stdout.readline() == "held\n"
        shown = genesim("prepare", "--config", config(inputs), "--out", out)
        shown.refused(7, "ResourceError", str(out), "another genesim is writing it", f"process {first.pid} on", "wait")
        assert left_in(tmp_path / "out") == [".lock-cohort"]
        assert first.poll() is None
        # Another output of the same folder is free.
        assert genesim("prepare", "--config", config(inputs), "--out", out.with_name("other"), "--quiet").code == 0
    finally:
        first.send_signal(signal.SIGKILL)
        first.wait()
    # What a killed run leaves locks nothing.
    assert left_in(tmp_path / "out")[0] == ".lock-cohort"
    assert genesim("prepare", "--config", config(inputs), "--out", out, "--quiet").code == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["cohort", "other"]


def test_a_lock_is_taken_once_given_back_and_leaves_no_folder(tmp_path: Path) -> None:
    target = tmp_path / "a" / "b" / "thing"
    hold(target)
    hold(target)  # the same process may ask again
    assert lock_path(target).read_text().startswith(f"process {os.getpid()} on ")
    release()
    assert list(tmp_path.iterdir()) == []
    hold(target)
    target.touch()
    release()
    assert [path.name for path in target.parent.iterdir()] == ["thing"]


@pytest.mark.parametrize("attempt", range(3))
def test_a_run_killed_at_any_moment_leaves_no_partial_output_and_the_next_one_cleans_up(
    attempt: int, genesim: Any, inputs: Any, config: Any, tmp_path: Path
) -> None:
    out = tmp_path / "out" / "cohort"
    words = ["prepare", "--config", str(config(inputs)), "--out", str(out)]
    code = "from genesim.cli.app import main; main()"
    process = subprocess.Popen(
        [sys.executable, "-c", code, *words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=ROOT
    )
    deadline = time.monotonic() + 120
    # From the first file on: before it there is nothing that could be partial.
    while process.poll() is None and time.monotonic() < deadline and not list(out.parent.glob(".tmp-*")):
        time.sleep(0.001)
    time.sleep(float(np.random.default_rng([7, attempt]).uniform(0, 0.05)))
    process.kill()
    process.wait()
    if out.exists():
        verify_manifest(out)  # whole or not there
    assert genesim(*words, "--quiet").code == 0
    assert [path.name for path in out.parent.iterdir()] == ["cohort"]
    verify_manifest(out)
