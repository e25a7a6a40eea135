"""Latents and rates of cells under levels that the flow has not seen together, or that are taken away."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import jax
import numpy as np
import pandas as pd
from jaxtyping import Float

from genesim.errors import ConditionError
from genesim.estimators.covariates import LIBRARY_SIZE, Covariates
from genesim.models.expression.generator import ExpressionGenerator
from genesim.models.expression.posterior import rates_at
from genesim.models.expression.transfer import mean_rates, transfer
from genesim.types import Condition


def draw_latents(
    generator: ExpressionGenerator, covariates: Covariates, key: jax.Array, condition: Condition, first: int = 0
) -> Float[np.ndarray, "cell latent"]:
    """Latents of new cells from the flow, summed over analogies where a combination of levels was never seen.

    The flow knows no more of such a combination than the sum of its embeddings, and there falls short.
    """
    latents = np.zeros((condition.n_examples, generator.vae.n_latent), np.float32)
    for weight, codes in covariates.analogies(np.asarray(condition.categories)):
        latents += weight[:, None] * generator.latents(key, replace(condition, categories=codes), first)
    return latents


def _rates(
    generator: ExpressionGenerator, covariates: Covariates, key: jax.Array, condition: Condition, first: int
) -> Float[np.ndarray, "cell gene"]:
    rates = generator.rates(key, condition, first)
    by_analogy = covariates.by_analogy(np.asarray(condition.categories))
    if by_analogy.any():
        latents = draw_latents(generator, covariates, key, condition, first)
        rates[by_analogy] = rates_at(generator.vae, latents, condition)[by_analogy]
    return rates


def draw_rates(
    generator: ExpressionGenerator,
    covariates: Covariates,
    key: jax.Array,
    condition: Condition,
    batch_column: int | None,
    first: int,
) -> Float[np.ndarray, "cell gene"]:
    """Rates of new cells; rows sum to 1. A cell of unknown batch gets its mean log rates over the batches."""
    rates = _rates(generator, covariates, key, condition, first)
    if batch_column is None:
        return rates
    unknown = np.asarray(condition.categories)[:, batch_column] < 0
    if not unknown.any():
        return rates

    def in_batch(level: int) -> Float[np.ndarray, "cell gene"]:
        categories = np.asarray(condition.categories).copy()
        categories[unknown, batch_column] = level
        return _rates(generator, covariates, key, replace(condition, categories=categories), first)[unknown]

    shares = covariates.shares()[batch_column]
    rates[unknown] = mean_rates((share, in_batch(level)) for level, share in enumerate(shares))
    return rates


def rates_under(
    generator: ExpressionGenerator,
    covariates: Covariates,
    latents: Float[np.ndarray, "cell latent"],
    own: Condition,
    table: pd.DataFrame,
    obs: Mapping[str, Any],
) -> tuple[Float[np.ndarray, "cell gene"], pd.DataFrame]:
    """Rates of given cells (`latents`, `own` condition, obs `table`) under `obs` instead, and their obs then.

    Raises:
        ConditionError: An unknown level or column.
    """
    if LIBRARY_SIZE in obs:
        raise ConditionError(
            f"{LIBRARY_SIZE!r} is no covariate", where="denoise", remedy="give it as an argument of its own"
        )
    asked = covariates.table(len(table), obs).set_index(table.index)
    table = table.drop(columns=list(obs), errors="ignore").join(asked)

    def under(levels: dict[str, str]) -> Float[np.ndarray, "cell gene"]:
        condition = covariates.condition(table.assign(**levels), np.asarray(own.log_library))
        terms = covariates.analogies(np.asarray(condition.categories))
        wanted = [(weight, replace(condition, categories=codes)) for weight, codes in terms]
        return rates_at(generator.vae, transfer(generator.flow, latents, own, wanted), condition)

    return mean_rates((share, under(levels)) for share, levels in covariates.missing(obs)), table
