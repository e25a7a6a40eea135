"""Plotting face, scverse style: the report's figures, each as an SVG with its caption."""

from genesim.report.effect_figures import effect_intervals, locus, pip_calibration, power_curve
from genesim.report.expression_figures import cells, correlations, embedding, genes
from genesim.report.genetic_figures import (
    allele_frequencies,
    effect_recovery,
    expression_by_genotype,
    genotype_pca,
    ld_decay_of,
)
from genesim.report.program_figures import fold_change_terms, programs
from genesim.report.score_figures import score_strip

__all__ = [
    "allele_frequencies",
    "cells",
    "correlations",
    "effect_intervals",
    "effect_recovery",
    "embedding",
    "expression_by_genotype",
    "fold_change_terms",
    "genes",
    "genotype_pca",
    "ld_decay_of",
    "locus",
    "pip_calibration",
    "power_curve",
    "programs",
    "score_strip",
]
