"""What a user may set of the raw inputs and of how they are joined."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, PositiveInt

from genesim.config.base import Record


class GenotypePolicy(Record):
    """What happens to records that are not plain diploid biallelic calls; every case is counted."""

    filters: Literal["pass", "all"] = "pass"
    """Keep records whose FILTER is PASS or '.', or all of them."""
    multiallelic: Literal["split", "drop", "error"] = "split"
    """Split into biallelic variants (as `bcftools norm -m-`: other alternate alleles count as reference)."""
    symbolic: Literal["drop", "error"] = "drop"
    """Symbolic, breakend and `*` alternate alleles."""
    half_missing: Literal["missing", "error"] = "missing"
    """A call with one missing allele (`0/.`)."""
    dosages: Literal["hardcall", "error"] = "error"
    """PLINK 2 records with dosages: read the hard calls beside them, or refuse."""
    duplicates: Literal["drop", "error"] = "drop"
    """Later records of a variant (contig, position, REF, ALT) that was already seen."""
    max_missing: float = Field(default=0.1, ge=0, le=1)
    """Largest share of missing calls a variant may have."""
    min_allele_count: int = Field(default=1, ge=0)
    """Fewest copies of the rarer allele a variant needs; 1 drops monomorphic variants, 0 keeps them."""


class InputsConfig(Record):
    """Raw files and the keys that join them."""

    h5ad: Path
    """Cells: integer counts in X, or in the layer that `layer` names."""
    vcf: Path
    """Genotypes: VCF (bgzipped or plain), BCF, a .bed or .pgen beside its tables, or VCF Zarr."""
    donors: Path | None = None
    """Donor table (TSV, CSV or parquet): column `donor`, optional `genotype_id`, `ancestry`, `sex`, ..."""
    donor_columns: dict[str, str] = Field(default_factory=dict)
    """Columns of the donor table to rename, as `{sample: donor, pop: ancestry}`."""
    genes: Path | None = None
    """Gene positions: GTF/GFF3 (plain or gzipped)."""
    kinship: Path | None = None
    """Donor x donor table of kinship coefficients (TSV, CSV or parquet), for the effect model; without it kinship is
    estimated from the genotypes."""
    donor_key: str = "donor"
    labels_key: str | None = "cell_type"
    batch_key: str | None = None
    categorical_covariate_keys: tuple[str, ...] = ()
    continuous_covariate_keys: tuple[str, ...] = ()
    layer: str | None = None
    contigs: tuple[str, ...] = ()
    """Contigs to use, as the VCF names them; empty uses every contig with records."""
    deal: tuple[Literal["donors", "genes"], ...] = ()
    """What to assign at random because the inputs are not paired: each donor of the cells a genotyped
    donor, each gene without a position on the contigs a position there. Recorded in every output."""
    min_donor_overlap: float = Field(default=0.5, ge=0, le=1)
    """Smallest share of the cells' donors that must be found in the VCF."""
    min_cells_per_label: PositiveInt = 1
    """Cells of labels with fewer cells are dropped, and counted."""
    held_out: float = Field(default=0.5, gt=0, lt=1)
    """Share of donors kept from all training, for evaluation."""
    genotypes: GenotypePolicy = GenotypePolicy()
    phase: Literal["never", "auto", "beagle", "shapeit4"] = "never"
    """Phase unphased heterozygotes with this program, if it is installed ("auto" takes either); models of
    haplotypes need phased genotypes."""
