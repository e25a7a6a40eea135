"""Each gene's drawn counts, carried to the distribution that the training cells of the label have.

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


@dataclass(frozen=True)
class GeneMargins:
    """Distribution functions P(count <= edge) of drawn and of wanted counts, for each gene of each label.

    A table ends at the first edge where both are 1. Tables lie one after the other, genes within labels; those
    of the last label serve cells of unknown label.

    Attributes:
        edges: Counts at which the functions are kept, rising from 0; between edges they are linear.
        first: Where each table starts; one more than there are tables.
        drawn: Of counts that the network draws.
        target: Of the counts that are wanted.
    """

    edges: Int[np.ndarray, " edge"]
    first: Int[np.ndarray, " table_"]
    drawn: Float[np.ndarray, " entry"]
    target: Float[np.ndarray, " entry"]

    @classmethod
    def fit(
        cls,
        drawn: list[sparse.csr_matrix],
        wanted: list[sparse.csr_matrix],
        prior: list[sparse.csr_matrix],
        prior_cells: float,
    ) -> GeneMargins:
        """From counts [cell, gene] of each label, and last of all labels together; cells need not correspond.

        Args:
            drawn: What the network draws.
            wanted: Training cells.
            prior: Counts of the distribution that a label's target is shrunk to.
            prior_cells: Weight of the prior, in cells: it keeps tails open beyond the largest training count.
        """
        largest = max(max(counts.max() for counts in [*drawn, *wanted, *prior]), 1)
        n_steps = max(0, int(np.ceil(np.log(largest / _EXACT) / np.log(_RATIO))))
        coarse = np.ceil(_EXACT * _RATIO ** np.arange(1, n_steps + 1)).astype(np.int64)
        edges = np.concatenate([np.arange(min(_EXACT, largest) + 1), coarse])
        sizes, of_drawn, of_target = [], [], []
        for counts, cells, shrunk in zip(drawn, wanted, prior, strict=True):
            a, b, c = (_distribution(matrix, edges) for matrix in (counts, cells, shrunk))
            # In this form it is exactly 1 where both are: a last step short of 1 would be a count out of nowhere.
            b = b + prior_cells / (cells.shape[0] + prior_cells) * (c - b)
            used = 1 + ((a < 1) | (b < 1)).sum(axis=1)
            kept = np.arange(len(edges)) < used[:, None]
            sizes.append(used)
            of_drawn.append(a[kept].astype(np.float32))
            of_target.append(b[kept].astype(np.float32))
        first = np.concatenate([[0], np.cumsum(np.concatenate(sizes))])
        return cls(edges, first, np.concatenate(of_drawn), np.concatenate(of_target))

    def arrays(self) -> dict[str, np.ndarray]:
        """What `restore` needs, for storage."""
        return {
            "edges": self.edges,
            "first": self.first,
            "drawn": self.drawn,
            "target": self.target,
        }

    @classmethod
    def restore(cls, arrays: dict[str, np.ndarray]) -> GeneMargins:
        """From `arrays`."""
        return cls(arrays["edges"], arrays["first"], arrays["drawn"], arrays["target"])


def _distribution(counts: sparse.csr_matrix, edges: Int[np.ndarray, " edge"]) -> Float[np.ndarray, "gene edge"]:
    """P(count <= edge) of every gene."""
    columns = sparse.csc_matrix(counts)
    n_cells, n_genes = columns.shape
    gene = np.repeat(np.arange(n_genes), np.diff(columns.indptr))
    reached = np.searchsorted(edges, columns.data)  # the first edge that the count does not exceed
    table = np.bincount(gene * len(edges) + reached, minlength=n_genes * len(edges)).reshape(n_genes, -1)
    table[:, 0] += n_cells - np.diff(columns.indptr)
    return np.cumsum(table, axis=1) / max(n_cells, 1)


_NOTHING = np.zeros(0, np.float32)
NO_MARGINS = GeneMargins(np.zeros(0, np.int64), np.zeros(1, np.int64), _NOTHING, _NOTHING)
"""Maps nothing."""
