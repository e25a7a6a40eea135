from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from genesim.provenance.atomic import atomic_directory
from genesim.provenance.manifest import sha256
from genesim.provenance.record import Provenance, hash_input, versions, write_sidecar


def record(**changes: object) -> Provenance:
    return Provenance(**{"verb": "simulate", "seed": 3, "config": {"b": 1, "a": Path("x")}, **changes})


def test_versions_name_what_decides_a_result() -> None:
    found = versions()
    assert found["numpy"] == np.__version__
    assert {"python", "genesim", "jax", "jaxlib", "flax", "optax", "scipy"} <= set(found)


def test_a_record_is_json_and_the_same_every_time() -> None:
    assert record().to_json() == record().to_json()
    read = json.loads(record(inputs={"vcf": "abc"}).to_json())
    assert read["schema"] == "genesim-provenance-1"
    assert (read["seed"], read["verb"], read["inputs"]) == (3, "simulate", {"vcf": "abc"})
    assert read["config"] == {"a": "x", "b": 1}
    assert record(seed=4).to_json() != record().to_json()


def test_the_synthetic_mark_is_there_only_where_true() -> None:
    assert record(synthetic=True).vcf_header_lines()[0] == "##genesim_synthetic=true"
    assert not any("synthetic" in line for line in record().vcf_header_lines())
    for line in record(synthetic=True, config={"note": "two\nlines"}).vcf_header_lines():
        assert line.startswith("##")
        assert "\n" not in line
    assert json.loads(record(synthetic=True).to_json())["synthetic"] is True


def test_an_input_is_hashed_as_a_file_or_by_its_manifest(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("1")
    assert hash_input(tmp_path / "x") == sha256(tmp_path / "x")
    with atomic_directory(tmp_path / "d") as temporary:
        (temporary / "x").write_text("1")
    before = hash_input(tmp_path / "d")
    with atomic_directory(tmp_path / "d") as temporary:
        (temporary / "x").write_text("2")
    assert hash_input(tmp_path / "d") != before


def test_a_sidecar_lies_beside_the_output(tmp_path: Path) -> None:
    path = write_sidecar(record(synthetic=True), tmp_path / "truth.parquet")
    assert path == tmp_path / "truth.parquet.provenance.json"
    assert json.loads(path.read_text())["synthetic"] is True
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
