"""Each gene's drawn counts, carried to the distribution that the training cells have.

The latent model decides which cells are high and low in a gene; its negative binomial around smooth rates
does not get the shape of every gene's distribution right (a gene that few cells express strongly comes out
in too many cells, weakly). A monotone map between the two distribution functions keeps the ranks and
corrects the shape: a copula whose dependence is learned by the network and whose margins are empirical
(Sklar 1959; NORTA, Cario & Nelson 1997; scDesign2 does it with one Gaussian copula a cell type).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy import sparse

_EXACT = 24
"""Counts up to this have an edge of their own."""
_RATIO = 1.2
_PSEUDO_CELLS = 20.0
"""Weight of the drawn distribution in the target, in cells: it keeps tails open beyond the largest training count."""


@dataclass(frozen=True)
class GeneMargins:
    """Distribution functions P(count <= edge) of drawn and of training counts, a gene.

    Attributes:
        edges: Counts at which they are kept, rising from 0; between edges they are linear.
        drawn: Of counts that the network draws at the training cells' mix of covariates and library sizes.
        target: Of the training cells.
        library: Smallest and largest library size for which the map holds.
    """

    edges: Int[np.ndarray, " edge"]
    drawn: Float[np.ndarray, "gene edge"]
    target: Float[np.ndarray, "gene edge"]
    library: tuple[float, float]

    @classmethod
    def fit(cls, drawn: sparse.csr_matrix, observed: sparse.csr_matrix, library: tuple[float, float]) -> GeneMargins:
        """From counts of both, [cell, gene]; the cells need not correspond."""
        largest = max(drawn.max(), observed.max(), 1)
        n_steps = max(0, int(np.ceil(np.log(largest / _EXACT) / np.log(_RATIO))))
        coarse = np.ceil(_EXACT * _RATIO ** np.arange(1, n_steps + 1)).astype(np.int64)
        edges = np.concatenate([np.arange(min(_EXACT, largest) + 1), coarse])
        of_drawn, of_observed = (_distribution(counts, edges) for counts in (drawn, observed))
        weight = _PSEUDO_CELLS / (observed.shape[0] + _PSEUDO_CELLS)
        # In this form it is exactly 1 where both are: a last step short of 1 would be a count out of nowhere.
        target = of_observed + weight * (of_drawn - of_observed)
        return cls(edges, of_drawn.astype(np.float32), target.astype(np.float32), library)

    def arrays(self) -> dict[str, np.ndarray]:
        """What `restore` needs, for storage."""
        return {
            "edges": self.edges,
            "drawn": self.drawn,
            "target": self.target,
            "library": np.asarray(self.library, np.float64),
        }

    @classmethod
    def restore(cls, arrays: dict[str, np.ndarray]) -> GeneMargins:
        """From `arrays`."""
        low, high = arrays["library"].tolist()
        return cls(arrays["edges"], arrays["drawn"], arrays["target"], (low, high))


def _distribution(counts: sparse.csr_matrix, edges: Int[np.ndarray, " edge"]) -> Float[np.ndarray, "gene edge"]:
    """P(count <= edge) of every gene."""
    columns = sparse.csc_matrix(counts)
    n_cells, n_genes = columns.shape
    gene = np.repeat(np.arange(n_genes), np.diff(columns.indptr))
    first_at_least = np.searchsorted(edges, columns.data)  # the first edge that the count does not exceed
    table = np.bincount(gene * len(edges) + first_at_least, minlength=n_genes * len(edges)).reshape(n_genes, -1)
    table[:, 0] += n_cells - np.diff(columns.indptr)
    return np.cumsum(table, axis=1) / n_cells
