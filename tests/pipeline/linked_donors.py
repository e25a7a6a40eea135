"""Donors whose gene k follows their variant k, twofold an allele."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
from scipy import sparse

from genesim.data.cohort import Cohort
from genesim.data.genotypes.record import Genotypes

N_LINKED = 120  # genes, each with a variant of its own


def genotypes_of(n_donors: int, seed: int, prefix: str) -> Genotypes:
    random = np.random.default_rng(seed)
    n = N_LINKED
    alleles = (random.random((n, n_donors, 2)) < 0.4).astype(np.int8)
    table = {"contig": "22", "start": np.arange(n) * 10_000, "ref": ["A"] * n, "alt": ["G"] * n}
    variants = pd.DataFrame(table, index=pd.Index([f"v{i}" for i in range(n)], dtype=object)).astype(
        {"contig": object, "ref": object, "alt": object}
    )
    donors = pd.Index([f"{prefix}{i}" for i in range(n_donors)], dtype=object)
    return Genotypes(alleles, np.ones(alleles.shape[:2], bool), variants, donors)


def expression_for(genotypes: Genotypes, seed: int) -> ad.AnnData:
    """Cells whose gene k follows variant k, twofold an allele."""
    random = np.random.default_rng(seed)
    fold = (2.0**genotypes.alleles).mean(axis=2).T
    donor = np.repeat(np.arange(genotypes.n_donors), 8)
    counts = random.poisson(4 * (fold * random.lognormal(0, 0.2, fold.shape))[donor])
    obs = pd.DataFrame({"donor": genotypes.donors.to_numpy()[donor]}, index=[f"c{i}" for i in range(len(donor))])
    return ad.AnnData(sparse.csr_matrix(counts), obs=obs, var=pd.DataFrame(index=[f"g{i}" for i in range(N_LINKED)]))


GENES = pd.DataFrame(
    {"contig": "22", "start": 0, "end": 1, "strand": "+", "tss": np.arange(N_LINKED) * 10_000, "dealt": False},
    index=[f"g{i}" for i in range(N_LINKED)],
)


def cohort_of(n: int) -> Cohort:
    genotypes = genotypes_of(n, 0, "k")
    cells = expression_for(genotypes, 3)
    split = np.where(np.arange(n) % 2 == 0, "train", "test")
    donors = pd.DataFrame(
        {"genotype_id": genotypes.donors, "ancestry": "A", "sex": "female", "split": split}, index=genotypes.donors
    ).assign(has_cells=True, has_genotypes=True)
    return Cohort(cells, genotypes, donors, GENES)
