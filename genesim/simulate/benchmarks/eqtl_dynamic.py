"""`eqtl_dynamic`: causal variants whose effects change along a continuous state of the cells, among static ones.

Cells of one type have a state t in [0, 1] (as pseudotime). A dynamic effect's log2 allelic fold change is
log2_afc + log2_afc_slope * shape(t) (`simulate.dynamic`); static ones keep theirs, so that a test of any effect finds
both. Donors differ in level, in how their genes change along the state and in where their cells are: cells are no
replicates. Genes change along the state whatever the genotype.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from genesim import rng
from genesim.config.effects import EffectsScenario, RandomEffects, Shape
from genesim.simulate.benchmarks.eqtl import WINDOW, linked_variants, testable_genes, with_places
from genesim.simulate.benchmarks.world import (
    BenchmarkData,
    Design,
    World,
    as_cells,
    cell_table,
    common_types,
    deal_donors,
    draw,
)
from genesim.simulate.dynamic import DynamicEffects
from genesim.simulate.effects import log2_fold_changes, plant_effects
from genesim.simulate.state import MIDDLE

_SHAPES: dict[str, tuple[Shape, ...]] = {
    "easy": ("linear",),
    "medium": ("linear", "sigmoid"),
    "hard": ("linear", "sigmoid", "peak"),
}
"""Shapes of each difficulty, in turns: a regression on the state sees no peak."""
_SD_LEVEL, _SD_SLOPE, _SD_ALONG = 0.2, 0.2, 0.5
_CONCENTRATION = 8.0
"""a + b of the beta law of a donor's states, whose mean varies over donors."""


def _with_slopes(effects: pd.DataFrame, size: float, design: Design) -> pd.DataFrame:
    """Half of the effects made dynamic, with even random signs and sizes that are not small."""
    stream, shapes = design.stream("slopes"), _SHAPES[design.difficulty]
    chosen = stream.permutation(len(effects))[: max(1, len(effects) // 2)]
    slope, shape = np.zeros(len(effects)), np.full(len(effects), "", object)
    slope[chosen] = size * stream.uniform(0.7, 1.3, len(chosen)) * stream.choice([-1.0, 1.0], len(chosen))
    shape[chosen] = np.resize(np.array(shapes, object), len(chosen))
    return effects.assign(log2_afc_slope=slope, shape=shape)


def make_eqtl_dynamic(world: World, design: Design) -> BenchmarkData:
    """Effects that change along the state, half of all effects, in cells of the most common type."""
    types = common_types(world, 1)
    n_donors, n_cells = design.donors(60), design.cells(6000)
    size, static, noise = design.pick(2.0, 1.4, 1.0), 0.8, design.pick(0.0, 0.05, 0.1)
    found = world.genotyped(n_donors, design.seed)
    tested = testable_genes(world, types, design)
    law = RandomEffects(share_of_genes=0.5, law="constant", sd_log2_afc=static, window=WINDOW, min_maf=0.1, shared=1.0)
    variants = found.genotypes.variants.assign(frequency=found.frequency)
    seed = rng.seed(design.seed, "benchmark", "effects")
    planted = plant_effects(EffectsScenario(random=law), world.genes.iloc[tested], variants, types, seed)
    effects = _with_slopes(planted, size, design)
    constant = effects[effects["log2_afc_slope"] == 0]
    fixed, fixed_genes = log2_fold_changes(constant, found.genotypes, types)
    moving = DynamicEffects.of(effects, found.genotypes, types)
    all_genes = pd.Index(world.cells.genes)
    fixed_columns, moving_columns = (all_genes.get_indexer(pd.Index(names)) for names in (fixed_genes, moving.genes))

    donor = deal_donors(n_cells, n_donors, design.stream("cells"))
    stream = design.stream("state")
    centre = stream.beta(10.0, 10.0, n_donors)[donor]
    state = stream.beta(_CONCENTRATION * centre, _CONCENTRATION * (1 - centre))
    shown = np.clip(state + noise * stream.standard_normal(n_cells), 0.0, 1.0)
    stream = design.stream("donors")
    level, own_slope = (sd * stream.standard_normal((n_donors, len(all_genes))) for sd in (_SD_LEVEL, _SD_SLOPE))
    along = _SD_ALONG * design.stream("along").standard_normal(len(all_genes))
    kind = np.zeros(n_cells, int)

    def fold(rows: slice) -> np.ndarray:
        who, t = donor[rows], state[rows]
        change = level[who] + (along + own_slope[who]) * (t - MIDDLE)[:, None]
        change[:, fixed_columns] += fixed[who, 0]
        change[:, moving_columns] += moving.fold(who, kind[rows], t)
        return change

    obs = cell_table(
        n_cells,
        {
            "donor": found.donors.index.to_numpy()[donor],
            "cell_type": np.full(n_cells, types[0], object),
            "ancestry": found.donors["ancestry"].to_numpy(object)[donor],
            "state": shown,
        },
    )
    cells = with_places(world, as_cells(world, draw(world, obs, fold, design.seed), obs), tested)
    truth = {
        "effects": effects,
        "linked": linked_variants(effects, found.genotypes),
        "cells": pd.DataFrame({"cell": obs.index.to_numpy(object), "state": state}),
        "genes": pd.DataFrame({"gene": all_genes.to_numpy(object), "log2_along_state": along}),
    }
    card = {
        "donors": n_donors,
        "cells": n_cells,
        "cell_type": types[0],
        "variants": found.genotypes.n_variants,
        "tested_genes": len(tested),
        "dynamic_effects": len(effects) - len(constant),
        "static_effects": len(constant),
        "log2_afc_at_state_0": f"+-{static:g}",
        "log2_afc_slope": f"+-[{0.7 * size:g}, {1.3 * size:g}]",
        "shapes": list(_SHAPES[design.difficulty]),
        "window_bp": WINDOW,
        "sd_of_donors_log2": _SD_LEVEL,
        "sd_of_donors_log2_along_state": _SD_SLOPE,
        "sd_of_genes_log2_along_state": _SD_ALONG,
        "sd_of_error_of_the_shown_state": noise,
    }
    return BenchmarkData(cells, truth, card, found.genotypes)
