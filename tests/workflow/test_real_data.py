"""config/onek1k.yaml end to end on a part of its real inputs: OneK1K cells, 1000 Genomes haplotypes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import yaml
from pysam import bcftools

ROOT = Path(__file__).resolve().parents[2]
REGION = "2:109400000-109600000"
RARE = "mononc"


def reduced(config: dict[str, Any], data: Path, folder: Path, tiny: dict[str, Any]) -> dict[str, Any]:
    """The config with its real inputs cut down and training as short as the tiny example's."""
    inputs = config["inputs"]
    cells = ad.read_h5ad(data / "expression" / Path(inputs["h5ad"]).name)
    total = np.asarray(cells.X.sum(axis=0)).ravel()
    cells = cells[:, np.sort(np.argsort(-total)[:100])].copy()
    cells.var["symbol"] = [f"symbol of {name}" for name in cells.var_names]
    cells.write_h5ad(folder / "cells.h5ad")
    genotypes = data / "genotypes" / Path(inputs["vcf"]).name
    region = folder / "region.vcf.gz"
    # The shared file has no index: -t streams it.
    bcftools.view("-t", REGION, "-Oz", "-o", str(region), str(genotypes), catch_stdout=False)
    panel = data / "genotypes" / Path(inputs["donors"]).name
    inputs |= {"h5ad": str(folder / "cells.h5ad"), "vcf": str(region), "donors": str(panel)}
    inputs |= {"min_cells_per_label": 1000}
    config["models"] = {
        "expression": tiny["models"]["expression"],
        "haplotypes": {"n_states": 8, "n_passes": 2},
        "effects": {**config["models"]["effects"], "n_effects": 2},
    }
    config["scenario"]["population"]["n_donors"] = 20
    config["scenario"]["cells"]["n_cells"] = 300
    del config["pathvars"]
    return {**config, "evaluate": tiny["evaluate"], "report": tiny["report"]}


@pytest.mark.slow
def test_real_inputs_go_through_the_whole_workflow(
    shared_data: Path, workflow: Any, tiny_config: dict[str, Any], tmp_path: Path
) -> None:
    given = yaml.safe_load((ROOT / "config" / "onek1k.yaml").read_text())
    config = reduced(given, shared_data, tmp_path, tiny_config)
    made = workflow(tmp_path, config)
    assert made.returncode == 0, made.stdout + made.stderr
    results = tmp_path / "results"

    info = json.loads((results / "cohort" / "cohort.json").read_text())["info"]
    assert info["cells_read"]["cells_of_rare_labels"] == {RARE: 689}
    assert info["cells_read"]["n_cells_read"] == 7811
    assert info["join"]["n_donors_with_both"] == 40
    page = (results / "report.html").read_text(encoding="utf-8")
    assert "dealt at random" in page
    assert "cells_of_rare_labels" in page

    cells = ad.read_h5ad(results / "sim" / "sim.h5ad")
    assert set(cells.obs["cell_type"]) == {"cd4nc", "bmem", "monoc"}
    user = ad.read_h5ad(tmp_path / "cells.h5ad")
    assert list(cells.var_names) == list(user.var_names)
    assert list(cells.var["symbol"]) == list(user.var["symbol"])
    assert set(cells.obs["ancestry"]) == {"YRI", "CHB", "FIN"}

    columns = "%CHROM\t%POS\t%ID\t%REF\t%ALT\n"
    simulated = set(bcftools.query("-f", columns, str(results / "sim" / "sim.vcf.gz")).splitlines())
    real = set(bcftools.query("-f", columns, str(tmp_path / "region.vcf.gz")).splitlines())
    assert len(simulated) > 200
    assert simulated <= real  # the user's own rs numbers, positions and alleles
    assert all(line.split("\t")[2].startswith("rs") for line in simulated)
    scores = pd.read_parquet(results / "evaluation" / "scores.parquet")
    assert {"expression", "haplotypes 2", "effects"} <= set(scores["subject"])
    assert "Nothing to be done" in workflow(tmp_path, config).stderr
