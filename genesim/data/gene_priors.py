"""Prior knowledge of genes (or drugs) as embeddings: gene sets, TF-target edges, a user's table, another screen.

Each becomes a table name x dimension. Names are matched as they are written; what matches is logged.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import sparse

from genesim.errors import InputError

N_DIMENSIONS = 30
# Sets outside these sizes say too little of two genes that share one.
_SET_SIZES = (5, 500)


@dataclass(frozen=True, eq=False)
class GenePrior:
    """Places of names by one source of prior knowledge.

    Attributes:
        kind: "gene_sets", "tf_targets", "table" or "coexpression".
        names: Genes, drugs or whatever components are called.
        values: name x dimension.
        features: name x feature, sparse, what the places were made from; None where there is nothing to name.
        feature_names: Of its columns.
    """

    kind: str
    names: tuple[str, ...]
    values: np.ndarray
    features: sparse.csr_matrix | None = None
    feature_names: tuple[str, ...] = ()

    def places(self, wanted: Sequence[str]) -> np.ndarray:
        """Rows of `values`; NaN for a name that is unknown."""
        at = pd.Index(self.names, dtype=object).get_indexer(pd.Index(list(wanted), dtype=object))
        out = np.full((len(at), self.values.shape[1]), np.nan)
        out[at >= 0] = self.values[at[at >= 0]]
        return out

    def shared(self, one: str, other: str, n: int = 3) -> str:
        """Features that two names have in common, the rarest first; "" without any."""
        index = pd.Index(self.names, dtype=object).get_indexer(pd.Index([one, other], dtype=object))
        if self.features is None or (index < 0).any():
            return ""
        both = self.features[index[0]].multiply(self.features[index[1]]).tocoo()
        held = np.asarray((self.features != 0).sum(0)).ravel()
        order = sorted(both.col, key=lambda column: (held[column], column))
        return ", ".join(self.feature_names[column] for column in order[:n])


@dataclass(frozen=True, eq=False)
class ScreenEffects:
    """Effects of another screen.

    Attributes:
        table: perturbation x gene, change of mean log expression.
    """

    table: pd.DataFrame


def screen_effects(table: pd.DataFrame) -> ScreenEffects:
    """Another screen's effects as a prior.

    Args:
        table: perturbation x gene, change of mean log expression from control.

    Raises:
        InputError: Names are doubled, or values are not finite numbers.
    """
    return ScreenEffects(_checked_table(table, "screen effects"))


def gene_embedding(table: pd.DataFrame) -> GenePrior:
    """A user's embedding (of genes, or fingerprints of drugs) as a prior; columns are scaled to variance 1.

    Args:
        table: name x dimension.

    Raises:
        InputError: Names are doubled, or values are not finite numbers.
    """
    table = _checked_table(table, "embedding")
    values = table.to_numpy(np.float64)
    spread = values.std(0)
    kept = spread > 0
    return GenePrior("table", tuple(table.index), (values[:, kept] - values[:, kept].mean(0)) / spread[kept])


def _checked_table(table: pd.DataFrame, what: str) -> pd.DataFrame:
    table = table.copy()
    table.index = pd.Index([str(name) for name in table.index], dtype=object)
    table.columns = pd.Index([str(name) for name in table.columns], dtype=object)
    twice = table.index[table.index.duplicated()]
    if len(twice):
        raise InputError(f"'{twice[0]}' has {int((table.index == twice[0]).sum())} rows", where=what, remedy="keep one")
    numeric = table.apply(pd.to_numeric, errors="coerce")
    if not len(table) or not table.shape[1] or not np.isfinite(numeric.to_numpy(np.float64)).all():
        raise InputError(
            f"a table of {table.shape[0]} x {table.shape[1]} holds values that are not finite numbers"
            if table.size
            else "the table is empty",
            where=what,
            remedy="give one row a name and only numbers",
        )
    return numeric


def read_gene_sets(path: str | os.PathLike[str]) -> dict[str, tuple[str, ...]]:
    """Gene sets of a GMT file: name, description and genes, separated by tabs.

    Raises:
        InputError: The file is not there, holds no set, or a line that is no set.
    """
    sets: dict[str, tuple[str, ...]] = {}
    for number, line in enumerate(_lines(path, "gene sets"), 1):
        if not line.strip():
            continue
        fields = line.rstrip("\r\n").split("\t")
        genes = tuple(dict.fromkeys(gene.strip() for gene in fields[2:] if gene.strip()))
        if len(fields) < 3 or not fields[0].strip() or not genes:
            raise InputError(
                f"line {number} has {len(fields)} fields, not a name, a description and genes",
                where=os.fspath(path),
                remedy="give a GMT file, separated by tabs",
            )
        if fields[0] in sets:
            raise InputError(f"set '{fields[0]}' occurs twice", where=os.fspath(path), remedy="keep one")
        sets[fields[0]] = genes
    if not sets:
        raise InputError("no gene set", where=os.fspath(path), remedy="give a GMT file")
    return sets


def read_tf_targets(path: str | os.PathLike[str]) -> pd.DataFrame:
    """Signed TF-target edges: a CSV with the columns source, target and weight (CollecTRI's form).

    Raises:
        InputError: The file is not there, lacks a column, or has weights that are no numbers.
    """
    try:
        table = pd.read_csv(path)
    except (OSError, ValueError, EOFError, zlib.error) as error:
        raise InputError(f"cannot be read ({error})", where=os.fspath(path), remedy="give a CSV file") from error
    return _checked_edges(table, os.fspath(path))


def _checked_edges(table: pd.DataFrame, where: str) -> pd.DataFrame:
    lacking = [name for name in ("source", "target", "weight") if name not in table.columns]
    if lacking:
        raise InputError(
            f"no column {', '.join(lacking)}; there are {', '.join(map(str, table.columns[:6]))}",
            where=where,
            remedy="give the columns source, target and weight",
        )
    weight = pd.to_numeric(table["weight"], errors="coerce")
    if not len(table) or not np.isfinite(weight.to_numpy(np.float64)).all():
        raise InputError(
            "weights are not finite numbers, or there is no edge", where=where, remedy="give signs as 1, -1"
        )
    return pd.DataFrame(
        {"source": table["source"].astype(str), "target": table["target"].astype(str), "weight": weight}
    )


def _lines(path: str | os.PathLike[str], what: str) -> list[str]:
    try:
        return Path(path).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot be read ({error})", where=os.fspath(path), remedy=f"give a file of {what}") from error


def gene_set_prior(sets: Mapping[str, Sequence[str]], n_dimensions: int = N_DIMENSIONS) -> GenePrior:
    """Principal directions of gene set membership; rare sets count more, each gene's place has length 1.

    Args:
        sets: Genes by set; sets of 5 to 500 genes take part.

    Raises:
        InputError: No set of such a size.
    """
    used = {name: dict.fromkeys(genes) for name, genes in sets.items()}
    used = {name: genes for name, genes in used.items() if _SET_SIZES[0] <= len(genes) <= _SET_SIZES[1]}
    if not used:
        raise InputError(
            f"no gene set of {_SET_SIZES[0]} to {_SET_SIZES[1]} genes", where="gene sets", remedy="give larger sets"
        )
    names = tuple(sorted({gene for genes in used.values() for gene in genes}))
    at = {gene: i for i, gene in enumerate(names)}
    rows = [at[gene] for genes in used.values() for gene in genes]
    columns = [j for j, genes in enumerate(used.values()) for _ in genes]
    values = [1 / np.sqrt(len(genes)) for genes in used.values() for _ in genes]
    features = sparse.csr_matrix((values, (rows, columns)), shape=(len(names), len(used)))
    return GenePrior("gene_sets", names, _places(features, n_dimensions), features, tuple(used))


def tf_target_prior(edges: pd.DataFrame, n_dimensions: int = N_DIMENSIONS) -> GenePrior:
    """Principal directions of signed edges: a gene lies by what it regulates and by what regulates it.

    Args:
        edges: source, target, weight.

    Raises:
        InputError: A column is absent, or a weight is no number.
    """
    edges = _checked_edges(edges, "TF-target edges")
    names = tuple(sorted({*edges["source"], *edges["target"]}))
    index = pd.Index(names, dtype=object)
    source, target = (
        index.get_indexer(edges["source"].to_numpy(object)),
        index.get_indexer(edges["target"].to_numpy(object)),
    )
    n, weight = len(names), np.sign(edges["weight"].to_numpy(np.float64))
    forward = sparse.csr_matrix((weight, (source, target)), shape=(n, n)).sign()
    both = sparse.hstack([forward, forward.T]).tocsr()
    # A target of every TF, or a TF of every target, says little of two genes that share it.
    held = np.maximum(np.asarray(abs(both).sum(0)).ravel(), 1)
    features = sparse.csr_matrix(both @ sparse.diags(1 / np.sqrt(held)))
    labels = (*(f"-> {name}" for name in names), *(f"{name} ->" for name in names))
    return GenePrior("tf_targets", names, _places(features, n_dimensions), features, labels)


def _places(features: sparse.csr_matrix, n_dimensions: int) -> np.ndarray:
    from scipy.sparse.linalg import svds  # slow to import

    if min(features.shape) <= 2 * n_dimensions:
        values = features.toarray()
        left, size, _ = np.linalg.svd(values, full_matrices=False)
        values = (left * size)[:, :n_dimensions]
    else:
        start = np.ones(min(features.shape))
        left, size, _ = svds(features.astype(np.float64), k=n_dimensions, v0=start)
        values = left * size
    return values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-12)


def coexpression_prior(
    expression: np.ndarray, genes: Sequence[str], n_dimensions: int = N_DIMENSIONS
) -> GenePrior | None:
    """Principal directions of genes over control cells, each gene at variance 1; None where nothing varies.

    Args:
        expression: cell x gene log expression, centred within each context.
        genes: Names of the columns.
    """
    from scipy.sparse.linalg import svds  # slow to import

    spread = expression.std(0)
    kept = np.flatnonzero(spread > 1e-6)
    k = min(n_dimensions, len(kept) - 1, len(expression) - 1)
    if k < 1:
        return None
    x = ((expression[:, kept] - expression[:, kept].mean(0)) / spread[kept]).astype(np.float32)
    if min(x.shape) <= 2 * n_dimensions:
        _, size, right = np.linalg.svd(x, full_matrices=False)
        size, right = size[:k], right[:k]
    else:
        _, size, right = svds(x, k=k, v0=np.ones(min(x.shape), np.float32))
    values = (right.T * size / np.sqrt(len(x))).astype(np.float64)
    return GenePrior("coexpression", tuple(genes[int(i)] for i in kept), values)
