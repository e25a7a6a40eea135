"""How simulated data are compared with held-out real data."""

from __future__ import annotations

from pydantic import Field, PositiveInt

from genesim.config.base import Record


class EvaluateConfig(Record):
    """Sizes and repeats of the evaluation. Larger values narrow the intervals and take longer."""

    max_cells: PositiveInt = Field(default=1500, ge=50)
    """Most cells drawn from each data set; all data sets are compared at the same number."""
    max_genes: PositiveInt = Field(default=2000, ge=20)
    """Most genes in the embedding and the classifier, the most variable ones of the real data."""
    n_components: PositiveInt = Field(default=50, ge=2)
    """Principal components, fitted on the pooled cells."""
    n_folds: PositiveInt = Field(default=5, ge=2)
    """Folds of the classifier that tells simulated from real."""
    n_top_genes: PositiveInt = Field(default=200, ge=10)
    """Most variable genes that the stricter classifier sees one by one."""
    n_correlation_genes: PositiveInt = Field(default=100, ge=10)
    """Most expressed genes whose correlations are compared."""
    min_cells_per_label: PositiveInt = Field(default=10, ge=4)
    """Cells that a cell type needs in every data set for comparisons within types."""
    n_bootstrap: PositiveInt = Field(default=20, ge=5)
    """Half-samples behind each interval."""
    max_haplotypes: PositiveInt = Field(default=1000, ge=20)
    """Most haplotypes drawn from each data set."""
    max_variants: PositiveInt = Field(default=5000, ge=50)
    """Most variants compared: a contiguous run of them, so that linkage is kept."""
    max_pair_distance: PositiveInt = 500_000
    """Largest distance, in base pairs, of the variant pairs whose linkage is compared."""
    min_maf: float = Field(default=0.05, gt=0, lt=0.5)
    """Smallest minor allele frequency of the variants whose linkage is compared."""
    coverage: float = Field(default=0.95, gt=0.5, lt=1)
    """Coverage of the intervals."""
