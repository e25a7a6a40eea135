"""A trained model on disk: one directory `{model.json, arrays/, manifest.sha256}`, no pickle.

Loading needs neither the training data nor the class of the model: arrays come back as NumPy, and the
caller builds its own object from them and the metadata.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from genesim.errors import ArtefactError, GenesimError
from genesim.provenance.atomic import atomic_directory
from genesim.provenance.manifest import verify_manifest
from genesim.provenance.record import Provenance
from genesim.train.checkpoint import read_tree, write_tree

SCHEMA = "genesim-model-1"
_DESCRIPTION = "model.json"
_ARRAYS = "arrays"


@dataclass(frozen=True)
class StoredModel:
    """A model as read from disk.

    Attributes:
        kind: Which model it is ("expression", "anchmm", ...).
        arrays: Nested dicts and lists of NumPy arrays.
        metadata: What else the model needs (names, levels, its configuration), JSON types.
        provenance: How it was made, as `Provenance.to_dict` gives it.
    """

    kind: str
    arrays: Any
    metadata: dict[str, Any]
    provenance: dict[str, Any]


def save_model(
    directory: str | Path,
    kind: str,
    arrays: dict[str, Any],
    metadata: dict[str, Any],
    provenance: Provenance,
) -> Path:
    """Write a model directory atomically; one that is there is replaced only by a complete one.

    Raises:
        ArtefactError: `metadata` does not survive JSON unchanged, or `arrays` hold something not numeric.
        ResourceError: The directory cannot be written.
    """
    directory = Path(directory)
    described = {
        "schema": SCHEMA,
        "kind": kind,
        "metadata": metadata,
        "provenance": json.loads(provenance.to_json()),
    }
    try:
        text = json.dumps(described, indent=1, sort_keys=True, allow_nan=False)
        if json.loads(text)["metadata"] != _listed(metadata):
            raise ValueError("a key is not a string")
    except (TypeError, ValueError) as error:
        raise ArtefactError(
            f"metadata is not plain JSON ({error})",
            where=str(directory),
            remedy="keep to strings, finite numbers, booleans, lists and dicts with string keys",
        ) from error
    with atomic_directory(directory) as temporary:
        write_tree(temporary / _ARRAYS, arrays)
        (temporary / _DESCRIPTION).write_text(text + "\n")
    return directory


def _listed(value: Any) -> Any:
    """`value` with tuples as lists, as JSON gives them back."""
    if isinstance(value, dict):
        return {key: _listed(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_listed(item) for item in value]
    return value


def describe_model(directory: str | Path) -> dict[str, Any]:
    """`kind`, `metadata` and `provenance` of a model directory, after verifying its manifest; arrays are not read.

    Raises:
        ArtefactError: The directory is absent, incomplete or altered, or of a version that this genesim does not know.
    """
    directory = Path(directory)
    if not directory.is_dir():
        raise ArtefactError("is not a directory", where=str(directory), remedy="check the path of the model")
    verify_manifest(directory)
    try:
        described = json.loads((directory / _DESCRIPTION).read_text())
        schema, *held = (described[key] for key in ("schema", "kind", "metadata", "provenance"))
        if [type(part) for part in held] != [str, dict, dict]:
            raise ValueError("its kind is no text, or its metadata or provenance no mapping")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ArtefactError(
            f"has no readable {_DESCRIPTION} ({error})",
            where=str(directory),
            remedy="give a directory that `genesim train` or `Model.save` wrote",
        ) from error
    if schema != SCHEMA:
        raise ArtefactError(
            f"has schema {schema!r}, this version reads {SCHEMA!r}",
            where=str(directory),
            remedy="load it with the version of genesim that wrote it, or train it again",
        )
    return described


def load_model(directory: str | Path, kind: str | None = None) -> StoredModel:
    """Read a model directory after verifying its manifest.

    Args:
        directory: What `save_model` wrote.
        kind: The kind that is expected; None takes any.

    Raises:
        ArtefactError: The directory is absent, incomplete or altered, of another kind, or of a version
            that this genesim does not know.
    """
    described = describe_model(directory)
    if kind is not None and described["kind"] != kind:
        raise ArtefactError(
            f"is a model of kind {described['kind']!r}, expected {kind!r}",
            where=str(directory),
            remedy=f"give the directory of a model of kind {kind!r}",
        )
    return StoredModel(
        kind=described["kind"],
        arrays=read_tree(Path(directory) / _ARRAYS),
        metadata=described["metadata"],
        provenance=described["provenance"],
    )


@contextmanager
def restored(directory: str | os.PathLike[str], kind: str) -> Iterator[StoredModel]:
    """A stored model, to build an object from inside the block.

    A manifest says that files are as they were written, not that this version of genesim wrote them: what the block
    misses in them, or finds in another form, is an `ArtefactError` as well.
    """
    stored = load_model(Path(directory), kind)
    try:
        yield stored
    except GenesimError:
        raise
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise ArtefactError(
            f"holds something else than a model of kind {kind!r} of this version ({type(error).__name__}: {error})",
            where=str(directory),
            remedy="load it with the version of genesim that wrote it, or train it again",
        ) from error
