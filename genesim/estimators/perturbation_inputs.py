"""Inputs of the perturbation estimator: conditions read from labels and doses, and their mean effects."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import anndata as ad
import numpy as np
import pandas as pd
from scipy import sparse

from genesim.console import log
from genesim.data.gene_dosage import GeneDosage
from genesim.data.names import some
from genesim.errors import ConditionError, H5adError, TrainingError
from genesim.models.perturbation.candidates import EffectLibrary
from genesim.models.perturbation.shrinkage import adaptive_shrinkage, mean_difference

MIN_CELLS = 5
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


def contexts_of(obs: pd.DataFrame, covariates: Sequence[str]) -> np.ndarray:
    """Context of each cell: its covariates' levels joined by "|"."""
    if not covariates:
        return np.full(len(obs), NO_CONTEXT, dtype=object)
    return obs[list(covariates)].astype(str).agg("|".join, axis=1).to_numpy(dtype=object)


def library_sizes(adata: ad.AnnData, keys: Keys) -> np.ndarray:
    """Total counts of each cell, or the column that holds them (where X is a panel of genes).

    Raises:
        H5adError: A library size is not a positive number.
    """
    if keys.library is None:
        return np.asarray(adata.X.sum(1), np.float64).ravel()
    size = pd.to_numeric(adata.obs[keys.library], errors="coerce").to_numpy(np.float64)
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


def _doses(value: object, n: int, keys: Keys) -> list[float]:
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


@dataclass(frozen=True)
class Learned:
    """Conditions of the training data: the library, and what its indices mean."""

    library: EffectLibrary
    contexts: list[str]
    components: list[str]
    labels: list[str]
    n_cells: np.ndarray
    reference_library: float


def learn(adata: ad.AnnData, keys: Keys, shrinkage: bool) -> Learned:
    """Mean effect of every condition against the controls of its context.

    A gene's effect is the difference of means of log1p(count / size factor), size factor = library size over
    the controls' median library size.

    Raises:
        TrainingError: No control cells, or no condition with enough cells and controls.
        H5adError: Doses or library sizes that are no numbers.
    """
    obs = adata.obs
    parts = {v: parse_label(v, keys) for v in obs[keys.perturbation].astype(str).unique()}
    label = obs[keys.perturbation].astype(str)
    is_control = np.array([not parts[v] for v in label])
    if not is_control.any():
        raise TrainingError(
            f"no cell is '{keys.control}'; labels are {', '.join(sorted(parts)[:6])} ...",
            where=f"obs['{keys.perturbation}']",
            remedy="name the control label with control=",
        )
    library = library_sizes(adata, keys)
    reference = float(np.median(library[is_control]))
    x = log_expression(adata.X, library / reference)
    context = contexts_of(obs, keys.covariates)
    dose = obs[keys.dose].astype(str).to_numpy() if keys.dose is not None else np.full(len(obs), "1")
    dose = np.where(is_control, "", dose)
    table = pd.DataFrame({"context": context, "label": np.where(is_control, "", label), "dose": dose})
    group, names = pd.factorize(pd.MultiIndex.from_frame(table), sort=True)
    n = np.bincount(group)
    indicator = sparse.csr_matrix((1 / n[group], (group, np.arange(len(group)))), shape=(len(n), len(group)))
    mean = (indicator @ x).toarray()
    square = (indicator @ x.multiply(x)).toarray()
    spread = square - mean**2
    # What rounding leaves of equal values is no variance: it would pass for certainty.
    variance = np.where(spread > 1e-12 * square, spread, 0.0) * (n / np.maximum(n - 1, 1))[:, None]
    controls = {c: i for i, (c, name, _) in enumerate(names) if name == ""}
    kept = [
        i
        for i, (c, name, _) in enumerate(names)
        if name != "" and n[i] >= MIN_CELLS and n[controls.get(c, i)] >= MIN_CELLS and c in controls
    ]
    skipped = sum(name != "" for _, name, _ in names) - len(kept)
    if skipped:
        log.info("perturbation: %d conditions have fewer than %d cells or controls", skipped, MIN_CELLS)
    if not kept:
        raise TrainingError(
            f"no condition has {MIN_CELLS} cells and {MIN_CELLS} control cells in its context",
            where="expression",
            remedy="use fewer covariate_keys, or check the control label",
        )
    contexts = sorted({names[i][0] for i in kept})
    components = sorted({p for i in kept for p in parts[names[i][1]]})
    doses = np.zeros((len(kept), len(components)))
    rows: list[list[np.ndarray]] = [[] for _ in range(4)]
    for row, i in enumerate(kept):
        c, name, amount = names[i]
        for part, d in zip(parts[name], _doses(amount, len(parts[name]), keys), strict=True):
            doses[row, components.index(part)] = d
        k = controls[c]
        effect, se = mean_difference(mean[i], variance[i], int(n[i]), mean[k], variance[k], int(n[k]))
        shrunk, sd = adaptive_shrinkage(effect, se) if shrinkage else (effect, se)
        for store, value in zip(rows, (effect, se, shrunk, sd), strict=True):
            store.append(value)
    return Learned(
        EffectLibrary(
            np.array([contexts.index(names[i][0]) for i in kept]),
            doses,
            np.stack(rows[0]),
            np.stack(rows[1]),
            np.stack(rows[2]),
            np.stack(rows[3]),
            adata.var_names.get_indexer(components).astype(np.int64),
        ),
        contexts,
        components,
        [names[i][1] for i in kept],
        n[kept],
        reference,
    )
