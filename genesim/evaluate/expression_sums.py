"""The metrics of cells that are made of sums: exact over any number of cells.

Intervals are half-samples of the parts that the cells were dealt to at random.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Int

from genesim import rng
from genesim.config.evaluate import EvaluateConfig
from genesim.metrics import downstream, expression
from genesim.metrics.cell_sums import CellSums, Totals
from genesim.metrics.interval import Interval, half_sample_intervals

N_PARTS = 16
"""Parts of the cells behind an interval; a half-sample is half of them."""
SUMMED = (
    "gene_mean_rmse",
    "ks_gene_mean",
    "ks_gene_variance",
    "ks_zero_fraction",
    "ks_log_library",
    "ks_detected_genes",
    "log_fold_change_slope",
    "marker_overlap",
)
"""Metrics over all cells."""


def shared_labels(counts: list[Int[np.ndarray, " label"]], least: int) -> Int[np.ndarray, " label"] | None:
    """Labels with at least `least` cells in every set; None where fewer than two are left."""
    wanted = np.flatnonzero(np.min(counts, axis=0) >= least)
    return wanted if len(wanted) >= 2 else None


def statistics(a: Totals, b: Totals, wanted: np.ndarray | None) -> dict[str, float]:
    """Every metric of sums, of real cells (`a`) and others; those within types where `wanted` are given."""
    genes, ks = (a.genes(), b.genes()), expression.ks_distance
    found = {
        "gene_mean_rmse": expression.gene_mean_error(genes[0].mean, genes[1].mean),
        "ks_gene_mean": ks(genes[0].mean, genes[1].mean),
        "ks_gene_variance": ks(genes[0].variance, genes[1].variance),
        "ks_zero_fraction": ks(genes[0].zero_fraction, genes[1].zero_fraction),
        "ks_log_library": ks(a.cells.log_library, b.cells.log_library),
        "ks_detected_genes": ks(a.cells.detected_genes, b.cells.detected_genes),
    }
    if wanted is None:
        return found
    changes = [
        expression.fold_changes_of_sums(t.rate[wanted], t.n[wanted], t.rate.sum(axis=0), int(t.n.sum())) for t in (a, b)
    ]
    found["log_fold_change_slope"] = expression.slope(changes[0], changes[1])
    tested = wanted[np.minimum(a.n, b.n)[wanted] >= 2]  # a half of the cells may lack a type
    if len(tested):
        markers = [
            downstream.marker_statistics_of_sums(
                t.log[tested],
                t.square[tested],
                t.n[tested],
                t.log.sum(axis=0),
                t.square.sum(axis=0),
                int(t.n.sum()),
            )
            for t in (a, b)
        ]
        found["marker_overlap"] = downstream.marker_overlap(markers[0], markers[1])
    return found


def intervals(
    test: CellSums, other: CellSums, wanted: np.ndarray | None, seed: int, config: EvaluateConfig
) -> dict[str, Interval]:
    """Every metric of sums with its interval."""

    def of_parts(first: np.ndarray, second: np.ndarray) -> dict[str, float]:
        return statistics(test.over(first), other.over(second), wanted)

    return half_sample_intervals(
        of_parts,
        (test.n_parts, other.n_parts),
        n_repeats=config.n_bootstrap,
        generator=rng.generator(seed, "evaluate", "expression", "parts"),
        coverage=config.coverage,
    )
