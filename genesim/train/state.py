"""What training carries from step to step, and a model's arrays as plain nested dicts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Int

from genesim.errors import ArtefactError
from genesim.train.checkpoint import to_numpy

Info: TypeAlias = dict[str, Array]
"""Named scalars of one step; `loss` is always there, `skipped` (0 or 1) where a step can be refused."""

M = TypeVar("M", bound=nnx.Module)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class TrainState:
    """Everything that a step changes; a pytree.

    Attributes:
        parameters: The model's `nnx.Param`s.
        rest: The model's other variables (running statistics, dropout counters).
        optimiser: State of the optimiser; None where there is none.
        step: Steps done, skipped ones included.
        average: Exponential moving average of `parameters`, or None.
    """

    parameters: Any
    rest: Any
    optimiser: Any
    step: Int[Array, ""]
    average: Any

    @property
    def best_parameters(self) -> Any:
        """The moving average where one is kept, else the last parameters."""
        return self.parameters if self.average is None else self.average


def _is_key(leaf: Any) -> bool:
    return isinstance(leaf, jax.Array) and jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def like(template: Any, array: np.ndarray, where: str) -> jax.Array:
    """`array` on the device as the same type of leaf as `template` (a PRNG key from its key data).

    Raises:
        ArtefactError: Shape or dtype differ from the template's.
    """
    expected = to_numpy(template)
    if expected.shape != array.shape or expected.dtype != array.dtype:
        raise ArtefactError(
            f"is {array.dtype}{list(array.shape)}, the model has {expected.dtype}{list(expected.shape)}",
            where=where,
            remedy="use the configuration and the data that the stored arrays were made with",
        )
    if _is_key(template):
        return jax.random.wrap_key_data(jnp.asarray(array), impl=jax.random.key_impl(template))
    return jnp.asarray(array)


def _strings(tree: Any) -> Any:
    """Nested dicts with string keys (nnx numbers the modules of a list with integers)."""
    if isinstance(tree, Mapping):
        return {str(key): _strings(value) for key, value in tree.items()}
    return to_numpy(tree)


def model_arrays(model: nnx.Module) -> dict[str, Any]:
    """All variables of `model` as nested dicts of NumPy arrays, as `save_model` takes them."""
    return _strings(nnx.to_pure_dict(nnx.state(model)))


def restore_arrays(model: M, arrays: Mapping[str, Any], where: str = "model") -> M:
    """`model` with its variables replaced, in place, by what `model_arrays` gave; returns it.

    Raises:
        ArtefactError: An array is missing, unknown, or of another shape or type than the model's.
    """
    state = nnx.state(model)
    pure = nnx.to_pure_dict(state)
    nnx.replace_by_pure_dict(state, _matched(pure, arrays, where))
    nnx.update(model, state)
    return model


def _matched(expected: Any, found: Any, where: str) -> Any:
    if not isinstance(expected, Mapping):
        if isinstance(found, Mapping | list):
            raise ArtefactError(
                "holds further arrays, the model has one array here",
                where=where,
                remedy="use the configuration that the stored model was made with",
            )
        return like(expected, np.asarray(found), where)
    names = {str(key): key for key in expected}
    given = set(found) if isinstance(found, Mapping) else set()
    for name in sorted(given ^ set(names)):
        raise ArtefactError(
            f"array '{name}' is {'unknown to' if name in given else 'missing for'} the model",
            where=where,
            remedy="use the configuration that the stored model was made with",
        )
    return {names[name]: _matched(expected[names[name]], found[name], f"{where}.{name}") for name in names}
