"""Copies of sex chromosomes by sex, position and build."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from genesim.data.genotypes import Genotypes
from genesim.data.ploidy import expected_copies, kind_of, par_intervals, set_ploidy
from genesim.errors import ConditionError, ConfigError, InputError, JoinError

GRCH37 = {"X": 155_270_560, "Y": 59_373_566, "MT": 16_569}
GRCH38 = {"chrX": 156_040_895}
BOTH = np.array(["female", "male"], object)


def test_contigs_are_told_by_name() -> None:
    assert [kind_of(name) for name in ("chrX", "x", "Y", "chrM", "MT", "22", "chrUn")] == [
        "X",
        "X",
        "Y",
        "MT",
        "MT",
        "autosome",
        "autosome",
    ]


@pytest.mark.parametrize(
    ("contig", "lengths", "last_of_par1", "first_of_par2"),
    [("X", GRCH37, 2_699_520, 154_931_044), ("chrX", GRCH38, 2_781_479, 155_701_383)],
)
def test_par_ends_where_the_consortium_says(
    contig: str, lengths: dict[str, int | None], last_of_par1: int, first_of_par2: int
) -> None:
    position = np.array([last_of_par1 - 1, last_of_par1, first_of_par2 - 2, first_of_par2 - 1])  # 0-based
    copies = expected_copies(contig, position, BOTH, lengths)
    assert copies.tolist() == [[2, 2], [2, 1], [2, 1], [2, 2]]
    with pytest.raises(ConfigError, match="neither GRCh37 nor GRCh38"):
        expected_copies(contig, position, BOTH, {})
    assert par_intervals(contig, {}, [(0, 5)]) == [(0, 5)]


def test_y_mt_and_autosomes() -> None:
    at = np.array([5_000_000])
    assert expected_copies("Y", at, BOTH, GRCH37).tolist() == [[0, 1]]
    assert expected_copies("MT", np.array([5]), BOTH, GRCH37).tolist() == [[1, 1]]
    assert expected_copies("22", at, np.array(["unknown", "male"], object), {}).tolist() == [[2, 2]]
    with pytest.raises(ConditionError, match="unknown"):
        expected_copies("Y", at, np.array(["unknown"], object), GRCH37)


def _genotypes(calls: list[tuple[int, int]], contig: str = "X") -> Genotypes:
    alleles = np.array([calls], np.int8)
    variants = pd.DataFrame({"contig": contig, "start": [5_000_000], "ref": "A", "alt": "C"}, index=["v"])
    donors = pd.Index([f"d{i}" for i in range(len(calls))], dtype=object)
    return Genotypes(alleles, np.ones(alleles.shape[:2], bool), variants, donors, GRCH37)


def test_calls_become_those_of_the_copies_that_donors_have() -> None:
    geno = _genotypes([(0, 1), (1, 1), (0, 1), (1, -2), (-1, -1)])
    sex = pd.Series(["F", "male", "M", "1", "male"], index=geno.donors)
    fixed = set_ploidy(geno, sex)
    assert fixed.alleles[0].tolist() == [[0, 1], [1, -2], [-1, -2], [1, -2], [-1, -2]]
    assert fixed.phased[0].tolist() == [True, True, False, True, False]
    assert fixed.allele_frequency()[0] == pytest.approx(3 / 4)  # two of a female, one of each called male
    on_y = set_ploidy(_genotypes([(0, 0), (1, 1)], "Y"), pd.Series(["female", "male"], index=["d0", "d1"]))
    assert on_y.alleles[0].tolist() == [[-1, -2], [1, -2]]


def test_wrong_sexes_are_refused() -> None:
    geno = _genotypes([(0, -2)])
    with pytest.raises(InputError, match=r"'d0' is female and has one copy"):
        set_ploidy(geno, {"d0": "female"})
    with pytest.raises(JoinError, match="'d0'"):
        set_ploidy(geno, {"d1": "female"})
