from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from genesim.errors import ArtefactError
from genesim.provenance.manifest import sha256, write_manifest
from genesim.provenance.record import Provenance
from genesim.train.store import load_model, save_model

ARRAYS = {"w": np.arange(12.0).reshape(3, 4), "deep": {"b": np.ones(2, np.int8)}}
METADATA = {"genes": ["A", "B"], "levels": {"cell_type": ["T", "B"]}, "n": 3, "rate": 0.5, "none": None}


def save(directory: Path) -> Path:
    return save_model(directory, "expression", ARRAYS, METADATA, Provenance("train expression", 7))


def test_a_model_comes_back(tmp_path: Path) -> None:
    directory = save(tmp_path / "m")
    assert sorted(p.name for p in directory.iterdir()) == ["arrays", "manifest.sha256", "model.json"]
    stored = load_model(directory, "expression")
    assert stored.kind == "expression"
    assert stored.metadata == METADATA
    assert stored.provenance["seed"] == 7
    assert stored.provenance["versions"]["numpy"] == np.__version__
    np.testing.assert_array_equal(stored.arrays["w"], ARRAYS["w"])
    np.testing.assert_array_equal(stored.arrays["deep"]["b"], ARRAYS["deep"]["b"])
    assert load_model(directory).kind == "expression"


def test_the_same_model_gives_the_same_bytes(tmp_path: Path) -> None:
    a, b = save(tmp_path / "a"), save(tmp_path / "b")
    assert sha256(a / "manifest.sha256") == sha256(b / "manifest.sha256")


def test_another_kind_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtefactError, match="of kind 'expression', expected 'anchmm'"):
        load_model(save(tmp_path / "m"), "anchmm")


def test_every_flipped_bit_is_noticed(tmp_path: Path) -> None:
    directory = save(tmp_path / "m")
    files = [p for p in directory.rglob("*") if p.is_file() and p.stat().st_size]
    assert len(files) >= 6
    for path in files:
        good = path.read_bytes()
        bad = bytearray(good)
        bad[len(bad) // 2] ^= 4
        path.write_bytes(bytes(bad))
        with pytest.raises(ArtefactError):
            load_model(directory)
        path.write_bytes(good)
    assert load_model(directory).kind == "expression"


def test_an_unknown_version_is_refused(tmp_path: Path) -> None:
    directory = save(tmp_path / "m")
    described = json.loads((directory / "model.json").read_text())
    (directory / "model.json").write_text(json.dumps({**described, "schema": "genesim-model-2"}))
    write_manifest(directory)
    with pytest.raises(ArtefactError, match="genesim-model-2"):
        load_model(directory)


def test_what_is_no_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtefactError, match="not a directory"):
        load_model(tmp_path / "nothing")
    (tmp_path / "other").mkdir()
    with pytest.raises(ArtefactError, match="no manifest"):
        load_model(tmp_path / "other")
    (tmp_path / "other" / "x").write_text("1")
    write_manifest(tmp_path / "other")
    with pytest.raises(ArtefactError, match=r"no readable model.json"):
        load_model(tmp_path / "other")


@pytest.mark.parametrize("metadata", [{"x": float("nan")}, {"x": np.float32(1)}, {3: "x"}, {"x": {1, 2}}, {"x": b"1"}])
def test_metadata_that_json_would_change_is_refused(tmp_path: Path, metadata: dict) -> None:
    with pytest.raises(ArtefactError, match="not plain JSON"):
        save_model(tmp_path / "m", "k", ARRAYS, metadata, Provenance("v", 0))
    assert not (tmp_path / "m").exists()


def test_a_failed_save_keeps_the_model_that_was_there(tmp_path: Path) -> None:
    directory = save(tmp_path / "m")
    with pytest.raises(ArtefactError):
        save_model(directory, "expression", {"w": np.array(["text"])}, {}, Provenance("v", 0))
    assert load_model(directory).metadata == METADATA
    assert [p.name for p in tmp_path.iterdir()] == ["m"]
