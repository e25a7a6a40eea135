"""What scores within groups are computed from: each side's donors, cells and haplotypes, and the planted effects."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
from scipy import sparse

from genesim.data.cohort import Cohort
from genesim.data.genotypes import Genotypes, called_throughout
from genesim.data.ploidy import kind_of
from genesim.evaluate.group_cells import GroupCells, draw_cells
from genesim.evaluate.group_genetics import PlantedPairs
from genesim.metrics.distribution import pooled_pca
from genesim.metrics.expression import gene_summaries, log_normalise, top_genes
from genesim.pipeline.linkage import profiles_of
from genesim.pipeline.true_fold import true_fold
from genesim.simulate.effects import ALL_TYPES

MOST_VARIANTS = 5_000
MOST_GENES, N_COMPONENTS = 500, 12
"""Genes, the most variable ones, and principal components that cells of groups are told apart by."""
LEAST_CELLS = 5
"""Cells of a type that a donor needs to count among the donors of the type."""


def haplotypes_of(cohort: Cohort, made: Genotypes, donors: Mapping[str, pd.Index]) -> dict[str, Genotypes]:
    """These held-out, simulated and training donors at autosomal variants that all of them are called at.

    Of many variants `MOST_VARIANTS`, evenly taken; real genotypes on disk are read by blocks.
    """
    known = made.variants.index.isin(cohort.genotypes.variants.index)
    autosomal = np.array([kind_of(str(contig)) == "autosome" for contig in made.variants["contig"]], dtype=bool)
    ids = made.variants.index[known & autosomal]
    sources = {side: made if side == "simulated" else cohort.genotypes for side in donors}
    ids = ids[called_throughout([(source, donors[side]) for side, source in sources.items()], ids)]
    if len(ids) > MOST_VARIANTS:
        ids = ids[np.linspace(0, len(ids) - 1, MOST_VARIANTS).astype(int)]
    return {side: source.subset(variants=ids, donors=donors[side]) for side, source in sources.items()}


def donor_means(cells: ad.AnnData, genes: pd.Index, least: int = 1) -> tuple[np.ndarray, np.ndarray, pd.Index]:
    """Of donors with `least` cells: mean log-normalised expression [donor, gene], numbers of cells, and names."""
    codes, donors = pd.factorize(cells.obs["donor"].astype(str))
    logs = log_normalise(cells[:, genes].X)
    n_cells = np.bincount(codes, minlength=len(donors))
    ones = sparse.csr_matrix((np.ones(len(codes)), (codes, np.arange(len(codes)))), shape=(len(donors), len(codes)))
    means = np.asarray((ones @ logs).todense()) / np.maximum(n_cells, 1)[:, None]
    kept = n_cells >= least
    return means[kept], n_cells[kept], pd.Index(donors)[kept]


def group_cells(sides: Mapping[str, ad.AnnData], genes: pd.Index, key: str | None, seed: int) -> dict[str, GroupCells]:
    """A draw of each donor's cells on common principal components."""
    drawn = {
        side: part[draw_cells(part.obs["donor"].astype(str).to_numpy(), seed, side)] for side, part in sides.items()
    }
    logs = {side: log_normalise(part[:, genes].X) for side, part in drawn.items()}
    pool = sparse.vstack(list(logs.values()), "csr")
    chosen = top_genes(gene_summaries(pool, pool).variance, min(MOST_GENES, len(genes)))
    features = pooled_pca([x[:, chosen] for x in logs.values()], N_COMPONENTS, seed)
    found = {}
    for (side, part), x in zip(drawn.items(), features, strict=True):
        labels = np.full(part.n_obs, "all") if key is None else part.obs[key].astype(str).to_numpy(dtype=str)
        found[side] = GroupCells(x, labels, part.obs["donor"].astype(str).to_numpy(dtype=str))
    return found


def planted_pairs(cells: ad.AnnData, genotypes: Genotypes, truth: Path) -> tuple[PlantedPairs, pd.Index] | None:
    """Effects that all cell types share, at variants that the simulated donors have, and these donors; None without."""
    effects = pd.read_parquet(truth / "effects.parquet")
    effects = effects[effects["source"] != "loss_of_function"]
    shared = ~effects["gene"].isin(effects.loc[effects["cell_type"] != ALL_TYPES, "gene"])
    effects = effects[
        shared & effects["variant"].isin(genotypes.variants.index) & effects["gene"].isin(cells.var_names)
    ]
    fold = true_fold(truth / "expression.parquet")
    effects = effects[effects["gene"].isin(fold.columns)]
    if not len(effects):
        return None
    genes = pd.Index(effects["gene"].unique())
    profiles = profiles_of(cells, "donor", genes)
    donors = profiles.index[profiles.index.isin(genotypes.donors)]
    wide = fold.reindex(donors)
    at = genotypes.subset(variants=list(effects["variant"].unique()), donors=list(donors))
    rows = at.variants.index.get_indexer(pd.Index(effects["variant"]))
    dosage = at.dosage()[rows].T.astype(float)
    known = np.isfinite(dosage).all(axis=0)
    order = at.donors.get_indexer(donors)
    pairs = PlantedPairs(
        dosage[order][:, known],
        profiles.loc[donors, effects["gene"]].to_numpy(float)[:, known],
        wide[effects["gene"]].to_numpy(float)[:, known],
    )
    return pairs, donors
