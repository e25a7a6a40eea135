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
from genesim.report.perturbation_figures import (
    coverage_curve,
    dose_curve,
    method_strip,
    perturbed_cells,
    predicted_effects,
)
from genesim.report.program_figures import fold_change_terms, programs
from genesim.report.score_figures import score_strip

__all__ = [
    "allele_frequencies",
    "cells",
    "correlations",
    "coverage_curve",
    "dose_curve",
    "effect_intervals",
    "effect_recovery",
    "embedding",
    "expression_by_genotype",
    "fold_change_terms",
    "genes",
    "genotype_pca",
    "ld_decay_of",
    "locus",
    "method_strip",
    "perturbed_cells",
    "pip_calibration",
    "power_curve",
    "predicted_effects",
    "programs",
    "score_strip",
]
