"""`de` and `donors`: two groups of donors, expression changes in given cell types, variation among donors."""

from __future__ import annotations

import numpy as np
import pandas as pd

from genesim.simulate.benchmarks.world import (
    BenchmarkData,
    Design,
    World,
    as_cells,
    cell_table,
    common_types,
    deal_donors,
    draw,
    expressed_genes,
)

_N_EXPRESSED = 200
"""Changes are planted among so many of a type's most expressed genes: others have too few counts for any method."""


def _changes(
    world: World, types: list[str], n_changed: int, size: float, design: Design
) -> tuple[np.ndarray, pd.DataFrame]:
    """Planted log2 fold changes [type, gene] of cases over controls, and the table of all of them, zeros too."""
    change = np.zeros((len(types), len(world.cells.genes)))
    for t, name in enumerate(types):
        stream = design.stream("changes", name)
        eligible = expressed_genes(world, name, _N_EXPRESSED, design.seed)
        chosen = stream.choice(eligible, min(n_changed, len(eligible) // 2), replace=False)
        change[t, chosen] = size * stream.uniform(0.7, 1.3, len(chosen)) * stream.choice([-1.0, 1.0], len(chosen))
    table = pd.DataFrame(
        {
            "gene": np.tile(np.asarray(world.cells.genes, object), len(types)),
            "cell_type": np.repeat(np.array(types, object), change.shape[1]),
            "log2_fold_change": change.ravel(),
        }
    )
    return change, table


def _two_groups(
    world: World, design: Design, types: list[str], n_donors: int, n_cells: int, change: np.ndarray, sd_donor: float
) -> tuple[pd.DataFrame, np.ndarray, np.ndarray]:
    """obs (donor, cell_type, group), counts' CSR and whether each donor is a case."""
    stream = design.stream("groups")
    is_case = stream.permutation(np.arange(n_donors) % 2 == 0)
    donor = deal_donors(n_cells, n_donors, stream)
    code = stream.choice(len(types), n_cells)
    deviation = sd_donor * design.stream("donors").standard_normal((n_donors, change.shape[1]))
    names = np.array([f"D{i:04d}" for i in range(1, n_donors + 1)], object)
    obs = cell_table(
        n_cells,
        {
            "donor": names[donor],
            "cell_type": np.array(types, object)[code],
            "group": np.where(is_case[donor], "case", "control").astype(object),
        },
    )

    def fold(rows: slice) -> np.ndarray:
        return deviation[donor[rows]] + is_case[donor[rows], None] * change[code[rows]]

    return obs, draw(world, obs, fold, design.seed), is_case


def make_de(world: World, design: Design) -> BenchmarkData:
    """Differential expression between groups of donors, in three cell types."""
    types = common_types(world, 3)
    n_donors, n_cells = design.donors(20), design.cells(3000)
    size, sd_donor = design.pick(1.5, 1.0, 0.7), design.pick(0.2, 0.3, 0.35)
    change, table = _changes(world, types, 30, size, design)
    obs, counts, _ = _two_groups(world, design, types, n_donors, n_cells, change, sd_donor)
    planted = {
        "donors": n_donors,
        "cells": n_cells,
        "cell_types": types,
        "changed_genes": int((table["log2_fold_change"] != 0).sum()),
        "log2_fold_change": f"+-[{0.7 * size:g}, {1.3 * size:g}]",
        "sd_of_donors_log2": sd_donor,
    }
    return BenchmarkData(as_cells(world, counts, obs), {"de": table}, planted)


def make_donors(world: World, design: Design) -> BenchmarkData:
    """Classification of donors: half of them have their group in obs, the others are to be told."""
    types = common_types(world, 3)
    n_donors, n_cells = design.donors(48), design.cells(3600)
    size, sd_donor = design.pick(1.0, 0.7, 0.4), design.pick(0.2, 0.4, 0.6)
    change, table = _changes(world, types[:1], 25, size, design)
    whole = np.zeros((len(types), change.shape[1]))
    whole[0] = change[0]
    obs, counts, is_case = _two_groups(world, design, types, n_donors, n_cells, whole, sd_donor)
    names = np.array([f"D{i:04d}" for i in range(1, n_donors + 1)], object)
    hidden = np.zeros(n_donors, bool)
    for group in (True, False):  # half of each group, so that neither part is short of one
        members = design.stream("hidden", str(group)).permutation(np.flatnonzero(is_case == group))
        hidden[members[: len(members) // 2]] = True
    obs["group"] = obs["group"].where(~obs["donor"].isin(names[hidden]), "unknown")
    truth = {
        "donors": pd.DataFrame({"donor": names[hidden], "is_case": is_case[hidden]}),
        "changes": table,
    }
    planted = {
        "donors": n_donors,
        "donors_to_classify": int(hidden.sum()),
        "cells": n_cells,
        "changed_cell_types": 1,
        "changed_genes": int((table["log2_fold_change"] != 0).sum()),
        "log2_fold_change": f"+-[{0.7 * size:g}, {1.3 * size:g}]",
        "sd_of_donors_log2": sd_donor,
    }
    return BenchmarkData(as_cells(world, counts, obs), truth, planted)
