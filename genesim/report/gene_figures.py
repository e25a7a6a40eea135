"""Figure of single genes: the distribution of one gene's counts over cells, real beside simulated."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from genesim.errors import InputError
from genesim.metrics.expression import gene_summaries
from genesim.report.figures import REAL, SIMULATED, Figure, canvas, shorten, to_svg

MOST_BARS = 25


def _column(counts: Any, gene: int) -> np.ndarray:
    part = counts[:, gene]
    return np.asarray(part.todense() if hasattr(part, "todense") else part, np.float64).ravel()


def spread_genes(mean: np.ndarray, n: int) -> np.ndarray:
    """Genes at even ranks of mean expression among those expressed, the highest first: no gene is chosen by eye."""
    order = np.argsort(-mean, kind="stable")[: int((mean > 0).sum())]
    if not len(order):
        return order
    return order[np.unique(np.linspace(0, len(order) - 1, min(n, len(order))).round().astype(int))]


def gene_distributions(
    real: Any, simulated: Any, gene_names: Sequence[str], *, genes: Sequence[str] | None = None, n_genes: int = 6
) -> Figure:
    """Shares of cells by count, a panel a gene.

    Args:
        real, simulated: Counts, cell x gene (CSR or dense), of the same genes.
        gene_names: Names of the columns.
        genes: Genes drawn, at most twelve; None takes `n_genes` at even ranks of expression.
        n_genes: How many are taken where `genes` is None.

    Raises:
        InputError: Other numbers of genes, a gene that is not there, or none that is expressed.
    """
    names = [str(name) for name in gene_names]
    if real.shape[1] != simulated.shape[1] or real.shape[1] != len(names):
        raise InputError(
            f"{real.shape[1]} real genes, {simulated.shape[1]} simulated ones, {len(names)} names",
            where="distributions of genes",
            remedy="give counts of the same genes, and a name for each",
        )
    absent = [gene for gene in genes or () if gene not in names]
    if absent:
        raise InputError(f"gene '{absent[0]}' is not there", where="distributions of genes", remedy="name other genes")
    chosen = spread_genes(gene_summaries(real).mean, n_genes) if genes is None else [names.index(g) for g in genes[:12]]
    if not len(chosen):
        raise InputError("no gene is expressed", where="distributions of genes", remedy="give cells with counts")
    columns = min(3, len(chosen))
    rows = -(-len(chosen) // columns)
    with canvas(columns, rows, width=7.4, height=0.8 + 1.7 * rows, squeeze=False) as (figure, axes):
        for axis in axes.ravel()[len(chosen) :]:
            axis.set_visible(False)
        for axis, gene in zip(axes.ravel(), chosen):
            a, b = _column(real, gene), _column(simulated, gene)
            top = max(np.quantile(a, 0.995), np.quantile(b, 0.995), 3.0)
            step = max(1.0, np.ceil((top + 1) / MOST_BARS))
            edges = np.arange(-0.5, top + step + 0.5, step)
            for values, colour, name, filled in ((a, REAL, "real", True), (b, SIMULATED, "simulated", False)):
                # Counts beyond the frame stand in its last bar, so that the bars sum to all cells.
                axis.hist(
                    np.minimum(values, edges[-1] - 0.5),
                    edges,
                    weights=np.full(len(values), 100 / max(len(values), 1)),
                    histtype="stepfilled" if filled else "step",
                    color=colour,
                    alpha=0.35 if filled else 1,
                    linewidth=1.4,
                    label=name,
                )
            axis.set_title(shorten(names[gene], 20))
            axis.set_yscale("symlog", linthresh=1)
            axis.set_yticks([0, 1, 10, 100], ["0", "1", "10", "100"])
            axis.set_ylim(0, 130)
        for axis in axes[:, 0]:
            axis.set_ylabel("Cells, %")
        for axis in axes[-1]:
            axis.set_xlabel("Counts in a cell")
        figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
        svg = to_svg(figure)
    how = "at even ranks of expression, none chosen by eye" if genes is None else "as asked for"
    return Figure(
        "gene-distributions",
        "Counts of single genes",
        f"{len(chosen)} genes {how}; outline and filled shape should agree. Logarithmic above 1 %; the last bar holds "
        "all larger counts.",
        svg,
    )
