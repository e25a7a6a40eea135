"""Admixed donors, relatives and new variants go through the pipeline, and their truth agrees with the files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from genesim.config.base import parse
from genesim.config.evaluate import EvaluateConfig
from genesim.config.model import EffectConfig
from genesim.config.report import ReportConfig
from genesim.config.scenario import Scenario
from genesim.data.genotypes import Genotypes, read_genotypes
from genesim.errors import ArtefactError, ConfigError
from genesim.pipeline.evaluate import evaluate_run
from genesim.pipeline.report import report_run
from genesim.pipeline.simulate import simulate, simulate_genotypes
from genesim.simulate.admixture import global_shares

PULSES = [
    {"generations": 10, "ancestry": {"YRI": 0.6, "CEU": 0.4}},
    {"generations": 3, "ancestry": {"CHB": 0.2}},
]
CELLS = {"n_cells": 240}
EFFECTS = {"random": {"share_of_genes": 0.5, "window": 250_000}}


def scenario(**population: Any) -> Scenario:
    return parse(Scenario, {"population": {"n_donors": 12, **population}, "cells": CELLS, "effects": EFFECTS})


def read(path: Path) -> Genotypes:
    return read_genotypes(path / "sim.vcf.gz")


def test_admixed_donors_with_new_variants_end_to_end(
    tiny_run: Path, tiny_config: dict[str, Any], tmp_path: Path
) -> None:
    results = tiny_run / "results"
    asked = scenario(admixture={"pulses": PULSES, "label": "ADM"})
    gtf = tmp_path / "coding.gtf"
    gtf.write_text('21\tx\tCDS\t30100001\t30100900\t.\t+\t0\tgene_id "g"; transcript_id "t"; gene_name "G";\n')
    beyond = {
        "de_novo": {"rate": 1e-6},
        "rare": {"theta": 1e-4, "panel_haplotypes": 60},
        "loss_of_function": {"genes": {"G": 0.3}},
        "annotation": str(gtf),
    }
    asked = asked.model_copy(update={"new_variants": parse(Scenario, {"new_variants": beyond}).new_variants})
    parts = []
    for contig in ("21", "22"):
        parts.append(tmp_path / contig)
        simulate_genotypes(asked, results / "models" / "haplotypes" / contig, out=parts[-1], seed=3)
    data = simulate(asked, results / "models", 3, parts=parts, out=tmp_path / "sim")
    whole = simulate(asked, results / "models", 3)
    np.testing.assert_array_equal(data.genotypes.alleles, whole.genotypes.alleles)
    truth = {path.stem: pd.read_parquet(path) for path in (tmp_path / "sim" / "truth").glob("*.parquet")}
    assert {"local_ancestry", "new_variants", "donors", "effects"} <= set(truth)
    pd.testing.assert_frame_equal(truth["local_ancestry"], whole.more_truth["local_ancestry"], check_dtype=False)
    donors = truth["donors"].set_index("donor")
    assert set(donors["ancestry"]) == {"ADM"}
    shares = global_shares(truth["local_ancestry"])
    for name in shares.columns:
        np.testing.assert_allclose(donors[f"share_{name}"], shares[name].reindex(donors.index))
    assert set(truth["new_variants"]["kind"]) >= {"de_novo", "rare"}
    assert (truth["new_variants"]["gene"] == "g").any()
    assert not set(truth["effects"]["variant"]) & set(truth["new_variants"]["variant"])
    written = read(tmp_path / "sim")
    assert set(truth["new_variants"]["variant"]) <= set(written.variants.index)
    np.testing.assert_array_equal(
        (written.subset(variants=truth["new_variants"]["variant"].tolist()).alleles == 1).sum((1, 2)),
        truth["new_variants"]["n_carriers"],
    )
    assert list(data.cells.obs["ancestry"].unique()) == ["ADM"]
    settings = parse(EvaluateConfig, tiny_config["evaluate"])
    effects = parse(EffectConfig, tiny_config["models"]["effects"])
    scores = evaluate_run(
        results / "cohort", tmp_path / "sim", out=tmp_path / "scores", config=settings, effects=effects
    ).to_frame()
    assert not scores["subject"].astype(str).str.startswith("haplotypes").any()  # nobody real to compare with
    page = report_run(
        results / "cohort",
        tmp_path / "sim",
        tmp_path / "scores",
        out=tmp_path / "r.html",
        config=ReportConfig(embedding="pca"),
    )
    assert page.stat().st_size
    with pytest.raises(ArtefactError, match=r"local_ancestry|other donors"):
        simulate(asked, results / "models", 3, parts=[results / "parts" / "simulated" / c for c in ("21", "22")])


def test_families_are_drawn_contig_by_contig(tiny_run: Path, tmp_path: Path) -> None:
    results = tiny_run / "results"
    asked = scenario(relatives={"design": "nuclear_families", "n_children": 2}, prefix="FAM")
    parts = []
    for contig in ("21", "22"):
        parts.append(tmp_path / contig)
        simulate_genotypes(asked, results / "models" / "haplotypes" / contig, out=parts[-1], seed=3)
    simulate(asked, results / "models", 3, parts=parts, out=tmp_path / "sim")
    truth = {path.stem: pd.read_parquet(path) for path in (tmp_path / "sim" / "truth").glob("*.parquet")}
    geno = read(tmp_path / "sim")
    donors = truth["donors"].set_index("donor")
    assert list(geno.donors) == list(donors.index) == list(truth["pedigree"]["donor"])
    assert (donors.groupby(donors.index.str.split("_").str[0])["ancestry"].nunique() == 1).all()
    start = geno.variants["start"].to_numpy()
    contig = geno.variants["contig"].to_numpy()
    for row in truth["descent"].itertuples():
        inside = (contig == row.contig) & (start >= row.start) & (start < row.end)
        mine, source = (geno.alleles[inside, geno.donors.get_loc(d)] for d in (row.donor, row.founder))
        assert (mine[:, row.copy] == source[:, row.founder_copy]).all()
    assert set(truth["pedigree"]["father"]) > {""}


def test_scenarios_that_cannot_be_are_refused() -> None:
    for population, message in (
        ({"admixture": {"pulses": [{"generations": 3, "ancestry": {"YRI": 0.5}}]}}, "add up to 1"),
        ({"admixture": {"pulses": PULSES}, "ancestry": {"YRI": 1}}, "not both"),
        ({"relatives": {"design": "half_siblings"}}, "multiple of 5"),
        ({"relatives": {"design": "nuclear_families"}, "admixture": {"pulses": PULSES}}, "not both"),
    ):
        with pytest.raises(ConfigError, match=message):
            scenario(**population)
    with pytest.raises(ConfigError, match="annotation"):
        parse(Scenario, {"new_variants": {"loss_of_function": {"genes": {"g": 0.1}}}})
    with pytest.raises(ConfigError, match="theta"):
        parse(Scenario, {"new_variants": {"rare": {}}})
