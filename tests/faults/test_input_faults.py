"""Damaged and hostile inputs at the command line: one line that says what and where, and nothing on the disk."""

from __future__ import annotations

import csv
import gzip
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anndata as ad
import h5py
import numpy as np
import pytest

import genesim as gs
from genesim.config.model import HaplotypeConfig
from genesim.data.genotypes import read_genotypes
from genesim.data.write import write_csv
from genesim.errors import ArtefactError
from genesim.estimators.haplotypes import HaplotypeModel

Damage = Callable[[Path], None]


def values(value: float) -> Damage:
    def change(path: Path) -> None:
        with h5py.File(path, "r+") as file:
            file["X/data"][5] = value

    return change


def index_out_of_range(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        file["X/indices"][3] = 9999


def external_link(path: Path) -> None:
    with h5py.File(path.with_name("secret.h5"), "w") as file:
        file["x"] = [1]
    with h5py.File(path, "r+") as file:
        file["uns/leak"] = h5py.ExternalLink(str(path.with_name("secret.h5")), "x")


def truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])


def flipped(path: Path) -> None:
    whole = bytearray(path.read_bytes())
    whole[len(whole) // 3] ^= 1
    path.write_bytes(bytes(whole))


def plain_gzip(path: Path) -> None:
    text = gzip.decompress(path.read_bytes())
    path.write_bytes(gzip.compress(text))


CASES: dict[str, tuple[str, Damage, str, tuple[str, ...]]] = {
    "NaN count": ("h5ad", values(np.nan), "H5adError", ("cells.h5ad", "NaN")),
    "negative count": ("h5ad", values(-1), "H5adError", ("cells.h5ad", "negative")),
    "fractional count": ("h5ad", values(1.5), "H5adError", ("cells.h5ad", "fractional")),
    "sparse index out of range": ("h5ad", index_out_of_range, "H5adError", ("cells.h5ad", "9999")),
    "external link": ("h5ad", external_link, "H5adError", ("'/uns/leak'", "external link", "secret.h5")),
    "truncated h5ad": ("h5ad", truncated, "H5adError", ("cells.h5ad",)),
    "truncated VCF": ("vcf", truncated, "VcfError", ("donors.vcf.gz", "truncated")),
    "flipped bit in the VCF": ("vcf", flipped, "VcfError", ("donors.vcf.gz", "damaged", "block at byte")),
    "plain gzip VCF": ("vcf", plain_gzip, "VcfError", ("donors.vcf.gz", "plain gzip", "bgzip")),
}


@pytest.mark.parametrize("case", CASES)
def test_a_damaged_input_is_named_and_nothing_is_left(
    case: str, genesim: Any, inputs: Any, config: Any, tmp_path: Path
) -> None:
    name, damage, kind, fragments = CASES[case]
    damage(Path(inputs[name]))
    out = tmp_path / "out"
    genesim("prepare", "--config", config(inputs), "--out", out / "cohort").refused(3, kind, *fragments)
    assert not out.exists()


def test_a_stale_index_changes_nothing(inputs: Any, make_genotypes: Any, tmp_path: Path) -> None:
    path = Path(inputs["vcf"])
    other = tmp_path / "other.vcf.gz"
    gs.write_vcf(make_genotypes(["x", "y"], 3), other)
    shutil.copy(f"{other}.tbi", f"{path}.tbi")  # of a file with 3 records
    found = read_genotypes(path, region="21:1-1,000,000")
    assert found.n_variants == 40
    Path(f"{path}.tbi").write_bytes(b"rubbish")
    np.testing.assert_array_equal(read_genotypes(path, region="21:1-1,000,000").alleles, found.alleles)


@pytest.mark.parametrize("seed", range(8))
def test_a_flipped_bit_in_a_model_or_cohort_is_noticed(
    seed: int, genesim: Any, make_genotypes: Any, tmp_path: Path
) -> None:
    model = tmp_path / "model"
    HaplotypeModel.fit(make_genotypes([f"d{i}" for i in range(20)]), config=HaplotypeConfig(method="independent")).save(
        model
    )
    random = np.random.default_rng(seed)
    path = random.choice(sorted(p for p in model.rglob("*") if p.is_file()))
    whole = bytearray(path.read_bytes())
    whole[random.integers(len(whole))] ^= 1 << int(random.integers(8))
    path.write_bytes(bytes(whole))
    with pytest.raises(ArtefactError, match=r"model"):
        gs.load(model)
    genesim("validate", model).refused(4, "ArtefactError", str(model))
    assert path.read_bytes() == whole  # looked at, not touched


HOSTILE_DONORS = ["../../etc/passwd", "/root/x", "a b", "=cmd|' /C calc'!A0", "<script>alert(1)</script>", "..", "x;rm"]
HOSTILE_GENES = ["../up", "<img src=x onerror=alert(1)>", "=HYPERLINK(0)", "+1", "@SUM(A1)", "/abs", ".", "a,b"]


def test_hostile_names_stay_names(genesim: Any, make_inputs: Any, config: Any, left_in: Any, tmp_path: Path) -> None:
    donors = [*HOSTILE_DONORS, *(f"d{i}" for i in range(6))]
    inputs = make_inputs(tmp_path / "raw", donors, HOSTILE_GENES)
    before = set(tmp_path.rglob("*")) | {config(inputs)}
    out = tmp_path / "out" / "cohort"
    shown = genesim("prepare", "--config", config(inputs), "--out", out, "--quiet")
    assert shown.code == 0, shown.err
    # Nothing is called after a donor or a gene, inside the cohort or out of it.
    made = set(tmp_path.rglob("*")) - before
    assert all(path.is_relative_to(tmp_path / "out") for path in made)
    assert not [path for path in made if any(name.strip("./") and name in str(path) for name in ("passwd", "script"))]
    cohort = gs.load_cohort(out)
    assert set(donors) == set(cohort.donors.index)
    assert set(HOSTILE_GENES) == set(cohort.cells.var_names)
    # A file for spreadsheets disarms what would run; the cohort keeps the names.
    table = cohort.donors.reset_index()[["donor"]]
    with open(write_csv(table, tmp_path / "donors.csv"), newline="") as file:
        written = [row["donor"] for row in csv.DictReader(file)]
    assert not [text for text in written if text.startswith(("=", "+", "-", "@", "\t", "\r"))]
    assert "'=cmd|' /C calc'!A0" in written


def test_hostile_names_make_no_files_when_models_are_written(make_genotypes: Any, tmp_path: Path) -> None:
    geno = make_genotypes([*HOSTILE_DONORS, "d0", "d1"])
    model = HaplotypeModel.fit(geno, config=HaplotypeConfig(method="independent"))
    model.save(tmp_path / "out" / "model")
    gs.write_vcf(geno, tmp_path / "out" / "x.vcf.gz")
    assert {path.name for path in tmp_path.iterdir()} == {"out"}
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"model", "x.vcf.gz", "x.vcf.gz.tbi"}
    assert list(read_genotypes(tmp_path / "out" / "x.vcf.gz").donors) == list(geno.donors)


def test_a_flipped_bit_in_an_h5ad_gives_an_error_or_the_truth(
    genesim: Any, inputs: Any, config: Any, tmp_path: Path
) -> None:
    """HDF5 has no checksum here: a changed count that is still a count cannot be told; a crash or a hang can."""
    whole = Path(inputs["h5ad"]).read_bytes()
    for seed in range(12):
        changed = bytearray(whole)
        random = np.random.default_rng(seed)
        changed[random.integers(len(changed))] ^= 1 << int(random.integers(8))
        Path(inputs["h5ad"]).write_bytes(bytes(changed))
        out = tmp_path / f"out{seed}"
        shown = genesim("prepare", "--config", config(inputs), "--out", out / "cohort", "--quiet")
        assert shown.code in (0, 3), shown.err
        if shown.code:
            assert "Traceback" not in shown.err
            assert not out.exists()
        else:
            counts = ad.read_h5ad(out / "cohort" / "cells.h5ad").X
            assert (counts.data >= 0).all()
            assert np.isfinite(counts.data).all()
