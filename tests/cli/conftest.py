"""Configs of the command line's tests, over the tiny run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml


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
