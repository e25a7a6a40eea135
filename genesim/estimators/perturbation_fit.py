"""The stacks of a perturbation model: every regime held out, scored and weighted."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from genesim.config.model import PerturbationConfig
from genesim.data.gene_priors import GenePrior
from genesim.estimators.perturbation_learn import Learned
from genesim.estimators.perturbation_priors import Priors
from genesim.models.perturbation.heldout import hold_out
from genesim.models.perturbation.library import strata
from genesim.models.perturbation.stack import COVERAGE_LEVELS, Stack, fit_stack

SCORE_COLUMNS = ["regime", "method", "n_conditions", "pearson_delta", "centred_pearson_delta", "mae", "pds"]


def with_coexpression(priors: Priors, coexpression: GenePrior | None, config: PerturbationConfig) -> Priors:
    """Priors with the co-expression of the screen's own control cells, unless the user gave one of that name."""
    if not config.coexpression or coexpression is None:
        return priors
    return Priors({"coexpression": coexpression} | priors.embeddings, priors.screens)


def fitted_stacks(
    learned: Learned, priors: Priors, config: PerturbationConfig, seed: int
) -> tuple[dict[str, Stack], pd.DataFrame]:
    """Stack of each stratum (see `library.strata`), and the held-out scores of all methods."""
    embeddings, screens = priors.placed(learned.components, learned.groups)
    stacks, scores = {}, []
    for regime in strata(learned.library):
        held = hold_out(
            learned.library, regime, config.n_components, config.ridge, config.n_folds, seed, embeddings, screens
        )
        stacks[regime], records = fit_stack(held, regime)
        scores += records
    return stacks, pd.DataFrame(scores, columns=SCORE_COLUMNS)


def coverage_table(stacks: Mapping[str, Stack]) -> pd.DataFrame:
    """Table of `PerturbationModel.coverage`."""
    rows = [
        {"regime": regime, "level": level, "coverage": float(value), "n_conditions": stack.n_held_out}
        for regime, stack in stacks.items()
        for level, value in zip(COVERAGE_LEVELS, stack.coverage)
    ]
    return pd.DataFrame(rows, columns=["regime", "level", "coverage", "n_conditions"])
