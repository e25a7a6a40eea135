"""Genotypes in and out: VCF and BCF, the cohort's store, and the `Genotypes` that travel between them."""

from genesim.data.genotypes.read_vcf import read_genotypes
from genesim.data.genotypes.record import Genotypes, concatenate
from genesim.data.genotypes.store import read_store, write_store
from genesim.data.genotypes.write_vcf import write_vcf

__all__ = ["Genotypes", "concatenate", "read_genotypes", "read_store", "write_store", "write_vcf"]
