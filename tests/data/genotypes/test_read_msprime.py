"""Genotypes of a tree sequence, written by tskit, read as the tree sequence has them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from genesim.config.inputs import GenotypePolicy
from genesim.data.genotypes import read_genotypes, write_vcf

EVERYTHING = GenotypePolicy(min_allele_count=0)


def test_the_vcf_of_a_tree_sequence(tmp_path: Path) -> None:
    msprime = pytest.importorskip("msprime", reason="msprime is not installed")
    trees = msprime.sim_ancestry(15, sequence_length=2e5, recombination_rate=1e-8, population_size=1e4, random_seed=1)
    trees = msprime.sim_mutations(trees, rate=3e-7, random_seed=1)  # so dense that sites have up to four alleles
    with open(tmp_path / "x.vcf", "w") as handle:
        trees.write_vcf(handle, contig_id="chr3", position_transform=lambda positions: 1 + np.floor(positions))
    genotypes = read_genotypes(tmp_path / "x.vcf", policy=EVERYTHING)
    assert genotypes.donors.tolist() == [f"tsk_{i}" for i in range(15)]
    assert genotypes.contig_lengths == {"chr3": 200_001}  # tskit moves the end too
    assert genotypes.phased.all()
    row, n_multiallelic = 0, 0
    for variant in trees.variants():
        n_multiallelic += len(variant.alleles) > 2
        for number, allele in enumerate(variant.alleles[1:], 1):
            assert tuple(genotypes.variants.iloc[row]) == ("chr3", variant.site.position, variant.alleles[0], allele)
            np.testing.assert_array_equal(genotypes.alleles[row].ravel(), variant.genotypes == number)
            row += 1
    assert row == genotypes.n_variants
    assert n_multiallelic == genotypes.report["multiallelic_split"] > 20
    write_vcf(genotypes, tmp_path / "y.bcf")
    again = read_genotypes(tmp_path / "y.bcf", policy=EVERYTHING)
    np.testing.assert_array_equal(again.alleles, genotypes.alleles)
