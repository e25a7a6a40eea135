"""Plotting face, scverse style: the report's figures, each as an SVG with its caption."""

from genesim.report.effect_figures import effect_intervals, locus, pip_calibration, power_curve
from genesim.report.expression_figures import cells, correlations, embedding, genes
from genesim.report.gene_figures import gene_distributions
from genesim.report.genetic_figures import (
    allele_frequencies,
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
from genesim.report.perturbation_overview import perturbation_effects
from genesim.report.privacy_figures import attack_roc
from genesim.report.program_figures import fold_change_terms, programs
from genesim.report.recovery_figures import effect_recovery
from genesim.report.score_figures import score_strip
from genesim.report.subgroup_figures import subgroups

__all__ = [
    "allele_frequencies",
    "attack_roc",
    "cells",
    "correlations",
    "coverage_curve",
    "dose_curve",
    "effect_intervals",
    "effect_recovery",
    "embedding",
    "expression_by_genotype",
    "fold_change_terms",
    "gene_distributions",
    "genes",
    "genotype_pca",
    "ld_decay_of",
    "locus",
    "method_strip",
    "perturbation_effects",
    "perturbed_cells",
    "pip_calibration",
    "power_curve",
    "predicted_effects",
    "programs",
    "score_strip",
    "subgroups",
]
