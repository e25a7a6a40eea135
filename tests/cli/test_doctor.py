"""`genesim doctor`: what a run needs and has not got is named, and only that is a failure."""

from __future__ import annotations

import json
import shutil
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from genesim.doctor import machine


def statuses(genesim: Any, *arguments: object) -> tuple[int, dict[str, dict[str, str]]]:
    shown = genesim("doctor", *arguments, "--json")
    return shown.code, {check["name"]: check for check in json.loads(shown.out)}


def test_a_machine_that_runs_the_tests_is_fit(genesim: Any) -> None:
    code, found = statuses(genesim)
    assert code == 0
    assert found["python"]["status"] == found["jax"]["status"] == found["devices"]["status"] == "ok"
    assert found["jax"]["found"] == metadata.version("jax")
    assert "cpu" in found["devices"]["found"]
    assert genesim("doctor").out.count("\n") == len(found)  # a line each


def test_a_program_that_is_not_there_is_a_note(genesim: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    code, found = statuses(genesim)
    assert code == 0
    assert {found[f"program {name}"]["status"] for name in machine.PROGRAMS} == {"note"}
    assert "phasing" in found["program beagle"]["found"]


@pytest.mark.parametrize(("version", "found"), [("0.0.9", "0.0.9"), (None, "not installed")])
def test_a_package_that_is_too_old_or_absent_is_missing(
    genesim: Any, monkeypatch: pytest.MonkeyPatch, version: str | None, found: str
) -> None:
    real = metadata.version

    def other(name: str) -> str:
        if name not in ("optax", "pygments"):
            return real(name)
        if version is None:
            raise metadata.PackageNotFoundError(name)
        return version

    monkeypatch.setattr(metadata, "version", other)
    code, checks = statuses(genesim)
    assert code == 1
    assert checks["optax"]["status"] == "missing"
    assert checks["optax"]["found"].startswith(found)
    assert "pip install 'optax>=" in checks["optax"]["remedy"]
    assert checks["pygments"]["status"] == "note"  # of an extra


def test_a_package_of_several_extras_is_told_once_and_has_to_keep_all_their_bounds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = ["numpy>=2; extra == 'a'", "numpy<2; extra == 'b'", "scipy>=1", "scipy>=0.1; extra == 'a'"]
    monkeypatch.setattr(metadata, "requires", lambda name: asked)
    found = {check.name: check for check in machine.packages()}
    assert len(list(machine.packages())) == len(found) == 3  # and genesim itself
    assert found["numpy"].status == "note"
    assert found["scipy"].status == "ok"


def test_whole_inputs_are_fit(genesim: Any, config: Any) -> None:
    code, found = statuses(genesim, "--config", config())
    assert code == 0, found
    assert found["donors of both"]["found"] == "40 have cells and genotypes"
    assert found["inputs.contigs"]["found"] == "'21', '22'"


@pytest.mark.parametrize(
    ("change", "name", "words"),
    [
        ({"h5ad": "nowhere.h5ad"}, "inputs.h5ad", "does not exist"),
        ({"vcf": "nowhere.vcf.gz"}, "inputs.vcf", "cannot be read"),
        ({"labels_key": "kind"}, "inputs.h5ad obs", "obs has no 'kind'"),
        ({"contigs": ["21", "7"]}, "inputs.contigs", "7"),
        ({"donor_key": "cell_type"}, "donors of both", "0 of"),
        ({"genes": "nowhere.gtf"}, "inputs.genes", "nowhere.gtf"),
    ],
)
def test_inputs_that_do_not_fit_are_named(
    genesim: Any, config: Any, inputs: dict[str, Any], change: dict[str, Any], name: str, words: str
) -> None:
    code, found = statuses(genesim, "--config", config(inputs={**inputs, **change}))
    assert code == 1
    assert [key for key, check in found.items() if check["status"] == "missing"] == [name]
    assert words in found[name]["found"]
    assert found[name]["remedy"]


def test_a_phasing_program_is_needed_once_the_config_asks_for_it(
    genesim: Any, config: Any, inputs: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    code, found = statuses(genesim, "--config", config(inputs={**inputs, "phase": "beagle"}))
    assert code == 1
    assert found["inputs.phase"]["status"] == "missing"


def test_a_results_folder_below_a_file_is_missing(genesim: Any, config: Any, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    code, found = statuses(genesim, "--config", config(pathvars={"results": str(tmp_path / "file" / "results")}))
    assert code == 1
    assert found["results folder"]["status"] == "missing"
