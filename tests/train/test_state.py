from __future__ import annotations

from pathlib import Path

import jax
import numpy as np
import pytest
from flax import nnx
from train_toys import DroppedOut

from genesim.errors import ArtefactError
from genesim.train.checkpoint import read_tree, write_tree
from genesim.train.state import model_arrays, restore_arrays


def test_a_model_comes_back_from_its_arrays_on_disk(tmp_path: Path) -> None:
    """Lists of modules and the keys of dropout included."""
    model = DroppedOut(3, seed=1)
    model.dropout(np.ones((2, 3)))  # moves its counter
    write_tree(tmp_path / "m", model_arrays(model))
    other = DroppedOut(3, seed=2)
    assert (np.asarray(other.layers[0].kernel[...]) != np.asarray(model.layers[0].kernel[...])).any()
    restored = restore_arrays(other, read_tree(tmp_path / "m"))
    assert restored is other
    assert (np.asarray(other.layers[0].kernel[...]) == np.asarray(model.layers[0].kernel[...])).all()
    expected, found = nnx.clone(model), nnx.clone(other)
    assert (expected.dropout(np.ones((9, 3))) == found.dropout(np.ones((9, 3)))).all()


def damaged(change: str) -> dict:
    arrays = model_arrays(DroppedOut(3))
    layer = arrays["layers"]["0"]
    if change == "missing":
        del layer["bias"]
    elif change == "unknown":
        layer["scale"] = np.zeros(3)
    elif change == "shape":
        layer["bias"] = np.zeros(4, np.float32)
    elif change == "type":
        layer["bias"] = layer["bias"].astype(np.float64)
    elif change == "deeper":
        layer["bias"] = {"x": layer["bias"]}
    elif change == "shallower":
        arrays["layers"] = np.zeros(3)
    return arrays


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("missing", r"model.layers.0: array 'bias' is missing"),
        ("unknown", r"model.layers.0: array 'scale' is unknown"),
        ("shape", r"model.layers.0.bias: is float32\[4\], the model has float32\[3\]"),
        ("type", r"model.layers.0.bias: is float64\[3\], the model has float32\[3\]"),
        ("deeper", r"model.layers.0.bias: holds further arrays"),
        ("shallower", r"model.layers: array '0' is missing"),
    ],
)
def test_arrays_of_another_model_are_refused_and_change_nothing(change: str, message: str) -> None:
    model = DroppedOut(3, seed=4)
    before = model_arrays(model)
    with pytest.raises(ArtefactError, match=message):
        restore_arrays(model, damaged(change))
    for a, b in zip(jax.tree.leaves(before), jax.tree.leaves(model_arrays(model)), strict=True):
        assert (a == b).all()
