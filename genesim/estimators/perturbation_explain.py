"""Why a perturbation model says what it says: sources of a predicted effect, and the programs it moves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from genesim.data.gene_priors import read_gene_sets
from genesim.estimators.perturbation_inputs import split_kind
from genesim.estimators.perturbation_learn import Learned
from genesim.estimators.perturbation_priors import Priors
from genesim.estimators.perturbation_question import Question, Residual, residual_of, weights_of
from genesim.metrics.enrichment import enrichment
from genesim.models.perturbation.candidates import CANDIDATES
from genesim.models.perturbation.stack import Stack

COLUMNS = ["source", "context", "dose", "candidate", "estimate", "weight", "share", "via", "genes"]


def explained(
    question: Question | None,
    stacks: Mapping[str, Stack],
    learned: Learned,
    priors: Priors,
    amounts: Mapping[str, float],
    genes: pd.Index,
    n_top: int,
    residual: Residual,
) -> tuple[pd.DataFrame, np.ndarray]:
    """Table of `PerturbationModel.explain`, and what each row adds to the prediction (row x gene).

    Without a question, which is no change, both are empty.
    """
    if question is None:
        return pd.DataFrame(columns=COLUMNS), np.zeros((0, len(genes)))
    weights = weights_of(question, stacks)
    basis = question.made.basis
    delta = weights.sum(0) @ basis
    more = residual_of(question, stacks, delta, residual)
    delta = delta if more is None else delta + more
    length = max(float(delta @ delta), 1e-300)
    n = question.library.n_conditions
    start = len(basis) - n
    screens = [(s.name, component) for s in question.made.screens for component in range(len(s.effect))]
    asked = [split_kind(name)[0] for name in amounts]
    names = [*learned.components, *(a for a in amounts if a not in learned.components)]
    rows, effects = [], []
    for candidate, row in np.argwhere(weights != 0):
        weight = float(weights[candidate, row])
        observed = row >= start
        place = row - start if observed else row
        name = CANDIDATES[candidate % len(CANDIDATES)]
        if place < n:
            active = np.flatnonzero(question.library.dose[place] > 0)
            source, context = learned.labels[place], learned.contexts[question.library.context[place]]
            dose = "+".join(f"{question.library.dose[place, c]:g}" for c in active)
            parts = [split_kind(names[c])[0] for c in active]
        else:
            screen, component = screens[place - n]
            parts = [split_kind(names[component])[0]]
            source, context, dose = parts[0], f"screen {screen}", ""
        order = np.argsort(-np.abs(weight * basis[row]), kind="stable")[:n_top]
        rows.append(
            {
                "source": source,
                "context": context,
                "dose": dose,
                "candidate": name,
                "estimate": "observed" if observed else "shrunk",
                "weight": weight,
                "share": weight * float(basis[row] @ delta) / length,
                "via": _via(priors, asked, parts) if name in ("kernel_ridge", "neighbours") else "",
                "genes": ", ".join(genes[order]),
            }
        )
        effects.append(weight * basis[row])
    if more is not None:
        order = np.argsort(-np.abs(more), kind="stable")[:n_top]
        rows.append(
            {
                "source": "trained residual",
                "context": "",
                "dose": "",
                "candidate": "residual",
                "estimate": "network",
                "weight": 1.0,
                "share": float(more @ delta) / length,
                "via": "",
                "genes": ", ".join(genes[order]),
            }
        )
        effects.append(more)
    table = pd.DataFrame(rows, columns=COLUMNS)
    order = np.argsort(-table["share"].abs().to_numpy(), kind="stable")
    table = table.iloc[order].reset_index(drop=True)
    return table, np.stack(effects)[order] if effects else np.zeros((0, len(genes)))


def _via(priors: Priors, asked: Sequence[str], parts: Sequence[str]) -> str:
    """Features of priors that a wanted and a training component share, three a prior."""
    found = []
    for name, prior in priors.embeddings.items():
        shared = [text for a in asked for b in parts if a != b and (text := prior.shared(a, b))]
        if shared:
            found.append(f"{name}: {', '.join(shared)}")
    return "; ".join(found)


def programs_of(delta: np.ndarray, genes: pd.Index, gene_sets: Mapping[str, Sequence[str]] | str) -> pd.DataFrame:
    """Enrichment of each set with 5 measured genes or more, by false discovery rate."""
    sets = read_gene_sets(gene_sets) if isinstance(gene_sets, str) else gene_sets
    index = pd.Index(genes)
    members = {name: np.unique(at[at >= 0]) for name, own in sets.items() if len(at := index.get_indexer(list(own)))}
    members = {name: at for name, at in members.items() if 5 <= len(at) < len(genes)}
    found = enrichment(delta, list(members.values()))
    table = pd.DataFrame(found)
    table.insert(0, "program", pd.Series(list(members), dtype=object))
    table.insert(1, "n_genes", [len(at) for at in members.values()])
    leading = []
    for at, up in zip(members.values(), table["auc"] >= 0.5):
        order = at[np.argsort(-delta[at] if up else delta[at], kind="stable")]
        leading.append(", ".join(genes[order[:5]]))
    table["genes"] = pd.Series(leading, dtype=object)
    return table.sort_values(["fdr", "program"], kind="stable").reset_index(drop=True)
