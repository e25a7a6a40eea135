"""Which covariate moved which genes: from the rates of one group of cells to those of another, switch by switch.

Covariates act by two routes: directly, through the gene offsets and slopes of the decoder, and through the latent
that the flow draws. Each switch moves one covariate on one route from the first group's values to the second's,
under common random numbers; what a gene's log mean rate changes by is that switch's term. Terms telescope, so they
add up to the whole change. They depend on the order of the switches where these interact, hence the mean of one
order and its reverse (two of the orders that a Shapley value averages; Owen 2014, SIAM/ASA J Uncertain Quantif).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from jaxtyping import Float

from genesim.models.expression.posterior import rates_at
from genesim.models.expression.vae import NbVae
from genesim.types import Condition

Draw: TypeAlias = Callable[[Condition], Float[np.ndarray, "cell latent"]]
Switch: TypeAlias = tuple[str, int]
"""Route ("direct" or "latent") and column: categorical covariates, then continuous ones, then library size."""


@dataclass(frozen=True)
class Attribution:
    """Terms of the change of log mean rate between two groups of cells.

    Attributes:
        switches: What each term switched.
        terms: Change of each gene's log mean rate (natural log) by each switch; rows add up to the whole change.
        before: Mean rate of each gene in the first group (rates of a cell sum to 1).
        after: In the second group.
    """

    switches: tuple[Switch, ...]
    terms: Float[np.ndarray, "gene switch"]
    before: Float[np.ndarray, " gene"]
    after: Float[np.ndarray, " gene"]


def switches(n_categorical: int, n_continuous: int) -> tuple[Switch, ...]:
    """Every switch there is: the latent route first. Library size acts through the latent only, as rates sum to 1."""
    n = n_categorical + n_continuous
    return (*(("latent", column) for column in range(n + 1)), *(("direct", column) for column in range(n)))


def _mixed(before: Condition, after: Condition, switched: set[int]) -> Condition:
    """`before` with the columns in `switched` taken from `after`."""
    n, m = before.categories.shape[1], before.continuous.shape[1]
    categories = [(after if i in switched else before).categories[:, i] for i in range(n)]
    continuous = [(after if n + i in switched else before).continuous[:, i] for i in range(m)]
    return Condition(
        np.stack(categories, axis=1) if n else np.asarray(before.categories),
        np.stack(continuous, axis=1) if m else np.asarray(before.continuous),
        (after if n + m in switched else before).log_library,
    )


def _means(
    vae: NbVae, draw: Draw, before: Condition, after: Condition, order: Sequence[Switch]
) -> Iterator[Float[np.ndarray, " gene"]]:
    """Log mean rates at the start and after each switch of `order`."""
    switched: dict[str, set[int]] = {"latent": set(), "direct": set()}
    latents = draw(before)
    yield np.log(rates_at(vae, latents, before).mean(axis=0, dtype=np.float64))
    for route, column in order:
        switched[route].add(column)
        if route == "latent":
            latents = draw(_mixed(before, after, switched["latent"]))
        rates = rates_at(vae, latents, _mixed(before, after, switched["direct"]))
        yield np.log(rates.mean(axis=0, dtype=np.float64))


def attribute(vae: NbVae, draw: Draw, before: Condition, after: Condition) -> Attribution:
    """Terms between the cells of `before` and as many of `after`; `draw` gives latents from the same noise always."""
    order = switches(before.categories.shape[1], before.continuous.shape[1])
    forward = np.stack(list(_means(vae, draw, before, after, order)), axis=1)
    backward = np.stack(list(_means(vae, draw, before, after, order[::-1])), axis=1)
    terms = (np.diff(forward, axis=1) + np.diff(backward, axis=1)[:, ::-1]) / 2
    return Attribution(order, terms, np.exp(forward[:, 0]), np.exp(forward[:, -1]))
