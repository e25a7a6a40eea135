"""prepare: what is dropped is dropped everywhere, and counted in the cohort."""

from __future__ import annotations

import logging
from pathlib import Path

import anndata as ad
import pytest

from genesim.config.inputs import InputsConfig
from genesim.data.cohort import load_cohort
from genesim.pipeline.prepare import prepare


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
