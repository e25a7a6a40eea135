"""Simulated cells against held-out real cells: from AnnData or files, however large, to scores."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
from scipy import sparse

from genesim import rng
from genesim.config.evaluate import EvaluateConfig
from genesim.config.model import ExpressionConfig
from genesim.console import log
from genesim.data.backed import BackedCounts
from genesim.data.expression import Cells, open_expression
from genesim.errors import JoinError
from genesim.estimators.expression import ExpressionModel
from genesim.evaluate.cells import Source, stratified
from genesim.evaluate.expression import evaluate_expression
from genesim.evaluate.score_table import ScoreTable

STREAM_BYTES = 2**28
"""Memory that a file's counts would take, above which they stay on disk."""
NULL_CELLS = 50_000
"""Most training cells that the null generator is fitted on: a draw that keeps the shares of cell types."""
HAND_CELLS = 200_000
"""Most cells in memory for what needs donors' cells together: the attacks on donors and the refit of effects."""


def select(cells: Cells, rows: np.ndarray) -> Cells:
    """These cells, in this order; counts on disk are not read."""
    counts = cells.counts.select(rows) if isinstance(cells.counts, BackedCounts) else cells.counts[rows]
    return Cells(cells.obs.iloc[rows], cells.var, counts, cells.library_size[rows])


def in_memory(cells: Cells) -> ad.AnnData:
    """The cells as AnnData."""
    counts = cells.counts
    held = counts[np.arange(counts.shape[0])] if isinstance(counts, BackedCounts) else counts
    return ad.AnnData(sparse.csr_matrix(held), obs=cells.obs.copy(), var=cells.var.copy())


def cells_of(adata: ad.AnnData) -> Cells:
    """Checked cells in memory, as `read_expression` gives them."""
    counts = sparse.csr_matrix(adata.X)
    return Cells(adata.obs, adata.var, counts, np.asarray(counts.sum(axis=1)).ravel())


def is_large(path: Path) -> bool:
    """Whether the counts of an h5ad stay on disk: compressed, they are at least a quarter of what memory takes."""
    return path.stat().st_size > STREAM_BYTES // 4


def even_rows(labels: np.ndarray, most: int, seed: int, name: str) -> np.ndarray:
    """At most `most` rows, ascending: every label keeps all or, drawn at random, as many as any other label."""
    if len(labels) <= most:
        return np.arange(len(labels))
    codes = pd.factorize(labels)[0]
    count = np.sort(np.bincount(codes))
    # The largest cap under which no more than `most` rows are kept.
    spent = np.concatenate([[0], np.cumsum(count)])
    caps = (most - spent[:-1]) // np.arange(len(count), 0, -1)
    cap = max(1, int(caps[np.flatnonzero(caps <= count)[0]]))
    order = rng.generator(seed, "evaluate", "at hand", name).permutation(len(labels))
    place = pd.Series(codes[order]).groupby(codes[order]).cumcount().to_numpy()
    return np.sort(order[place < cap])


def capped_rows(donors: np.ndarray, most: int, seed: int, name: str) -> np.ndarray:
    """At most `most` cells, ascending: every donor keeps all or, drawn at random, as many as any other donor."""
    kept = even_rows(donors, most, seed, name)
    if len(kept) < len(donors):
        log.info("%s: %d of %d cells are looked at together, even over donors", name, len(kept), len(donors))
    return kept


def mix_rows(labels: np.ndarray, real: np.ndarray, seed: int) -> np.ndarray:
    """Rows of the largest draw of cells with these labels that has the mix of the labels `real`, ascending.

    Raises:
        JoinError: No label is shared.
    """
    share = pd.Series(real).value_counts(normalize=True)
    have = pd.Series(labels).value_counts().reindex(share.index).fillna(0)
    if (have == 0).all():
        raise JoinError("no cell type is shared", where="evaluate", remedy="check labels_key")
    present = have > 0
    n = int((have[present] / share[present]).min())
    stream = rng.generator(seed, "evaluate", "mix")
    rows = [
        stream.choice(np.flatnonzero(labels == name), int(share[name] * n), replace=False)
        for name in share.index[present]
    ]
    return np.sort(np.concatenate(rows))


def at_mix(cells: ad.AnnData, real: ad.AnnData, key: str | None, seed: int) -> ad.AnnData:
    """The largest draw of `cells` that has the mix of cell types of `real`, so that the mix is not what is scored."""
    if key is None:
        return cells
    labels = [part.obs[key].astype(str).to_numpy() for part in (cells, real)]
    return cells[mix_rows(labels[0], labels[1], seed)].copy()


def _column(cells: Cells, key: str) -> np.ndarray:
    return cells.obs[key].astype(str).to_numpy(object)


def _labels(cells: Cells, key: str | None) -> np.ndarray | None:
    return None if key is None else _column(cells, key)


def _of_genes(cells: Cells, genes: pd.Index, what: str) -> Cells:
    """The cells with these genes, in this order.

    Raises:
        JoinError: A gene is absent.
    """
    if list(cells.var.index) == list(genes):
        return cells
    at = cells.var.index.get_indexer(genes)
    if (at < 0).any():
        raise JoinError(
            f"{int((at < 0).sum())} genes of the real cells are not {what}, the first is {genes[at < 0][0]!r}",
            where="evaluate",
            remedy="compare cells of the same genes",
        )
    counts = cells.counts
    if isinstance(counts, BackedCounts):
        counts = replace(counts, genes=at if counts.genes is None else counts.genes[at])
    else:
        counts = counts[:, at]
    return Cells(cells.obs, cells.var.iloc[at], counts, cells.library_size)


def _null(
    fitted_on: Cells, test: Cells, labels_key: str | None, seed: int
) -> tuple[Source, np.ndarray | None, np.ndarray]:
    """Cells of independent genes, of the test cells' types as far as they are known: drawn block by block.

    Their labels, and the test cells that they stand for, are given too.
    """
    codes = np.zeros(fitted_on.counts.shape[0], np.int64)
    if labels_key is not None:
        codes = pd.factorize(fitted_on.obs[labels_key].astype(str))[0]
    order = rng.generator(seed, "evaluate", "null cells").permutation(len(codes))
    few = in_memory(select(fitted_on, stratified(codes, NULL_CELLS, order)))
    model = ExpressionModel.fit(few, labels_key=labels_key, config=ExpressionConfig(method="independent"), seed=seed)
    if labels_key is None:
        rows, frame, labels = np.arange(test.counts.shape[0]), None, None
    else:
        names = test.obs[labels_key].astype(str)
        rows = np.flatnonzero(names.isin(model.cell_types))
        names = names.iloc[rows]
        frame, labels = pd.DataFrame({labels_key: names}), names.to_numpy(object)

    def walk() -> Iterator[sparse.csr_matrix]:
        yield from model.sample_blocks(len(rows), frame, rng.seed(seed, "evaluate", "null"))

    return Source((len(rows), len(model.genes)), walk), labels, rows


def score_cells(
    test: Cells,
    made: Cells,
    train: Cells | None,
    labels_key: str | None,
    config: EvaluateConfig | None,
    seed: int,
    batch_key: str | None = None,
    donor_key: str | None = None,
) -> ScoreTable:
    """`evaluate` of cells that are open already."""
    genes = test.var.index
    made = _of_genes(made, genes, "simulated")
    fitted_on = test if train is None else _of_genes(train, genes, "among the training cells")
    labels = {"test": _labels(test, labels_key), "simulated": _labels(made, labels_key)}
    if labels["test"] is not None and labels["simulated"] is not None:
        made = select(made, mix_rows(labels["simulated"], labels["test"], seed))
        labels["simulated"] = _labels(made, labels_key)
    null, labels_null, stands_for = _null(fitted_on, test, labels_key, seed)
    batches = None
    if batch_key is not None:
        batches = {"test": _column(test, batch_key), "simulated": _column(made, batch_key)}
        batches["null"] = batches["test"][stands_for]
        batches |= {} if train is None else {"train": _column(fitted_on, batch_key)}
    return ScoreTable(
        evaluate_expression(
            test.counts,
            made.counts,
            None if train is None else fitted_on.counts,
            null,
            labels_test=labels["test"],
            labels_simulated=labels["simulated"],
            labels_train=None if train is None else _labels(fitted_on, labels_key),
            labels_null=labels_null,
            batches=batches,
            donors=None if donor_key is None else _column(test, donor_key),
            seed=seed,
            config=config,
        )
    )


def evaluate(
    real: ad.AnnData | str | Path,
    simulated: ad.AnnData | str | Path,
    train: ad.AnnData | str | Path | None = None,
    labels_key: str | None = None,
    *,
    batch_key: str | None = None,
    donor_key: str | None = None,
    config: EvaluateConfig | None = None,
    seed: int = 0,
) -> ScoreTable:
    """Score simulated cells against held-out real ones: all, and within cell types, batches and held-out donors.

    Files whose counts would take more than 256 MiB stay on disk and are read once, by blocks: memory does not grow with
    the number of cells, but for some hundred bytes a cell.

    Args:
        real: Held-out real cells.
        simulated: Simulated cells with the same genes.
        train: Real training cells; they give the floor and train the null (independent NB per label, fitted on at most
            `NULL_CELLS` of them). Without them one half of `real` against the other is the floor, and `real` trains
            the null.
        labels_key: Column of obs with cell types.
        batch_key: Column of obs with experimental batches, in all sets: whether batch integration has the same outcome
            is then scored as well, and cells are compared within batches that all sets have.
        donor_key: Column of obs with donors, in `real` alone: the cells of each are compared as well, donors being
            numbered in the order of their names.
        config: Sizes.
        seed: Of every draw.

    Raises:
        JoinError: Genes of the real cells are not simulated, or no cell type is shared.
        InputError: A side has fewer than 20 cells.
    """
    with ExitStack() as stack:

        def opened(cells: ad.AnnData | str | Path, donor_key: str | None = None) -> Cells:
            return stack.enter_context(
                open_expression(
                    cells,
                    labels_key=labels_key,
                    batch_key=batch_key,
                    covariate_keys=() if donor_key is None else (donor_key,),
                    stream_bytes=STREAM_BYTES,
                )
            )

        sides = opened(real, donor_key), opened(simulated), None if train is None else opened(train)
        return score_cells(*sides, labels_key, config, seed, batch_key, donor_key)
