"""The expression model's parts as nested arrays and JSON, and back."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import nnx

from genesim.config.model import ExpressionConfig
from genesim.errors import ArtefactError
from genesim.models.expression.copula import CopulaNb
from genesim.models.expression.flow import LatentFlow
from genesim.models.expression.generator import CountGenerator, ExpressionGenerator
from genesim.models.expression.independent_nb import IndependentNb
from genesim.models.expression.vae import GeneStatistics, NbVae


def module_arrays(module: nnx.Module) -> dict[str, np.ndarray]:
    """Every variable of a module by its path, `encoder/linears/0/kernel`."""
    flat = nnx.to_flat_state(nnx.state(module))
    return {"/".join(map(str, path)): np.asarray(variable[...]) for path, variable in flat}


def fill_module(module: nnx.Module, arrays: dict[str, np.ndarray]) -> None:
    """Put stored variables into a module of the same shape.

    Raises:
        ArtefactError: Names or shapes differ.
    """
    flat = {"/".join(map(str, path)): variable for path, variable in nnx.to_flat_state(nnx.state(module))}
    for name in sorted(set(flat) | set(arrays)):
        if name not in flat or name not in arrays or flat[name][...].shape != arrays[name].shape:
            raise ArtefactError(
                f"array {name!r} does not fit this version of the model",
                where=type(module).__name__,
                remedy="train the model again, or load it with the version of genesim that wrote it",
            )
    state = nnx.state(module)
    for path, variable in nnx.to_flat_state(state):
        variable[...] = jnp.asarray(arrays["/".join(map(str, path))])
    nnx.update(module, state)


def generator_arrays(generator: CountGenerator) -> dict[str, Any]:
    """Arrays of a generator of any method."""
    if isinstance(generator, ExpressionGenerator):
        return {"vae": module_arrays(generator.vae), "flow": module_arrays(generator.flow)}
    if isinstance(generator, CopulaNb):
        margins = generator_arrays(generator.margins)
        return {**margins, "genes": list(generator.genes), "factors": list(generator.factors)}
    if isinstance(generator, IndependentNb):
        return {"frequency": generator.frequency, "theta": generator.theta}
    raise ArtefactError(
        f"a {type(generator).__name__} cannot be stored",
        remedy="use a generator that ExpressionModel.fit made",
    )


def build_generator(
    arrays: dict[str, Any],
    config: ExpressionConfig,
    n_levels: tuple[int, ...],
    n_continuous: int,
    label_column: int | None,
) -> CountGenerator:
    """The generator whose arrays were stored, in evaluation mode."""
    if config.method != "vae":
        margins = IndependentNb(arrays["frequency"], arrays["theta"], label_column)
        if config.method == "independent":
            return margins
        return CopulaNb(margins, tuple(arrays["genes"]), tuple(arrays["factors"]))
    n_genes = arrays["vae"]["bias"].shape[0]
    shares = [np.full(n, 1.0 / n) for n in n_levels]
    vae = NbVae(GeneStatistics.zeros(n_genes), n_levels, shares, n_continuous, config, rngs=nnx.Rngs(0))
    zero = np.zeros(config.n_latent)
    flow = LatentFlow(zero, zero + 1, (0.0, 1.0), n_levels, n_continuous, config, rngs=nnx.Rngs(0))
    fill_module(vae, arrays["vae"])
    fill_module(flow, arrays["flow"])
    return ExpressionGenerator(vae, flow)
