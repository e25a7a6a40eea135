"""Counts of perturbed cells made from real control cells: molecules are thinned or added, gene by gene.

If Y ~ Poisson(lambda), keeping each molecule with probability m < 1 gives Poisson(m lambda), and adding
Poisson((m - 1) lambda) gives the same for m > 1. lambda is unknown, so it is drawn from its gamma posterior
given the cell's count (gamma-Poisson model of the gene over control cells). One m a gene is solved so that
the mean log expression moves by the wanted effect; the cells' gene-gene correlation and quality stay real.
"""

from __future__ import annotations

import numpy as np
from scipy import sparse

from genesim import rng

# Mean count of a cell beyond which nothing is added any more, whatever is asked for.
_LARGEST_MEAN = 1e4
# Where no gene is expressed.
_DISPERSION = 0.5
# Effects below this move no count worth drawing for.
_NEGLIGIBLE = 1e-4


def _mean_log(counts: np.ndarray, size: np.ndarray) -> float:
    return float(np.log1p(counts / size).mean())


def _bisect(cells: np.ndarray, marks: np.ndarray, base: np.ndarray, size: np.ndarray, goal: float) -> np.ndarray:
    """Counts `base` plus the molecules whose mark lies below the threshold that comes nearest to `goal`.

    One molecule too many is not nothing: at 100 cells it moves a gene by .007, far more than most genes are to be
    moved, and the same way in all of them.
    """
    cells = cells[np.argsort(marks, kind="stable")]

    def counts(n: int) -> np.ndarray:
        return base + np.bincount(cells[:n], minlength=len(base))

    low, high = 0, len(cells)
    while low < high:
        middle = (low + high) // 2
        if _mean_log(counts(middle), size) < goal:
            low = middle + 1
        else:
            high = middle
    beyond = counts(low)
    if low == 0:
        return beyond
    short = counts(low - 1)
    return short if goal - _mean_log(short, size) < _mean_log(beyond, size) - goal else beyond


def dispersions(counts: sparse.csc_matrix, size: np.ndarray) -> np.ndarray:
    """phi of var = mu + phi mu^2 per gene, by moments.

    A gene of few counts takes the median of the well-expressed ones: its own is noise (or a few cells of
    another type), and it would spread added molecules over too few cells.
    """
    total = np.asarray(counts.sum(0), np.float64).ravel()
    mean = total / size.sum()
    square = np.asarray(counts.multiply(counts).sum(0), np.float64).ravel()
    cross = np.asarray(counts.T @ size, np.float64).ravel()
    spread = square - 2 * mean * cross + mean**2 * (size**2).sum() - total
    phi = np.clip(spread / np.maximum(mean**2 * (size**2).sum(), 1e-12), 1e-2, 1e2)
    per_cell = total / len(size)
    well = (per_cell >= min(0.5, float(np.quantile(per_cell, 0.9)))) & (total > 0)
    typical = float(np.median(phi[well])) if well.any() else _DISPERSION
    own = per_cell / (per_cell + 1.0)
    return own * phi + (1 - own) * typical


def shift_gene(
    counts: np.ndarray, size: np.ndarray, effect: float, dispersion: float, draw: np.random.Generator
) -> np.ndarray:
    """Counts of one gene whose mean of log1p(count / size) is moved by `effect`, as nearly as counts allow.

    Args:
        counts: Per cell.
        size: Size factor per cell.
        effect: Wanted change; a mean below 0 is taken as 0.
        dispersion: phi of the gene, for the rates that molecules are added with.
        draw: Its random stream.
    """
    goal = _mean_log(counts, size) + effect
    if effect < 0:
        molecule = np.repeat(np.arange(len(counts)), counts)
        return _bisect(molecule, draw.random(len(molecule)), np.zeros_like(counts), size, max(goal, 0.0))
    mean = max(counts.sum(), 0.1) / size.sum()
    rate = draw.gamma(counts + 1 / dispersion) / (size + 1 / (dispersion * mean)) * size
    lower, upper, base = 1.0, 2.0, counts
    while True:
        added = draw.poisson((upper - lower) * rate)
        full = base + added
        if _mean_log(full, size) >= goal or upper * rate.mean() > _LARGEST_MEAN:
            cells = np.repeat(np.arange(len(counts)), added)
            return _bisect(cells, draw.random(len(cells)), base, size, goal)
        lower, upper, base = upper, 2 * upper, full


def perturb_counts(counts: sparse.csr_matrix, size: np.ndarray, effect: np.ndarray, seed: int) -> sparse.csr_matrix:
    """Perturbed counts from control counts (cell x gene).

    Args:
        counts: Control cells, integers.
        size: Size factor per cell (library size over the reference library size).
        effect: Wanted change of the mean of log1p(count / size), per gene.
        seed: Each gene draws from its own stream.
    """
    by_gene = sparse.csc_matrix(counts)
    by_gene.sort_indices()
    phi = dispersions(by_gene, size)
    n_cells, n_genes = counts.shape
    # Columns are cut from the arrays by hand: sparse slices and stacks would take most of the time.
    rows, values = [], []
    for gene in range(n_genes):
        stored = slice(by_gene.indptr[gene], by_gene.indptr[gene + 1])
        row, value = by_gene.indices[stored], by_gene.data[stored]
        if abs(effect[gene]) > _NEGLIGIBLE:
            draw = rng.generator(seed, "perturbation", "counts", gene)
            dense = np.zeros(n_cells, np.int64)
            dense[row] = value
            moved = shift_gene(dense, size, float(effect[gene]), float(phi[gene]), draw)
            row = np.flatnonzero(moved)
            value = moved[row]
        rows.append(row)
        values.append(value)
    starts = np.concatenate([[0], np.cumsum([len(row) for row in rows])])
    columns = (np.concatenate(values), np.concatenate(rows), starts)
    return sparse.csr_matrix(sparse.csc_matrix(columns, shape=(n_cells, n_genes)), dtype=np.int32)
