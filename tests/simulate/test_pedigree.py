"""Pedigrees: sharing, kinship, Mendel's rules, crossovers and the sex chromosomes against what theory says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from genesim.data.genotypes import Genotypes, read_genotypes, write_vcf
from genesim.data.ploidy import set_ploidy
from genesim.errors import InputError, JoinError, VcfError
from genesim.simulate.pedigree import simulate_pedigree
from genesim.simulate.pedigree_table import first_cousins, founders_of, half_siblings, nuclear_families

X = 155_270_560
LENGTHS = {"1": 250_000_000, "X": X, "Y": 59_373_566, "MT": 16_569}


def founders(pedigree: pd.DataFrame, contigs: tuple[str, ...] = ("1",), n: int = 40, seed: int = 0) -> Genotypes:
    """Unrelated founders at `n` variants a contig."""
    table = founders_of(pedigree)
    stream = np.random.default_rng(seed)
    rows = []
    for contig in contigs:
        at = np.unique(np.linspace(1_000, LENGTHS[contig] - 5_000, n).astype(int))
        rows += [(f"{contig}_{p}", contig, p, "A", "C") for p in at]
    variants = pd.DataFrame(rows, columns=["id", "contig", "start", "ref", "alt"]).set_index("id")
    alleles = stream.integers(0, 2, (len(variants), len(table), 2)).astype(np.int8)
    if contigs != ("1",):
        own = (variants["contig"] != "1").to_numpy()[:, None]  # homozygous where there is one copy (PARs too)
        male = (table["sex"] == "male").to_numpy() | variants["contig"].isin(["Y", "MT"]).to_numpy()[:, None]
        alleles[:, :, 1] = np.where(own & male, alleles[:, :, 0], alleles[:, :, 1])
    geno = Genotypes(alleles, np.ones(alleles.shape[:2], bool), variants, table.index, LENGTHS)
    return set_ploidy(geno, table["sex"]) if contigs != ("1",) else geno


def sharing(ibd: pd.DataFrame, pair: tuple[str, str], position: int) -> int:
    """Copies shared by descent at a position of contig 1, of two donors who are not inbred."""
    here = ibd[(ibd["start"] <= position) & (position < ibd["end"]) & (ibd["contig"] == "1")]
    haves = [set(zip(*here[here["donor"] == d][["founder", "founder_copy"]].to_numpy().T, strict=True)) for d in pair]
    return len(haves[0] & haves[1])


SIBS = nuclear_families(600, 2)


@pytest.fixture(scope="module")
def sibs() -> tuple[Genotypes, pd.DataFrame]:
    return simulate_pedigree(founders(SIBS), SIBS, seed=1)


def shared_counts(pedigree: pd.DataFrame, ibd: pd.DataFrame, names: tuple[str, str]) -> np.ndarray:
    families = sorted({donor.split("_")[0] for donor in pedigree["donor"]})
    by_family = dict(iter(ibd.groupby(ibd["donor"].str.split("_").str[0])))
    pairs = [(by_family[f], (f"{f}_{names[0]}", f"{f}_{names[1]}")) for f in families]
    return np.bincount([sharing(part, pair, 125_000_000) for part, pair in pairs], minlength=3)


def test_full_sibs_share_no_one_or_two_copies_as_1_2_1_and_half_sibs_otherwise(
    sibs: tuple[Genotypes, pd.DataFrame],
) -> None:
    quarter = np.array([0.25, 0.5, 0.25])
    full = shared_counts(SIBS, sibs[1], ("child1", "child2"))
    assert stats.chisquare(full, 600 * quarter).pvalue > 1e-3
    half = half_siblings(600)
    counts = shared_counts(half, simulate_pedigree(founders(half), half, seed=1)[1], ("child1", "child2"))
    assert counts[2] == 0
    assert stats.binomtest(int(counts[1]), 600, 0.5).pvalue > 1e-3
    assert stats.chisquare(counts, 600 * quarter).pvalue < 1e-9
    cousins = first_cousins(600)
    counts = shared_counts(cousins, simulate_pedigree(founders(cousins), cousins, seed=1)[1], ("cousin1", "cousin2"))
    assert stats.binomtest(int(counts[1]), 600, 0.25).pvalue > 1e-3


def kinship(a: np.ndarray, b: np.ndarray, p: float = 0.5) -> np.ndarray:
    """Of each pair, from dosages [variant, pair] at founder frequency p: half the standardised covariance."""
    return ((a - 2 * p) * (b - 2 * p)).mean(axis=0) / (4 * p * (1 - p))


def test_kinship_of_full_sibs_is_a_quarter_and_not_that_of_half_sibs(sibs: tuple[Genotypes, pd.DataFrame]) -> None:
    geno = sibs[0]

    def dosages(name: str) -> np.ndarray:
        return geno.subset(donors=[d for d in geno.donors if d.endswith(name)]).dosage()

    found = kinship(dosages("child1"), dosages("child2"))
    error = found.std() / np.sqrt(len(found))
    assert abs(found.mean() - 0.25) < 4 * error
    assert abs(found.mean() - 0.125) > 10 * error
    assert abs(kinship(dosages("father"), dosages("mother")).mean()) < 4 * error


def mendel_errors(geno: Genotypes, pedigree: pd.DataFrame) -> int:
    """Children's calls that no pair of their parents' alleles explains: an oracle that knows no phase."""
    errors = 0
    calls = dict(zip(geno.donors, geno.alleles.transpose(1, 0, 2), strict=True))
    for row in pedigree[pedigree["father"] != ""].itertuples():
        for child, mother, father in zip(calls[row.donor], calls[row.mother], calls[row.father], strict=True):
            if (child >= 0).all():
                errors += not any(sorted(child) == sorted((m, f)) for m in mother for f in father)
    return errors


def test_there_are_no_mendelian_errors_and_a_swapped_child_has_them(sibs: tuple[Genotypes, pd.DataFrame]) -> None:
    geno = sibs[0]
    few = SIBS.iloc[:80]
    assert mendel_errors(geno, few) == 0
    swapped = few.copy()
    swapped["mother"] = np.where(few["mother"] == "", "", "F0500_mother")
    assert mendel_errors(geno, swapped) > 50


def test_crossovers_are_poisson_of_the_map_length_and_children_copy_the_truth(
    sibs: tuple[Genotypes, pd.DataFrame],
) -> None:
    geno, ibd = sibs
    children = ibd[ibd["donor"].str.contains("child")]
    counts = children.groupby(["donor", "copy"]).size().to_numpy() - 1
    morgans = LENGTHS["1"] * 1.2e-8
    observed = np.bincount(np.minimum(counts, 8), minlength=9)
    law = stats.poisson(morgans)
    expected = len(counts) * np.append(law.pmf(np.arange(8)), law.sf(7))
    assert stats.chisquare(observed, expected).pvalue > 1e-3
    wrong = stats.poisson(1.3 * morgans)
    assert stats.chisquare(observed, len(counts) * np.append(wrong.pmf(np.arange(8)), wrong.sf(7))).pvalue < 1e-9
    start = geno.variants["start"].to_numpy()
    for row in children.iloc[:300].itertuples():
        inside = (start >= row.start) & (start < row.end)
        child, parent = geno.donors.get_loc(row.donor), geno.donors.get_loc(row.founder)
        assert (geno.alleles[inside, child, row.copy] == geno.alleles[inside, parent, row.founder_copy]).all()
    assert set(children["copy"][children["founder"].str.contains("mother")]) == {0}


def test_maps_may_differ_between_the_sexes() -> None:
    table = pd.DataFrame({"contig": "1", "pos": [1, 250_000_001], "cM_female": [0.0, 400.0], "cM_male": [0.0, 100.0]})
    ibd = simulate_pedigree(founders(SIBS), SIBS, table, seed=2)[1]
    counts = ibd[ibd["donor"].str.contains("child")].groupby(["copy", "donor"]).size() - 1
    for copy, mean in ((0, 4.0), (1, 1.0)):
        found = counts.loc[copy]
        assert abs(found.mean() - mean) < 4 * np.sqrt(mean / len(found))


def test_sex_chromosomes_and_mt_are_handed_down_by_sex(tmp_path: Path) -> None:
    pedigree = pd.concat([nuclear_families(60, 2), first_cousins(5, prefix="C")], ignore_index=True)
    geno, ibd = simulate_pedigree(founders(pedigree, ("1", "X", "Y", "MT"), n=60), pedigree, seed=3)
    sex = pedigree.set_index("donor")["sex"]
    contig = geno.variants["contig"].to_numpy()
    fixed = set_ploidy(geno, sex)
    np.testing.assert_array_equal(fixed.alleles, geno.alleles)  # everyone has the copies of their sex
    at = geno.donors.get_loc
    start = geno.variants["start"].to_numpy()
    par = (contig == "X") & ((start < 2_699_520) | (start >= 154_931_043))
    x = (contig == "X") & ~par
    for row in pedigree[pedigree["father"] != ""].itertuples():
        child, father, mother = (geno.alleles[:, at(d)] for d in (row.donor, row.father, row.mother))
        assert (child[contig == "MT", 0] == mother[contig == "MT", 0]).all()
        if row.sex == "male":
            assert (child[x, 1] == -2).all()
            assert (child[contig == "Y"] == father[contig == "Y"]).all()
        else:
            assert (child[x, 1] == father[x, 0]).all()
            assert (child[contig == "Y", 0] == -1).all()
        assert ((child[x, 0] == mother[x, 0]) | (child[x, 0] == mother[x, 1])).all()
    whole = ibd[(ibd["contig"] == "X") & (ibd["copy"] == 1)]
    sons = whole[(whole["donor"].map(sex) == "male") & whole["donor"].str.contains("child")]
    assert not ((sons["start"] < 154_931_043) & (sons["end"] > 2_699_520)).any()
    daughters = whole[
        (whole["donor"].map(sex) == "female")
        & whole["donor"].str.startswith("F")
        & whole["donor"].str.contains("child")
    ]
    middle = daughters[(daughters["start"] <= 1e8) & (daughters["end"] > 1e8)]
    assert (middle["founder_copy"] == 0).all()
    assert mendel_errors(geno.subset(variants=np.flatnonzero(contig == "1")), pedigree) == 0
    write_vcf(geno, tmp_path / "x.vcf.gz")
    back = read_genotypes(tmp_path / "x.vcf.gz")
    np.testing.assert_array_equal(back.alleles, geno.subset(variants=back.variants.index).alleles)


def test_pedigrees_that_cannot_be_are_refused() -> None:
    trio = nuclear_families(1)
    geno = founders(trio)
    with pytest.raises(JoinError, match="no genotypes"):
        simulate_pedigree(geno, nuclear_families(2))
    for change, message in (
        ({"father": ""}, "one parent only"),
        ({"father": "F0001_mother"}, "female and the father"),
        ({"mother": "F0001_child1"}, "mother"),
        ({"father": "X"}, "has no row"),
        ({"sex": "?"}, "female or male"),
    ):
        broken = trio.copy()
        for column, value in change.items():
            broken.loc[2, column] = value
        with pytest.raises(InputError, match=message):
            simulate_pedigree(geno, broken)
    circle = pd.DataFrame(
        [("a", "b", "c", "male"), ("b", "a", "c", "male"), ("c", "", "", "female")],
        columns=["donor", "father", "mother", "sex"],
    )
    with pytest.raises(InputError, match="descends from itself"):
        simulate_pedigree(geno, circle)
    unphased = Genotypes(geno.alleles, np.zeros_like(geno.phased), geno.variants, geno.donors, LENGTHS)
    with pytest.raises(VcfError, match="not phased"):
        simulate_pedigree(unphased, trio)


def test_a_father_s_x_and_y_recombine_in_par_by_haldane() -> None:
    """PAR1 of 50 cM in males: its far end changes sides in (1 - e^-1) / 2 of the meioses, its border almost never."""
    pedigree = nuclear_families(400, 2)
    table = founders_of(pedigree)
    at = [0, 2_699_000, 100_000_000]
    variants = pd.DataFrame({"contig": "X", "start": at, "ref": "A", "alt": "C"}, index=["far", "border", "x"])
    alleles = np.zeros((3, len(table), 2), np.int8)
    alleles[2, (table["sex"] == "male").to_numpy(), 1] = -2
    geno = Genotypes(alleles, np.ones(alleles.shape[:2], bool), variants, table.index, LENGTHS)
    scale = pd.DataFrame({"contig": "X", "pos": [1, 2_699_521, X], "cM": [0.0, 50.0, 200.0]})
    ibd = simulate_pedigree(geno, pedigree, scale, seed=4)[1]
    paternal = ibd[(ibd["copy"] == 1) & ibd["donor"].str.contains("child")]
    sex = pedigree.set_index("donor")["sex"]

    def swapped(position: int) -> int:
        """Children whose paternal copy at the position is not that of the chromosome which made their sex."""
        here = paternal[(paternal["start"] <= position) & (position < paternal["end"])]
        assert here["donor"].nunique() == 800
        return int((here["founder_copy"] != (here["donor"].map(sex) == "male").astype(int)).sum())

    assert stats.binomtest(swapped(0), 800, (1 - np.exp(-1)) / 2).pvalue > 1e-3
    assert stats.binomtest(swapped(0), 800, 0.5).pvalue < 1e-9
    assert swapped(2_699_000) < 5
