"""Which case stands for which row of the catalog, and whether all of them stand."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TypeAlias

import effect_cases
import expression_cases
import haplotype_cases
import perturbation_cases
from contract_case import Case

from genesim.models.base import ModelSpec

Cases: TypeAlias = Mapping[tuple[str, str], type[Case]]

CASES: Cases = {
    **expression_cases.CASES,
    **haplotype_cases.CASES,
    **effect_cases.CASES,
    **perturbation_cases.CASES,
}

LAWS: dict[str, str] = {
    "draw": "draw",
    "storage": "save",
    "training": "n_trainings",
    "padding": "padding",
    "finite": "extremes",
}
"""Laws that a case writes down itself, and the method that does so. The other laws need `fit` and `answers` only."""


def excusable(spec: ModelSpec) -> set[str]:
    """Laws that a row of its kind may be excused from: a product draws and is stored, what is trained is traced."""
    found = {"draw", "storage"} if spec.role == "baseline" else set()
    return found if spec.fitted_by in ("gradient", "em") else found | {"training"}


def missing(catalog: Sequence[ModelSpec], cases: Cases) -> Iterable[str]:
    """What the laws lack for a catalog: rows without a case, laws neither kept nor rightly excused."""
    rows = {(spec.modality, spec.id): spec for spec in catalog}
    yield from (f"{'/'.join(name)} has no case" for name in rows if name not in cases)
    yield from (f"{'/'.join(name)} is not in the catalog" for name in cases if name not in rows)
    for name, spec in rows.items():
        if name not in cases:
            continue
        case = cases[name]
        for law, method in LAWS.items():
            kept = getattr(case, method) is not getattr(Case, method)
            if law in case.exempt and law not in excusable(spec):
                yield f"{'/'.join(name)} cannot be excused from {law}"
            elif kept == (law in case.exempt):
                yield f"{'/'.join(name)} is excused from {law} and keeps it" if kept else f"{'/'.join(name)}: no {law}"


def under(catalog: Sequence[ModelSpec], law: str) -> list[ModelSpec]:
    """Rows that a law is asked of."""
    return [s for s in catalog if (s.modality, s.id) not in CASES or law not in CASES[s.modality, s.id].exempt]
