"""cis effects on real donors (GEUVADIS, chr22): prediction of held-out donors, and shuffled donors."""

from __future__ import annotations

import importlib
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest

from genesim.config.model import EffectConfig
from genesim.data.genotypes import read_genotypes
from genesim.data.genotypes.record import Genotypes
from genesim.estimators.effects import EffectModel

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.mark.slow
def test_susie_predicts_held_out_donors_better_than_the_top_variant(
    shared_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    models = ["zero", "top_variant", "ridge", "susie"]
    script = importlib.import_module("effects")
    table = script.summary(script.run(shared_data, 80, 25, 500_000, 0, models), "0")
    r2 = table["mean_r2"]
    assert r2["zero"] == 0
    assert r2["susie"] > 0.03
    assert r2["susie"] > r2["top_variant"] + table.loc["top_variant", "se_of_difference"]
    assert r2["susie"] > r2["ridge"]
    assert r2["shuffled"] < 0.005


@pytest.mark.slow
def test_shuffled_donors_have_no_egenes(shared_data: Path) -> None:
    expression = ad.read_h5ad(shared_data / "paired" / "geuvadis_chr22.h5ad")
    genotypes = read_genotypes(shared_data / "paired" / "geuvadis_chr22.vcf.gz")
    expression = expression[:, np.random.default_rng(0).choice(expression.n_vars, 120, replace=False)].copy()
    covariates = pd.DataFrame(expression.obsm["covariates"][:, :28], index=expression.obs_names)
    config = EffectConfig(window=500_000, n_factors=0)

    def fit(geno: Genotypes) -> EffectModel:
        return EffectModel.fit(expression, geno, bulk=True, scale="linear", covariates=covariates, config=config)

    real = fit(genotypes).egenes()
    assert real["is_egene"].mean() > 0.3
    assert (real["n_credible_sets"] > 0).mean() > 0.25
    order = np.random.default_rng(1).permutation(genotypes.n_donors)
    shuffled = Genotypes(genotypes.alleles[:, order], genotypes.phased[:, order], genotypes.variants, genotypes.donors)
    null = fit(shuffled).egenes()
    assert null["is_egene"].sum() <= 1
    assert (null["n_credible_sets"] > 0).mean() < 0.05
    assert (null["p_value"] < 0.05).mean() < 0.12
