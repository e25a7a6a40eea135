"""Priors of a perturbation model: what a user gives, checked, aligned to its components and genes, and stored."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy import sparse

from genesim.console import log
from genesim.data.gene_priors import (
    N_DIMENSIONS,
    GenePrior,
    ScreenEffects,
    gene_embedding,
    gene_set_prior,
    read_gene_sets,
    read_tf_targets,
    screen_effects,
    tf_target_prior,
)
from genesim.errors import InputError, JoinError
from genesim.estimators.perturbation_inputs import split_kind
from genesim.models.perturbation.candidates import Screen
from genesim.models.perturbation.kernels import Embedding


@dataclass(frozen=True, eq=False)
class Priors:
    """Everything that is known beforehand.

    Attributes:
        embeddings: Places of genes (or drugs) by prior; of a screen, the principal components of its effects.
        screens: By screen, the names of its perturbations and their effects on the model's genes.
    """

    embeddings: dict[str, GenePrior]
    screens: dict[str, tuple[list[str], np.ndarray]]

    def placed(
        self, components: Sequence[str], groups: Sequence[str]
    ) -> tuple[tuple[Embedding, ...], tuple[Screen, ...]]:
        """Priors of these components, by their names or, where those are unknown, by the names of their groups."""
        names = [split_kind(c)[0] for c in components]
        embeddings = []
        for name, prior in self.embeddings.items():
            own, theirs = prior.places(names), prior.places(groups)
            places = np.where(np.isnan(own), theirs, own)
            embeddings.append(Embedding(name, places, prior.kind != "coexpression"))
        screens = []
        for name, (known, effect) in self.screens.items():
            index = pd.Index(known, dtype=object)
            at, at_group = (index.get_indexer(pd.Index(list(x), dtype=object)) for x in (names, groups))
            at = np.where(at < 0, at_group, at)
            out = np.full((len(at), effect.shape[1]), np.nan)
            out[at >= 0] = effect[at[at >= 0]]
            screens.append(Screen(name, out))
        return tuple(embeddings), tuple(screens)

    def arrays(self) -> dict[str, Any]:
        """Arrays to store."""
        out: dict[str, Any] = {}
        for i, prior in enumerate(self.embeddings.values()):
            out[f"prior{i}"] = {"values": prior.values}
            if prior.features is not None and prior.features.nnz:
                f = prior.features.tocsr()
                out[f"prior{i}"] |= {"data": f.data, "indices": f.indices, "indptr": f.indptr}
        return out | {f"screen{i}": {"effect": effect} for i, (_, effect) in enumerate(self.screens.values())}

    def metadata(self) -> dict[str, Any]:
        """Names to store."""
        embeddings = [
            {"name": name, "kind": p.kind, "names": list(p.names), "features": list(p.feature_names)}
            for name, p in self.embeddings.items()
        ]
        return {
            "embeddings": embeddings,
            "screens": [{"name": name, "names": list(known)} for name, (known, _) in self.screens.items()],
        }

    @classmethod
    def restored(cls, arrays: Mapping[str, Any], metadata: Mapping[str, Any]) -> Priors:
        """From what `arrays` and `metadata` gave."""
        embeddings = {}
        for i, m in enumerate(metadata["embeddings"]):
            a = {k: np.asarray(v) for k, v in arrays[f"prior{i}"].items()}
            features = None
            if "data" in a:
                shape = (len(m["names"]), len(m["features"]))
                features = sparse.csr_matrix((a["data"], a["indices"], a["indptr"]), shape=shape)
            embeddings[m["name"]] = GenePrior(m["kind"], tuple(m["names"]), a["values"], features, tuple(m["features"]))
        screens = {
            m["name"]: (list(m["names"]), np.asarray(arrays[f"screen{i}"]["effect"]))
            for i, m in enumerate(metadata["screens"])
        }
        return cls(embeddings, screens)


def as_priors(
    given: Mapping[str, Any] | None, components: Sequence[str], groups: Sequence[str], genes: Sequence[str]
) -> Priors:
    """Priors as a user gives them.

    Args:
        given: By name: a `GenePrior`, a GMT or edge CSV path, gene sets as a mapping, TF-target edges as a frame
            with source, target and weight, another frame (name x dimension), `ScreenEffects`, or a fitted model.
        components, groups: Names that the screen perturbed, and of their groups.
        genes: Names of the genes measured.

    Raises:
        InputError: Something that is no prior.
        JoinError: A prior that knows neither a component nor a measured gene.
    """
    embeddings: dict[str, GenePrior] = {}
    screens: dict[str, tuple[list[str], np.ndarray]] = {}
    for name, source in (given or {}).items():
        screen = _as_screen(source)
        if screen is None:
            embeddings[name] = _as_embedding(name, source)
        else:
            screens[name], embeddings[name] = _aligned(name, screen, genes)
        _report(name, set(embeddings[name].names), components, groups, genes)
    return Priors(embeddings, screens)


def _report(name: str, known: set[str], components: Sequence[str], groups: Sequence[str], genes: Sequence[str]) -> None:
    bare = [split_kind(c)[0] for c in components]
    hits = sum(c in known or g in known for c, g in zip(bare, groups, strict=True))
    measured = sum(gene in known for gene in genes)
    if not hits and not measured:
        raise JoinError(
            f"none of its {len(known)} names is a perturbation or a gene of the screen",
            where=f"priors['{name}']",
            remedy=f"use the names of the screen, such as {', '.join(bare[:3])}",
        )
    log.info(
        "perturbation: prior %s knows %d of %d components and %d of %d genes",
        name,
        hits,
        len(components),
        measured,
        len(genes),
    )


def _as_embedding(name: str, source: Any) -> GenePrior:
    if isinstance(source, GenePrior):
        return source
    if isinstance(source, str | os.PathLike):
        suffix = os.fspath(source).lower()
        if suffix.endswith(".gmt"):
            return gene_set_prior(read_gene_sets(source))
        if suffix.endswith(".csv"):
            return tf_target_prior(read_tf_targets(source))
        raise InputError(
            "is neither .gmt nor .csv", where=os.fspath(source), remedy="give gene sets or TF-target edges"
        )
    if isinstance(source, pd.DataFrame):
        edges = {"source", "target", "weight"} <= set(map(str, source.columns))
        return tf_target_prior(source) if edges else gene_embedding(source)
    if isinstance(source, Mapping):
        return gene_set_prior(source)
    raise InputError(
        f"a {type(source).__name__} is no prior",
        where=f"priors['{name}']",
        remedy="give a path, a DataFrame, gene sets, ScreenEffects or a fitted PerturbationModel",
    )


def _as_screen(source: Any) -> pd.DataFrame | None:
    """Effects of single components, perturbation x gene; None where `source` is no screen."""
    if isinstance(source, ScreenEffects):
        return source.table
    learned = getattr(source, "learned", None)
    if learned is None:
        return None
    library = learned.library
    alone = (library.dose > 0).sum(1) == 1
    which = library.dose.argmax(1)
    rows, names = [], []
    for component, name in enumerate(learned.components):
        own = alone & (which == component)
        if own.any():
            rows.append(library.shrunk[own].mean(0))
            names.append(split_kind(name)[0])
    table = pd.DataFrame(np.stack(rows), index=names, columns=list(source.genes))
    return table.groupby(level=0).mean()


def _aligned(name: str, table: pd.DataFrame, genes: Sequence[str]) -> tuple[tuple[list[str], np.ndarray], GenePrior]:
    """A screen on the model's genes, and the embedding by its principal components."""
    table = screen_effects(table).table
    at = pd.Index(table.columns, dtype=object).get_indexer(pd.Index(list(genes), dtype=object))
    if (at < 0).all():
        raise JoinError(
            f"none of its {table.shape[1]} genes is measured",
            where=f"priors['{name}']",
            remedy=f"use the names of the screen, such as {', '.join(list(genes)[:3])}",
        )
    effect = np.where(at >= 0, table.to_numpy(np.float64)[:, np.maximum(at, 0)], 0.0)
    centred = table.to_numpy(np.float64) - table.to_numpy(np.float64).mean(0)
    left, size, _ = np.linalg.svd(centred, full_matrices=False)
    k = max(min(N_DIMENSIONS, int((size > 1e-9 * max(float(size[0]), 1e-300)).sum())), 1)
    names = [str(n) for n in table.index]
    return (names, effect), GenePrior("screen", tuple(names), (left * size)[:, :k])
