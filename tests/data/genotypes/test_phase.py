"""Phasing by the installed programs: near the truth of a simulated cohort, nothing else changed."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from genesim.data.genotypes import Genotypes, phase, read_genotypes
from genesim.data.genotypes.phase import find_program
from genesim.errors import ConfigError, InputError, VcfError

METHODS = [
    pytest.param(name, marks=pytest.mark.skipif(shutil.which(name) is None, reason=f"{name} is not installed"))
    for name in ("beagle", "shapeit4")
]


@pytest.fixture(scope="module")
def truth() -> Genotypes:
    """Forty donors of one population, 300 kb, every call phased."""
    msprime = pytest.importorskip("msprime", reason="msprime is not installed")
    trees = msprime.sim_ancestry(40, sequence_length=3e5, recombination_rate=1e-8, population_size=1e4, random_seed=3)
    trees = msprime.sim_mutations(trees, 1e-8, random_seed=3, model=msprime.BinaryMutationModel())
    calls = trees.genotype_matrix()
    keep = (calls.sum(axis=1) > 1) & (calls.max(axis=1) == 1)  # a singleton's phase cannot be known
    start = trees.tables.sites.position.astype(int)[keep]
    alleles = calls[keep].reshape(keep.sum(), 40, 2).astype(np.int8)
    variants = pd.DataFrame(
        {"contig": "chr1", "start": start, "ref": "A", "alt": "C"},
        index=pd.Index([f"rs{i}" for i in range(len(start))], dtype=object, name="variant"),
    )
    donors = pd.Index([f"donor {i}" for i in range(40)], dtype=object)
    return Genotypes(alleles, np.ones(alleles.shape[:2], bool), variants, donors, {"chr1": 300_000})


def unphased(geno: Genotypes) -> Genotypes:
    alleles = np.sort(geno.alleles, axis=2)
    return Genotypes(alleles, np.zeros_like(geno.phased), geno.variants, geno.donors, geno.contig_lengths)


def switch_error(geno: Genotypes, truth: Genotypes) -> float:
    """Share of neighbouring heterozygotes of a donor whose relative phase is wrong; .5 at random."""
    wrong, pairs = 0, 0
    heterozygous = truth.alleles[:, :, 0] != truth.alleles[:, :, 1]
    same = (geno.alleles == truth.alleles).all(axis=2)
    for donor in range(truth.n_donors):
        order = same[heterozygous[:, donor], donor]
        wrong += int((order[1:] != order[:-1]).sum())
        pairs += max(0, len(order) - 1)
    return wrong / pairs


@pytest.mark.parametrize("method", METHODS)
def test_phase_is_near_the_truth(truth: Genotypes, method: str) -> None:
    given = unphased(truth)
    rng = np.random.default_rng(0)
    at_random = given.alleles.copy()
    flip = rng.random(given.phased.shape) < 0.5
    at_random[flip] = at_random[flip][:, ::-1]
    chance = switch_error(Genotypes(at_random, truth.phased, truth.variants, truth.donors), truth)
    assert 0.45 < chance < 0.55
    found = phase(given, method=method, seed=1)
    error = switch_error(found, truth)
    print(f"{method}: switch error {error:.3f}, at random {chance:.3f}")
    assert error < 0.15
    assert found.phased.all()
    np.testing.assert_array_equal(found.dosage(), truth.dosage())
    assert found.report["phase_heterozygotes"] == (truth.alleles[:, :, 0] != truth.alleles[:, :, 1]).sum()
    assert found.variants.equals(given.variants)
    assert not given.phased.any()  # the input is not changed
    np.testing.assert_array_equal(phase(given, method=method, seed=1).alleles, found.alleles)


@pytest.mark.parametrize("method", METHODS)
def test_missing_and_haploid_calls_and_several_contigs(truth: Genotypes, method: str) -> None:
    given = unphased(truth.subset(variants=np.arange(0, truth.n_variants, 2)))
    rng = np.random.default_rng(1)
    n = given.n_variants
    start = given.variants["start"].to_numpy().copy()
    start[11] = start[10]  # a split multiallelic site
    variants = given.variants.assign(
        contig=np.repeat(np.array(["chr1", "chr2", "chrLast"], object), [n // 2, n - n // 2 - 1, 1]),
        start=start,
        alt=np.where(np.arange(n) == 11, "G", "C").astype(object),
    )
    given = replace(given, variants=variants)
    full = given.alleles.copy()
    missing = rng.random((n, 40)) < 0.05
    given.alleles[missing] = -1
    haploid = np.zeros((n, 40), bool)
    haploid[n // 2 : -1, 7] = True
    given.alleles[haploid, 1] = -2
    given.phased[haploid] = True
    table = pd.DataFrame({"chr": np.repeat(["1", "2", "Last"], 2), "pos": [1, 300_000] * 3, "cM": [0, 0.3] * 3})

    found = phase(given, table, method=method)
    np.testing.assert_array_equal(np.sort(found.alleles, axis=2), np.sort(given.alleles, axis=2))
    assert found.phased[~missing].all()
    assert not found.phased[missing & ~haploid].any()
    assert found.report["phase_imputed_calls"] == found.report["phase_variants_left"] == 0

    filled = phase(given, table, method=method, impute_missing=True)
    assert (filled.alleles >= 0)[:, :, 0].all()
    assert (filled.alleles[:, :, 1] == -2).sum() == haploid.sum()
    assert filled.report["phase_imputed_calls"] == missing.sum()
    right = (filled.alleles.sum(axis=2) == full.sum(axis=2))[missing & ~haploid].mean()
    assert right > 0.9  # the commonest genotype of each variant would be right less often
    with pytest.raises(InputError, match="lacks the columns cM"):
        phase(given, table.drop(columns="cM"), method=method)


@pytest.mark.parametrize("method", METHODS)
def test_a_reference_panel(truth: Genotypes, method: str) -> None:
    panel = truth.subset(donors=np.arange(30), variants=np.arange(0, truth.n_variants - 3))
    panel = replace(panel, variants=panel.variants.assign(contig="1"))  # of another naming
    few = truth.subset(donors=np.arange(30, 40))
    found = phase(unphased(few), method=method, reference=panel)
    assert found.report["phase_variants_left"] == 3
    known = found.variants.index[:-3]
    assert switch_error(found.subset(variants=known), few.subset(variants=known)) < 0.15


def test_what_is_phased_needs_no_program(truth: Genotypes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: "/bin/false")
    found = phase(truth)
    np.testing.assert_array_equal(found.alleles, truth.alleles)
    with pytest.raises(VcfError, match="false could not phase contig 'chr1'"):
        phase(unphased(truth))
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(ConfigError, match=r"beagle and shapeit4 cannot be found.*apt install"):
        phase(unphased(truth))
    with pytest.raises(ConfigError, match="no method"):
        find_program("eagle")


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_real_genotypes(shared_data: Path, method: str) -> None:
    path = shared_data / "paired" / "geuvadis_chr22.vcf.gz"
    given = read_genotypes(path, region="22:20,000,000-24,000,000")
    table = pd.read_csv(shared_data / "genotypes" / "chr22.b37.gmap.gz", sep="\t")
    found = phase(given, table, method=method, seed=2)
    assert found.phased[~np.isnan(given.dosage())].all()
    np.testing.assert_array_equal(found.dosage(), given.dosage())
