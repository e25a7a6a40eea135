"""`eqtl` and `eqtl_specific`: causal variants near genes, acting in all cell types or in one."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd

from genesim import rng
from genesim.config.scenario import EffectsScenario, RandomEffects
from genesim.data.genotypes import Genotypes
from genesim.errors import ConfigError
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
from genesim.simulate.effects import log2_fold_changes, plant_effects

WINDOW = 250_000
MIN_R2 = 0.5
"""A variant in such LD with a causal one counts as it: methods cannot tell them apart with few donors."""
_N_GENES = 80
"""Of each type, its most expressed genes are tested and can have an effect: others have too few counts."""


def linked_variants(truth: pd.DataFrame, genotypes: Genotypes) -> pd.DataFrame:
    """Variants near a causal one with r2 >= `MIN_R2` to it among the simulated donors' dosages.

    Returns:
        gene, cell_type, causal, variant, r2, and `transfer`: slope of the causal dosage on the variant's, which times
        the causal effect is what a regression on the variant alone sees. The causal variant is listed with 1 and 1.
    """
    dosage = np.where(genotypes.alleles < 0, 0, genotypes.alleles).sum(axis=2).astype(float)
    centred = dosage - dosage.mean(axis=1, keepdims=True)
    variance = (centred**2).sum(axis=1)
    safe = np.where(variance > 0, variance, 1.0)
    row = {name: i for i, name in enumerate(genotypes.variants.index)}
    start, contig = genotypes.variants["start"].to_numpy(), genotypes.variants["contig"].astype(str).to_numpy()
    parts = []
    for gene, variant, cell_type in zip(truth["gene"], truth["variant"], truth["cell_type"], strict=True):
        at = row[variant]
        near = np.flatnonzero((contig == contig[at]) & (np.abs(start - start[at]) <= 2 * WINDOW))
        product = centred[near] @ centred[at]
        r2, transfer = product**2 / (safe[near] * safe[at]), product / safe[near]
        r2[near == at], transfer[near == at] = 1.0, 1.0
        kept = r2 >= MIN_R2
        names = genotypes.variants.index.to_numpy()[near[kept]]
        table = pd.DataFrame({"variant": names, "r2": r2[kept], "transfer": transfer[kept]})
        parts.append(table.assign(gene=gene, cell_type=cell_type, causal=variant))
    return pd.concat(parts, ignore_index=True)[["gene", "cell_type", "causal", "variant", "r2", "transfer"]]


def testable_genes(world: World, types: list[str], design: Design) -> np.ndarray:
    """Columns of the genes with a known place that are among the most expressed of a type.

    Raises:
        ConfigError: There is none.
    """
    placed = np.flatnonzero((world.genes["tss"] >= 0).to_numpy())
    ranked = [expressed_genes(world, name, _N_GENES, design.seed) for name in types]
    found = np.intersect1d(np.unique(np.concatenate(ranked)), placed)
    if not len(found):
        raise ConfigError(
            "no expressed gene has a known position, so no variant can act on one",
            where="benchmark eqtl",
            remedy="train effects, whose model holds the positions, or use the built-in example",
        )
    return found


def with_places(world: World, cells: ad.AnnData, tested: np.ndarray) -> ad.AnnData:
    """The cells with each gene's `contig`, `tss` and whether it is `tested` in var."""
    cells.var = cells.var.assign(
        contig=world.genes["contig"].to_numpy(object),
        tss=world.genes["tss"].to_numpy(),
        tested=np.isin(np.arange(len(world.genes)), tested),
    )
    return cells


def _make(world: World, design: Design, shared: bool) -> BenchmarkData:
    types = common_types(world, 3)
    n_donors, n_cells = design.donors(60), design.cells(6000)
    found = world.genotyped(n_donors, design.seed)
    places = world.genes
    everywhere = testable_genes(world, types, design)
    tested = places.iloc[everywhere]
    size = design.pick(1.2, 0.8, 0.5)
    law = RandomEffects(
        share_of_genes=0.3, law="constant", sd_log2_afc=size, window=WINDOW, min_maf=0.1, shared=float(shared)
    )
    variants = found.genotypes.variants.assign(frequency=found.frequency)
    effects = plant_effects(
        EffectsScenario(random=law), tested, variants, types, rng.seed(design.seed, "benchmark", "effects")
    )
    fold, affected = log2_fold_changes(effects, found.genotypes, types)
    columns = pd.Index(world.cells.genes).get_indexer(pd.Index(affected))

    stream = design.stream("cells")
    donor, code = deal_donors(n_cells, n_donors, stream), stream.choice(len(types), n_cells)
    sd_donor = 0.2
    deviation = sd_donor * design.stream("donors").standard_normal((n_donors, len(places)))
    ids = found.donors.index.to_numpy()
    obs = cell_table(
        n_cells,
        {
            "donor": ids[donor],
            "cell_type": np.array(types, object)[code],
            "ancestry": found.donors["ancestry"].to_numpy(object)[donor],
        },
    )

    def planted_fold(rows: slice) -> np.ndarray:
        change = deviation[donor[rows]]
        change[:, columns] += fold[donor[rows], code[rows]]
        return change

    cells = with_places(world, as_cells(world, draw(world, obs, planted_fold, design.seed), obs), everywhere)
    planted = {
        "donors": n_donors,
        "cells": n_cells,
        "cell_types": types,
        "variants": found.genotypes.n_variants,
        "tested_genes": len(everywhere),
        "effects": len(effects),
        "abs_log2_afc": size,
        "acting_in": "all cell types" if shared else "one cell type each",
        "window_bp": WINDOW,
        "sd_of_donors_log2": sd_donor,
    }
    truth = {"effects": effects, "linked": linked_variants(effects, found.genotypes)}
    return BenchmarkData(cells, truth, planted, found.genotypes)


def make_eqtl(world: World, design: Design) -> BenchmarkData:
    """Effects that act in every cell type alike."""
    return _make(world, design, shared=True)


def make_eqtl_specific(world: World, design: Design) -> BenchmarkData:
    """Effects that each act in one cell type."""
    return _make(world, design, shared=False)
