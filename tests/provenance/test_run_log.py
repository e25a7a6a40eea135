"""The run log: a line where a command starts, one where it ends, whole whoever writes at the same time."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from genesim.provenance import run_log
from genesim.provenance.run_log import RunLog, append_line, read_run_log


def command(*words: object, log: Path) -> subprocess.CompletedProcess[str]:
    """`genesim` with these words, logged in `log`."""
    code = "from genesim.cli.app import main; main()"
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, words)],
        env={**os.environ, run_log.VARIABLE: str(log)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_commands_that_fail_say_so_and_dry_runs_and_help_say_nothing(tmp_path: Path) -> None:
    log = tmp_path / "logs" / "run.jsonl"
    assert command("--help", log=log).returncode == 0
    assert command("example", "--dry-run", "--out", tmp_path / "x", log=log).returncode == 0
    assert not log.exists()
    failed = command("example", "--config", '{"sed": 1}', "--seed", 7, "--out", tmp_path / "x", log=log)
    assert failed.returncode == 2
    (one,), n_broken = read_run_log(log)
    assert n_broken == 0
    assert (one["state"], one["exit"], one["error"], one["seed"]) == ("failed", 2, "ConfigError", 7)
    assert one["command"][0] == "example"
    assert one["peak_rss_mib"] > 20
    assert one["cpu_s"] > 0
    # It began its work, and what it needs is not there.
    missing = ("train", "effects", "--cohort", tmp_path / "none", "--out", tmp_path / "m", "--seed", 3)
    assert command(*missing, log=log).returncode == 4
    lines = [json.loads(text) for text in log.read_text().splitlines()]
    assert [line["event"] for line in lines] == ["stop", "start", "stop"]
    assert {line["seed"] for line in lines[1:]} == {3}
    commands, _ = read_run_log(log)
    assert [c["error"] for c in commands] == ["ConfigError", "ArtefactError"]


def test_a_log_that_cannot_be_written_does_not_end_the_command(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    failed = command("example", "--config", '{"sed": 1}', "--out", tmp_path / "x", log=tmp_path / "file" / "run.jsonl")
    assert failed.returncode == 2  # the config's error, as ever
    assert "the run log cannot be written" in failed.stderr


def test_lines_of_many_writers_stay_whole(tmp_path: Path) -> None:
    log = tmp_path / "run.jsonl"
    code = (
        "import sys\nfrom genesim.provenance.run_log import append_line\n"
        "import json\nline = json.dumps({'writer': int(sys.argv[2]), 'x': 'y' * 3000})\n"
        "for i in range(200): append_line(sys.argv[1], line)"
    )
    with ThreadPoolExecutor(3) as pool:
        ran = [pool.submit(subprocess.run, [sys.executable, "-c", code, log, str(k)], check=True) for k in range(3)]
        [one.result() for one in ran]
    writers = [json.loads(text)["writer"] for text in log.read_text().splitlines()]
    assert sorted(writers) == [0] * 200 + [1] * 200 + [2] * 200


def test_a_killed_command_has_no_end_and_a_broken_line_spoils_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tmp_path / "run.jsonl"
    code = (
        "import os, signal, sys\nfrom genesim.provenance.run_log import current\n"
        "current().start()\nos.kill(os.getpid(), signal.SIGKILL)"
    )
    killed = subprocess.run(
        [sys.executable, "-c", code, "train"], env={**os.environ, run_log.VARIABLE: str(log)}, check=False
    )
    assert killed.returncode == -signal.SIGKILL
    with open(log, "a") as file:
        file.write('{"schema": "gene')  # the disk was full
    monkeypatch.setattr(sys, "argv", ["genesim", "simulate", "--donor", "NA12878", "--donor=NA12879"])
    ours = RunLog(str(log))
    ours.start()
    ours.start()
    ours.stop(0)
    commands, n_broken = read_run_log(log)
    assert [(c["command"][0], c["state"]) for c in commands] == [("train", "no end"), ("simulate", "ended")]
    assert n_broken == 1
    assert "NA1287" not in log.read_text()


def test_no_file_is_named_no_file_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    silent = RunLog(None)
    silent.start()
    silent.stop(0)
    assert list(tmp_path.iterdir()) == []
    append_line(tmp_path / "a" / "b.jsonl", "{}")
    assert (tmp_path / "a" / "b.jsonl").read_text() == "{}\n"
