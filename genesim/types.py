"""The arrays that travel between floors: `Condition` and `Minibatch`, both pytrees of fixed shape.

Shape names used across the package: `cell`, `gene`, `donor`, `haplotype`, `variant`, `example`
(a row of a minibatch: a cell or a haplotype), `feature` (a gene or a variant), `latent`.
"""

from __future__ import annotations

from dataclasses import dataclass

import jax
import numpy as np
from jaxtyping import Array, Float, Int


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Condition:
    """What a draw is conditioned on, one row an example.

    Attributes:
        categories: Level codes of the categorical covariates; -1 means unknown level.
        continuous: Standardised continuous covariates.
        log_library: Natural log of the library size (0 where the model has none).
    """

    categories: Int[Array | np.ndarray, "example categorical"]
    continuous: Float[Array | np.ndarray, "example continuous"]
    log_library: Float[Array | np.ndarray, " example"]

    @property
    def n_examples(self) -> int:
        return self.categories.shape[0]


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Minibatch:
    """One training step's data; its shapes never change, so every step compiles once.

    Attributes:
        values: Counts (cell x gene) or alleles (haplotype x variant, -1 missing).
        condition: Covariates of each example.
        weight: 1 for a real example, 0 for padding.
    """

    values: Float[Array | np.ndarray, "example feature"] | Int[Array | np.ndarray, "example feature"]
    condition: Condition
    weight: Float[Array | np.ndarray, " example"]
