"""Benchmarks drawn from a user's trained models."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import genesim as gs
from genesim.config.base import parse
from genesim.config.model import ExpressionConfig, HaplotypeConfig
from genesim.data.example import example_cells
from genesim.errors import ConfigError
from genesim.estimators.expression import ExpressionModel
from genesim.estimators.haplotypes import HaplotypeModel
from genesim.pipeline.simulate import Models
from genesim.provenance.manifest import verify_manifest
from genesim.simulate.benchmarks.builtin import builtin_world

pytest.importorskip("msprime", reason="the built-in example's donors need msprime")

STEPS = {"n_steps": 20, "minibatch_size": 32, "steps_per_call": 10, "checkpoint_every": 10}
SMALL = {
    "method": "vae",
    "n_latent": 4,
    "n_hidden": 16,
    "n_layers": 1,
    "n_flow_layers": 1,
    "n_flow_steps": 3,
    "vae": STEPS,
    "flow": STEPS,
}


@pytest.mark.parametrize("method", [pytest.param("vae", marks=pytest.mark.slow), "independent"])
def test_a_models_cells_are_used_and_what_is_missing_is_told(method: str, tmp_path: Path) -> None:
    cells = example_cells(0, ["D1"], n_genes=40)
    config = parse(ExpressionConfig, {**SMALL, "method": method})
    expression = ExpressionModel.fit(cells, labels_key="cell_type", config=config)
    donors = builtin_world().genotyped(12, 0)
    haplotypes = HaplotypeModel.fit(
        donors.genotypes, donors.donors["ancestry"], config=HaplotypeConfig(method="independent")
    )
    models = Models(expression, (haplotypes,))
    if method == "independent":
        with pytest.raises(ConfigError, match="has no draw_rates"):
            gs.make_benchmark("de", tmp_path / "de", models=models)
        assert not (tmp_path / "de").exists()
        return
    gs.make_benchmark("de", tmp_path / "de", models=models, difficulty="easy")
    verify_manifest(tmp_path / "de")
    truth = pd.read_parquet(tmp_path / "de" / "truth" / "de.parquet")
    assert set(truth["gene"]) == set(cells.var_names)
    assert np.count_nonzero(truth["log2_fold_change"]) > 0
    assert "the user's own trained models" in (tmp_path / "de" / "card.md").read_text()
    # Only an effect model knows where genes are.
    with pytest.raises(ConfigError, match="no expressed gene has a known position"):
        gs.make_benchmark("eqtl", tmp_path / "eqtl", models=models)
