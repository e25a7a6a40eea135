"""`make demo`: sets up once, runs the default profile, and ends with paths that exist."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from genesim.config.run import RunConfig

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="make is not on the PATH")


@pytest.fixture
def make(tmp_path: Path) -> Any:
    """Run make in the project with a set-up environment whose Snakemake only notes how it was called."""
    binaries = tmp_path / "venv" / "bin"
    binaries.mkdir(parents=True)
    calls = tmp_path / "calls"
    for name in ("snakemake", "python"):
        (binaries / name).write_text(f'#!/bin/sh\necho {name} "$@" >> {calls}\nexit ${{STUB_EXIT:-0}}\n')
        (binaries / name).chmod(0o755)
    installed = tmp_path / "venv" / ".installed"
    installed.touch()
    later = (ROOT / "pyproject.toml").stat().st_mtime + 10
    os.utime(installed, (later, later))

    def run(*arguments: str, **environment: str) -> tuple[subprocess.CompletedProcess[str], list[str]]:
        shown = subprocess.run(
            ["make", *arguments, f"VENV={tmp_path / 'venv'}"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, **environment},
        )
        lines = calls.read_text().splitlines() if calls.exists() else []
        calls.unlink(missing_ok=True)
        return shown, lines

    return run


def test_the_demo_runs_the_default_profile_and_prints_where_things_are(make: Any, tiny_run: Path) -> None:
    shown, calls = make("demo")
    assert shown.returncode == 0, shown.stderr
    assert calls == ["snakemake --profile profiles/default"]
    results = RunConfig.model_validate(yaml.safe_load((ROOT / "config" / "config.yaml").read_text())).pathvars.results
    printed = dict(re.findall(r"^(\w+) +(\S+)$", shown.stdout, re.M))
    assert set(printed) == {"VCF", "h5ad", "truth", "report"}
    for path in printed.values():
        # Another run of the same rules has them at the same places.
        assert (tiny_run / "results" / Path(path).relative_to(results)).exists()


def test_a_failed_demo_prints_no_paths(make: Any) -> None:
    shown, _ = make("demo", STUB_EXIT="1")
    assert shown.returncode != 0
    assert "report" not in shown.stdout.replace("profiles", "")
