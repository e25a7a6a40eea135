"""What users write of perturbations: labels, doses, kinds and questions, read and checked."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import sparse

from genesim.console import log
from genesim.data.gene_dosage import GeneDosage
from genesim.data.names import some
from genesim.errors import ConditionError, ConfigError, H5adError
from genesim.models.perturbation.library import KINDS

NO_CONTEXT = "all"


@dataclass(frozen=True)
class Keys:
    """Columns of obs and the labels in them that the model was trained with."""

    perturbation: str
    control: str
    covariates: tuple[str, ...]
    dose: str | None
    library: str | None
    separator: str
    replicate: str | None = None
    group: str | None = None
    kinds: str | None = None

    @property
    def columns(self) -> list[str]:
        """Columns of obs that all cells must have in training; kinds and groups are asked of perturbed cells only."""
        optional = (self.dose, self.library, self.replicate)
        return [self.perturbation, *self.covariates, *(key for key in optional if key)]


def contexts_of(obs: pd.DataFrame, covariates: Sequence[str]) -> np.ndarray:
    """Context of each cell: its covariates' levels joined by "|"."""
    if not covariates:
        return np.full(len(obs), NO_CONTEXT, dtype=object)
    return obs[list(covariates)].astype(str).agg("|".join, axis=1).to_numpy(dtype=object)


def library_sizes(obs: pd.DataFrame, total: np.ndarray, keys: Keys) -> np.ndarray:
    """Total counts of each cell, or the column that holds them (where X is a panel of genes).

    Raises:
        H5adError: A library size is not a positive number.
    """
    if keys.library is None:
        return np.asarray(total, np.float64)
    size = pd.to_numeric(obs[keys.library], errors="coerce").to_numpy(np.float64)
    if not (np.isfinite(size) & (size > 0)).all():
        raise H5adError(
            f"obs['{keys.library}'] has values that are not positive numbers",
            where="expression",
            remedy="give library sizes, or leave library_key out",
        )
    return size


def log_expression(counts: sparse.csr_matrix, size: np.ndarray) -> sparse.csr_matrix:
    """log1p(counts / size factor), sparse."""
    scaled = sparse.diags(1 / size) @ sparse.csr_matrix(counts, dtype=np.float64)
    return sparse.csr_matrix(scaled).log1p()


def parse_label(label: str, keys: Keys) -> tuple[str, ...]:
    """Components of a label such as "A+B"; none for the control."""
    parts = [p.strip() for p in str(label).split(keys.separator)]
    return tuple(sorted({p for p in parts if p and p != keys.control}))


def doses_of(value: object, n: int, keys: Keys) -> list[float]:
    parts = str(value).split(keys.separator)
    try:
        numbers = [float(p) for p in parts]
    except ValueError:
        numbers = []
    if len(numbers) == 1:
        numbers = numbers * n
    if len(numbers) != n or not all(np.isfinite(d) and d > 0 for d in numbers):
        raise H5adError(
            f"dose '{value}' of a perturbed cell is not {n} positive number(s)",
            where=f"obs['{keys.dose}']",
            remedy="give one number a cell, or one a component joined as the labels are",
        )
    return numbers


_ALIASES = {
    "ko": "knock_out",
    "knockout": "knock_out",
    "crisprko": "knock_out",
    "crispr_ko": "knock_out",
    "crispr": "knock_out",
    "compound": "drug",
    "chemical": "drug",
    "ligand": "cytokine",
}


def kind_of(text: object, where: str) -> str:
    """One of `KINDS`, whatever its case and hyphens.

    Raises:
        ConfigError: It is none of them.
    """
    name = str(text).strip().lower().replace("-", "_").replace(" ", "_")
    name = _ALIASES.get(name, name)
    if name not in KINDS:
        raise ConfigError(f"'{text}' is no kind of perturbation", where=where, remedy=f"use one of {', '.join(KINDS)}")
    return name


def split_kind(component: str) -> tuple[str, str | None]:
    """Name and kind of a component written as "KLF1 [crispra]"; no kind where none is written."""
    name, bracket, rest = component.partition(" [")
    if not bracket or not rest.endswith("]"):
        return component, None
    return name, kind_of(rest[:-1], f"perturbation '{component}'")


def _knock_down(dosage: GeneDosage, known: Collection[str]) -> dict[str, float]:
    """Amounts of knock-down of one donor's genes; what the model cannot take is left out and logged."""
    amounts = dosage.perturbation()
    over = sorted(gene for gene, value in dosage.of().items() if value > 1)
    unknown = sorted(gene for gene, amount in amounts.items() if amount > 0 and gene not in known)
    for genes, why in ((over, "are over-expressed, which a knock-down is not"), (unknown, "are not in the model")):
        if genes:
            log.info("perturbation: %d genes left out, for they %s: %s", len(genes), why, some(genes))
    return {gene: amount for gene, amount in amounts.items() if amount > 0 and gene in known}


def as_amounts(
    perturbation: str | Mapping[str, float] | GeneDosage, keys: Keys, known: Collection[str] = ()
) -> dict[str, float]:
    """A question, such as {"A": 1.0, "B": 0.5} or "A+B", as doses of components.

    Args:
        known: Genes of the model, to which the genes of a `GeneDosage` are kept; none of them is no change.

    Raises:
        ConditionError: No component, or an amount that is negative or not finite.
        JoinError: A `GeneDosage` of several donors.
    """
    if isinstance(perturbation, GeneDosage):
        return _knock_down(perturbation, known)
    if isinstance(perturbation, str):
        amounts = dict.fromkeys(parse_label(perturbation, keys), 1.0)
    else:
        amounts = {str(k): float(v) for k, v in perturbation.items()}
    bad = [k for k, v in amounts.items() if not np.isfinite(v) or v < 0]
    if bad or not amounts:
        raise ConditionError(
            f"amounts of {bad} are not numbers >= 0" if bad else "names no perturbation",
            where="perturbation",
            remedy='give a dict of components and amounts, such as {"KLF1": 1.0}',
        )
    return {k: v for k, v in amounts.items() if v > 0}
