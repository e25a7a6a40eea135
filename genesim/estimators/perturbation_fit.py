"""The stacks of a perturbation model: every regime held out, scored and weighted."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from genesim.config.model import PerturbationConfig
from genesim.data.gene_priors import GenePrior
from genesim.estimators.perturbation_learn import Learned
from genesim.estimators.perturbation_priors import Priors
from genesim.estimators.perturbation_residual import Residuals
from genesim.models.perturbation.heldout import hold_out
from genesim.models.perturbation.library import strata
from genesim.models.perturbation.nested import Recipe, tried
from genesim.models.perturbation.stack import COVERAGE_LEVELS, Stack, fit_stack

SCORE_COLUMNS = ["regime", "method", "n_conditions", "pearson_delta", "centred_pearson_delta", "mae", "pds"]


def with_coexpression(priors: Priors, coexpression: GenePrior | None, config: PerturbationConfig) -> Priors:
    """Priors with the co-expression of the screen's own control cells, unless the user gave one of that name."""
    if not config.coexpression or coexpression is None:
        return priors
    return Priors({"coexpression": coexpression} | priors.embeddings, priors.screens)


def fitted_stacks(
    learned: Learned, priors: Priors, config: PerturbationConfig, seed: int
) -> tuple[dict[str, Stack], pd.DataFrame, Residuals]:
    """Stack of each stratum (see `library.strata`), the held-out scores of all methods, and residuals that passed."""
    embeddings, screens = priors.placed(learned.components, learned.groups)
    stacks, scores = {}, []
    recipe = Recipe(
        config.n_components, config.ridge, config.n_folds, config.residual_programs, config.residual_steps, seed
    )
    gates, trained = {}, {}
    for regime in strata(learned.library):
        held = hold_out(
            learned.library, regime, config.n_components, config.ridge, config.n_folds, seed, embeddings, screens
        )
        stacks[regime], records = fit_stack(held, regime)
        if config.residual == "gated" and held is not None:
            verdict = tried(learned.library, regime, held, stacks[regime], recipe, embeddings, screens)
            gates[regime], stacks[regime] = verdict.gate, verdict.stack
            if verdict.residual is not None:
                trained[regime] = verdict.residual
                # The model is what predicts: its row is that of the nested conditions.
                own = {**verdict.scores[-1], "method": "model"}
                records = [own if record["method"] == "model" else record for record in records]
            records += verdict.scores
        scores += records
    return stacks, pd.DataFrame(scores, columns=SCORE_COLUMNS), Residuals(gates, trained)


def coverage_table(stacks: Mapping[str, Stack]) -> pd.DataFrame:
    """Table of `PerturbationModel.coverage`."""
    rows = [
        {"regime": regime, "level": level, "coverage": float(value), "n_conditions": stack.n_held_out}
        for regime, stack in stacks.items()
        for level, value in zip(COVERAGE_LEVELS, stack.coverage)
    ]
    return pd.DataFrame(rows, columns=["regime", "level", "coverage", "n_conditions"])
