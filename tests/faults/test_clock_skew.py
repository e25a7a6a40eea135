"""Nodes whose clocks disagree: no result, no check and no lock goes by the time of day."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from genesim.provenance import run_log
from genesim.provenance.manifest import verify_manifest
from genesim.provenance.run_log import RunLog, read_run_log

DAY = 86_400.0


def files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.mark.parametrize("skew", [DAY, -20_000 * DAY])
def test_files_from_the_future_and_from_long_ago_are_the_same_files(
    skew: float, genesim: Any, inputs: dict[str, Any], config: Callable[..., Path], tmp_path: Path
) -> None:
    asked = config(inputs)
    assert genesim("prepare", "--config", asked, "--out", tmp_path / "now").code == 0
    then = max(time.time() + skew, 0.0)
    for path in Path(inputs["h5ad"]).parent.iterdir():
        os.utime(path, (then, then))
    # An old cohort from another node's future is replaced as any other.
    (tmp_path / "later").mkdir()
    (tmp_path / "later" / "old").write_text("x")
    os.utime(tmp_path / "later", (then, then))
    assert genesim("prepare", "--config", asked, "--out", tmp_path / "later").code == 0
    assert files(tmp_path / "now") == files(tmp_path / "later")
    for path in (tmp_path / "later").rglob("*"):
        os.utime(path, (then, then))
    verify_manifest(tmp_path / "later")


def test_what_a_dead_writer_left_in_the_future_is_cleaned(
    genesim: Any, inputs: dict[str, Any], config: Callable[..., Path], tmp_path: Path
) -> None:
    import socket

    out = tmp_path / "cohorts" / "c"
    out.parent.mkdir()
    orphan = out.parent / f".tmp-{socket.gethostname()}-{2**22 + 7}-c"  # above the largest process id
    orphan.mkdir()
    (out.parent / ".lock-c").write_text("process 4194311 on gone\n")
    then = time.time() + 30 * DAY
    for path in (orphan, out.parent / ".lock-c"):
        os.utime(path, (then, then))
    assert genesim("prepare", "--config", config(inputs), "--out", out).code == 0
    assert [path.name for path in out.parent.iterdir()] == ["c"]


def test_times_of_the_run_log_do_not_run_backwards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = RunLog(str(tmp_path / "run.jsonl"))
    log.start()

    class Earlier(run_log.datetime):  # someone sets the clock back an hour
        @classmethod
        def now(cls, tz: Any = None) -> Any:
            return super().fromtimestamp(time.time() - 3600, tz)

    monkeypatch.setattr(run_log, "datetime", Earlier)
    log.stop(0)
    ((one,), _) = read_run_log(tmp_path / "run.jsonl")
    assert one["state"] == "ended"
    assert 0 <= one["wall_s"] < 60
