"""The built-in world: negative binomials fitted to the example's real cells, donors of a coalescent simulation.

A cell's rate of a gene is Gamma around its type's mean and counts are Poisson around library size x rate: together
the negative binomial that was fitted (`IndependentNb`). Genes are independent given the cell type.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Float
from scipy import sparse

from genesim import rng
from genesim.data.example import example_cells
from genesim.data.example_donors import GRCH37_LENGTHS, SEGMENT_LENGTH, SEGMENTS, donor_table, simulate_segment
from genesim.data.genotypes import Genotypes
from genesim.models.expression.independent_nb import IndependentNb
from genesim.simulate.benchmarks.world import Genotyped, World
from genesim.types import Condition

ORIGIN = (
    "Cells are drawn from negative binomials fitted to the 700 cells of 10x Genomics' PBMC 68k (Zheng et al. 2017, "
    "Nature Communications 8:14049; CC BY 4.0) that are bundled with scanpy (BSD-3-Clause) as 'pbmc68k_reduced'; "
    "genes are independent given the cell type. Donors, genotypes and gene positions are invented."
)
_MAX_VARIANTS = 600
"""Most sites of each contig."""


@dataclass(frozen=True)
class NbCells:
    """A `CellSource` in closed form.

    Attributes:
        genes: Names of the columns.
        types: Known cell types.
        margins: Shares and inverse dispersions [type + 1, gene].
        library: Library sizes of each type's real cells, which drawn cells take at random.
    """

    genes: pd.Index
    types: tuple[str, ...]
    margins: IndependentNb
    library: tuple[Float[np.ndarray, " cell"], ...]

    def _codes(self, obs: pd.DataFrame) -> np.ndarray:
        return pd.Index(self.types).get_indexer(pd.Index(obs["cell_type"].astype(str)))

    def draw_rates(
        self, obs: pd.DataFrame, seed: int, first: int
    ) -> tuple[Float[np.ndarray, "cell gene"], Float[np.ndarray, " cell"]]:
        """Rates and library sizes of a block of cells that begins with cell `first`."""
        stream = rng.generator(seed, "nb cells", "rates", first)
        code = self._codes(obs)
        theta = self.margins.theta[code]
        rates = self.margins.frequency[code] * stream.gamma(theta, 1 / theta)
        return rates, np.array([stream.choice(self.library[c]) for c in code], np.float64)

    def draw_counts(
        self,
        rates: Float[np.ndarray, "cell gene"],
        library: Float[np.ndarray, " cell"],
        obs: pd.DataFrame,
        seed: int,
        first: int,
        fold: Float[np.ndarray, "cell gene"],
    ) -> sparse.csr_matrix:
        """Poisson counts around library x rate x fold."""
        stream = rng.generator(seed, "nb cells", "counts", first)
        return sparse.csr_matrix(stream.poisson(library[:, None] * rates * fold).astype(np.int32))


def _genotyped(n: int, seed: int) -> Genotyped:
    table = donor_table(seed, n)
    segments = [simulate_segment(seed, contig, table["ancestry"], _MAX_VARIANTS) for contig in SEGMENTS]
    bases = np.array(list("ACGT"), object)
    alleles, parts = [], []
    for segment in segments:
        stream = rng.generator(seed, "benchmark", "bases", segment.contig)
        ref = stream.integers(0, 4, len(segment.start))
        alt = (ref + stream.integers(1, 4, len(ref))) % 4
        names = [f"{segment.contig}_{p + 1}_{r}_{a}" for p, r, a in zip(segment.start, bases[ref], bases[alt])]
        columns = {"contig": segment.contig, "start": segment.start, "ref": bases[ref], "alt": bases[alt]}
        parts.append(pd.DataFrame(columns, index=pd.Index(names, dtype=object)))
        alleles.append(segment.alleles.reshape(len(ref), n, 2))
    merged, variants = np.concatenate(alleles), pd.concat(parts)
    # msprime may put two sites at one whole base pair with the same letters.
    kept = ~variants.index.duplicated()
    merged, variants = merged[kept], variants[kept]
    donors = table.set_index(pd.Index(table["donor"], dtype=object, name="donor"))[["ancestry"]]
    lengths: dict[str, int | None] = {contig: GRCH37_LENGTHS[contig] for contig in SEGMENTS}
    genotypes = Genotypes(merged, np.ones(merged.shape[:2], bool), variants, donors.index, lengths)
    return Genotyped(donors, genotypes, pd.Series(merged.mean(axis=(1, 2)), index=variants.index))


def _gene_places(genes: pd.Index) -> pd.DataFrame:
    """Invented places of the genes, the same for every benchmark."""
    stream = rng.generator(0, "benchmark", "genes")
    contig = stream.choice(np.array(list(SEGMENTS), object), len(genes))
    offset = stream.integers(0, SEGMENT_LENGTH, len(genes))
    tss = np.array([SEGMENTS[name] for name in contig]) + offset
    return pd.DataFrame({"contig": contig, "tss": tss}, index=genes)


def builtin_world() -> World:
    """The world that needs no user data.

    Raises:
        GenesimError: msprime is not installed (only where genotypes are drawn).
    """
    cells = example_cells(0, ["none"])
    types = tuple(sorted(cells.obs["cell_type"].astype(str).unique()))
    code = pd.Index(types).get_indexer(pd.Index(cells.obs["cell_type"].astype(str)))
    library = np.asarray(cells.X.sum(axis=1), np.float64).ravel()
    condition = Condition(code[:, None], np.zeros((len(code), 0)), np.log(library))
    margins = IndependentNb.fit(cells.X, condition, len(types), 0)
    genes = pd.Index(cells.var_names, dtype=object, name="gene")
    source = NbCells(genes, types, margins, tuple(library[code == c] for c in range(len(types))))
    composition = {name: float((code == c).mean()) for c, name in enumerate(types)}
    return World(source, composition, _gene_places(genes), _genotyped, ORIGIN)
