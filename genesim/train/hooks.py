"""What may look on while a model trains: called after every compiled call, it may ask for the end.

How many steps lie in one call is `plan.steps_per_call`, less where a checkpoint or validation round falls.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

import numpy as np

from genesim.console import log
from genesim.errors import ResourceError
from genesim.train.state import TrainState


class Hook(Protocol):
    """Looks on; returns True to end training after this call."""

    def __call__(self, step: int, state: TrainState, info: Mapping[str, np.ndarray]) -> bool | None:
        """Called with the steps done, the state, and `info` as arrays over the steps of the call."""
        ...


def _means(info: Mapping[str, np.ndarray]) -> dict[str, float | None]:
    """Mean of each entry over the finite steps of a call; None where there is none (JSON has no NaN)."""
    means: dict[str, float | None] = {}
    for name, values in sorted(info.items()):
        finite = np.asarray(values, float)[np.isfinite(values)]
        means[name] = float(finite.mean()) if finite.size else None
    return means


class LogLoss:
    """Log the mean loss of a call once at least `every` steps have passed."""

    def __init__(self, every: int = 500) -> None:
        self.every = every
        self._next = every

    def __call__(self, step: int, state: TrainState, info: Mapping[str, np.ndarray]) -> None:
        if step >= self._next:
            self._next = step + self.every
            loss = _means(info)["loss"]
            log.info("step %d: loss %s", step, "not finite" if loss is None else f"{loss:.5g}")


class MetricsFile:
    """Append one JSON line a call: the steps done and the mean of every entry of `info`.

    After a resume lines of steps past the checkpoint appear again; the later line of a step holds.

    Raises:
        ResourceError: The file cannot be written.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    def __call__(self, step: int, state: TrainState, info: Mapping[str, np.ndarray]) -> None:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with open(self.path, "a", encoding="utf-8") as handle:
                handle.write(json.dumps({"step": step, **_means(info)}) + "\n")
        except OSError as error:
            raise ResourceError(
                f"metrics cannot be written ({error.strerror})",
                where=str(self.path),
                remedy="choose another path or free disk space",
            ) from error
