"""Trees of arrays on disk, through Orbax (no pickle), read back as NumPy without a target.

Orbax stores the arrays under running numbers; `tree.json` beside them holds the shape of the tree, so that
names may hold any character, lists and empty containers survive, and arrays of zero size (which Orbax
refuses) are kept. The same tree gives the same bytes.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax
import numpy as np

from genesim.errors import ArtefactError

SCHEMA = "genesim-tree-1"
_TREE = "tree.json"
_ARRAYS = "orbax"
# Orbax writes the time of day into these two; reading needs neither.
_TIMED = ("_CHECKPOINT_METADATA", "commit_success.txt")


@contextmanager
def _quiet_orbax() -> Iterator[None]:
    """Hide Orbax's warning that single-file storage, which is not deterministic, was not asked for."""
    logger = logging.getLogger("absl")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def _checkpointer() -> Any:
    import orbax.checkpoint as ocp  # slow to import

    if jax.process_count() == 1:
        return ocp.Checkpointer(ocp.PyTreeCheckpointHandler(use_ocdbt=False, use_zarr3=False))
    # Each process reads, and the first writes, for itself; Orbax would wait for all of them to come to one directory.
    me = jax.process_index()
    alone = ocp.options.MultiprocessingOptions(
        primary_host=me, active_processes={me}, barrier_sync_key_prefix=f"process{me}"
    )
    handler = ocp.PyTreeCheckpointHandler(use_ocdbt=False, use_zarr3=False, multiprocessing_options=alone)
    return ocp.Checkpointer(handler, multiprocessing_options=alone)


def to_numpy(leaf: Any) -> np.ndarray:
    """A leaf as a NumPy array; a typed PRNG key as its key data (uint32)."""
    if isinstance(leaf, jax.Array) and jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        leaf = jax.random.key_data(leaf)
    return np.asarray(leaf)


def _describe(tree: Any, leaves: list[np.ndarray], where: str) -> Any:
    """Shape of `tree` for `tree.json`; its arrays are appended to `leaves`."""
    if isinstance(tree, Mapping):
        wrong = [key for key in tree if not isinstance(key, str)]
        if wrong:
            raise ArtefactError(
                f"a key is {wrong[0]!r}", where=where or "tree", remedy="use strings as keys of the tree"
            )
        return {"dict": {key: _describe(tree[key], leaves, f"{where}/{key}") for key in sorted(tree)}}
    if isinstance(tree, list | tuple):
        return {"list": [_describe(item, leaves, f"{where}/{i}") for i, item in enumerate(tree)]}
    array = to_numpy(tree)
    if array.dtype.kind in "OUSMm":
        raise ArtefactError(
            f"a leaf has type {array.dtype}",
            where=where or "tree",
            remedy="store numbers or booleans as arrays, and text in the metadata",
        )
    leaves.append(array)
    return {"array": len(leaves) - 1, "dtype": array.dtype.name, "shape": list(array.shape)}


def write_tree(directory: str | Path, tree: Any) -> None:
    """Write nested dicts and lists of arrays into `directory`, which is made.

    Tuples read back as lists, typed PRNG keys as their uint32 key data, Python numbers as 0-d arrays.
    Call it inside `atomic_directory`: alone it is neither atomic nor protected against altered bits.

    Raises:
        ArtefactError: A key is not a string, or a leaf is not numeric.
    """
    directory = Path(directory).absolute()
    leaves: list[np.ndarray] = []
    shape = _describe(tree, leaves, "")
    directory.mkdir(parents=True, exist_ok=True)
    stored = {f"{i:05d}": array for i, array in enumerate(leaves) if array.size}
    if stored:
        with _quiet_orbax():
            _checkpointer().save(directory / _ARRAYS, stored)
        for name in _TIMED:
            (directory / _ARRAYS / name).unlink(missing_ok=True)
    (directory / _TREE).write_text(json.dumps({"schema": SCHEMA, "tree": shape}, indent=1) + "\n")


def _rebuild(node: dict[str, Any], stored: dict[str, np.ndarray], where: str) -> Any:
    if "dict" in node:
        return {key: _rebuild(child, stored, where) for key, child in node["dict"].items()}
    if "list" in node:
        return [_rebuild(child, stored, where) for child in node["list"]]
    shape, name = tuple(node["shape"]), f"{node['array']:05d}"
    if 0 in shape:
        return np.zeros(shape, np.dtype(node["dtype"]))
    array = np.asarray(stored[name])
    if array.shape != shape or array.dtype.name != node["dtype"]:
        raise ArtefactError(
            f"array {name} is {array.dtype.name}{array.shape}, expected {node['dtype']}{shape}",
            where=where,
            remedy="make the directory again",
        )
    return array


def read_tree(directory: str | Path) -> Any:
    """Read what `write_tree` wrote: nested dicts and lists of NumPy arrays.

    Raises:
        ArtefactError: The directory is incomplete, of an unknown version, or disagrees with itself.
    """
    directory = Path(directory).absolute()
    try:
        described = json.loads((directory / _TREE).read_text())
        if described.get("schema") != SCHEMA:
            raise ArtefactError(
                f"has schema {described.get('schema')!r}, this version reads {SCHEMA!r}",
                where=str(directory),
                remedy="read it with the version of genesim that wrote it",
            )
        stored: dict[str, np.ndarray] = {}
        if (directory / _ARRAYS).exists():
            with _quiet_orbax():
                stored = _checkpointer().restore(directory / _ARRAYS)
        return _rebuild(described["tree"], stored, str(directory))
    except ArtefactError:
        raise
    # Orbax and TensorStore report damage by many types; all of them mean the same to the user.
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError) as error:
        raise ArtefactError(
            f"cannot be read as a tree of arrays ({type(error).__name__}: {str(error)[:200]})",
            where=str(directory),
            remedy="make the directory again",
        ) from error
