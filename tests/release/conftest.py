"""A small bundle written from made-up facts: no model, no cells, no workflow."""

from __future__ import annotations

import gzip
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from release_facts import make_facts

from genesim.provenance.manifest import write_manifest
from genesim.release.assemble import write_bundle

TIME = "2026-01-02T03:04:05+00:00"


@pytest.fixture
def sources(tmp_path: Path) -> tuple[Path, Path]:
    """Folders of a simulation and of an evaluation, whose files are not what their names say."""
    data, evidence = tmp_path / "sim", tmp_path / "evaluation"
    (data / "truth").mkdir(parents=True)
    evidence.mkdir()
    (data / "sim.h5ad").write_bytes(bytes(range(256)) * 4)
    with gzip.open(data / "sim.vcf.gz", "wt") as file:
        file.write("##fileformat=VCFv4.3\n##genesim_synthetic=true\n#CHROM\tPOS\n21\t5\n")
    (data / "truth" / "effects.parquet").write_bytes(b"PAR1 effects")
    (data / "provenance.json").write_text('{"synthetic": true}\n')
    (evidence / "scores.csv").write_text("subject,metric\nexpression,mmd2\n")
    write_manifest(data)
    write_manifest(evidence)
    return data, evidence


@pytest.fixture
def write(tmp_path: Path, sources: tuple[Path, Path]) -> Callable[..., Path]:
    """`write(name, **changes of the facts)` -> a prepared bundle."""

    def make(name: str = "bundle", **changes: Any) -> Path:
        data, evidence = sources
        out = tmp_path / name
        training = {"schema": "genesim-cohort-1", "info": {"inputs": {"h5ad": "/somewhere/else/cells.h5ad"}}}
        write_bundle(out, make_facts(**changes), data=data, evidence=evidence, page=None, training=training, time=TIME)
        return out

    return make


@pytest.fixture
def bundle(write: Callable[..., Path]) -> Path:
    """A prepared bundle."""
    return write()


@pytest.fixture
def copied(tmp_path: Path) -> Callable[[Path], Path]:
    """`copied(bundle)` -> a copy in another place."""

    def copy(folder: Path) -> Path:
        target = tmp_path / "else where" / folder.name
        shutil.rmtree(target, ignore_errors=True)
        return Path(shutil.copytree(folder, target))

    return copy
