"""Counts of perturbed cells that differ from control cells in dispersion, in who responds, or as a flow has learned.

`counts.perturb_counts` keeps each gene's dispersion and moves every cell. That fails where a gene is switched
on: what few molecules controls have of it says little about the order of cells, and their wide rates,
multiplied fifty-fold, reach a mean log expression only with many times the molecules that real cells have.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse

from genesim import rng
from genesim.models.perturbation.counts import dispersions, perturb_counts, shift_gene

if TYPE_CHECKING:
    from genesim.models.perturbation.flow import CellFlow  # brings JAX, which a plain shift does without

# A gene counts as switched on beyond this growth of its mean, and this mean log expression.
_GROWTH, _EXPRESSED = 1.5, 0.1
_N_SCALINGS = 6
# A gene whose log expression a flow changes by less in every cell is left alone.
_NEGLIGIBLE = 1e-2


@dataclass(frozen=True)
class Shape:
    """What changes besides the mean.

    Attributes:
        dispersion: phi (var = mu + phi mu^2) of each gene in perturbed cells; None or NaN keeps the controls'.
        responders: Share of the cells that respond at all; their effect is that much larger.
        flow: How shifted cells part from one another, around the same mean.
    """

    dispersion: np.ndarray | None = None
    responders: float = 1.0
    flow: CellFlow | None = None


PLAIN = Shape()


def _mean_log(counts: np.ndarray, size: np.ndarray) -> float:
    return float(np.log1p(counts / size).mean())


def redispersed(
    counts: np.ndarray, size: np.ndarray, goal: float, phi: float, wanted: float, draw: np.random.Generator
) -> np.ndarray:
    """Counts of one gene with dispersion `wanted` and a mean log expression near `goal`.

    Cells keep their order: rates drawn from their gamma posterior given the controls' counts are mapped, rank
    by rank, to a gamma law of the wanted dispersion; molecules are then thinned or added, cell by cell.

    Args:
        counts: Per cell.
        size: Size factor per cell.
        goal: Mean of log1p(count / size); about, for the mean rate is solved by simulation.
        phi: Dispersion of the controls.
        wanted: Dispersion of the perturbed cells.
        draw: The gene's random stream.
    """
    from scipy.special import gammaincinv  # slow to import

    before = max(counts.sum(), 0.1) / size.sum()
    rate = draw.gamma(counts + 1 / phi) / (size + 1 / (phi * before))
    rank = (np.argsort(np.argsort(rate, kind="stable"), kind="stable") + 0.5) / len(rate)
    relative = gammaincinv(1 / wanted, rank) * wanted
    mean = float(np.expm1(goal))
    for _ in range(_N_SCALINGS):
        now = _mean_log(draw.poisson(mean * relative * size), size)
        mean *= float(np.clip(np.expm1(goal) / max(np.expm1(now), 1e-6), 0.5, 2.0))
    new = mean * relative
    kept = draw.binomial(counts, np.minimum(new / np.maximum(rate, 1e-12), 1.0))
    return kept + draw.poisson(np.maximum(new - rate, 0.0) * size)


def reshape_counts(
    counts: sparse.csr_matrix, size: np.ndarray, effect: np.ndarray, seed: int, shape: Shape = PLAIN
) -> sparse.csr_matrix:
    """Perturbed counts from control counts (cell x gene); with a plain shape those of `perturb_counts`, bit for bit.

    Args:
        counts: Control cells, integers.
        size: Size factor per cell.
        effect: Wanted change of the mean of log1p(count / size) over all cells, per gene.
        seed: Each gene draws from its own stream.
        shape: What changes besides.
    """
    n = counts.shape[0]
    responds = np.ones(n, bool)
    if shape.responders < 1:
        order = rng.generator(seed, "perturbation", "responders").permutation(n)
        responds[order[max(1, round(shape.responders * n)) :]] = False
        effect = effect / responds.mean()
    own, own_size = counts[np.flatnonzero(responds)], size[responds]
    moved = perturb_counts(own, own_size, effect, seed)
    if shape.dispersion is not None:
        moved = _switched_on(sparse.csc_matrix(own), own_size, effect, seed, shape.dispersion, moved)
    if shape.flow is not None:
        moved = displaced(moved, own_size, effect, seed, shape.flow)
    if responds.all():
        return moved
    back = np.argsort(np.r_[np.flatnonzero(responds), np.flatnonzero(~responds)])
    kept = sparse.csr_matrix(counts[np.flatnonzero(~responds)], dtype=np.int32)
    return sparse.csr_matrix(sparse.vstack([moved, kept]), dtype=np.int32)[back]


def _switched_on(
    counts: sparse.csc_matrix,
    size: np.ndarray,
    effect: np.ndarray,
    seed: int,
    wanted: np.ndarray,
    moved: sparse.csr_matrix,
) -> sparse.csr_matrix:
    """`moved`, with the genes that are switched on drawn anew at their dispersion."""
    phi = dispersions(counts, size)
    scaled = sparse.csc_matrix(sparse.diags(1 / size) @ counts)
    before = np.asarray(scaled.log1p().mean(0)).ravel()
    goal = before + effect
    on = (goal > _EXPRESSED) & (np.expm1(goal) > _GROWTH * np.expm1(before)) & np.isfinite(wanted)
    if not on.any():
        return moved
    columns = sparse.csc_matrix(moved).tolil()
    for gene in np.flatnonzero(on):
        draw = rng.generator(seed, "perturbation", "dispersion", int(gene))
        dense = counts[:, [gene]].toarray().ravel().astype(np.int64)
        made = redispersed(dense, size, float(goal[gene]), float(phi[gene]), float(wanted[gene]), draw)
        left = float(goal[gene]) - _mean_log(made, size)
        columns[:, gene] = shift_gene(made, size, left, float(wanted[gene]), draw)[:, None]
    return sparse.csr_matrix(columns, dtype=np.int32)


def log_counts(counts: sparse.csr_matrix, size: np.ndarray) -> sparse.csr_matrix:
    """log1p(count / size factor), sparse."""
    return sparse.csr_matrix(sparse.csr_matrix(sparse.diags(1 / size) @ counts).log1p())


def displaced(
    counts: sparse.csr_matrix, size: np.ndarray, effect: np.ndarray, seed: int, flow: CellFlow
) -> sparse.csr_matrix:
    """Shifted cells carried on by a flow, as counts; every gene keeps its mean log expression, as counts allow.

    Each cell's rate of a gene, drawn from its gamma posterior, is changed by what the flow says in log
    expression; molecules are thinned or added accordingly, and the gene's mean is put right again.

    Args:
        counts: Cells after the shift.
        size: Size factor per cell.
        effect: The mean effect that they were shifted by.
        seed: Each gene draws from its own stream.
        flow: A trained flow.
    """
    by_gene = sparse.csc_matrix(counts)
    phi = dispersions(by_gene, size)
    path = flow.displacement(log_counts(counts, size), effect)
    n_cells, n_genes = counts.shape
    rows, values = [], []
    for gene in range(n_genes):
        stored = slice(by_gene.indptr[gene], by_gene.indptr[gene + 1])
        row, value = by_gene.indices[stored], by_gene.data[stored]
        change = path @ flow.basis.loadings[:, gene]
        if len(row) and np.abs(change).max() > _NEGLIGIBLE:
            draw = rng.generator(seed, "perturbation", "flow", gene)
            dense = np.zeros(n_cells, np.int64)
            dense[row] = value
            made = _carried(dense, size, change, float(phi[gene]), draw)
            made = shift_gene(made, size, _mean_log(dense, size) - _mean_log(made, size), float(phi[gene]), draw)
            row = np.flatnonzero(made)
            value = made[row]
        rows.append(row)
        values.append(value)
    starts = np.concatenate([[0], np.cumsum([len(row) for row in rows])])
    columns = (np.concatenate(values), np.concatenate(rows), starts)
    return sparse.csr_matrix(sparse.csc_matrix(columns, shape=(n_cells, n_genes)), dtype=np.int32)


def _carried(
    counts: np.ndarray, size: np.ndarray, change: np.ndarray, phi: float, draw: np.random.Generator
) -> np.ndarray:
    """Counts of one gene after each cell's log rate changed."""
    mean = counts.sum() / size.sum()
    rate = draw.gamma(counts + 1 / phi) / (size + 1 / (phi * mean))
    new = np.expm1(np.maximum(np.log1p(rate) + change, 0.0))
    kept = draw.binomial(counts, np.minimum(new / np.maximum(rate, 1e-12), 1.0))
    return kept + draw.poisson(np.maximum(new - rate, 0.0) * size)
