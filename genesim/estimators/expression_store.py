"""The expression model's parts as nested arrays and JSON, and back."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
import pandas as pd
from flax import nnx

from genesim.config.model import ExpressionConfig
from genesim.data.names import plain_frame
from genesim.errors import ArtefactError
from genesim.models.catalog import spec
from genesim.models.expression.flow import LatentFlow
from genesim.models.expression.generator import CountBaseline, ExpressionGenerator
from genesim.models.expression.margins import GeneMargins
from genesim.models.expression.vae import GeneStatistics, NbVae


def text_columns(var: pd.DataFrame) -> pd.DataFrame:
    """Columns of `var` that hold text or categories of text, as plain strings; missing is None."""
    plain = plain_frame(var)
    kept = {}
    for name, column in plain.items():
        values = column.astype(object).where(column.notna(), None)
        if any(isinstance(value, str) for value in values) and all(isinstance(v, str | None) for v in values):
            kept[name] = values
    return pd.DataFrame(kept, index=plain.index, dtype=object)


def module_arrays(module: nnx.Module) -> dict[str, np.ndarray]:
    """Every variable of a module by its path, `encoder/linears/0/kernel`."""
    flat = nnx.to_flat_state(nnx.state(module))
    return {"/".join(map(str, path)): np.asarray(variable[...]) for path, variable in flat}


def fill_module(module: nnx.Module, arrays: dict[str, np.ndarray]) -> None:
    """Put stored variables into a module of the same shape; its own values may be abstract.

    Raises:
        ArtefactError: Names or shapes differ.
    """
    flat = {"/".join(map(str, path)): variable for path, variable in nnx.to_flat_state(nnx.state(module))}
    for name in sorted(set(flat) | set(arrays)):
        if name not in flat or name not in arrays or flat[name].get_value().shape != arrays[name].shape:
            raise ArtefactError(
                f"array {name!r} does not fit this version of the model",
                where=type(module).__name__,
                remedy="train the model again, or load it with the version of genesim that wrote it",
            )
    state = nnx.state(module)
    for path, variable in nnx.to_flat_state(state):
        variable.set_value(jnp.asarray(arrays["/".join(map(str, path))]))
    nnx.update(module, state)


def generator_arrays(generator: ExpressionGenerator | CountBaseline) -> dict[str, Any]:
    """Arrays of a generator of any method."""
    if isinstance(generator, ExpressionGenerator):
        margins = {} if generator.margins is None else {"margins": generator.margins.arrays()}
        return {"vae": module_arrays(generator.vae), "flow": module_arrays(generator.flow), **margins}
    return generator.arrays()


def build_generator(
    arrays: dict[str, Any],
    config: ExpressionConfig,
    n_levels: tuple[int, ...],
    n_continuous: int,
    label_column: int | None,
) -> ExpressionGenerator | CountBaseline:
    """The generator whose arrays were stored, in evaluation mode."""
    method = spec("expression", config.method)
    if method.role == "baseline":
        return method.restore(arrays, label_column)
    n_genes = arrays["vae"]["bias"].shape[0]
    shares = [np.full(n, 1.0 / n) for n in n_levels]
    zero = np.zeros(config.n_latent)
    # Shapes only: drawing initial values, to throw them away, takes most of a load.
    vae = nnx.eval_shape(
        lambda: NbVae(GeneStatistics.zeros(n_genes), n_levels, shares, n_continuous, config, rngs=nnx.Rngs(0))
    )
    flow = nnx.eval_shape(
        lambda: LatentFlow(zero, zero + 1, (0.0, 1.0), n_levels, n_continuous, config, rngs=nnx.Rngs(0))
    )
    fill_module(vae, arrays["vae"])
    fill_module(flow, arrays["flow"])
    margins = GeneMargins.restore(arrays["margins"]) if "margins" in arrays else None
    return ExpressionGenerator(vae, flow, margins, label_column)
