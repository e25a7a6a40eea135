"""What each metric is called, which way is good, and what it means, in one line a metric.

The words here are the ones that the terminal table and the report print.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Direction = Literal["lower", "higher", "target"]
Family = Literal["fidelity", "usefulness", "privacy", "truth"]


@dataclass(frozen=True)
class MetricInfo:
    """One metric.

    Attributes:
        label: Name for a person.
        family: Does it ask about likeness, usefulness, privacy or the recovery of planted truth?
        direction: Which way is better; "target" means the nearer to `target` the better.
        unit: Unit of the value; empty for a plain number.
        meaning: One sentence.
        target: The ideal value where there is one.
    """

    label: str
    family: Family
    direction: Direction
    unit: str
    meaning: str
    target: float | None = None


_AUC = "Chance that a classifier ranks a simulated cell above a real one; 0.5 means it cannot tell them apart"
_KS = "Largest gap between the two cumulative distributions"

EXPRESSION: dict[str, MetricInfo] = {
    "classifier_auc": MetricInfo(
        "Classifier AUC, expression", "fidelity", "target", "AUC", f"{_AUC} (50 principal components).", 0.5
    ),
    "classifier_auc_harder": MetricInfo(
        "Classifier AUC, expression + depth",
        "fidelity",
        "target",
        "AUC",
        f"{_AUC} (also library size, detected genes and the most variable genes).",
        0.5,
    ),
    "mmd2": MetricInfo(
        "MMD², all cells", "fidelity", "target", "", "Distance of the two clouds of cells, unbiased.", 0.0
    ),
    "mmd2_within_type": MetricInfo(
        "MMD², within cell types", "fidelity", "target", "", "The same inside each cell type, averaged.", 0.0
    ),
    "gene_correlation_within_type": MetricInfo(
        "Gene-gene correlation agreement",
        "fidelity",
        "higher",
        "r",
        "Agreement of gene-gene correlations, cell type means removed.",
        1.0,
    ),
    "log_fold_change_slope": MetricInfo(
        "Log-fold-change slope",
        "fidelity",
        "target",
        "slope",
        "Simulated on real log2 fold changes of each cell type against the rest; below 1 = weakened.",
        1.0,
    ),
    "gene_mean_rmse": MetricInfo(
        "Gene mean error", "fidelity", "lower", "log1p", "Root mean square error of gene means.", 0.0
    ),
    "ks_gene_mean": MetricInfo("Gene means", "fidelity", "lower", "KS", f"{_KS} of gene means.", 0.0),
    "ks_gene_variance": MetricInfo("Gene variances", "fidelity", "lower", "KS", f"{_KS} of gene variances.", 0.0),
    "ks_zero_fraction": MetricInfo(
        "Zero fraction of genes", "fidelity", "lower", "KS", f"{_KS} of genes' shares of zeros.", 0.0
    ),
    "ks_log_library": MetricInfo("Library size", "fidelity", "lower", "KS", f"{_KS} of library sizes.", 0.0),
    "ks_detected_genes": MetricInfo(
        "Detected genes", "fidelity", "lower", "KS", f"{_KS} of genes detected in a cell.", 0.0
    ),
    "train_on_synthetic": MetricInfo(
        "Cell typing learned from simulated cells",
        "usefulness",
        "higher",
        "balanced accuracy",
        "A classifier trained on simulated cells labels held-out real cells.",
        1.0,
    ),
    "nearest_neighbour_share": MetricInfo(
        "Cells nearer to training than to held-out cells",
        "privacy",
        "lower",
        "share",
        "Read against a generator that cannot copy (floor) and the training cells themselves (null).",
    ),
    "exact_copies_cells": MetricInfo(
        "Simulated cells identical to a training cell",
        "privacy",
        "lower",
        "share",
        "Same counts in every gene.",
        0.0,
    ),
}

HAPLOTYPES: dict[str, MetricInfo] = {
    "allele_frequency_rmse": MetricInfo(
        "Allele frequency error", "fidelity", "lower", "RMSE", "Necessary, never sufficient.", 0.0
    ),
    "allele_frequency_rmse_within_ancestry": MetricInfo(
        "Allele frequency error within ancestries",
        "fidelity",
        "lower",
        "RMSE",
        "Averaged over ancestries: pooled frequencies hide a wrong mixture.",
        0.0,
    ),
    "ld_rmse": MetricInfo(
        "Linkage disequilibrium error",
        "fidelity",
        "lower",
        "RMSE of r",
        "Signed correlation of pairs of common variants.",
        0.0,
    ),
    "ld_decay_error": MetricInfo(
        "LD decay error", "fidelity", "lower", "r²", "Mean r² by distance, averaged absolute difference.", 0.0
    ),
    "three_point_correlation": MetricInfo(
        "Three-point correlation agreement",
        "fidelity",
        "higher",
        "r",
        "Agreement of joint moments of three variants: what pairs do not determine.",
        1.0,
    ),
    "pc_wasserstein": MetricInfo(
        "Population structure distance",
        "fidelity",
        "lower",
        "SD",
        "Wasserstein distance on the first two principal components of real training haplotypes.",
        0.0,
    ),
    "adversarial_accuracy_real": MetricInfo(
        "Real haplotypes nearer to real (AA_T)",
        "fidelity",
        "target",
        "share",
        "Near 1: simulated haplotypes lie apart from real ones; near 0: on top of them.",
        0.5,
    ),
    "adversarial_accuracy_simulated": MetricInfo(
        "Simulated haplotypes nearer to simulated (AA_S)",
        "fidelity",
        "target",
        "share",
        "Near 1: simulated haplotypes cluster; near 0: they are nearer to real ones than to each other.",
        0.5,
    ),
    "privacy_loss": MetricInfo(
        "Privacy loss",
        "privacy",
        "lower",
        "share",
        "Adversarial accuracy on held-out minus on training haplotypes; above 0 leans to training data.",
        0.0,
    ),
    "membership_auc": MetricInfo(
        "Membership attack",
        "privacy",
        "lower",
        "AUC",
        "Nearest simulated haplotype tells training from held-out haplotypes; 0.5 = it cannot.",
        0.5,
    ),
    "exact_copies_haplotypes": MetricInfo(
        "Simulated haplotypes identical to a training haplotype",
        "privacy",
        "lower",
        "share",
        "Same allele at every variant compared.",
        0.0,
    ),
    "longest_shared_tract": MetricInfo(
        "Longest tract shared with training, 95th percentile",
        "privacy",
        "lower",
        "bp",
        "Catches mosaics of training haplotypes that distances miss.",
    ),
}

EFFECTS: dict[str, MetricInfo] = {
    "effect_slope": MetricInfo(
        "Slope of estimated on planted effects",
        "truth",
        "target",
        "slope",
        "Among all planted effects, so that selection does not flatter it.",
        1.0,
    ),
    "effect_correlation": MetricInfo(
        "Correlation of estimated with planted effects", "truth", "higher", "r", "All planted effects.", 1.0
    ),
    "effect_power": MetricInfo(
        "Planted effects found", "truth", "higher", "share", "Share of planted effects that are found.", 1.0
    ),
    "effect_false_discovery": MetricInfo(
        "False discoveries", "truth", "lower", "share", "Share of findings that tag no planted effect.", 0.0
    ),
    "credible_set_coverage": MetricInfo(
        "Credible sets that hold a planted variant", "truth", "higher", "share", "Nominal 0.95.", 0.95
    ),
}

METRICS: dict[str, MetricInfo] = EXPRESSION | HAPLOTYPES | EFFECTS
