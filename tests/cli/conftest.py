"""The command line in this process: quicker than a new one, and just as whole."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from genesim.cli.app import main


@dataclass(frozen=True)
class Shown:
    """What a command left behind: exit code, standard output, standard error."""

    code: int
    out: str
    err: str


@pytest.fixture
def genesim(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Callable[..., Shown]]:
    """`genesim("prepare", "--out", path)` as from a shell."""
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


@pytest.fixture
def inputs(tiny_run: Path) -> dict[str, Any]:
    """The tiny example's raw files, as `inputs` of a config."""
    folder = tiny_run / "results" / "example"
    files = {"h5ad": "cells.h5ad", "vcf": "donors.vcf.gz", "donors": "donors.tsv", "genes": "genes.gtf"}
    return {**{key: str(folder / name) for key, name in files.items()}, "contigs": ["21", "22"]}


@pytest.fixture
def config(tmp_path: Path, tiny_config: dict[str, Any], inputs: dict[str, Any]) -> Callable[..., Path]:
    """Write the tiny config for the raw files, with some sections replaced, and return its path."""

    def write(**sections: Any) -> Path:
        values = {key: value for key, value in tiny_config.items() if key != "example"}
        path = tmp_path / "run.yaml"
        path.write_text(yaml.safe_dump({**values, "inputs": inputs, **sections}))
        return path

    return write
