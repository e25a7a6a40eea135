"""A small world in closed form: cells whose law is known, haplotypes of two contigs, genes with positions."""

from __future__ import annotations

from types import MappingProxyType, SimpleNamespace
from typing import cast

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from genesim import rng
from genesim.config.model import HaplotypeConfig
from genesim.data.genotypes import Genotypes
from genesim.estimators.haplotypes import HaplotypeModel
from genesim.models.expression.negative_binomial import theta_within
from genesim.pipeline.simulate import Models

N_GENES, N_VARIANTS = 60, 120
CONTIGS = ("21", "22")


class PoissonCells:
    """What the simulator asks of an `ExpressionModel`: rates of three cell types, counts around them.

    Counts are Poisson, or negative binomial where there is a `theta`.
    """

    labels_key = "cell_type"
    batch_key = None
    cell_types = ("B", "NK", "T")
    composition = MappingProxyType({"B": 0.3, "NK": 0.2, "T": 0.5})
    config = SimpleNamespace(method="independent")
    covariates = SimpleNamespace(levels={"cell_type": ("B", "NK", "T")})

    def __init__(self, library: float = 3000.0, theta: float = np.inf) -> None:
        self.genes = pd.Index([f"g{i:02d}" for i in range(N_GENES)], dtype=object)
        weight = np.random.default_rng(1).gamma(4.0, size=(3, N_GENES))
        self.rates = weight / weight.sum(axis=1, keepdims=True)
        self.library = library
        self.theta = theta

    def draw_rates(self, obs: pd.DataFrame, seed: int, first: int) -> tuple[np.ndarray, np.ndarray]:
        kind = pd.Index(self.cell_types).get_indexer(pd.Index(obs["cell_type"]))
        return self.rates[kind].astype(np.float32), np.full(len(obs), self.library)

    def draw_counts(
        self,
        rates: np.ndarray,
        library: np.ndarray,
        obs: pd.DataFrame,
        seed: int,
        first: int,
        fold: np.ndarray,
        between: np.ndarray | None = None,
    ) -> sparse.csr_matrix:
        stream = rng.generator(seed, "poisson", first)
        mean = library[:, None] * rates * fold
        if np.isfinite(self.theta):
            theta = theta_within(np.full(mean.shape, self.theta), 0.0 if between is None else between)
            mean = mean * stream.gamma(theta, 1 / theta)
        return sparse.csr_matrix(stream.poisson(mean).astype(np.int32))

    def empty_cells(self, obs: pd.DataFrame) -> ad.AnnData:
        shape = (len(obs), N_GENES)
        return ad.AnnData(sparse.csr_matrix(shape, dtype=np.int32), obs=obs.copy(), var=pd.DataFrame(index=self.genes))


def panel(contig: str, n: int = 120) -> Genotypes:
    """Donors of two ancestries, variants unlinked, 10 kb apart."""
    stream = np.random.default_rng(int(contig))
    p = stream.uniform(0.1, 0.9, N_VARIANTS)
    start = 1_000_000 + 10_000 * np.arange(N_VARIANTS)
    names = [f"{contig}_{s + 1}_A_C" for s in start]
    variants = pd.DataFrame({"contig": contig, "start": start, "ref": "A", "alt": "C"}, index=pd.Index(names))
    variants.index = pd.Index(names, dtype=object)
    alleles = (stream.random((N_VARIANTS, n, 2)) < p[:, None, None]).astype(np.int8)
    donors = pd.Index([f"d{i:03d}" for i in range(n)], dtype=object)
    return Genotypes(alleles, np.ones(alleles.shape[:2], bool), variants, donors, {contig: 3_000_000})


@pytest.fixture(scope="session")
def world() -> Models:
    """Models in closed form: what is simulated from them has a law that tests can know."""
    cells = PoissonCells()
    haplotypes = []
    for contig in CONTIGS:
        geno = panel(contig)
        ancestry = pd.Series(np.array(["X", "Y"], object)[np.arange(geno.n_donors) % 2], index=geno.donors)
        haplotypes.append(HaplotypeModel.fit(geno, ancestry, config=HaplotypeConfig(method="independent")))
    places = pd.DataFrame(
        {
            "contig": np.array(CONTIGS, object)[np.arange(N_GENES) % 2],
            "tss": 1_000_000 + 20_000 * np.arange(N_GENES),
        },
        index=cells.genes.rename("gene"),
    )
    effects = SimpleNamespace(genes=places)
    return cast(Models, Models(cells, tuple(haplotypes), effects))  # type: ignore[arg-type]
