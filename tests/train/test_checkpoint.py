from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from genesim.errors import ArtefactError
from genesim.provenance.manifest import sha256
from genesim.train.checkpoint import read_tree, write_tree

TREE = {
    "plain": np.arange(6, dtype=np.int8).reshape(2, 3),
    "a/b c.d": {"deep": [np.float32(1.5), {"x": np.array(True)}], "empty": {}, "none": []},
    "zero size": np.zeros((3, 0), np.float16),
    "large": np.array([2**64 - 1], np.uint64),
    "half": jnp.array([1.0, -0.0, jnp.inf], jnp.bfloat16),
    "fortran": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    "nan": np.array([np.nan, -np.inf]),
    "big endian": np.arange(3, dtype=">i4"),
    "number": 7,
}


def check(found: object, expected: object) -> None:
    if isinstance(expected, dict):
        assert isinstance(found, dict)
        assert found.keys() == expected.keys()
        for key in expected:
            check(found[key], expected[key])
    elif isinstance(expected, list | tuple):
        assert isinstance(found, list)
        assert len(found) == len(expected)
        for a, b in zip(found, expected, strict=True):
            check(a, b)
    else:
        wanted = np.asarray(expected)
        assert isinstance(found, np.ndarray)
        assert found.shape == wanted.shape
        assert found.dtype.name == wanted.dtype.name
        np.testing.assert_array_equal(found, wanted)


def test_a_tree_comes_back_exactly_as_numpy(tmp_path: Path) -> None:
    write_tree(tmp_path / "t", TREE)
    check(read_tree(tmp_path / "t"), TREE)


@given(
    array=hnp.arrays(
        st.sampled_from([np.float32, np.float64, np.int8, np.int64, np.uint16, np.bool_, np.complex64]),
        hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4),
    ),
    name=st.text(min_size=0, max_size=8),
)
@settings(max_examples=12, deadline=None)
def test_any_array_and_name_come_back(tmp_path_factory: pytest.TempPathFactory, array: np.ndarray, name: str) -> None:
    directory = tmp_path_factory.mktemp("any") / "t"
    write_tree(directory, {name: [array]})
    check(read_tree(directory), {name: [array]})


def test_prng_keys_are_stored_as_key_data(tmp_path: Path) -> None:
    key = jax.random.key(11)
    write_tree(tmp_path / "t", {"key": key})
    read = jax.random.wrap_key_data(jnp.asarray(read_tree(tmp_path / "t")["key"]))
    assert (jax.random.normal(read, 3) == jax.random.normal(key, 3)).all()


def test_the_same_tree_gives_the_same_bytes(tmp_path: Path) -> None:
    digests = []
    for name in "ab":
        write_tree(tmp_path / name, TREE)
        files = sorted(p for p in (tmp_path / name).rglob("*") if p.is_file())
        digests.append([(p.relative_to(tmp_path / name).as_posix(), sha256(p)) for p in files])
    assert digests[0] == digests[1]
    assert len(digests[0]) > 5


def test_an_empty_tree_comes_back(tmp_path: Path) -> None:
    write_tree(tmp_path / "t", {})
    assert read_tree(tmp_path / "t") == {}


@pytest.mark.parametrize("leaf", ["text", None, np.array(["a"]), np.array([object()])])
def test_what_is_not_numeric_is_refused_where_it_lies(tmp_path: Path, leaf: object) -> None:
    with pytest.raises(ArtefactError, match="/a/1"):
        write_tree(tmp_path / "t", {"a": [1, leaf]})


def test_keys_must_be_strings(tmp_path: Path) -> None:
    with pytest.raises(ArtefactError, match="a key is 3"):
        write_tree(tmp_path / "t", {"a": {3: np.zeros(2)}})


@pytest.mark.parametrize("name", ["tree.json", "orbax/00000/0.0", "orbax/00000/.zarray", "orbax/_METADATA"])
def test_damage_is_an_artefact_error(tmp_path: Path, name: str) -> None:
    write_tree(tmp_path / "t", {"x": np.arange(1000.0).reshape(10, 100)})
    victim = next(iter((tmp_path / "t").glob(name)))
    victim.write_bytes(victim.read_bytes()[: victim.stat().st_size // 2])
    with pytest.raises(ArtefactError):
        read_tree(tmp_path / "t")


def test_absent_and_unknown_are_artefact_errors(tmp_path: Path) -> None:
    with pytest.raises(ArtefactError, match="cannot be read"):
        read_tree(tmp_path / "nothing")
    write_tree(tmp_path / "t", {"x": np.zeros(2)})
    described = (tmp_path / "t" / "tree.json").read_text()
    (tmp_path / "t" / "tree.json").write_text(described.replace("genesim-tree-1", "genesim-tree-9"))
    with pytest.raises(ArtefactError, match="genesim-tree-9"):
        read_tree(tmp_path / "t")


def test_orbax_is_not_imported_before_it_is_needed() -> None:
    code = "import sys, genesim.train.loop, genesim.train.store; sys.exit('orbax.checkpoint' in sys.modules)"
    root = Path(__file__).resolve().parents[2]
    assert subprocess.run([sys.executable, "-c", code], cwd=root, check=False).returncode == 0
