"""Genotypes in and out: VCF, BCF, PLINK, VCF Zarr, the cohort's store, and the `Genotypes` that travel between them."""

from genesim.data.genotypes.phase import phase
from genesim.data.genotypes.read import input_files, read_genotypes
from genesim.data.genotypes.record import Genotypes, concatenate
from genesim.data.genotypes.store import StoredGenotypes, called_throughout, open_store, read_store, write_store
from genesim.data.genotypes.write_blocks import write_genotype_blocks
from genesim.data.genotypes.write_plink import write_plink
from genesim.data.genotypes.write_vcf import write_vcf

__all__ = [
    "Genotypes",
    "StoredGenotypes",
    "called_throughout",
    "concatenate",
    "input_files",
    "open_store",
    "phase",
    "read_genotypes",
    "read_store",
    "write_genotype_blocks",
    "write_plink",
    "write_store",
    "write_vcf",
]
