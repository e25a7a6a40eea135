"""Gaussian copula with negative-binomial margins a label (scDesign2: Sun 2021, Genome Biology).

Differences from scDesign2: the margins take the cell's library size as offset (as in scDesign3), and the
copula is kept as factors of the correlation matrix, so that fewer cells than genes need no inverse.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from jaxtyping import Float, Int
from scipy import sparse

from genesim import rng
from genesim.models.expression.draws import MAX_COUNT, draw_counts
from genesim.models.expression.independent_nb import IndependentNb, as_dense, label_of
from genesim.nn.random import row_seeds
from genesim.types import Condition

_MIN_CELLS = 30
"""Labels with fewer cells keep independent genes: their correlations would be noise."""
_MIN_DETECTION = 0.2
"""Genes detected in a smaller share of a label's cells stay independent (scDesign2's cutoff)."""
_MAX_CELLS = 1000
_MAX_FACTORS = 200


def _normal_scores(
    counts: np.ndarray, mean: np.ndarray, theta: np.ndarray, random: np.random.Generator
) -> Float[np.ndarray, "cell gene"]:
    """Randomised quantile residuals: Phi^-1 of u uniform between F(x - 1) and F(x) (Dunn & Smyth 1996)."""
    from scipy.special import ndtri
    from scipy.stats import nbinom

    p = theta / (theta + mean)
    above = nbinom.cdf(counts, theta, p)
    below = np.where(counts > 0, nbinom.cdf(counts - 1, theta, p), 0.0)
    u = below + random.random(counts.shape) * (above - below)
    return ndtri(np.clip(u, 1e-6, 1 - 1e-6))


def _factor(scores: np.ndarray) -> Float[np.ndarray, "gene factor"]:
    """F with F F^T + diagonal = the scores' correlation matrix, its leading `_MAX_FACTORS` components."""
    centred = scores - scores.mean(axis=0)
    norm = np.sqrt((centred**2).sum(axis=0))
    _, size, axes = np.linalg.svd(centred / np.where(norm > 0, norm, 1.0), full_matrices=False)
    size, axes = size[:_MAX_FACTORS], axes[:_MAX_FACTORS]
    return (axes * size[:, None]).T


@dataclass(frozen=True)
class CopulaNb:
    """NB margins and, for each label with enough cells, the correlations of its well-detected genes.

    Attributes:
        margins: NB means and dispersions.
        genes: For each label (the last entry: all cells) the genes in its copula; empty = independent.
        factors: For each label [gene in copula, factor]; rows have at most unit norm.
    """

    margins: IndependentNb
    genes: tuple[Int[np.ndarray, " chosen"], ...]
    factors: tuple[Float[np.ndarray, "chosen factor"], ...]

    @classmethod
    def fit(cls, counts: Any, condition: Condition, n_labels: int, label_column: int | None, seed: int = 0) -> CopulaNb:
        """Fit to counts [cell, gene] (dense or CSR); label codes lie in `condition`."""
        margins = IndependentNb.fit(counts, condition, n_labels, label_column, seed)
        label = label_of(condition, label_column)
        groups = [np.flatnonzero(label == a) for a in range(n_labels)] + [np.arange(len(label))]
        library = np.exp(np.asarray(condition.log_library, np.float64))
        genes, factors = [], []
        for a, cells in enumerate(groups):
            random = rng.generator(seed, "copula", a)
            if len(cells) > _MAX_CELLS:
                cells = np.sort(random.choice(cells, _MAX_CELLS, replace=False))
            x = as_dense(counts[cells])
            detected = (x > 0).sum(axis=0) >= _MIN_DETECTION * len(cells)
            chosen = np.flatnonzero(detected & (len(cells) >= _MIN_CELLS))
            genes.append(chosen)
            if len(chosen):
                mean = library[cells][:, None] * margins.frequency[a, chosen]
                factors.append(_factor(_normal_scores(x[:, chosen], mean, margins.theta[a, chosen], random)))
            else:
                factors.append(np.zeros((0, 0)))
        return cls(margins, tuple(genes), tuple(factors))

    def arrays(self) -> dict[str, Any]:
        """What `restore` needs."""
        return {**self.margins.arrays(), "genes": list(self.genes), "factors": list(self.factors)}

    @classmethod
    def restore(cls, arrays: dict[str, Any], label_column: int | None) -> CopulaNb:
        """Undo `arrays`."""
        return cls(IndependentNb.restore(arrays, label_column), tuple(arrays["genes"]), tuple(arrays["factors"]))

    @property
    def n_genes(self) -> int:
        return self.margins.n_genes

    def sample(self, key: jax.Array, condition: Condition, start: int = 0) -> sparse.csr_matrix:
        """Counts, one cell a row of `condition`."""
        from scipy.special import ndtr
        from scipy.stats import nbinom

        mean, theta = self.margins.margins(condition)
        counts = draw_counts(rng.child(key, "counts"), mean, theta, start).toarray()
        label = label_of(condition, self.margins.label_column)
        seeds = row_seeds(rng.child(key, "copula"), len(mean), start)
        for a in np.unique(label):
            genes, factor = self.genes[a], self.factors[a]
            if not len(genes):
                continue
            rows = np.flatnonzero(label == a)
            noise = np.stack(
                [
                    np.random.Generator(np.random.Philox(key=seeds[row])).standard_normal(factor.shape[1] + len(genes))
                    for row in rows
                ]
            )
            rest = np.sqrt(np.clip(1 - (factor**2).sum(axis=1), 0, 1))
            z = noise[:, : factor.shape[1]] @ factor.T + noise[:, factor.shape[1] :] * rest
            at = np.ix_(rows, genes)
            u = np.clip(ndtr(z), 1e-9, 1 - 1e-9)
            counts[at] = np.minimum(nbinom.ppf(u, theta[at], theta[at] / (theta[at] + mean[at])), MAX_COUNT)
        return sparse.csr_matrix(counts)
