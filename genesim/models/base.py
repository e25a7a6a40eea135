"""The contracts that the training loop and the catalog rely on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import jax
from flax import nnx
from jaxtyping import Array, Float

from genesim.types import Condition, Minibatch

Modality: TypeAlias = Literal["expression", "haplotypes", "effects", "perturbation"]


class GenerativeModel(nnx.Module):
    """A model trained by stochastic gradients.

    `loss` returns one value an example, so that masking, weighting and clipping are one mechanism;
    padding (weight 0) must not change any other example's loss. A law of the catalog: the same key
    gives the same draw, in any minibatch.
    """

    def loss(
        self, minibatch: Minibatch, key: jax.Array, step: Array
    ) -> tuple[Float[Array, " example"], dict[str, Array]]:
        """Per-example loss and named per-example diagnostics; `step` serves warm-ups."""
        raise NotImplementedError  # abstract

    def sample(self, key: jax.Array, condition: Condition) -> Float[Array, "example feature"]:
        """One draw for each row of `condition`."""
        raise NotImplementedError  # abstract


class EmModel(nnx.Module):
    """A model fitted by expectation-maximisation; one training step is one pass over the whole data.

    The loop splits the module with `nnx.split`, so both methods run inside a jitted function: what is
    learned lies in `nnx.Param`s of fixed shape and dtype, and nothing branches on an array's value.
    """

    def expect(self, minibatch: Minibatch) -> dict[str, Array]:
        """Expected sufficient statistics of one minibatch; changes nothing in the model.

        Every entry is a sum over examples, weighted by `minibatch.weight`, so that entries add up over
        minibatches and padding (weight 0) adds nothing. Shapes and dtypes do not depend on the values.
        The entry `"log_likelihood"` (scalar, natural log) is required: the loop reports its negative,
        divided by the summed weight, as the loss.
        """
        raise NotImplementedError  # abstract

    def maximise(self, statistics: dict[str, Array]) -> None:
        """Re-estimate the parameters from summed statistics, in place (`self.x[...] = new`)."""
        raise NotImplementedError  # abstract


@dataclass(frozen=True)
class ModelSpec:
    """One row of the catalog.

    Attributes:
        id: Its name as a `method` of the configuration, in score tables and on disk.
        modality: What it generates or predicts.
        role: The product's own model, a separately trained part of it, or a baseline beside which it is scored.
        title: What it is, in a few words.
        fitted_by: The training loop (gradient, em), an iteration of its own (variational), or formulas.
        build: What makes it from arrays: untrained for the training loop, else fitted; None where its parts
            are fitted together with the model's. One signature for all baselines of a modality.
        restore: What makes a haplotype model or an expression baseline from its own `arrays()`.
        parts: Ids of the parts that are trained with a model.
        copies: True where draws repeat stretches of training records: it is not private.
        citations: Sources, "Author year, venue"; none for what every textbook has.
    """

    id: str
    modality: Modality
    role: Literal["model", "part", "baseline"]
    title: str
    fitted_by: Literal["gradient", "em", "variational", "closed_form"]
    build: Any = None
    restore: Any = None
    parts: tuple[str, ...] = ()
    copies: bool = False
    citations: tuple[str, ...] = ()
