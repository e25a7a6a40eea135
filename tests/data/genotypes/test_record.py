"""`Genotypes`: shapes, codes, views and joining."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from genesim.data.genotypes import Genotypes, concatenate, record
from genesim.errors import InputError, JoinError


def make(n_variants: int = 5, n_donors: int = 3, contig: str = "1", seed: int = 0) -> Genotypes:
    rng = np.random.default_rng(seed)
    alleles = rng.integers(-1, 2, (n_variants, n_donors, 2)).astype(np.int8)
    names = [f"{contig}_{i}" for i in range(n_variants)]
    variants = pd.DataFrame(
        {"contig": contig, "start": np.arange(n_variants), "ref": "A", "alt": "C"},
        index=pd.Index(names, dtype=object),
    )
    donors = pd.Index([f"d{i}" for i in range(n_donors)], dtype=object)
    return Genotypes(alleles, rng.random((n_variants, n_donors)) < 0.5, variants, donors, {contig: 100})


def slow_dosage(genotypes: Genotypes) -> np.ndarray:
    """One call at a time."""
    dosage = np.zeros((genotypes.n_variants, genotypes.n_donors))
    for i in range(genotypes.n_variants):
        for j in range(genotypes.n_donors):
            copies = [int(c) for c in genotypes.alleles[i, j] if c != -2]
            dosage[i, j] = np.nan if -1 in copies else sum(copies)
    return dosage


def test_dosage_and_frequency_follow_the_slow_way() -> None:
    genotypes = make(40, 6)
    genotypes.alleles[3, 2] = (1, -2)
    genotypes.alleles[4, 2] = (0, -2)
    genotypes.alleles[5] = -1
    np.testing.assert_array_equal(genotypes.dosage(), slow_dosage(genotypes))
    assert genotypes.dosage().dtype == np.float32
    frequency = genotypes.allele_frequency()
    for i in range(genotypes.n_variants):
        called = [c for c in genotypes.alleles[i].ravel() if c >= 0]
        expected = sum(called) / len(called) if called else np.nan
        np.testing.assert_allclose(frequency[i], expected)


def test_haplotypes_are_donor_major() -> None:
    genotypes = make(7, 4)
    haplotypes = genotypes.haplotypes()
    assert haplotypes.shape == (8, 7)
    for donor in range(4):
        for copy in range(2):
            np.testing.assert_array_equal(haplotypes[2 * donor + copy], genotypes.alleles[:, donor, copy])


def test_subset_by_name_mask_and_position_agree() -> None:
    genotypes = make()
    by_name = genotypes.subset(variants=["1_3", "1_0"], donors=["d2"])
    by_position = genotypes.subset(variants=np.array([3, 0]), donors=np.array([2]))
    np.testing.assert_array_equal(by_name.alleles, genotypes.alleles[[3, 0]][:, [2]])
    np.testing.assert_array_equal(by_name.alleles, by_position.alleles)
    assert list(by_name.variants.index) == ["1_3", "1_0"]
    mask = np.array([True, False, False, True, False])
    np.testing.assert_array_equal(genotypes.subset(variants=mask).alleles, genotypes.alleles[mask])


@pytest.mark.parametrize("variants", [["nope"], np.array([True]), np.array([9])])
def test_subset_refuses_what_is_absent(variants: object) -> None:
    with pytest.raises(JoinError):
        make().subset(variants=variants)  # type: ignore[arg-type]


def test_concatenate_orders_donors_and_adds_reports() -> None:
    one, two = make(contig="1"), make(contig="2", seed=1)
    one.report["records"] = 5
    two.report["records"] = 7
    joined = concatenate([one, two.subset(donors=["d2", "d0", "d1"])])
    np.testing.assert_array_equal(joined.alleles, np.concatenate([one.alleles, two.alleles]))
    assert joined.contig_lengths == {"1": 100, "2": 100}
    assert joined.report == {"records": 12}


def test_concatenate_refuses_what_does_not_fit() -> None:
    one, two = make(contig="1"), make(contig="2")
    for parts in ([], [one, one], [one, two.subset(donors=["d0"])]):
        with pytest.raises(JoinError):
            concatenate(parts)
    two.contig_lengths["1"] = 99
    with pytest.raises(JoinError, match="99 bp"):
        concatenate([one, two])


def test_construction_refuses_wrong_arrays() -> None:
    good = make()
    wrong = {
        "shape": {"alleles": good.alleles[:-1]},
        "type": {"alleles": good.alleles.astype(np.int16)},
        "code": {"alleles": np.full_like(good.alleles, 2)},
        "first absent": {"alleles": np.full_like(good.alleles, -2)},
        "phase": {"phased": good.phased[:, :-1]},
        "columns": {"variants": good.variants.drop(columns="ref")},
        "ids": {"variants": good.variants.set_axis(["a"] * 5)},
        "donors": {"donors": pd.Index(["a", "a", "b"], dtype=object)},
    }
    for change in wrong.values():
        fields = {n: getattr(good, n) for n in ("alleles", "phased", "variants", "donors")} | change
        with pytest.raises(InputError):
            Genotypes(**fields)


@pytest.mark.parametrize("donors", [["d2", "d0", "d1"], ["d1"], ["d2", "d1"]])
def test_subset_in_place_gives_what_a_copy_gives_in_the_same_memory(
    donors: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(record, "_BLOCK_BYTES", 12)  # two variants at once
    genotypes, twin = make(), make()
    found, expected = genotypes.subset(donors=donors, overwrite=True), twin.subset(donors=donors)
    np.testing.assert_array_equal(found.alleles, expected.alleles)
    np.testing.assert_array_equal(found.phased, expected.phased)
    assert np.shares_memory(found.alleles, genotypes.alleles)
    assert not np.shares_memory(expected.alleles, twin.alleles)


def test_stacked_parts_go_as_they_are_copied() -> None:
    parts = [np.arange(3), np.arange(5), np.arange(0)]
    whole = np.concatenate(parts)
    np.testing.assert_array_equal(record.stack_variants(parts), whole)
    assert parts == []


def test_parts_of_an_iterator_are_joined_like_those_of_a_list() -> None:
    parts = [make(contig=c, seed=i) for i, c in enumerate("123")]
    np.testing.assert_array_equal(concatenate(iter(parts)).alleles, concatenate(parts).alleles)
