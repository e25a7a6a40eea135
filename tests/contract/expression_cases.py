"""Expression under the laws: 60 cells of two types and one lone cell of a third, two batches, one age."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import anndata as ad
import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from contract_case import Case, Pair, step_report
from flax import nnx
from scipy import sparse

from genesim import rng
from genesim.config.model import ExpressionConfig, TrainPlan
from genesim.estimators.expression import ExpressionModel
from genesim.estimators.expression_fit import gene_statistics
from genesim.models.expression.flow import LatentFlow
from genesim.models.expression.generator import take
from genesim.models.expression.posterior import encode
from genesim.train.step import TrainStep, gradient_step
from genesim.types import Condition, Minibatch

N_GENES, N_LATENT, N_ROWS = 12, 3, 8
PLAN = TrainPlan(n_steps=10, minibatch_size=16, steps_per_call=4)  # calls of 4, 4 and 2 steps
CONFIG = ExpressionConfig(
    method="vae",
    n_latent=N_LATENT,
    n_hidden=16,
    n_layers=1,
    dropout=0.1,
    n_flow_layers=1,
    n_flow_steps=4,
    vae=PLAN,
    flow=PLAN,
)
HUGE = 1e7
KEY = jax.random.key(1)


def cells(n: int = 60, seed: int = 0) -> ad.AnnData:
    """Counts of `n` cells; the last one is alone of its type."""
    random = np.random.default_rng(seed)
    kind, batch = np.arange(n) % 2, random.integers(0, 2, n)
    profile = np.exp(np.array([np.linspace(-1.5, 1.5, N_GENES), np.linspace(1.5, -1.5, N_GENES)]))
    counts = random.poisson(3 * profile[kind] * random.gamma(5, 0.2, (n, N_GENES))).astype("f")
    counts[:, 0] += 1  # no empty cell
    kinds = np.array(["B", "T"], object)[kind]
    kinds[-1] = "lone"
    obs = pd.DataFrame(
        {"kind": kinds, "run": np.array(["r1", "r2"])[batch], "age": 30.0 + batch},
        index=[f"c{i}" for i in range(n)],
    )
    var = pd.DataFrame(index=[f"ENSG{i:03d}" for i in range(N_GENES)])
    return ad.AnnData(sparse.csr_matrix(counts), obs=obs, var=var)


def rows_of(model: ExpressionModel, n: int = 9) -> Condition:
    """Conditions of `n` cells, unknown levels among them."""
    table = cells(n).obs.astype({"kind": object, "run": object})
    table.loc["c1", "kind"] = None
    table.loc["c2", "run"] = None
    return model.condition(table)


def in_two(draw: Any, condition: Condition) -> np.ndarray:
    """Rows 0-3 and 4-8 of one draw, drawn apart."""
    return np.concatenate([draw(take(condition, slice(0, 4)), 0), draw(take(condition, slice(4, 9)), 4)])


class ExpressionCase(Case):
    """A method of `ExpressionModel`."""

    def inputs(self) -> ad.AnnData:
        return cells()

    def fit(self, inputs: ad.AnnData, seed: int) -> ExpressionModel:
        config = CONFIG.model_copy(update={"method": self.method})
        return ExpressionModel.fit(
            inputs,
            labels_key="kind",
            batch_key="run",
            continuous_covariate_keys=["age"],
            config=config,
            seed=seed,
        )

    def draw(self, model: ExpressionModel, seed: int) -> dict[str, Any]:
        fixed = {"kind": "B", "run": "r1", "age": 30.0}
        return {
            "cells": model.sample(9, seed=seed).X,
            "cells of one kind": model.sample(9, obs=fixed, seed=seed).X,
            "counts": model.sample(9, obs={**fixed, "library_size": 100.0}, seed=seed).X,
            "labels": model.sample(40, seed=seed).obs["kind"],
        }

    def save(self, model: ExpressionModel, directory: Path) -> None:
        model.save(directory)

    def load(self, directory: Path) -> ExpressionModel:
        return ExpressionModel.load(directory)

    def padding(self, model: ExpressionModel) -> Iterator[Pair]:
        condition, key = rows_of(model), jax.random.key(3)
        whole = model.generator.sample(key, condition).toarray()
        parts = in_two(lambda rows, start: model.generator.sample(key, rows, start).toarray(), condition)
        yield Pair("a draw in two chunks", whole, parts)


class BaselineCase(ExpressionCase):
    """A baseline in closed form."""

    exempt: ClassVar = {"training": "fitted without a training loop"}

    def answers(self, model: ExpressionModel, inputs: ad.AnnData) -> dict[str, Any]:
        return {"parameters": model.generator.arrays(), "composition": model.composition, "genes": model.genes}

    def extremes(self, model: ExpressionModel) -> Iterator[tuple[str, Any]]:
        condition = Condition(np.arange(40)[:, None] % 3, np.zeros((40, 0)), np.full(40, np.log(HUGE)))
        condition.categories[-1] = 3  # alone
        counts = np.random.default_rng(0).poisson(2.0, (40, N_GENES)).astype(float)
        worlds = {"no counts": 0 * counts, "huge counts": HUGE * counts, "one gene holds all": counts.copy()}
        worlds["one gene holds all"][:, 1:] = 0
        for name, world in worlds.items():
            fitted = self.spec.build(world, condition, 5, 0, 0)  # label 4 has no cell
            yield name, fitted.arrays()
            yield f"{name}, drawn", fitted.sample(jax.random.key(0), condition).astype(float)


class GradientCase(ExpressionCase):
    """A network of the vae method."""

    @property
    def method(self) -> str:
        return "vae"

    def n_trainings(self) -> int:
        return 2  # the vae, then the flow

    def module(self, model: ExpressionModel) -> nnx.Module:
        """The trained network."""
        raise NotImplementedError

    def untrained(self, model: ExpressionModel) -> nnx.Module:
        """The network as the training loop starts from."""
        raise NotImplementedError

    def minibatch(self, model: ExpressionModel, values: str) -> Minibatch:
        """`N_ROWS` examples: "real" ones, or the "extreme" ones that the model may meet."""
        raise NotImplementedError

    @cached_property
    def _step(self) -> TrainStep:
        step = gradient_step(self.untrained(self.model), PLAN)
        return replace(step, step=jax.jit(step.step))

    def stepped(self, minibatch: Minibatch, parameters: Any = None) -> tuple[Any, dict[str, Any]]:
        """Parameters after one training step, and what the step reports."""
        start = self._step.init()
        if parameters is not None:
            start = replace(start, parameters=parameters)
        state, info = self._step.step(start, minibatch, KEY)
        return state.parameters, info

    def padding(self, model: ExpressionModel) -> Iterator[Pair]:
        yield from super().padding(model)
        real, extreme = (self.minibatch(model, values) for values in ("real", "extreme"))
        weight = np.where(np.arange(N_ROWS) < 5, 1.0, 0.0).astype("f")

        def filled(other: Minibatch) -> Minibatch:
            rows = np.arange(N_ROWS) < 5

            def merge(a: Any, b: Any) -> np.ndarray:
                return np.where(rows.reshape(-1, *[1] * (np.ndim(a) - 1)), a, b)

            return replace(jax.tree.map(merge, real, other), weight=weight)

        plain = self.stepped(filled(real))
        yield Pair("a training step with other rows as padding", plain, self.stepped(filled(extreme)))
        short = jax.tree.map(lambda leaf: np.asarray(leaf)[:5], filled(real))
        module = self.untrained(model)
        module.train()
        loss = nnx.jit(lambda module, data: module.loss(data, KEY, jnp.int32(0))[0].mean())(module, short)
        yield Pair("a shorter minibatch", plain[1]["loss"], loss, 1e-5)

    def extremes(self, model: ExpressionModel) -> Iterator[tuple[str, Any]]:
        extreme = self.minibatch(model, "extreme")
        trained = nnx.state(self.module(model), nnx.Param)
        for name, parameters in (("at initialisation", None), ("after training", trained)):
            moved, info = self.stepped(extreme, parameters)
            yield name, {"moved": moved, "step": step_report(info)}


class VaeCase(GradientCase):
    """NB-VAE: what `ExpressionModel` says through it."""

    def answers(self, model: ExpressionModel, inputs: ad.AnnData) -> dict[str, Any]:
        rates, library = model.draw_rates(inputs.obs, seed=2)
        found = {"embedding": model.embed(inputs), "denoised": model.denoise(inputs).X, "history": model.history}
        return found | {"score": model.score_cells(inputs), "rates": rates, "library": library}

    def module(self, model: ExpressionModel) -> nnx.Module:
        return model.generator.vae

    def untrained(self, model: ExpressionModel) -> nnx.Module:
        statistics, levels = gene_statistics(cells().X), model.covariates.n_levels
        return self.spec.build(statistics, levels, model.covariates.shares(), 1, CONFIG, rngs=nnx.Rngs(0))

    def minibatch(self, model: ExpressionModel, values: str) -> Minibatch:
        condition = take(rows_of(model), slice(0, N_ROWS))
        counts = cells(N_ROWS).X.toarray()
        library = np.array(condition.log_library)
        if values == "extreme":
            counts[0] = 0.0
            counts[1] = HUGE
            counts[2], counts[2, 3] = 0.0, HUGE
            counts[3], library[3] = 0.0, np.log(HUGE)
            library[4] = 0.0
        return Minibatch(counts, replace(condition, log_library=library), np.ones(N_ROWS, "f"))


class FlowCase(GradientCase):
    """The latent flow, trained behind the VAE and stored with it."""

    def answers(self, model: ExpressionModel, inputs: ad.AnnData) -> dict[str, Any]:
        flow = self.module(model)
        return {"drift": flow.drift[...], "spread": flow.spread[...], "parameters": nnx.state(flow, nnx.Param)}

    def draw(self, model: ExpressionModel, seed: int) -> dict[str, Any]:
        return {"latents": model.generator.latents(rng.key(seed), rows_of(model))}

    def module(self, model: ExpressionModel) -> LatentFlow:
        return model.generator.flow

    def untrained(self, model: ExpressionModel) -> nnx.Module:
        n_levels = model.covariates.n_levels
        start = np.zeros(N_LATENT), np.ones(N_LATENT), (3.0, 1.0)
        return self.spec.build(*start, n_levels, 1, CONFIG, rngs=nnx.Rngs(0))

    def minibatch(self, model: ExpressionModel, values: str) -> Minibatch:
        condition = take(rows_of(model), slice(0, N_ROWS))
        posterior = encode(model.generator.vae, cells(N_ROWS).X)
        library = np.array(condition.log_library)
        if values == "extreme":
            posterior[0] = 0.0
            posterior[1, :N_LATENT], posterior[2, N_LATENT:] = 1e3, 1e3
            library[3], library[4] = 0.0, np.log(HUGE)
        return Minibatch(posterior, replace(condition, log_library=library), np.ones(N_ROWS, "f"))

    def padding(self, model: ExpressionModel) -> Iterator[Pair]:
        yield from super().padding(model)
        condition, key = rows_of(model), jax.random.key(3)
        whole = model.generator.latents(key, condition)
        parts = in_two(lambda rows, start: model.generator.latents(key, rows, start), condition)
        yield Pair("latents in two chunks", whole, parts)


CASES: dict[tuple[str, str], type[Case]] = {
    ("expression", "vae"): VaeCase,
    ("expression", "flow"): FlowCase,
    ("expression", "copula"): BaselineCase,
    ("expression", "independent"): BaselineCase,
}
