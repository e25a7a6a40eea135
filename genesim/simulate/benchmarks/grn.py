"""`grn`: knock-outs of regulators, whose effects pass through a linear network on the log2 scale to its steady state.

Log2 rates solve x = B x + u, so that x = (I - B)^-1 u; B is acyclic (regulators are ordered). A knock-out holds its
regulator's x at a fixed low value and cuts what acts on it (do-intervention, Pearl 2009).
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from jaxtyping import Float

from genesim.simulate.benchmarks.world import (
    BenchmarkData,
    Design,
    World,
    as_cells,
    cell_table,
    common_types,
    draw,
    expressed_genes,
)

CONTROL = "none"
_KNOCK_OUT = -6.0  # log2: 1.6 % of the expression is left
_N_EXPRESSED = 150


def steady_state(
    weights: Float[np.ndarray, "target regulator"], u: Float[np.ndarray, "cell gene"], held: int, value: float
) -> Float[np.ndarray, "cell gene"]:
    """x = B x + u with x[held] = `value` (nobody is held where `held` is -1).

    Args:
        weights: B, gene by gene: effect of each regulator (column) on each target (row), log2 per log2.
        u: Inputs.
    """
    b, u = weights.copy(), u.copy()
    if held >= 0:
        b[held], u[:, held] = 0.0, value
    return np.linalg.solve(np.eye(len(b)) - b, u.T).T


def make_grn(world: World, design: Design) -> BenchmarkData:
    """Cells of one type, a quarter of them controls, the others with one regulator knocked out each."""
    n_cells, n_regulators, n_targets = design.cells(2400), 10, 8
    size, sd = design.pick(0.5, 0.3, 0.2), design.pick(0.2, 0.3, 0.4)
    cell_type = common_types(world, 1)[0]
    stream = design.stream("network")
    eligible = expressed_genes(world, cell_type, _N_EXPRESSED, design.seed)
    regulators = stream.choice(eligible, min(n_regulators, len(eligible) // 3), replace=False)
    n_genes = len(world.cells.genes)
    # The network lives on few genes: solving for those alone is quick.
    local = {int(gene): i for i, gene in enumerate([*regulators, *np.setdiff1d(eligible, regulators)])}
    columns = np.array(list(local))
    weights = np.zeros((len(local), len(local)))
    for r in range(len(regulators)):
        # A regulator acts on later regulators and on other genes, so that there is no cycle.
        targets = stream.choice(np.arange(r + 1, len(local)), min(n_targets, len(local) - r - 1), replace=False)
        weights[targets, r] = size * stream.uniform(0.7, 1.3, len(targets)) * stream.choice([-1.0, 1.0], len(targets))

    stream = design.stream("perturbations")
    knocked = np.where(stream.random(n_cells) < 0.25, -1, stream.integers(0, len(regulators), n_cells))
    u = np.zeros((n_cells, len(local)))
    u[:, : len(regulators)] = sd * stream.standard_normal((n_cells, len(regulators)))
    x = np.zeros_like(u)
    for r in range(-1, len(regulators)):
        rows = knocked == r
        x[rows] = steady_state(weights, u[rows], r, _KNOCK_OUT)

    def fold(rows: slice) -> np.ndarray:
        whole = np.zeros((rows.stop - rows.start, n_genes))
        whole[:, columns] = x[rows]
        return whole

    genes = np.asarray(world.cells.genes, object)
    names = np.append(genes[regulators], CONTROL)  # -1 is the last
    obs = cell_table(n_cells, {"cell_type": np.full(n_cells, cell_type, object), "knocked_out": names[knocked]})
    counts = draw(world, obs, fold, design.seed)
    pairs = [
        (genes[gene], genes[target], weights[local[int(target)], r] if int(target) in local else 0.0)
        for r, gene in enumerate(regulators)
        for target in range(n_genes)
        if target != gene
    ]
    edges = pd.DataFrame(pairs, columns=["regulator", "target", "weight"])
    edges["is_edge"] = edges["weight"] != 0
    planted = {
        "cells": n_cells,
        "cell_type": cell_type,
        "regulators": sorted(genes[regulators]),
        "edges": int(edges["is_edge"].sum()),
        "weight": f"+-[{0.7 * size:g}, {1.3 * size:g}] log2 per log2",
        "sd_of_regulators_log2": sd,
        "knock_out_log2": _KNOCK_OUT,
    }
    return BenchmarkData(as_cells(world, counts, obs), {"edges": edges}, planted)
