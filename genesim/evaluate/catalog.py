"""What each metric is called, which way is good, and what it means, in one line a metric.

The words here are the ones that the terminal table and the report print.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Direction = Literal["lower", "higher", "target"]
Family = Literal["fidelity", "usefulness", "privacy", "truth"]
Finds = Literal["copies", "members"]


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
        least_n: Fewer behind a value cannot show that nothing is wrong: the verdict is then "inconclusive".
        finds: What a privacy metric finds: copied records, or people of the training set (a membership attack).
    """

    label: str
    family: Family
    direction: Direction
    unit: str
    meaning: str
    target: float | None = None
    least_n: int = 0
    finds: Finds = "copies"


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
    "marker_overlap": MetricInfo(
        "Marker genes of cell types",
        "usefulness",
        "higher",
        "share",
        "Of the 50 strongest markers of each cell type in simulated cells, the share that real cells have too.",
        1.0,
    ),
    "clustering_gap": MetricInfo(
        "Clustering, agreement with cell types",
        "usefulness",
        "lower",
        "ARI",
        "How far k-means clusters agree with cell types, absolute difference from real cells.",
        0.0,
    ),
    "integration_mixing_gap": MetricInfo(
        "Batch integration, mixing gained",
        "usefulness",
        "lower",
        "iLISI",
        "How much better batches are mixed once their means are taken out, absolute difference from real cells.",
        0.0,
    ),
    "integration_label_gap": MetricInfo(
        "Batch integration, cell types kept apart",
        "usefulness",
        "lower",
        "silhouette",
        "How far cell types lie apart after integration, absolute difference from real cells.",
        0.0,
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
        finds="members",
    ),
    "membership_auc": MetricInfo(
        "Membership attack",
        "privacy",
        "lower",
        "AUC",
        "Nearest simulated haplotype tells training from held-out haplotypes; 0.5 = it cannot.",
        0.5,
        finds="members",
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

_R = "r over genes, predicted against observed"
_PDS = "Share of the other perturbations whose true effect lies farther from the predicted one"
_MANY = "the mean of all perturbations does well on it"

PERTURBATIONS: dict[str, MetricInfo] = {
    "pearson_delta": MetricInfo(
        "Effects, Pearson r", "fidelity", "higher", "r", f"{_R} change from control; {_MANY}.", 1.0
    ),
    "pearson_delta_top20": MetricInfo(
        "Effects of the 20 top genes, Pearson r", "fidelity", "higher", "r", f"{_R} change, 20 most changed genes.", 1.0
    ),
    "centred_pearson_delta": MetricInfo(
        "Effects beside the mean effect, Pearson r",
        "fidelity",
        "higher",
        "r",
        f"{_R} difference from the other perturbations' mean (Systema).",
        1.0,
    ),
    "centred_pearson_delta_top20": MetricInfo(
        "Effects beside the mean effect, 20 top genes",
        "fidelity",
        "higher",
        "r",
        "The same, 20 most changed genes.",
        1.0,
    ),
    "weighted_r2": MetricInfo(
        "Weighted R² beside the mean effect",
        "fidelity",
        "higher",
        "R²",
        "Genes weigh by how much they tell the perturbation from the others; the mean effect has 0 or less.",
        1.0,
    ),
    "pds_l1": MetricInfo("Discrimination (PDS), L1", "fidelity", "higher", "share", f"{_PDS}; chance is 0.5.", 1.0),
    "pds_l2": MetricInfo("Discrimination (PDS), L2", "fidelity", "higher", "share", f"{_PDS}; chance is 0.5.", 1.0),
    "pds_cosine": MetricInfo(
        "Discrimination (PDS), cosine", "fidelity", "higher", "share", f"{_PDS} in direction; chance is 0.5.", 1.0
    ),
    "centroid_accuracy": MetricInfo(
        "Centroid accuracy",
        "fidelity",
        "higher",
        "share",
        "Share of the other conditions' true means farther from the predicted mean than its own.",
        1.0,
    ),
    "prediction_rank": MetricInfo(
        "Rank of the prediction",
        "fidelity",
        "lower",
        "share",
        "Share of the other predictions at least as near to the true effect; one prediction for all has 0.5.",
        0.0,
    ),
    "effect_mae": MetricInfo("Error of effects", "fidelity", "lower", "log1p", f"Mean absolute error; {_MANY}.", 0.0),
    "effect_coverage": MetricInfo(
        "Intervals that hold the effect",
        "fidelity",
        "target",
        "share",
        "Genes whose observed effect lies in its 95 % interval, its own noise allowed for.",
        0.95,
    ),
    "energy_distance": MetricInfo(
        "E-distance of perturbed cells",
        "fidelity",
        "target",
        "",
        "Predicted against true cells, 50 principal components, Euclidean, unbiased.",
        0.0,
    ),
    "energy_distance_genes": MetricInfo(
        "E-distance of perturbed cells, genes", "fidelity", "target", "", "The same on single genes.", 0.0
    ),
    "mmd2_perturbed": MetricInfo(
        "MMD² of perturbed cells",
        "fidelity",
        "target",
        "",
        "Five Gaussian kernels, 50 principal components, unbiased.",
        0.0,
    ),
    "mmd2_perturbed_genes": MetricInfo(
        "MMD² of perturbed cells, genes", "fidelity", "target", "", "The same on single genes.", 0.0
    ),
    "de_overlap": MetricInfo(
        "Differential genes found (DES)",
        "usefulness",
        "higher",
        "share",
        "Of the N genes that truly move, the share among the N strongest of the predicted cells.",
        1.0,
    ),
    "de_precision": MetricInfo(
        "Differential genes that are true", "usefulness", "higher", "share", "Of the genes predicted to move.", 1.0
    ),
}

_DONOR = "Tells training donors from held-out ones; 0.5 = it cannot. Floor: a planted generator that saw neither"
LEAST_DONORS = 128
"""Donors, half of them on each side, from which an AUC of .6 is told from chance in 39 of 40 cases."""

DONORS: dict[str, MetricInfo] = {
    f"donor_attack_{name}": MetricInfo(
        f"Attack on donors, {label}",
        "privacy",
        "lower",
        "AUC",
        f"{_DONOR}; null: one that memorises.",
        0.5,
        LEAST_DONORS,
        "members",
    )
    for name, label in (
        ("nearest", "nearest simulated cell"),
        ("density", "density ratio"),
        ("margins", "ratio of gene margins"),
        ("copula", "copula-Mahalanobis distance"),
        ("white_box", "the model's own likelihood"),
    )
} | {
    "donor_linkage": MetricInfo(
        "Linkage of donors, expression to genotypes through variant effects",
        "privacy",
        "lower",
        "AUC",
        "Training donors' genotypes fit some simulated donor better than held-out donors' do; 0.5 = they do not.",
        0.5,
        LEAST_DONORS,
        "members",
    )
}

METRICS: dict[str, MetricInfo] = EXPRESSION | DONORS | HAPLOTYPES | EFFECTS | PERTURBATIONS

HEADLINE: tuple[str, ...] = (
    # Cells: whatever a classifier can use, depth and single genes included. It alone tells every rung of a ladder of
    # generators from the next (benchmarks/ladder.py); distances and correlations are each blind to some of them.
    "classifier_auc_harder",
    # By likeness a copier is the best generator: these two find it.
    "nearest_neighbour_share",
    "exact_copies_cells",
    # The people behind the cells: any attack may be the one that succeeds.
    *DONORS,
    # Haplotypes: what pairs of variants do not determine, and the same two questions as of cells.
    "three_point_correlation",
    "exact_copies_haplotypes",
    "membership_auc",
    # Planted truth: is it recovered in size, and is what is found true?
    "effect_slope",
    "effect_false_discovery",
    # Perturbations: the mean of all of them does well on plain correlations, not on this one; and whole cells.
    "centred_pearson_delta",
    "energy_distance",
)
"""Scores that a verdict begins with; all others say where a difference lies.

Those of cells are held to an order of generators that is known beforehand. The others are chosen by what they ask.
"""
