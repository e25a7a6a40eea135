"""Figures of what an expression model has learned: gene programs, and the terms of fold changes."""

from __future__ import annotations

import numpy as np
import pandas as pd

from genesim.report.figures import FAINT, GROUPS, REAL, SIMULATED, Figure, canvas, group_legend, shorten, to_svg


def programs(loadings: pd.DataFrame, share: pd.Series, *, n_programs: int = 4, n_genes: int = 10) -> Figure:
    """Genes of largest loading of the first programs.

    Args:
        loadings: log2 fold change for one SD of a program [gene, program], as `GenePrograms.loadings`.
        share: Share of the log rates' variance of each program, as `GenePrograms.table["share"]`.
        n_programs: Programs drawn, at most.
        n_genes: Genes of each.
    """
    names = list(loadings.columns[:n_programs])
    with canvas(len(names), width=1.9 * len(names) + 0.4, height=0.2 * n_genes + 1.0, squeeze=False) as (figure, axes):
        for axis, name in zip(axes[0], names):
            column = loadings[name]
            top = column.iloc[np.argsort(-column.abs().to_numpy(), kind="stable")[:n_genes]].sort_values()
            places = np.arange(len(top))
            axis.barh(places, top, color=np.where(top > 0, SIMULATED, REAL))
            axis.set_yticks(places, [shorten(str(gene), 14) for gene in top.index])
            axis.axvline(0, color=FAINT, linewidth=0.7)
            axis.set_title(f"{shorten(str(name), 12)}, {share[name]:.0%}")
        axes[0][0].set_xlabel("log2 fold change for one SD")
        svg = to_svg(figure)
    return Figure(
        "programs",
        "Gene programs",
        "Genes that each program moves most; the percentage is its share of the variance of log rates.",
        svg,
    )


def fold_change_terms(table: pd.DataFrame, *, n_genes: int = 15, n_terms: int = 6) -> Figure:
    """Terms of the largest fold changes, stacked: which covariate moved which gene.

    Args:
        table: As `ExpressionModel.explain` returns it.
        n_genes: Rows drawn.
        n_terms: Terms drawn (at most 11), the largest over these rows; the rest is summed.
    """
    rows = table.head(n_genes).iloc[::-1]
    terms = rows.drop(columns=["log2_fold_change", "per_10k_reference", "per_10k"])
    order = terms.abs().sum().sort_values(ascending=False, kind="stable")
    kept = list(order.index[order > 0][:n_terms])
    shown = terms[kept].assign(**({"others": terms.drop(columns=kept).sum(axis=1)} if len(kept) < len(order) else {}))
    colours = {str(name): GROUPS[i] for i, name in enumerate(shown.columns)}
    places = np.arange(len(rows))
    with canvas(height=0.22 * len(rows) + 1.3) as (figure, axis):
        # Positive and negative terms stack apart, from zero outward.
        ends = {1: np.zeros(len(rows)), -1: np.zeros(len(rows))}
        for name, column in shown.items():
            for sign, end in ends.items():
                part = np.where(np.sign(column) == sign, column, 0.0)
                axis.barh(places, part, left=end, color=colours[str(name)])
                ends[sign] = end + part
        axis.plot(rows["log2_fold_change"], places, "D", color="black", markersize=3.5)
        axis.axvline(0, color=FAINT, linewidth=0.7)
        axis.set_yticks(places, [shorten(str(gene), 18) for gene in rows.index])
        axis.margins(x=0.03)
        axis.set_xlabel("log2 fold change")
        group_legend(figure, colours)
        svg = to_svg(figure)
    return Figure(
        "fold-change-terms",
        "What moved which gene",
        "Terms of each gene's fold change by covariate; the diamond is their sum, the whole change.",
        svg,
    )
