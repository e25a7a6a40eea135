import numpy as np
import pytest

from genesim.data.contigs import bare_name, reconcile_contigs
from genesim.data.coordinates import (
    interval_to_one_based,
    interval_to_zero_based,
    to_one_based,
    to_zero_based,
)
from genesim.errors import JoinError


def test_first_base_is_one_outside_and_zero_inside():
    assert to_zero_based(1) == 0
    assert to_one_based(0) == 1
    assert interval_to_zero_based(1, 1) == (0, 1)  # one base long both ways
    positions = np.array([1, 5, 10])
    np.testing.assert_array_equal(to_one_based(to_zero_based(positions)), positions)
    start, end = interval_to_zero_based(np.array([3]), np.array([7]))
    assert end - start == 5
    assert interval_to_one_based(2, 7) == (3, 7)


def test_equal_names_win_over_prefix():
    assert reconcile_contigs(["22", "chr22"], ["chr22", "22"]) == {"chr22": "chr22", "22": "22"}


def test_prefix_is_added_or_removed():
    assert reconcile_contigs(["1", "22", "X"], ["chr22", "chrX"]) == {"chr22": "22", "chrX": "X"}
    assert reconcile_contigs(["chr22"], ["22"]) == {"22": "chr22"}


def test_two_candidates_are_refused():
    with pytest.raises(JoinError, match="could be any of: chr22, Chr22"):
        reconcile_contigs(["chr22", "Chr22"], ["22"])


def test_two_wanted_names_for_one_contig_are_refused():
    with pytest.raises(JoinError, match="would all be '22'"):
        reconcile_contigs(["22"], ["22", "chr22"])


def test_missing_lists_both_sides_or_is_skipped():
    with pytest.raises(JoinError, match=r"not found: 7; present are: 1, 2") as caught:
        reconcile_contigs(["1", "2"], ["1", "7"], where="a.vcf")
    assert "a.vcf" in str(caught.value)
    assert reconcile_contigs(["1", "2"], ["1", "7"], missing="skip") == {"1": "1"}


def test_mitochondria_of_two_builds_stay_apart():
    assert reconcile_contigs(["MT"], ["chrM"], missing="skip") == {}
    assert bare_name("chr") == "chr"
