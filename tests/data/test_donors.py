from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from genesim.data.donors import join_donors, read_donor_table
from genesim.errors import InputError, JoinError

TEXT = (
    "donor\tgenotype_id\tancestry\tage\tnote\n007\tHG1\tYRI\t41\tx\n../../etc\t\tNA\t\t3\n<b>d</b>\tHG3\tFIN\t7.5\t\n"
)


def write(tmp_path, text, name="donors.tsv"):
    path = tmp_path / name
    path.write_text(text)
    return path


def test_ids_stay_text_and_numbers_become_numbers(tmp_path):
    table = read_donor_table(write(tmp_path, TEXT))
    assert list(table.index) == ["007", "../../etc", "<b>d</b>"]
    assert table.index.name == "donor"
    assert list(table.genotype_id) == ["HG1", "", "HG3"]
    assert list(table.ancestry) == ["YRI", "unknown", "FIN"]
    assert table.age.isna().tolist() == [False, True, False]
    assert table.age.max() == 41
    assert list(table.note) == ["x", "3", ""]


def test_formats_read_the_same(tmp_path):
    table = read_donor_table(write(tmp_path, TEXT))
    pd.testing.assert_frame_equal(table, read_donor_table(write(tmp_path, TEXT.replace("\t", ","), "d.csv")))
    bom = tmp_path / "bom.tsv"
    bom.write_bytes(b"\xef\xbb\xbf" + TEXT.replace("\n", "\r\n").encode())
    pd.testing.assert_frame_equal(table, read_donor_table(bom))
    parquet = tmp_path / "d.parquet"
    table.reset_index().to_parquet(parquet)
    pd.testing.assert_frame_equal(table, read_donor_table(parquet))
    table.to_parquet(parquet)
    pd.testing.assert_frame_equal(table, read_donor_table(parquet))
    zipped = tmp_path / "d.tsv.gz"
    pd.read_csv(tmp_path / "donors.tsv", sep="\t", dtype=str).to_csv(zipped, sep="\t", index=False)
    assert list(read_donor_table(zipped).index) == list(table.index)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("donor\ta\nd1\t1\nd2\t2\nd1\t3\n", "column 'donor' holds more than once: 'd1'"),
        ("donor\tgenotype_id\nd1\tg\nd2\tg\n", "column 'genotype_id' holds more than once: 'g'"),
        ("sample\ta\nd1\t1\n", "has no column 'donor'; its columns are 'sample', 'a'"),
        ("donor,a\nd1,1\n", "has no column 'donor'"),
        ("donor\ta\nd1\t1\n\t2\n", "1 donors have no name .first: row 2"),
        ("", "cannot be read"),
        ("donor\ta\nd1\t1\t2\n", "cannot be read"),
        ("donor\ta\nd1\t1\nd2\t1\t2\n", "cannot be read"),
        ("donor\ta\n", "has no rows"),
    ],
)
def test_tables_that_cannot_be_used(tmp_path, text, message):
    with pytest.raises(InputError, match=message):
        read_donor_table(write(tmp_path, text))


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(InputError, match="No such file"):
        read_donor_table(tmp_path / "none.tsv")
    with pytest.raises(InputError, match="suffix"):
        read_donor_table(write(tmp_path, TEXT, "donors.xlsx"))
    with pytest.raises(InputError, match="cannot be read"):
        read_donor_table(write(tmp_path, "not parquet", "d.parquet"))


def test_join_through_the_table_and_by_name(tmp_path):
    table = read_donor_table(write(tmp_path, TEXT))
    cells = ["007", "007", "new", "HGX"]
    frame = join_donors(cells, ["HG1", "HGX", "HG9"], table, min_overlap=0.5)
    assert list(frame.index) == ["007", "HG9", "HGX", "new"]
    assert frame.loc["007"].to_dict() == {
        "genotype_id": "HG1",
        "has_cells": True,
        "has_genotypes": True,
        "ancestry": "YRI",
        "sex": "unknown",
        "age": 41.0,
        "note": "x",
    }
    assert frame.loc["new", ["genotype_id", "has_cells", "has_genotypes", "ancestry"]].tolist() == [
        "",
        True,
        False,
        "unknown",
    ]
    assert frame.loc["HG9", ["genotype_id", "has_cells", "has_genotypes"]].tolist() == ["HG9", False, True]
    assert frame.attrs["join"] == {
        "n_donors_with_cells": 3,
        "n_donors_with_genotypes": 3,
        "n_donors_with_both": 2,
        "n_table_rows_unused": 2,
    }


def test_join_without_a_table():
    frame = join_donors(["a", "b"], ["b", "c"], min_overlap=0.5)
    assert frame.has_cells.tolist() == [True, True, False]
    assert frame.has_genotypes.tolist() == [False, True, True]
    assert set(frame.ancestry) == {"unknown"}


def test_too_few_in_common_shows_both_sides_and_matches_nothing_fuzzily():
    with pytest.raises(JoinError) as caught:
        join_donors(["d1", "d2", "d3 "], ["D1", "D2", "d3"], min_overlap=0.1)
    message = str(caught.value)
    assert "0 of the 3 donors with cells have genotypes" in message
    assert "only in the cells: 'd1', 'd2', 'd3 '" in message
    assert "only in the genotypes: 'D1', 'D2', 'd3'" in message
    assert "3 names differ only in case" in message
    with pytest.raises(JoinError, match="1 of the 3"):
        join_donors(["a", "b", "c"], ["a"], min_overlap=0.34)
    assert join_donors(["a", "b", "c"], ["a"], min_overlap=1 / 3).has_genotypes.sum() == 1


def test_mismatches_are_logged_in_both_directions(caplog):
    with caplog.at_level("INFO", logger="genesim"):
        join_donors(["a", "cells_only"], ["a", "vcf_only"])
    assert "without genotypes: 'cells_only'" in caplog.text
    assert "without cells: 'vcf_only'" in caplog.text


def test_one_name_for_two_people_is_refused():
    table = pd.DataFrame({"genotype_id": ["b"]}, index=pd.Index(["a"], name="donor"))
    with pytest.raises(JoinError, match="genotypes of 'a' belong to no donor"):
        join_donors(["a"], ["a", "b"], table)
    swapped = pd.DataFrame({"genotype_id": ["b", "a"]}, index=pd.Index(["a", "b"], name="donor"))
    assert join_donors(["a", "b"], ["a", "b"], swapped).genotype_id.to_dict() == {"a": "b", "b": "a"}
    incomplete = pd.DataFrame({"genotype_id": [None, np.nan, ""]}, index=pd.Index(["a", "b", "c"], name="donor"))
    assert join_donors(["a", "b", "c"], ["a", "b", "c"], incomplete).has_genotypes.all()
    claimed = pd.DataFrame({"genotype_id": ["b", ""]}, index=pd.Index(["a", "b"], name="donor"))
    with pytest.raises(JoinError, match="claimed by several donors: 'b'"):
        join_donors(["a"], ["b"], claimed)
