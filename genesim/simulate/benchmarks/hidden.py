"""`rare_type`, `batch` and `doublets`: cells whose type, or number, is hidden."""

from __future__ import annotations

import numpy as np
from scipy import sparse

from genesim.simulate.benchmarks.world import (
    BenchmarkData,
    Design,
    World,
    as_cells,
    cell_table,
    common_types,
    draw,
    draw_types,
)


def _no_change(world: World, rows: slice) -> np.ndarray:
    return np.zeros((rows.stop - rows.start, len(world.cells.genes)))


def _thinned(counts: sparse.csr_matrix, keep: np.ndarray, stream: np.random.Generator) -> sparse.csr_matrix:
    """Each molecule of a cell kept with the cell's probability."""
    thin = counts.copy()
    thin.data = stream.binomial(counts.data, np.repeat(keep, np.diff(counts.indptr))).astype(np.int32)
    thin.eliminate_zeros()
    return thin


def make_rare_type(world: World, design: Design) -> BenchmarkData:
    """One type at 3, 1 or 0.5 % among the common ones; labels are hidden."""
    n_cells, share = design.cells(3000), design.pick(0.03, 0.01, 0.005)
    types = common_types(world, 6)
    stream = design.stream("rare")
    rare = str(stream.choice(np.array(types[1:], object))) if len(types) > 1 else types[0]
    n_rare = max(2, round(share * n_cells))
    others = {name: world.composition[name] for name in types if name != rare} or {rare: 1.0}
    kinds = np.concatenate([np.full(n_rare, rare, object), draw_types(others, n_cells - n_rare, stream)])
    kinds = kinds[stream.permutation(n_cells)]
    obs = cell_table(n_cells, {"cell_type": kinds})
    counts = draw(world, obs, lambda rows: _no_change(world, rows), design.seed)
    truth = obs.assign(is_rare=kinds == rare).reset_index()
    planted = {"cells": n_cells, "cell_types": types, "rare_cells": n_rare, "share": share}
    return BenchmarkData(as_cells(world, counts, obs.drop(columns="cell_type")), {"cells": truth}, planted)


def make_batch(world: World, design: Design) -> BenchmarkData:
    """Batches with a log2 fold change of their own on each gene, and of unlike composition; labels are hidden."""
    n_cells, n_batches, sd = design.cells(2400), 3, design.pick(0.3, 0.6, 1.0)
    types = common_types(world, 5)
    fold = sd * design.stream("fold").standard_normal((n_batches, len(world.cells.genes)))
    fold[0] = 0.0  # the reference
    stream = design.stream("batches")
    batch = stream.permutation(np.arange(n_cells) % n_batches)
    mean = np.array([world.composition[name] for name in types])
    kinds = np.empty(n_cells, object)
    for b in range(n_batches):
        rows = np.flatnonzero(batch == b)
        shares = stream.dirichlet(10 * mean / mean.sum())
        kinds[rows] = draw_types(dict(zip(types, shares.tolist(), strict=True)), len(rows), stream)
    names = np.array([f"batch{b + 1}" for b in range(n_batches)], object)
    obs = cell_table(n_cells, {"cell_type": kinds, "batch": names[batch]})
    counts = draw(world, obs, lambda rows: fold[batch[rows]], design.seed)
    table = as_cells(world, counts, obs).var.reset_index()
    for b, name in enumerate(names):
        table[f"log2_fold_{name}"] = fold[b]
    planted = {"cells": n_cells, "batches": n_batches, "sd_log2_fold": sd, "cell_types": types}
    cells = as_cells(world, counts, obs.drop(columns="cell_type"))
    return BenchmarkData(cells, {"cells": obs.reset_index(), "batches": table}, planted)


def make_doublets(world: World, design: Design) -> BenchmarkData:
    """Sums of two cells among single ones; then a share of every barcode's molecules comes from the pooled soup.

    A doublet keeps as large a share of its two cells' molecules as gives it 1.3 times a cell's depth on average (two
    cells in one droplet compete for reagents; easy keeps all), so that depth alone does not give it away.
    """
    n_cells, share = design.cells(3000), 0.1
    ambient, kept = design.pick(0.05, 0.1, 0.2), design.pick(1.0, 0.65, 0.5)
    types = common_types(world, 6)
    stream = design.stream("doublets")
    n_doublets = round(share * n_cells)
    composition = {name: world.composition[name] for name in types}
    source = cell_table(n_cells + n_doublets, {"cell_type": draw_types(composition, n_cells + n_doublets, stream)})
    drawn = draw(world, source, lambda rows: _no_change(world, rows), design.seed)
    chosen = np.sort(stream.choice(n_cells, n_doublets, replace=False))
    second = np.full(n_cells, -1)
    second[chosen] = n_cells + np.arange(n_doublets)
    take = sparse.csr_matrix((np.ones(n_doublets, np.int32), (chosen, np.arange(n_doublets))), (n_cells, n_doublets))
    whole = (drawn[:n_cells] + take @ drawn[n_cells:]).tocsr().astype(np.int32)
    own = _thinned(whole, np.where(second >= 0, kept, 1.0), stream)

    depth = np.asarray(own.sum(axis=1)).ravel()
    soup = np.asarray(own.sum(axis=0), float).ravel()
    soup /= soup.sum()
    own = _thinned(own, np.full(n_cells, 1 - ambient), stream)
    n_ambient = stream.binomial(depth, ambient)
    dirt = sparse.csr_matrix(np.stack([stream.multinomial(n, soup) for n in n_ambient]).astype(np.int32))
    kinds = source["cell_type"].to_numpy(object)
    obs = cell_table(n_cells, {})
    truth = obs.assign(
        is_doublet=second >= 0,
        cell_type=kinds[:n_cells],
        second_cell_type=np.where(second >= 0, kinds[second], ""),
        ambient_molecules=n_ambient,
    )
    planted = {
        "cells": n_cells,
        "doublets": n_doublets,
        "share_kept_of_a_doublets_molecules": kept,
        "ambient_share": ambient,
        "cell_types": types,
    }
    cells = as_cells(world, (own + dirt).tocsr(), obs)
    soup_table = cells.var.reset_index().assign(share=soup)
    return BenchmarkData(cells, {"cells": truth.reset_index(), "soup": soup_table}, planted)
