"""A continuous state of each cell in [0, 1], and the shapes along it by which effects change."""

from __future__ import annotations

import numpy as np
import pandas as pd
from jaxtyping import Float

from genesim import rng
from genesim.config.cells import StateScenario

MIDDLE = 0.5
"""The state at which tables that hold one value for a dynamic effect give it."""
_STEEPNESS = 12.0


def shape_at(shape: str, state: float | Float[np.ndarray, " cell"]) -> Float[np.ndarray, " cell"]:
    """How much of an effect's slope is there at a state: 0 at the start; 1 at the end, of a peak in the middle."""
    t = np.asarray(state, np.float64)
    if shape == "linear":
        return t
    if shape == "peak":
        return 4 * t * (1 - t)
    if shape == "sigmoid":
        ends = 1 / (1 + np.exp([_STEEPNESS / 2, -_STEEPNESS / 2]))
        return (1 / (1 + np.exp(-_STEEPNESS * (t - 0.5))) - ends[0]) / (ends[1] - ends[0])
    raise ValueError(f"no shape {shape!r}")


def draw_state(law: StateScenario, cells: pd.Index, seed: int) -> Float[np.ndarray, " cell"]:
    """Each cell's state."""
    stream = rng.generator(seed, "cells", "state")
    return stream.random(len(cells)) if law.law == "uniform" else stream.beta(law.a, law.b, len(cells))
