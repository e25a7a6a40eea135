"""Load any model that genesim has saved."""

from __future__ import annotations

from pathlib import Path

from genesim.errors import ArtefactError
from genesim.estimators.effects import EffectModel
from genesim.estimators.expression import ExpressionModel
from genesim.estimators.haplotypes import HaplotypeModel
from genesim.estimators.perturbation import PerturbationModel
from genesim.train.store import describe_model

AnyModel = ExpressionModel | HaplotypeModel | EffectModel | PerturbationModel
_KINDS: dict[str, type[AnyModel]] = {
    "expression": ExpressionModel,
    "haplotypes": HaplotypeModel,
    "effects": EffectModel,
    "perturbation": PerturbationModel,
}


def load(directory: str | Path) -> AnyModel:
    """The model in `directory`, whatever its kind.

    Raises:
        ArtefactError: It is no model, is incomplete or was altered.
    """
    kind = describe_model(directory)["kind"]
    if kind not in _KINDS:
        raise ArtefactError(f"holds a {kind!r}", where=str(directory), remedy=f"give one of {', '.join(_KINDS)}")
    return _KINDS[kind].load(directory)
