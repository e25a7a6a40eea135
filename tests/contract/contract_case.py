"""What the laws ask of one row of the catalog, and the tools that they share.

A case is a small real world, the public way into the row (an estimator, or the model's class where no
estimator wraps it alone), and one method a law. Worlds hold what breaks models: a type of a single cell, an
ancestry of a single donor, missing alleles, a variant without variance.
"""

from __future__ import annotations

import contextlib
import logging
import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any, ClassVar

import anndata as ad
import jax
import numpy as np
import pandas as pd
from flax import nnx
from scipy import sparse

from genesim.models.base import ModelSpec


@dataclass(frozen=True)
class Pair:
    """Two ways to the same numbers; `rtol` 0 means bit for bit."""

    what: str
    plain: Any
    other: Any
    rtol: float = 0.0


class Case(ABC):
    """One row of the catalog under the laws."""

    exempt: ClassVar[Mapping[str, str]] = {}
    """Laws that cannot be asked of this row, and why."""

    def __init__(self, spec: ModelSpec) -> None:
        self.spec = spec

    @abstractmethod
    def inputs(self) -> Any:
        """What `fit` is given: made afresh at each call."""

    @abstractmethod
    def fit(self, inputs: Any, seed: int) -> Any:
        """The fitted model."""

    @abstractmethod
    def answers(self, model: Any, inputs: Any) -> dict[str, Any]:
        """What the model says of its inputs without drawing anything."""

    def draw(self, model: Any, seed: int) -> dict[str, Any]:
        """Draws under a seed, each of which the seed must decide."""
        raise NotImplementedError

    def save(self, model: Any, directory: Path) -> None:
        """Write the model."""
        raise NotImplementedError

    def load(self, directory: Path) -> Any:
        """Read what `save` wrote."""
        raise NotImplementedError

    def n_trainings(self) -> int:
        """Training loops in one `fit`; each makes several compiled calls."""
        raise NotImplementedError

    def padding(self, model: Any) -> Iterator[Pair]:
        """The same question with padding, in other chunks, or beside other rows."""
        raise NotImplementedError

    def extremes(self, model: Any) -> Iterator[tuple[str, Any]]:
        """Gradients, statistics or parameters on extreme input, by name."""
        raise NotImplementedError

    @property
    def method(self) -> str:
        """What is fitted: rows that one fit serves share it."""
        return self.spec.id

    def fitted(self, again: bool = False) -> Fitted:
        """A fit that the tests share, or a second one with the same seed."""
        name = (self.spec.modality, self.method, again)
        if name not in _FITTED:
            given = self.inputs()
            with compilations() as names:
                model = self.fit(given, 0)
            _FITTED[name] = Fitted(model, given, names)
        return _FITTED[name]

    @property
    def model(self) -> Any:
        return self.fitted().model


@dataclass(frozen=True)
class Fitted:
    """A model, what it was given to learn from, and what was compiled meanwhile."""

    model: Any
    given: Any
    compiled: list[str]


_FITTED: dict[tuple[str, str, bool], Fitted] = {}


@contextlib.contextmanager
def compilations() -> Iterator[list[str]]:
    """Names of the functions that JAX compiles inside the block, one entry a compilation."""
    names: list[str] = []

    class Collect(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            found = re.match(r"Compiling (?:jit\()?([^\s()]+)", record.getMessage())
            if found:
                names.append(found[1])

    handler, logger = Collect(), logging.getLogger("jax")
    logger.addHandler(handler)
    try:
        with jax.log_compiles():
            yield names
    finally:
        logger.removeHandler(handler)


def leaves(value: Any, path: str = "") -> dict[str, np.ndarray]:
    """Every array of a result by its place in it: AnnData, frames, records, modules, containers.

    Raises:
        TypeError: Something whose content it cannot see, and would therefore not compare.
    """
    if isinstance(value, ad.AnnData):
        parts: Any = {"X": value.X, "obs": value.obs, "var": value.var, "uns": dict(value.uns)}
        parts |= {name: dict(getattr(value, name)) for name in ("layers", "varm", "obsm")}
    elif isinstance(value, pd.DataFrame):
        parts = {"index": value.index, **{str(name): value[name].to_numpy() for name in value}}
    elif isinstance(value, pd.Series):
        parts = {"index": value.index, "values": value.to_numpy()}
    elif isinstance(value, pd.Index):
        return {path: value.to_numpy()}
    elif sparse.issparse(value):
        return {path: value.toarray()}
    elif isinstance(value, nnx.Module):
        parts = {"/".join(map(str, place)): leaf[...] for place, leaf in nnx.to_flat_state(nnx.state(value))}
    elif isinstance(value, nnx.State):
        parts = {"/".join(map(str, place)): leaf[...] for place, leaf in nnx.to_flat_state(value)}
    elif is_dataclass(value):
        parts = {field.name: getattr(value, field.name) for field in fields(value)}
    elif isinstance(value, Mapping):
        parts = {str(name): part for name, part in value.items()}
    elif isinstance(value, Sequence) and not isinstance(value, str):
        parts = {str(i): part for i, part in enumerate(value)}
    elif value is None or isinstance(value, np.ndarray | np.generic | jax.Array | str | int | float):
        return {path: np.asarray(value)}
    else:
        raise TypeError(f"{path}: cannot look into a {type(value).__name__}")
    return {k: v for name, part in parts.items() for k, v in leaves(part, f"{path}.{name}").items()}


def differences(a: Any, b: Any, rtol: float = 0.0) -> list[str]:
    """Places where two results differ; NaN equals NaN. With `rtol`, relative to each array's largest value."""
    left, right = leaves(a), leaves(b)
    found = sorted(set(left) ^ set(right))
    for name in sorted(set(left) & set(right)):
        x, y = left[name], right[name]
        if x.shape != y.shape or x.dtype != y.dtype:
            found.append(f"{name}: {x.dtype}{x.shape} against {y.dtype}{y.shape}")
        elif x.dtype.kind == "f":
            largest = np.max(np.abs(x), initial=0.0, where=np.isfinite(x))
            if not np.allclose(x, y, rtol=0, atol=rtol * largest, equal_nan=True):
                found.append(f"{name}: by {np.nanmax(np.abs(x - y))} of {largest}")
        elif not (x == y).all() and not pd.DataFrame({"x": x.ravel(), "y": y.ravel()}).eval("x == y or x != x").all():
            found.append(name)
    return found


def step_report(info: Mapping[str, Any]) -> dict[str, Any]:
    """What a training step reports, with a NaN where it refused to move: its parameters would look healthy."""
    return {**info, "refused": np.where(np.asarray(info["skipped"]) > 0, np.nan, 0.0)}


def not_finite(value: Any) -> list[str]:
    """Names of the arrays that hold NaN or infinity."""
    return [name for name, x in leaves(value).items() if x.dtype.kind == "f" and not np.isfinite(x).all()]
