"""prepare: what is dropped is dropped everywhere, and counted in the cohort."""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path

import anndata as ad
import pytest

from genesim.config.inputs import InputsConfig
from genesim.data.cohort import load_cohort
from genesim.data.genotypes import read_genotypes, write_plink
from genesim.pipeline.prepare import prepare, prepare_genotypes


@pytest.fixture
def inputs(tiny_run: Path) -> InputsConfig:
    folder = tiny_run / "results" / "example"
    files = {"h5ad": "cells.h5ad", "vcf": "donors.vcf.gz", "donors": "donors.tsv", "genes": "genes.gtf"}
    return InputsConfig(**{key: folder / name for key, name in files.items()}, contigs=("21",))


def test_rare_labels_are_dropped_and_counted(
    inputs: InputsConfig, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    labels = ad.read_h5ad(inputs.h5ad).obs["cell_type"].astype(str).value_counts()
    rare = labels[labels < 30].to_dict()
    assert 0 < len(rare) < len(labels)
    with caplog.at_level(logging.WARNING, logger="genesim"):
        prepare(inputs.model_copy(update={"min_cells_per_label": 30}), out=tmp_path / "cohort")
    cohort = load_cohort(tmp_path / "cohort")
    assert cohort.info["cells_read"]["cells_of_rare_labels"] == rare
    assert cohort.info["cells_read"]["n_cells_read"] == 700
    assert set(cohort.cells.obs["cell_type"]) == set(labels.index) - set(rare)
    assert cohort.cells.n_obs == 700 - sum(rare.values())
    assert all(f"'{name}' ({n})" in caplog.text for name, n in rare.items())


def test_by_default_no_label_is_dropped(inputs: InputsConfig, tmp_path: Path) -> None:
    cohort = prepare(inputs, out=tmp_path / "cohort")
    assert cohort.cells.n_obs == 700
    assert cohort.info["cells_read"]["cells_of_rare_labels"] == {}


def test_without_labels_there_are_none_to_drop(inputs: InputsConfig, tmp_path: Path) -> None:
    cohort = prepare(inputs.model_copy(update={"labels_key": None, "min_cells_per_label": 30}), out=tmp_path / "c")
    assert cohort.cells.n_obs == 700
    assert "cells_of_rare_labels" not in cohort.info["cells_read"]


def test_plink_genotypes_are_phased_on_request(inputs: InputsConfig, tmp_path: Path) -> None:
    if not any(map(shutil.which, ("beagle", "shapeit4"))):
        pytest.skip("neither beagle nor shapeit4 is installed")
    write_plink(read_genotypes(inputs.vcf), tmp_path / "donors.bed")
    plink = inputs.model_copy(update={"vcf": tmp_path / "donors"})
    unphased = prepare(plink, out=tmp_path / "never")
    assert not unphased.genotypes.phased.any()
    cohort = prepare(plink.model_copy(update={"phase": "auto"}), out=tmp_path / "auto")
    assert (cohort.genotypes.phased == (cohort.genotypes.alleles >= 0).all(axis=2)).all()
    assert cohort.genotypes.report["phase_heterozygotes"] > 0
    part = prepare_genotypes(plink.model_copy(update={"phase": "auto"}), "21", tmp_path / "part")
    assert (part.alleles == cohort.genotypes.alleles).all()
    hashes = [_vcf_hash(tmp_path / name) for name in ("never", "auto")]
    (tmp_path / "donors.fam").write_text((tmp_path / "donors.fam").read_text() + "\n")
    prepare(plink, out=tmp_path / "touched")
    hashes.append(_vcf_hash(tmp_path / "touched"))
    assert hashes[0] == hashes[1] != hashes[2]


def _vcf_hash(cohort: Path) -> str:
    return json.loads((cohort / "cohort.json").read_text())["provenance"]["inputs"]["vcf"]
