"""Figures of simulated cells beside real ones. Counts are cell x gene (CSR or dense) of the same genes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from genesim import rng
from genesim.metrics.distribution import pooled_pca
from genesim.metrics.expression import (
    cell_summaries,
    gene_correlation,
    gene_summaries,
    log_normalise,
    top_genes,
)
from genesim.report.figures import (
    FAINT,
    REAL,
    RULE,
    SIMULATED,
    Figure,
    canvas,
    group_colours,
    group_legend,
    shorten,
    square_limits,
    to_svg,
)


def _draw_rows(counts: Any, labels: Any, most: int, seed: int, name: str) -> tuple[Any, np.ndarray]:
    order = rng.generator(seed, "report", name).permutation(counts.shape[0])
    rows = np.sort(order[:most])
    codes = np.full(len(rows), "cells") if labels is None else np.asarray(labels, str)[rows]
    return counts[rows], codes


def umap_of(scores: np.ndarray, seed: int) -> np.ndarray:
    """UMAP of principal component scores through scanpy (McInnes et al. 2018)."""
    import anndata
    import scanpy

    data = anndata.AnnData(scores.astype(np.float32))
    scanpy.pp.neighbors(data, n_neighbors=15, use_rep="X", random_state=seed)
    scanpy.tl.umap(data, random_state=seed)
    return np.asarray(data.obsm["X_umap"])


def embedding(
    real: Any,
    simulated: Any,
    labels_real: Sequence[str] | np.ndarray | None = None,
    labels_simulated: Sequence[str] | np.ndarray | None = None,
    *,
    method: Literal["umap", "pca"] = "umap",
    max_cells: int = 1500,
    max_genes: int = 2000,
    seed: int = 0,
) -> Figure:
    """Real and simulated cells in one embedding, side by side, coloured by cell type.

    The embedding is fitted on both together, at equal numbers of cells.
    """
    n = min(max_cells, real.shape[0], simulated.shape[0])
    a, labels_a = _draw_rows(real, labels_real, n, seed, "real cells")
    b, labels_b = _draw_rows(simulated, labels_simulated, n, seed, "simulated cells")
    genes = top_genes(gene_summaries(a).variance, max_genes)
    scores = np.vstack(pooled_pca([log_normalise(m)[:, genes] for m in (a, b)], 30, seed))
    places = umap_of(scores, seed) if method == "umap" and len(scores) > 30 else scores[:, :2]
    axis = "UMAP" if places is not scores and method == "umap" and len(scores) > 30 else "PC"
    # The colours follow the real cells' types, so that they do not depend on what was simulated.
    colours = group_colours(labels_a)
    colours |= {str(k): "#000000" for k in np.unique(labels_b) if str(k) not in colours}
    with canvas(2, height=4.0, sharex=True, sharey=True) as (figure, axes):
        for axis_object, title, here, labels in (
            (axes[0], f"Real, {n:,} cells", slice(None, n), labels_a),
            (axes[1], f"Simulated, {n:,} cells", slice(n, None), labels_b),
        ):
            axis_object.scatter(*places.T, s=5, color=RULE, linewidths=0, rasterized=True)
            axis_object.scatter(
                *places[here].T, s=6, c=[colours[x] for x in labels], linewidths=0, alpha=0.8, rasterized=True
            )
            axis_object.set_title(title)
            axis_object.set(xticks=[], yticks=[], xlabel=f"{axis} 1")
        axes[0].set_ylabel(f"{axis} 2")
        if len(colours) > 1:
            group_legend(figure, colours)
        svg = to_svg(figure)
    return Figure(
        "embedding",
        "Cells, real and simulated",
        "One embedding fitted on real and simulated cells together; grey shows the cells of the other panel. "
        "The two clouds should cover the same ground with the same cell types.",
        svg,
    )


def genes(real: Any, simulated: Any) -> Figure:
    """Mean against variance of each gene, and zero fractions real against simulated."""
    a, b = gene_summaries(real), gene_summaries(simulated)
    with canvas(2, height=3.5) as (figure, (left, right)):
        for summary, colour, name in ((a, REAL, "real"), (b, SIMULATED, "simulated")):
            seen = (summary.mean > 0) & (summary.variance > 0)
            left.scatter(
                summary.mean[seen],
                summary.variance[seen],
                s=7,
                alpha=0.5,
                linewidths=0,
                color=colour,
                label=name,
                rasterized=True,
            )
        left.set(xscale="log", yscale="log", xlabel="Mean, log(1 + count per 10,000)", ylabel="Variance")
        left.set_title("Mean and variance of genes")
        left.legend(markerscale=2)
        right.scatter(a.zero_fraction, b.zero_fraction, s=7, alpha=0.5, linewidths=0, color=SIMULATED, rasterized=True)
        square_limits(right, a.zero_fraction, b.zero_fraction)
        right.set(xlabel="Real cells", ylabel="Simulated cells")
        right.set_title("Share of cells with a zero count")
        svg = to_svg(figure)
    return Figure(
        "genes",
        "Genes",
        "Each point is a gene. Left: the two clouds should overlap. Right: points should follow the line.",
        svg,
    )


def cells(real: Any, simulated: Any, n_bins: int = 40) -> Figure:
    """Distributions of library size and of detected genes."""
    a, b = cell_summaries(real), cell_summaries(simulated)
    panels = (
        ("Library size", "Counts in a cell", np.exp(a.log_library), np.exp(b.log_library), True),
        ("Detected genes", "Genes with a count", a.detected_genes, b.detected_genes, False),
    )
    with canvas(2, height=2.9) as (figure, axes):
        for axis, (title, label, x, y, logarithmic) in zip(axes, panels):
            low, high = max(min(x.min(), y.min()), 1.0), max(x.max(), y.max())
            high = max(high, low + 1)
            edges = np.geomspace(low, high, n_bins + 1) if logarithmic else np.linspace(low, high, n_bins + 1)
            for values, colour, name, filled in ((x, REAL, "real", True), (y, SIMULATED, "simulated", False)):
                weights = np.full(len(values), 100 / len(values))
                axis.hist(
                    values,
                    edges,
                    weights=weights,
                    histtype="stepfilled" if filled else "step",
                    color=colour,
                    alpha=0.35 if filled else 1,
                    linewidth=1.6,
                    label=name,
                )
            axis.set(xlabel=label)
            if logarithmic:
                axis.set_xscale("log")
            axis.set_title(title)
        axes[0].set_ylabel("Cells, %")
        axes[0].legend()
        svg = to_svg(figure)
    return Figure("cells", "Depth of cells", "Shares of cells; outline and filled shape should agree.", svg)


def correlations(
    real: Any,
    simulated: Any,
    labels_real: np.ndarray | None = None,
    labels_simulated: np.ndarray | None = None,
    *,
    gene_names: Sequence[str] | None = None,
    n_genes: int = 60,
) -> Figure:
    """Heat maps of gene-gene correlations within cell types, in one order of genes."""
    from scipy.cluster.hierarchy import leaves_list, linkage
    from scipy.spatial.distance import squareform

    top = top_genes(gene_summaries(real).mean, n_genes)
    a, b = (
        gene_correlation(log_normalise(m)[:, top], None if x is None else np.asarray(x, str))
        for m, x in ((real, labels_real), (simulated, labels_simulated))
    )
    distance = squareform(np.clip(1 - a, 0, 2), checks=False)
    order = leaves_list(linkage(distance, "average", optimal_ordering=True)) if len(top) > 2 else np.arange(len(top))
    a, b = a[np.ix_(order, order)], b[np.ix_(order, order)]
    upper = np.abs(a[np.triu_indices(len(a), 1)])
    limit = max(0.1, float(np.quantile(upper, 0.99))) if upper.size else 1.0
    with canvas(2, height=3.4, sharex=True, sharey=True) as (figure, axes):
        for axis, title, matrix in ((axes[0], "Real", a), (axes[1], "Simulated", b)):
            shown = matrix.copy()
            np.fill_diagonal(shown, np.nan)
            image = axis.imshow(shown, cmap="RdBu_r", vmin=-limit, vmax=limit, interpolation="nearest")
            axis.set(xticks=[], yticks=[])
            axis.set_title(title)
            axis.spines[:].set_visible(False)
        if gene_names is not None and len(top) <= 30:
            names = [shorten(str(gene_names[i]), 14) for i in top[order]]
            axes[0].set_yticks(range(len(names)), names, fontsize=6, color=FAINT)
        bar = figure.colorbar(image, ax=axes, shrink=0.75, pad=0.02, extend="both")
        bar.set_label("Correlation")
        bar.outline.set_visible(False)
        svg = to_svg(figure)
    return Figure(
        "correlations",
        "Gene-gene correlation within cell types",
        f"The {len(top)} most expressed genes, cell type means removed, in the order that clusters the real "
        "cells. The same blocks should show on both sides.",
        svg,
    )
