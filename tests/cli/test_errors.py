"""Bad inputs: the exit code of the error's class, a line that names file and remedy, nothing half written."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
import pytest
import yaml
from pysam import bcftools

import genesim as gs

Change = Callable[[dict[str, Any], Path], None]


def absent(name: str) -> Change:
    def change(inputs: dict[str, Any], folder: Path) -> None:
        inputs[name] = str(folder / "nowhere" / Path(inputs[name]).name)

    return change


def key(name: str, value: Any) -> Change:
    return lambda inputs, folder: inputs.update({name: value})


def cells(edit: Callable[[ad.AnnData], None]) -> Change:
    def change(inputs: dict[str, Any], folder: Path) -> None:
        data = ad.read_h5ad(inputs["h5ad"])
        edit(data)
        inputs["h5ad"] = str(folder / "changed.h5ad")
        data.write_h5ad(inputs["h5ad"])

    return change


def fractional(data: ad.AnnData) -> None:
    data.layers["raw_counts"] = data.X.copy()
    data.X = data.X.astype(np.float32) * 0.5


def unlabelled(data: ad.AnnData) -> None:
    data.obs["cell_type"] = data.obs["cell_type"].astype(object)
    data.obs.iloc[3, data.obs.columns.get_loc("cell_type")] = np.nan


def renamed_donors(data: ad.AnnData) -> None:
    data.obs["donor"] = "patient_" + data.obs["donor"].astype(str)


def without_genes(data: ad.AnnData) -> None:
    data.var_names = [f"nowhere{i}" for i in range(data.n_vars)]


def text_of(name: str, edit: Callable[[str], str]) -> Change:
    def change(inputs: dict[str, Any], folder: Path) -> None:
        path = folder / f"changed-{Path(inputs[name]).name}"
        path.write_text(edit(Path(inputs[name]).read_text()))
        inputs[name] = str(path)

    return change


def cut_vcf(inputs: dict[str, Any], folder: Path) -> None:
    path = folder / "cut.vcf.gz"
    path.write_bytes(Path(inputs["vcf"]).read_bytes()[:-500])
    inputs["vcf"] = str(path)


INPUT = 3
CASES: dict[str, tuple[Change, int, str, tuple[str, ...]]] = {
    "no cells": (absent("h5ad"), INPUT, "H5adError", ("nowhere/cells.h5ad", "does not exist")),
    "no genotypes": (absent("vcf"), INPUT, "VcfError", ("nowhere/donors.vcf.gz", "No such file")),
    "no donor table": (absent("donors"), INPUT, "InputError", ("nowhere/donors.tsv",)),
    "no annotation": (absent("genes"), INPUT, "InputError", ("nowhere/genes.gtf",)),
    "wrong donor column": (key("donor_key", "doner"), INPUT, "H5adError", ("cells.h5ad", "'doner'", "'donor'")),
    "wrong label column": (key("labels_key", "celltype"), INPUT, "H5adError", ("'celltype'", "'cell_type'")),
    "wrong layer": (key("layer", "counts"), INPUT, "H5adError", ("cells.h5ad", "no layer 'counts'", "'X'")),
    "label missing": (cells(unlabelled), INPUT, "H5adError", ("changed.h5ad", "1 of 700 cells", "drop those cells")),
    "fractional": (cells(fractional), INPUT, "H5adError", ("changed.h5ad, X", "fractional", "layer='raw_counts'")),
    "other donors": (cells(renamed_donors), INPUT, "JoinError", ("0 of the 40", "'patient_D0001'", "genotype_id")),
    "genes elsewhere": (cells(without_genes), INPUT, "JoinError", ("genes.gtf", "deal: [genes]")),
    "rare labels only": (key("min_cells_per_label", 701), INPUT, "H5adError", ("701", "inputs.min_cells_per_label")),
    "contig absent": (key("contigs", ["21", "23"]), INPUT, "JoinError", ("not found: 23", "21, 22")),
    "cut VCF": (cut_vcf, INPUT, "VcfError", ("cut.vcf.gz", "truncated", "copy or download")),
    "no donor column": (
        text_of("donors", lambda t: t.replace("donor\t", "person\t", 1)),
        INPUT,
        "InputError",
        ("changed-donors.tsv", "donor"),
    ),
    "unknown key": (key("h5da", "x"), 2, "ConfigError", ("run.yaml", "'inputs.h5da'", "'h5ad'")),
    "share out of range": (key("held_out", 1.5), 2, "ConfigError", ("run.yaml", "'inputs.held_out' is 1.5")),
}


def assert_one_line(shown: Any, code: int, name: str, fragments: tuple[str, ...]) -> None:
    """The last line of standard error is the error; warnings may stand before it."""
    last = shown.err.rstrip("\n").splitlines()[-1]
    assert shown.code == code, shown.err
    assert last.startswith(f"genesim: {name}: "), shown.err
    assert " -> " in last  # what to do
    for fragment in fragments:
        assert fragment in last
    assert "Traceback" not in shown.err
    assert shown.out == ""


@pytest.mark.parametrize("case", CASES)
def test_prepare_refuses_bad_inputs_and_leaves_nothing(
    case: str, genesim: Any, inputs: dict[str, Any], config: Callable[..., Path], tmp_path: Path
) -> None:
    change, code, name, fragments = CASES[case]
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    change(inputs, folder)
    shown = genesim("prepare", "--config", config(inputs=inputs), "--out", out / "cohort")
    assert_one_line(shown, code, name, fragments)
    assert list(out.rglob("*")) == []


def test_a_donor_without_genotypes_is_named_kept_and_recorded(
    genesim: Any, inputs: dict[str, Any], config: Callable[..., Path], tmp_path: Path
) -> None:
    inputs["vcf"], source = str(tmp_path / "fewer.vcf.gz"), inputs["vcf"]
    bcftools.view("-s", "^D0001", "-Oz", "-o", inputs["vcf"], source, catch_stdout=False)
    out = tmp_path / "cohort"
    shown = genesim("prepare", "--config", config(inputs=inputs), "--out", out, "--quiet")
    assert shown.code == 0
    assert shown.err == "donors with cells but without genotypes: 'D0001'\n"
    cohort = gs.load_cohort(out)
    assert cohort.donors.loc["D0001", ["has_cells", "has_genotypes"]].tolist() == [True, False]
    assert cohort.info["join"]["n_donors_with_both"] == 39


def test_other_verbs_refuse_what_they_cannot_use(
    genesim: Any, tiny_run: Path, config: Callable[..., Path], tmp_path: Path
) -> None:
    results, out = tiny_run / "results", tmp_path / "out"
    altered = shutil.copytree(results / "cohort", tmp_path / "altered")
    with open(altered / "donors.parquet", "r+b") as handle:
        handle.seek(100)
        handle.write(b"\x00\x01")
    unlisted = shutil.copytree(results / "models", tmp_path / "unlisted")
    (unlisted / "expression" / "manifest.sha256").unlink()
    strange = tmp_path / "scenario.yaml"
    strange.write_text(yaml.safe_dump({"population": {"ancestry": {"MARS": 1}, "n_donors": 5}}))
    declared = tmp_path / "declared.yaml"
    effect = {"gene": "NOGENE", "variant": "rs1", "log2_afc": 1}
    declared.write_text(yaml.safe_dump({"effects": {"declared": [effect]}}))
    models, cohort = ["--models", results / "models"], ["--cohort", results / "cohort"]
    few = ["--config", config(models={"effects": {"min_cells": 500}})]
    for words, code, name, fragments in (
        (["train", "foo", *cohort], 2, "ConfigError", ("'foo'", "haplotypes")),
        (["train", "foo", *cohort, "--dry-run"], 2, "ConfigError", ("'foo'",)),
        (["train", "haplotypes", *cohort, "--contig", "5"], 2, "ConfigError", ("'5'",)),
        (["train", "expression", "--cohort", tmp_path / "none"], 4, "ArtefactError", ("none", "manifest")),
        (["train", "expression", "--cohort", altered], 4, "ArtefactError", ("altered", "donors.parquet differs")),
        (["train", "effects", *cohort, *few], 6, "TrainingError", ("effects.min_cells",)),
        (["simulate", *models, "--scenario", strange], 5, "ConditionError", ("'MARS'", "YRI")),
        (["simulate", *models, "--scenario", declared], 5, "ConditionError", ("'NOGENE'",)),
        (["simulate", *models, "--scenario", tmp_path / "no.yaml"], 2, "ConfigError", ("no.yaml",)),
        (["simulate", "--models", tmp_path / "none"], 4, "ArtefactError", ("none", "train")),
        (["simulate", "--models", unlisted], 4, "ArtefactError", ("expression: has no manifest",)),
        (["simulate", *models, "--contig", "5"], 4, "ArtefactError", ("haplotypes/5",)),
        (["evaluate", *cohort, "--simulated", tmp_path / "none"], 4, "ArtefactError", ("none",)),
        (
            ["report", *cohort, "--simulated", results / "sim", "--evaluation", tmp_path / "none"],
            4,
            "ArtefactError",
            ("none",),
        ),
    ):
        shown = genesim(*words, "--out", out / "thing")
        assert_one_line(shown, code, name, fragments)
        assert list(out.rglob("*")) == []


def test_an_output_that_cannot_be_written_is_said_before_the_work(
    genesim: Any, inputs: dict[str, Any], config: Callable[..., Path], tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("in the way")
    inputs["h5ad"] = "never looked at"
    shown = genesim("prepare", "--config", config(inputs=inputs), "--out", tmp_path / "file" / "deep" / "cohort")
    assert_one_line(shown, 7, "ResourceError", ("file/deep/cohort", "cannot be written", "not a folder"))


def test_a_config_that_is_no_yaml_and_a_missing_one_are_named(genesim: Any, tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text("a: [1")
    for path, fragment in ((tmp_path / "bad.yaml", "is not valid YAML"), (tmp_path / "no.yaml", "cannot be read")):
        shown = genesim("prepare", "--config", path, "--out", tmp_path / "out")
        assert shown.code == 2
        assert fragment in shown.err
    shown = genesim("prepare", "--config", '{"seed": "x"}', "--out", tmp_path / "out")
    assert_one_line(shown, 2, "ConfigError", ("--config", "'seed' is 'x'"))
    shown = genesim("prepare", "--out", tmp_path / "out")
    assert_one_line(shown, 2, "ConfigError", ("'inputs'", "inputs.h5ad"))
