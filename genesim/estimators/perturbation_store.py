"""A perturbation model on disk: mean effects, weights and priors, no cells."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from genesim.config.base import parse
from genesim.config.model import PerturbationConfig
from genesim.estimators.perturbation_inputs import Keys
from genesim.estimators.perturbation_learn import Learned
from genesim.estimators.perturbation_priors import Priors
from genesim.estimators.perturbation_residual import Residuals
from genesim.estimators.perturbation_transport import Transport
from genesim.models.catalog import card
from genesim.models.perturbation.intervals import VarianceLaw
from genesim.models.perturbation.library import EffectLibrary
from genesim.models.perturbation.stack import Stack
from genesim.provenance.record import Provenance
from genesim.train.store import StoredModel, save_model

KIND = "perturbation"
_LIBRARY = ("context", "dose", "effect", "se", "shrunk", "sd", "target")
_OPTIONAL = ("group", "levels", "profile", "control_se")


def save_parts(directory: str | Path, parts: dict[str, Any]) -> Path:
    """Write what a `PerturbationModel` is made of.

    Args:
        parts: Its attributes by name: genes, learned, stacks, scores, keys, config, priors, provenance.
    """
    learned: Learned = parts["learned"]
    stacks: dict[str, Stack] = parts["stacks"]
    priors: Priors = parts["priors"]
    library = learned.library
    arrays: dict[str, Any] = {
        "library": {k: getattr(library, k) for k in _LIBRARY}
        | {k: getattr(library, k) for k in _OPTIONAL if getattr(library, k) is not None},
        "n_cells": learned.n_cells,
        "stacks": {str(i): stack_arrays(stack) for i, stack in enumerate(stacks.values())},
        "priors": priors.arrays(),
    }
    transport: Transport = parts["transport"]
    residuals: Residuals = parts["residuals"]
    arrays |= {"transport": transport.arrays(), "residuals": residuals.arrays()}
    for name in ("priors", "transport", "residuals"):
        if not arrays[name]:
            del arrays[name]
    scores: pd.DataFrame = parts["scores"]
    metadata = {
        "card": card("perturbation", "stack"),
        "genes": parts["genes"].tolist(),
        "contexts": learned.contexts,
        "components": learned.components,
        "labels": learned.labels,
        "levels": learned.levels,
        "groups": learned.groups,
        "reference_library": learned.reference_library,
        "kinds": list(library.kinds),
        "covariates": list(library.covariates),
        "stacks": [{"regime": regime, **stack_numbers(stack)} for regime, stack in stacks.items()],
        "scores": [{k: _plain(v) for k, v in r.items()} for r in scores.to_dict("records")],
        "score_columns": list(scores.columns),
        "keys": asdict(parts["keys"]),
        "config": parts["config"].model_dump(mode="json"),
        "priors": priors.metadata(),
        "transport": transport.metadata(),
        "residuals": residuals.metadata(),
    }
    return save_model(directory, KIND, arrays, metadata, parts["provenance"])


def stack_arrays(stack: Stack) -> dict[str, np.ndarray]:
    """Arrays of one stack; empty ones are left out."""
    law = stack.law
    found = {"weight": stack.weight, "edges": law.edges, "ratios": law.ratios, "coverage": stack.coverage}
    return {k: v for k, v in found.items() if len(v)}


def stack_numbers(stack: Stack) -> dict[str, float | int]:
    """Numbers of one stack."""
    law = stack.law
    return {
        "constant": law.constant,
        "slope": law.slope,
        "disagreement": law.disagreement,
        "activity": law.activity,
        "n_held_out": stack.n_held_out,
        "gain": stack.gain,
        "gain_se": stack.gain_se,
    }


def stack_from(arrays: dict[str, Any], numbers: dict[str, Any]) -> Stack:
    """From what `stack_arrays` and `stack_numbers` gave."""
    nothing = np.zeros(0)
    law = VarianceLaw(
        numbers["constant"],
        numbers["slope"],
        numbers["disagreement"],
        numbers["activity"],
        np.asarray(arrays.get("edges", nothing)),
        np.asarray(arrays.get("ratios", VarianceLaw().ratios)),
    )
    return Stack(
        np.asarray(arrays["weight"]),
        law,
        numbers["n_held_out"],
        numbers["gain"],
        numbers["gain_se"],
        np.asarray(arrays.get("coverage", nothing)),
    )


def parts_from(stored: StoredModel) -> dict[str, Any]:
    """What `save_parts` was given."""
    a, m = stored.arrays, stored.metadata
    library = EffectLibrary(
        **{k: np.asarray(v) for k, v in a["library"].items()},
        kinds=tuple(m["kinds"]),
        covariates=tuple(m["covariates"]),
        shrinks=m["config"]["shrinkage"],
    )
    learned = Learned(
        library,
        m["contexts"],
        m["components"],
        m["labels"],
        np.asarray(a["n_cells"]),
        m["reference_library"],
        m["levels"],
        m["groups"],
    )
    scores = pd.DataFrame(
        [{k: float("nan") if v is None else v for k, v in r.items()} for r in m["scores"]],
        columns=m["score_columns"],
    )
    return {
        "genes": pd.Index(m["genes"], dtype=object),
        "learned": learned,
        "stacks": {one["regime"]: stack_from(a["stacks"][str(i)], one) for i, one in enumerate(m["stacks"])},
        "scores": scores,
        "keys": Keys(**{**m["keys"], "covariates": tuple(m["keys"]["covariates"])}),
        "config": parse(PerturbationConfig, m["config"]),
        "provenance": Provenance(**{k: v for k, v in stored.provenance.items() if k != "schema"}),
        "priors": Priors.restored(a.get("priors", {}), m["priors"]),
        "residuals": Residuals.restored(a.get("residuals", {}), m.get("residuals", {})),
        "transport": Transport.restored(a.get("transport", {}), m.get("transport", {})),
    }


def _plain(value: object) -> object:
    """JSON has no NaN."""
    return None if isinstance(value, float) and np.isnan(value) else value
