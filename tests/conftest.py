"""Fixtures that every test folder shares."""

from __future__ import annotations

import copy
import fcntl
import hashlib
import logging
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

# As Snakemake does for a job of one thread: OpenMP's threads spin while they wait, and with two workers on two
# cores they wait most of the time. Set before anything loads OpenMP.
os.environ.setdefault("OMP_NUM_THREADS", "1")


def pytest_configure(config: pytest.Config) -> None:
    """Processes of a session share what JAX compiled: most of a tiny fit's time is its compilation.

    A worker has the environment of the process that started it, which removes the folder at its end.
    """
    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        folder = tempfile.mkdtemp(prefix="genesim-jax-")
        os.environ["JAX_COMPILATION_CACHE_DIR"] = folder
        # The small programs too: there are many.
        os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
        os.environ["JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES"] = "-1"
        config.add_cleanup(lambda: shutil.rmtree(folder, ignore_errors=True))


ROOT = Path(__file__).resolve().parents[1]

# The built-in example, so small that its thirteen jobs are mostly start-up.
TINY: dict[str, Any] = {
    "seed": 0,
    "example": {"n_donors": 45, "n_cell_donors": 40, "n_genes": 40, "max_variants": 120},
    "models": {
        "expression": {
            "candidates": ["small", "copula"],
            "n_latent": 4,
            "n_hidden": 16,
            "n_layers": 1,
            "n_flow_layers": 1,
            "n_flow_steps": 3,
            "vae": {"n_steps": 40, "minibatch_size": 32, "steps_per_call": 10, "checkpoint_every": 10},
            "flow": {"n_steps": 40, "minibatch_size": 32, "steps_per_call": 20},
        },
        "haplotypes": {"n_states": 4, "n_passes": 2},
        "effects": {"window": 250_000, "n_factors": 0, "min_cells": 2, "n_effects": 1},
    },
    "scenario": {
        "name": "tiny",
        "population": {"n_donors": 12},
        "effects": {"learned": True, "random": {"share_of_genes": 0.5, "window": 250_000}},
        "cells": {"n_cells": 240},
    },
    "evaluate": {
        "max_cells": 100,
        "max_genes": 40,
        "n_components": 5,
        "n_folds": 2,
        "n_top_genes": 20,
        "n_correlation_genes": 10,
        "n_bootstrap": 5,
        "max_haplotypes": 24,
        "max_variants": 100,
        "donor_audit": {"planted_steps": 20},
    },
    "report": {"embedding": "pca"},
}


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real data; tests that need it are skipped, with this reason, where it is absent."""
    path = Path(os.environ.get("GENESIM_DATA", ROOT.parent / "shared" / "data"))
    if not path.is_dir():
        pytest.skip(f"real data not found at {path}: set GENESIM_DATA")
    return path


@pytest.fixture(scope="session")
def tiny_values() -> dict[str, Any]:
    """`TINY` for fixtures of wider scope: not to be changed."""
    return TINY


@pytest.fixture
def tiny_config() -> dict[str, Any]:
    """A copy of `TINY`, to change at will."""
    return copy.deepcopy(TINY)


class Workflow:
    """Snakemake on the project's workflow; all that it writes is in one directory."""

    # A path without a leading slash is taken from the directory, whose files are then easy to compare.
    results = "results"

    @property
    def environment(self) -> dict[str, str]:
        """Rules find this interpreter's `genesim`; the compiler need not optimise what runs once."""
        flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_backend_optimization_level=0"
        return {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "XLA_FLAGS": flags}

    def command(self, directory: Path, config: dict[str, Any], *arguments: str) -> list[str]:
        """Words of the command; `config` is written into `directory`.

        Each call has a file of its own: tests of several processes share a directory.
        """
        directory.mkdir(parents=True, exist_ok=True)
        text = yaml.safe_dump({"pathvars": {"results": self.results}, **config})
        path = directory / f"run_{hashlib.sha256(text.encode()).hexdigest()[:12]}.yaml"
        path.write_text(text)
        fixed = ["--profile", "profiles/default", "--directory", str(directory), "--configfile", str(path)]
        return [sys.executable, "-m", "snakemake", *arguments, *fixed]

    def __call__(self, directory: Path, config: dict[str, Any], *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(directory, config, *arguments),
            capture_output=True,
            text=True,
            cwd=ROOT,
            env=self.environment,
            check=False,
        )


@pytest.fixture(scope="session")
def workflow() -> Workflow:
    """See `Workflow`."""
    pytest.importorskip("snakemake", reason="the workflow extra is not installed")
    return Workflow()


@pytest.fixture(scope="session")
def tiny_run(tmp_path_factory: pytest.TempPathFactory, workflow: Workflow) -> Path:
    """Directory of one whole run of `TINY`, for all workers of a session; its results are in `results/`."""
    base = tmp_path_factory.getbasetemp()
    base = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    directory = base / "a tiny run"  # the space is on purpose
    with open(base / "tiny.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not directory.exists():
            made = workflow(directory, TINY)
            (directory / "log.txt").write_text(made.stdout + made.stderr)
            (directory / "returncode").write_text(str(made.returncode))
    assert (directory / "returncode").read_text() == "0", (directory / "log.txt").read_text()[-5000:]
    return directory


@dataclass(frozen=True)
class Shown:
    """What a command left behind: exit code, standard output, standard error."""

    code: int
    out: str
    err: str

    def refused(self, code: int, kind: str, *fragments: str) -> None:
        """Assert one line of a typed error with a remedy, which has the fragments, and no traceback."""
        last = self.err.rstrip("\n").splitlines()[-1]
        assert self.code == code, self.err
        assert last.startswith(f"genesim: {kind}: "), self.err
        assert " -> " in last
        for fragment in fragments:
            assert fragment in last, last
        assert "Traceback" not in self.err


@pytest.fixture
def genesim(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Callable[..., Shown]]:
    """`genesim("prepare", "--out", path)` as from a shell, in this process: quicker, and just as whole."""
    from genesim.cli.app import main  # not before OMP_NUM_THREADS is set

    log = logging.getLogger("genesim")
    before = log.handlers[:], log.level, log.propagate

    def run(*arguments: object) -> Shown:
        monkeypatch.setattr(sys, "argv", ["genesim", *map(str, arguments)])
        capsys.readouterr()
        try:
            main()
        except SystemExit as stop:
            code = stop.code if isinstance(stop.code, int) else 0
        else:
            code = 0
        return Shown(code, *capsys.readouterr())

    yield run
    log.handlers[:], log.level, log.propagate = before
