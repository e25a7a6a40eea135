"""Trained residuals (L1) of a perturbation model: the gate of each stratum, and what passed it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from flax import nnx

from genesim.estimators.perturbation_question import Question
from genesim.models.perturbation.gate import Gate
from genesim.models.perturbation.programs import N_CONTEXT, Axes, Vocabulary
from genesim.models.perturbation.residual import EffectResidual, ResidualEffect
from genesim.train.state import model_arrays, restore_arrays


@dataclass(frozen=True, eq=False)
class Residuals:
    """Gates by stratum ("new_context", "new_context:donor", ...), and the residuals of those that are open."""

    gates: dict[str, Gate]
    trained: dict[str, EffectResidual]

    def of(self, question: Question, stratum: str, prediction: np.ndarray) -> np.ndarray | None:
        """What is added to the closed-form prediction of a question (gene); None where nothing is.

        Args:
            stratum: Whose stack made the prediction.
        """
        residual = self.trained.get(stratum)
        if residual is None:
            return None
        made, context = question.made, question.context
        told = residual.vocabulary.told(made, made.embeddings, context, question.dose, prediction, question.profile)
        return residual.of(told, question.library.target_mask(question.dose))

    def metadata(self) -> dict[str, Any]:
        """JSON types."""
        return {
            "gates": {stratum: gate.to_dict() for stratum, gate in self.gates.items()},
            "trained": [
                {"stratum": stratum, "unit": r.unit, "n_steps": r.n_steps, "priors": list(r.vocabulary.priors)}
                for stratum, r in self.trained.items()
            ],
        }

    def arrays(self) -> dict[str, Any]:
        """What `restored` needs besides; empty where nothing was learned."""
        return {str(i): _arrays(residual) for i, residual in enumerate(self.trained.values())}

    @classmethod
    def restored(cls, arrays: Mapping[str, Any], metadata: Mapping[str, Any]) -> Residuals:
        """What `arrays` and `metadata` gave.

        Raises:
            ArtefactError: Arrays of another network.
        """
        gates = {stratum: Gate.from_dict(gate) for stratum, gate in metadata.get("gates", {}).items()}
        trained = {m["stratum"]: _from(arrays[str(i)], m) for i, m in enumerate(metadata.get("trained", []))}
        return cls(gates, trained)


NO_RESIDUALS = Residuals({}, {})


def _axes(axes: Axes) -> dict[str, np.ndarray]:
    return {"centre": axes.centre, "directions": axes.directions}


def _arrays(residual: EffectResidual) -> dict[str, Any]:
    words = residual.vocabulary
    found: dict[str, Any] = {
        "programs": _axes(words.programs),
        "contexts": _axes(words.contexts),
        "dose": words.dose,
        "members": {str(i): model_arrays(member) for i, member in enumerate(residual.members)},
    }
    return found | {f"prior{i}": _axes(axes) for i, axes in enumerate(words.priors.values())}


def _from(arrays: Mapping[str, Any], metadata: Mapping[str, Any]) -> EffectResidual:
    def axes(name: str) -> Axes:
        return Axes(np.asarray(arrays[name]["centre"]), np.asarray(arrays[name]["directions"]))

    priors = {name: axes(f"prior{i}") for i, name in enumerate(metadata["priors"])}
    words = Vocabulary(axes("programs"), axes("contexts"), priors, np.asarray(arrays["dose"]))
    n = len(words.programs.directions)
    members = tuple(
        restore_arrays(ResidualEffect(n, words.n_features, N_CONTEXT, rngs=nnx.Rngs(0)), member, "residual of effects")
        for _, member in sorted(arrays["members"].items(), key=lambda item: int(item[0]))
    )
    return EffectResidual(words, members, metadata["unit"], metadata["n_steps"])
