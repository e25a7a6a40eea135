"""Perturbations under the laws: three genes alone and in pairs, in two contexts of unlike conditions."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, ClassVar

import anndata as ad
import numpy as np
import pandas as pd
from contract_case import Case, Pair
from scipy import sparse

from genesim.estimators.perturbation import PerturbationModel
from genesim.models.perturbation.candidates import CANDIDATES, Candidates, EffectLibrary
from genesim.models.perturbation.stack import STACKED, fit_stack, hold_out

N_GENES, N_CELLS = 12, 12
LABELS = {"X": ["control", "g1", "g2", "g3", "g1+g2", "g1+g3"], "Y": ["control", "g1", "g3"]}
ASKED = ("g1", "g2", "g2+g3", "g1+g7", "nobody")
"""Measured, new context, combination, and perturbations never measured."""


def cells() -> ad.AnnData:
    """`N_CELLS` cells of each condition; each perturbation moves its own third of the genes."""
    random = np.random.default_rng(0)
    counts, label, line = [], [], []
    for context, names in LABELS.items():
        for name in names:
            own = [np.arange(N_GENES) % 3 == int(part[1]) - 1 for part in name.split("+") if part != "control"]
            shift = np.sum(own, axis=0) if own else np.zeros(N_GENES)
            counts.append(random.poisson(5 * np.exp(0.8 * shift), (N_CELLS, N_GENES)))
            label += [name] * N_CELLS
            line += [context] * N_CELLS
    obs = pd.DataFrame({"condition": label, "line": line}, index=[f"c{i}" for i in range(len(label))])
    var = pd.DataFrame(index=[f"g{i}" for i in range(N_GENES)])
    return ad.AnnData(sparse.csr_matrix(np.vstack(counts).astype("f")), obs=obs, var=var)


def controls(of: ad.AnnData) -> ad.AnnData:
    """A view of the control cells."""
    return of[of.obs["condition"] == "control"]


def library_of(effect: np.ndarray, se: np.ndarray, like: EffectLibrary) -> EffectLibrary:
    return replace(like, effect=effect, se=se, shrunk=effect, sd=se)


def extreme_libraries(usual: EffectLibrary) -> Iterator[tuple[str, EffectLibrary]]:
    effect, se = usual.effect, usual.se
    yield "no effects", library_of(0 * effect, se, usual)
    yield "huge effects", library_of(1e6 * effect, se, usual)
    yield "no noise", library_of(effect, 0 * se, usual)
    yield "one condition", usual.take(np.array([0]))
    yield "no measured targets", replace(usual, target=np.full_like(usual.target, -1))


class PerturbationCase(Case):
    """What the rows of one `PerturbationModel` share: they are fitted and stored together."""

    exempt: ClassVar = {"training": "fitted without a training loop"}

    @property
    def method(self) -> str:
        return "stack"

    def inputs(self) -> ad.AnnData:
        return cells()

    def fit(self, inputs: ad.AnnData, seed: int) -> PerturbationModel:
        return PerturbationModel.fit(inputs, "condition", covariate_keys=["line"], seed=seed)

    def save(self, model: PerturbationModel, directory: Path) -> None:
        model.save(directory)

    def load(self, directory: Path) -> PerturbationModel:
        return PerturbationModel.load(directory)

    def predictions(self, library: EffectLibrary) -> Any:
        """Of everything in `ASKED` that the library's components can say, and of the conditions themselves."""
        raise NotImplementedError

    def padding(self, model: PerturbationModel) -> Iterator[Pair]:
        usual = model.learned.library
        wider = replace(usual, dose=np.pad(usual.dose, ((0, 0), (0, 2))), target=np.r_[usual.target, 5, -1])
        yield Pair("components without a condition", self.predictions(usual), self.predictions(wider))

    def extremes(self, model: PerturbationModel) -> Iterator[tuple[str, Any]]:
        for name, library in extreme_libraries(model.learned.library):
            yield name, self.predictions(library)


class StackCase(PerturbationCase):
    """The stack, and the cells that it makes from controls."""

    def answers(self, model: PerturbationModel, inputs: ad.AnnData) -> dict[str, Any]:
        effects = {f"{name} {line}": asdict(model.effect(name, line)) for name in ASKED for line in ("X", "Y", "Z")}
        made = model.predict(controls(inputs), "g1+g2")
        return {"effects": effects, "scores": model.scores, "genes": model.genes, "cells": made}

    def draw(self, model: PerturbationModel, seed: int) -> dict[str, Any]:
        asked = {"g1": 1.0, "g2": 0.5}
        chosen = model.predict(controls(cells()), asked, n_cells=7, seed=seed)
        return {
            "counts": model.predict(controls(cells()), asked, seed=seed).X,
            "chosen cells": chosen.obs["control_cell"],
            "chosen counts": chosen.X,
        }

    def predictions(self, library: EffectLibrary) -> Any:
        found = {}
        for regime in STACKED:
            found[regime], _ = self.spec.build(hold_out(library, regime, 4, 0.1, 5, 0), regime)
        return found


class CandidateCase(PerturbationCase):
    """One closed-form candidate, from the library that is stored with the stack."""

    exempt: ClassVar = {**PerturbationCase.exempt, "draw": "predicts effects, draws nothing"}

    def answers(self, model: PerturbationModel, inputs: ad.AnnData) -> dict[str, Any]:
        return {"predictions": self.predictions(model.learned.library)}

    def predictions(self, library: EffectLibrary) -> Any:
        made, at = Candidates(library, 4, 0.1), CANDIDATES.index(self.spec.id)
        return [made.all(context, dose)[at] for context in (0, 1, 2) for dose in library.dose]


class NoChangeCase(PerturbationCase):
    """The null: controls as they are, which a perturbation of amount 0 must leave them."""

    def answers(self, model: PerturbationModel, inputs: ad.AnnData) -> dict[str, Any]:
        return {"effect": asdict(model.effect({"g1": 0.0}, "X"))}

    exempt: ClassVar = {**PerturbationCase.exempt, "draw": "changes nothing, whatever the seed"}

    def padding(self, model: PerturbationModel) -> Iterator[Pair]:
        made = model.predict(controls(cells()), {"g1": 0.0, "nobody": 0.0})
        yield Pair("amounts of 0", controls(cells()).X.astype(np.int32), made.X)

    def extremes(self, model: PerturbationModel) -> Iterator[tuple[str, Any]]:
        for name, library in extreme_libraries(model.learned.library):
            for regime in STACKED:
                for record in fit_stack(hold_out(library, regime, 4, 0.1, 5, 0), regime)[1]:
                    if record["method"] == self.spec.id:
                        yield f"{name}, {regime}", record["mae"]


CASES: dict[tuple[str, str], type[Case]] = {
    ("perturbation", "stack"): StackCase,
    ("perturbation", "no_change"): NoChangeCase,
} | {("perturbation", name): CandidateCase for name in CANDIDATES}
