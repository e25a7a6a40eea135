"""Each verb alone, from files: dry runs, silence, seeds, and the same result as its Python function."""

from __future__ import annotations

import filecmp
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anndata as ad
import pytest

import genesim as gs
from genesim.config.model import HaplotypeConfig, ModelsConfig
from genesim.config.scenario import Scenario


def same(a: Path, b: Path) -> bool:
    """Whether two files, or all files of two directories, hold the same bytes."""
    if a.is_file():
        return filecmp.cmp(a, b, shallow=False)
    names = sorted(str(p.relative_to(a)) for p in a.rglob("*") if p.is_file())
    assert names == sorted(str(p.relative_to(b)) for p in b.rglob("*") if p.is_file())
    assert names
    return filecmp.cmpfiles(a, b, names, shallow=False)[0] == names


@pytest.fixture
def results(tiny_run: Path) -> Path:
    return tiny_run / "results"


@pytest.fixture
def arguments(results: Path, config: Callable[..., Path]) -> dict[str, list[object]]:
    """Options of each verb but for --out, --seed, --dry-run and --quiet."""
    models = {
        "expression": {"method": "independent"},
        "haplotypes": {"n_states": 3, "n_passes": 1},
        "effects": {"window": 250_000, "n_factors": 0, "min_cells": 2, "n_effects": 1},
    }
    run = ["--config", config(models=models)]
    cohort, sim = ["--cohort", results / "cohort"], ["--simulated", results / "sim"]
    return {
        "prepare": [*run],
        "prepare part": [*run, "--contig", "22"],
        "train expression": [*run, *cohort],
        "train haplotypes": [*run, *cohort, "--contig", "21"],
        "train effects": [*run, *cohort],
        "simulate": [*run, "--models", results / "models"],
        "simulate part": [*run, "--models", results / "models", "--contig", "22"],
        "evaluate": [*run, *cohort, *sim],
        "report": [*run, *cohort, *sim, "--evaluation", results / "evaluation"],
        "example": [*run],
        "perturb": ["--h5ad", results / "example" / "cells.h5ad", "--perturbation", "KLF1"],
    }


VERBS = (
    "prepare",
    "prepare part",
    "train expression",
    "train haplotypes",
    "train effects",
    "simulate",
    "simulate part",
    "evaluate",
    "report",
    "example",
    "perturb",
)


@pytest.mark.parametrize("verb", VERBS)
def test_a_dry_run_says_what_it_would_do_and_writes_nothing(
    verb: str, genesim: Any, arguments: dict[str, list[object]], tmp_path: Path
) -> None:
    before = sorted(tmp_path.rglob("*"))
    out = tmp_path / "deep" / "out"
    shown = genesim(*verb.removesuffix(" part").split(), *arguments[verb], "--out", out, "--dry-run")
    assert (shown.code, shown.err) == (0, "")
    assert shown.out.startswith("would ")
    assert str(out) in shown.out
    assert shown.out.count("\n") == 1
    assert sorted(tmp_path.rglob("*")) == before


# What `evaluate` and `train effects` do is in the slow test below.
@pytest.mark.parametrize(
    "verb", ["prepare", "prepare part", "train haplotypes", "train expression", "simulate", "simulate part", "report"]
)
def test_same_seed_same_bytes_another_seed_another_draw_and_quiet_is_silent(
    verb: str, genesim: Any, arguments: dict[str, list[object]], tmp_path: Path
) -> None:
    check_seeds_and_silence(verb, genesim, arguments[verb], tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("verb", ["evaluate", "train effects", "example"])
def test_the_longer_verbs_keep_to_their_seed_too(
    verb: str, genesim: Any, arguments: dict[str, list[object]], tmp_path: Path
) -> None:
    check_seeds_and_silence(verb, genesim, arguments[verb], tmp_path)


def check_seeds_and_silence(verb: str, genesim: Any, arguments: list[object], tmp_path: Path) -> None:
    words = verb.removesuffix(" part").split()
    made = {}
    for name, seed in (("a", 1), ("b", 1), ("c", 2))[: 2 if verb in SEEDLESS else 3]:
        made[name] = tmp_path / name
        shown = genesim(*words, *arguments, "--out", made[name], "--seed", seed, "--quiet")
        assert (shown.code, shown.out, shown.err) == (0, "", "")
    assert same(made["a"], made["b"])
    if verb not in SEEDLESS:
        assert not same(made["a"], made["c"])


# Nothing in them is drawn: checking a VCF, and a page whose embedding is PCA.
SEEDLESS = ("prepare part", "report")


def test_another_seed_changes_the_draw_and_not_only_the_record_of_it(
    genesim: Any, arguments: dict[str, list[object]], tmp_path: Path
) -> None:
    cells, variants = [], []
    for seed in (1, 2):
        out = tmp_path / str(seed)
        assert genesim("simulate", *arguments["simulate"], "--out", out, "--seed", seed).code == 0
        cells.append(ad.read_h5ad(out / "sim.h5ad").X.toarray())
        variants.append(gs.read_genotypes(out / "sim.vcf.gz").alleles)
    assert (cells[0] != cells[1]).mean() > 0.1
    assert variants[0].shape != variants[1].shape or (variants[0] != variants[1]).mean() > 0.05


def test_a_verb_prints_what_it_wrote(genesim: Any, arguments: dict[str, list[object]], tmp_path: Path) -> None:
    out = tmp_path / "part"
    shown = genesim("prepare", *arguments["prepare part"], "--out", out)
    assert shown.out == f"{out}\n"
    assert "contig 22: 112 variants" in shown.err


def test_parts_give_the_same_as_one_piece(genesim: Any, arguments: dict[str, list[object]], tmp_path: Path) -> None:
    for verb in ("prepare", "simulate"):
        whole, joined = tmp_path / f"{verb}-whole", tmp_path / f"{verb}-joined"
        options: list[object] = []
        for contig in ("21", "22"):
            part = tmp_path / f"{verb}-{contig}"
            assert genesim(verb, *arguments[verb], "--contig", contig, "--out", part).code == 0
            options += ["--part", part]
        assert genesim(verb, *arguments[verb], "--out", whole).code == 0
        assert genesim(verb, *arguments[verb], *options, "--out", joined).code == 0
        assert same(whole, joined)


def test_haplotypes_trained_in_shards_and_joined(genesim: Any, results: Path, tmp_path: Path, config: Any) -> None:
    settings = {"n_states": 3, "n_passes": 1, "fit_window": 40, "fit_overlap": 6, "block_size": 3}
    run = ["--config", config(models={"haplotypes": settings}), "--cohort", results / "cohort", "--contig", "21"]
    assert genesim("train", "haplotypes", *run, "--out", tmp_path / "whole").code == 0
    whole = gs.load(tmp_path / "whole")
    assert len(whole.contigs[0].chain.bounds) > 2
    joins: list[object] = []
    for shard in ("1/2", "2/2"):
        out = tmp_path / shard.replace("/", "of")
        assert genesim("train", "haplotypes", *run, "--shard", shard, "--out", out).code == 0
        joins += ["--join", out]
    assert genesim("train", "haplotypes", *joins, "--out", tmp_path / "joined").code == 0
    drawn, expected = (model.sample(5, seed=1) for model in (gs.load(tmp_path / "joined"), whole))
    assert (drawn.alleles == expected.alleles).all()
    for wrong in ("0/2", "3/2", "two"):
        assert genesim("train", "haplotypes", *run, "--shard", wrong, "--out", tmp_path / "x").code != 0
    assert genesim("train", "haplotypes", *joins[:2], "--out", tmp_path / "x").code != 0
    assert not (tmp_path / "x").exists()


def test_python_functions_do_what_the_commands_do(
    genesim: Any, arguments: dict[str, list[object]], inputs: dict[str, Any], tmp_path: Path, results: Path
) -> None:
    assert genesim("prepare", *arguments["prepare"], "--out", tmp_path / "a", "--seed", 3).code == 0
    cohort = gs.prepare(out=tmp_path / "b", seed=3, **inputs)
    assert same(tmp_path / "a", tmp_path / "b")
    assert list(gs.load_cohort(tmp_path / "a").donors.index) == list(cohort.donors.index)

    scenario = tmp_path / "scenario.yaml"
    scenario.write_text("{name: few, population: {n_donors: 6}, cells: {n_cells: 30}}")
    models = ["--models", results / "models"]
    assert genesim("simulate", *models, "--scenario", scenario, "--out", tmp_path / "c", "--seed", 4).code == 0
    data = gs.simulate(scenario, results / "models", seed=4, out=tmp_path / "d")
    assert same(tmp_path / "c", tmp_path / "d")
    assert isinstance(data.scenario, Scenario)
    assert data.cells.n_obs == 30

    models_config = ModelsConfig(haplotypes=HaplotypeConfig(n_states=3, n_passes=1))
    gs.train("haplotypes", results / "cohort", out=tmp_path / "f", config=models_config, contig="21", seed=3)
    assert (
        genesim("train", "haplotypes", *arguments["train haplotypes"], "--out", tmp_path / "e", "--seed", 3).code == 0
    )
    assert same(tmp_path / "e", tmp_path / "f")
    assert isinstance(gs.load(tmp_path / "e"), gs.HaplotypeModel)


@pytest.mark.slow
def test_scores_and_their_report_in_a_notebook(results: Path, tmp_path: Path) -> None:
    cohort = gs.load_cohort(results / "cohort")
    scores = gs.evaluate(
        cohort.cells_of("test"), results / "sim" / "sim.h5ad", cohort.cells_of("train"), labels_key="cell_type"
    )
    assert {"value", "floor", "null"} <= set(scores.to_frame().columns)
    page = gs.report(scores, tmp_path / "page.html", title="A title")
    assert "A title" in page.read_text()
