"""How simulated data are compared with held-out real data."""

from __future__ import annotations

from pydantic import Field, NonNegativeInt, PositiveInt

from genesim.config.base import Record


class DonorAuditConfig(Record):
    """Sizes of the privacy audit, whose unit is the donor. The defaults take about 5 s of CPU for 40 donors,
    and about 30 s more with the white box, whose planted networks are trained."""

    max_cells_per_donor: PositiveInt = Field(default=100, ge=5)
    """Most cells of a donor that are judged."""
    min_cells_per_donor: PositiveInt = Field(default=5, ge=1)
    """Donors with fewer cells are left out."""
    max_simulated_cells: PositiveInt = Field(default=10_000, ge=50)
    """Most simulated cells that the attacks see: a random draw."""
    max_genes: PositiveInt = Field(default=500, ge=10)
    """Most genes, the most variable ones of the real cells."""
    copula_genes: PositiveInt = Field(default=100, ge=5)
    """Most genes in the copula attack."""
    n_components: PositiveInt = Field(default=30, ge=2)
    """Principal components for the nearest distance."""
    density_components: PositiveInt = Field(default=10, ge=1)
    """Principal components for the density ratio."""
    min_cells_per_label: PositiveInt = Field(default=10, ge=4)
    """Cells that a cell type needs among training, held-out and simulated cells."""
    min_donors: PositiveInt = Field(default=20, ge=4)
    """Donors that training and held-out side, or a group's sides, need each before a failed attack says anything."""
    n_bootstrap: PositiveInt = Field(default=1000, ge=50)
    """Bootstrap samples of donors behind each interval."""
    planted_cells: PositiveInt = Field(default=1000, ge=20)
    """Most cells of a side that the white box's planted networks learn or are judged by, shared evenly by donors."""
    planted_steps: PositiveInt = 500
    """Training steps of each of these three networks, of 128 cells."""


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
    max_strata: NonNegativeInt = 12
    """Most cell types, most batches and most held-out donors within which cells are compared, the largest ones. 0 makes
    no such comparison."""
    max_cells_per_stratum: PositiveInt = Field(default=300, ge=20)
    """Most cells of each data set compared within one of them."""
    min_cells_per_stratum: PositiveInt = Field(default=30, ge=20)
    """Cells that each data set needs within one of them."""
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
    donor_audit: DonorAuditConfig | None = DonorAuditConfig()
    """Attacks on the donors of the training set; none leaves them out."""
    white_box: bool = True
    """Also attack with the expression model's own likelihood of each cell, where its directory is given."""
    linkage: bool = True
    """Also link simulated expression to genotypes through the model of effects, where its directory is given."""
