"""Cells' states: drawn by a law, or read from a program that the expression model has learned."""

from __future__ import annotations

import numpy as np
import pandas as pd
from jaxtyping import Float

from genesim import rng
from genesim.config.cells import StateScenario
from genesim.errors import ConfigError
from genesim.estimators.expression import ExpressionModel
from genesim.estimators.expression_draw import draw_latents
from genesim.models.expression.generator import ExpressionGenerator
from genesim.simulate.cells import CHUNK
from genesim.simulate.state import draw_state


def cell_states(
    law: StateScenario, expression: ExpressionModel, obs: pd.DataFrame, seed: int, cell_seed: int
) -> Float[np.ndarray, " cell"]:
    """The state of each cell in [0, 1].

    Args:
        obs: What the cells are drawn under.
        cell_seed: Seed that their rates are drawn by.

    Raises:
        ConfigError: A program of a model that has none, or not so many.
    """
    if law.program is None:
        return draw_state(law, obs.index, seed)
    return program_states(law.program, expression, obs, seed, cell_seed)


def program_states(
    number: int, expression: ExpressionModel, obs: pd.DataFrame, seed: int, cell_seed: int
) -> Float[np.ndarray, " cell"]:
    """Phi(score) of a learned program: of the training mix's cells, about a share t of the scores are below state t.

    The score is that of the latent which the cell's rates are decoded from, so the cell expresses its state.
    """
    from scipy.special import ndtr

    generator = expression.generator
    if not isinstance(generator, ExpressionGenerator):
        raise ConfigError(
            f"the expression model is the baseline {expression.config.method!r}, which has no programs",
            where="scenario.cells.state.program",
            remedy="fit with ExpressionConfig(method='vae'), or leave out 'program'",
        )
    programs = expression.programs(seed=seed)
    if number > programs.loadings.shape[1]:
        raise ConfigError(
            f"program {number} is asked for, and the expression model has {programs.loadings.shape[1]}",
            where="scenario.cells.state.program",
            remedy="ask for one of them; `ExpressionModel.programs` describes each",
        )
    key = rng.key(cell_seed, "expression", "sample")  # as `ExpressionModel.draw_rates`
    found = []
    for first in range(0, len(obs), CHUNK):
        given = expression.covariates.complete(obs.iloc[first : first + CHUNK], cell_seed, first)
        condition = expression.condition(given, cell_seed, first)
        latents = draw_latents(generator, expression.covariates, key, condition, first)
        found.append(np.asarray(programs.readout.scores(latents), np.float64)[:, number - 1])
    return ndtr(np.concatenate(found))
