"""Absolute paths of a machine are found where they stand, and nothing else is taken for one."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from genesim.provenance.paths import absolute_path, path_in_file, without_folders

PATHS = {
    "the file /home/ann/data/cells.h5ad was read": "/home/ann/data/cells.h5ad",
    '{"vcf": "/gpfs/project/x.vcf.gz"}': "/gpfs/project/x.vcf.gz",
    "##genetic_map=/data/map.txt": "/data/map.txt",
    "/scratch/run7/a": "/scratch/run7/a",
    "see file:///mnt/disk/a.txt": "/mnt/disk/a.txt",
    r"C:\Users\ann\cells.h5ad": r"C:\Users\ann\cells.h5ad",
    r'{"h5ad": "C:\\Users\\ann\\cells.h5ad"}': r"C:\\Users\\ann\\cells.h5ad",
    "| /home/ann/x | 3 |": "/home/ann/x",
    "<td>/home/ann/x</td>": "/home/ann/x",
}
OTHERS = [
    "results/demo/cells.h5ad",
    "./data/sim.h5ad",
    "https://w3id.org/ro/crate/1.1/context",
    "train/test split, 1/2 and/or 3/4",
    "<p>text</p><br/>",
    "data:image/svg+xml;base64,AB/CD/EF+/GH/ij",
    "CD4+/CD45RA+/CD25- Naive T",
    "application/json",
    "doi.org/10.1/abc",
    "0|1\t1/1",
]


@pytest.mark.parametrize(("text", "path"), PATHS.items())
def test_a_path_is_found(text: str, path: str) -> None:
    assert absolute_path(text) == path


@pytest.mark.parametrize("text", OTHERS)
def test_what_is_no_path_is_left_alone(text: str) -> None:
    assert absolute_path(text) is None


def test_folders_are_cut_off_absolute_paths_only() -> None:
    before = {"a": "/home/ann/x.h5ad", "b": ["results/y", 3, None], "c": {"d": "C:\\Users\\z.vcf"}}
    assert without_folders(before) == {"a": "x.h5ad", "b": ["results/y", 3, None], "c": {"d": "z.vcf"}}
    assert before["a"] == "/home/ann/x.h5ad"


def test_a_path_in_the_header_of_a_vcf_is_found(tmp_path: Path) -> None:
    with gzip.open(tmp_path / "a.vcf.gz", "wt") as file:
        file.write('##x={"map": "/home/ann/map"}\n#CHROM\n21\t1\n')
    assert path_in_file(tmp_path / "a.vcf.gz") == "/home/ann/map"


@pytest.mark.parametrize("before", [0, 2**22 - 5, 2**22 + 1])
def test_a_known_folder_is_found_in_any_file_even_across_blocks(tmp_path: Path, before: int) -> None:
    path = tmp_path / "a.h5ad"
    path.write_bytes(b"\0" * before + b"/home/ann/run" + b"\0" * 10)
    assert path_in_file(path, ["/home/ann/run"]) == "/home/ann/run"
    assert path_in_file(path, ["/home/bob/run"]) is None
    assert path_in_file(path) is None
