"""The shipped scenarios run on trained models, and the workflow plans case/control sampling over all contigs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from genesim import rng
from genesim.config.base import load, parse
from genesim.config.scenario import Scenario
from genesim.errors import ConfigError
from genesim.estimators.expression_draw import draw_latents
from genesim.models.expression.posterior import rates_at
from genesim.pipeline.simulate import Models, simulate
from genesim.simulate.cells import CHUNK
from genesim.simulate.dictionary import meaning

SCENARIOS = Path(__file__).resolve().parents[2] / "config" / "scenarios"


@pytest.fixture(scope="module")
def models(tiny_run: Path) -> Models:
    return Models.load(tiny_run / "results" / "models")


@pytest.mark.parametrize("name", ["case_control", "dynamic"])
def test_shipped_scenarios_run(name: str, models: Models) -> None:
    asked = load(Scenario, SCENARIOS / f"{name}.yaml")
    data = simulate(asked, models, 1)
    assert data.cells.n_obs == asked.cells.n_cells
    assert len(data.effects)
    tables = {"donors": data.donors, "genes": data.genes, "effects": data.effects, **data.more_truth}
    for table, frame in tables.items():
        for column in frame.columns:
            assert meaning(table, str(column))
    if name == "case_control":
        assert int(data.donors["case"].sum()) == 60
        np.testing.assert_allclose(data.genes.loc[data.genes["has_effect"], "h2"], 0.3, atol=1e-6)
    else:
        assert (data.effects["log2_afc_slope"] != 0).any()


def test_the_state_is_the_program_that_the_cell_expresses(models: Models) -> None:
    asked = parse(
        Scenario, {"cells": {"n_cells": 3000, "state": {"program": 1}}, "effects": {}, "truth": {"rates": True}}
    )
    data = simulate(asked, models, 1)
    state = data.cells.obs["state"].to_numpy()
    assert ((state >= 0) & (state <= 1)).all()
    # Of the training mix the scores are centred and scaled: the states are spread over their whole range.
    assert state.std() == pytest.approx(12**-0.5, abs=0.06)
    assert data.true_rates is not None
    rates = np.concatenate(list(data.true_rates()))
    # Latents that decode to the very rates of the first cells; without covariates, only they move genes.
    expression, key = models.expression, rng.key(rng.seed(1, "simulate", "cells"), "expression", "sample")
    seed, n = rng.seed(1, "simulate", "cells"), CHUNK
    condition = expression.condition(expression.covariates.complete(data.cells.obs.iloc[:n], seed, 0), seed, 0)
    latents = draw_latents(expression.generator, expression.covariates, key, condition, 0)
    np.testing.assert_allclose(rates_at(expression.generator.vae, latents, condition), rates[:n], rtol=1e-5)
    neutral = expression.covariates.condition(pd.DataFrame(index=range(n)), np.zeros(n))
    log_rates = np.log2(rates_at(expression.generator.vae, latents, neutral))
    score = (log_rates - log_rates.mean(axis=0)) @ expression.programs(seed=1).loadings.iloc[:, 0].to_numpy()
    assert stats.spearmanr(state[:n], score).statistic > 0.9
    other = (log_rates - log_rates.mean(axis=0)) @ expression.programs(seed=1).loadings.iloc[:, 1].to_numpy()
    assert abs(stats.spearmanr(state[:n], other).statistic) < 0.6
    wrong = parse(Scenario, {"cells": {"n_cells": 300, "state": {"program": 99}}, "effects": {}})
    with pytest.raises(ConfigError, match="program 99"):
        simulate(wrong, models, 1)


def test_every_contig_s_job_waits_for_all_models(workflow: Any, tiny_config: dict[str, Any], tmp_path: Path) -> None:
    disease = {"prevalence": 0.2, "n_cases": 6}
    config = {**tiny_config, "scenario": {**tiny_config["scenario"], "disease": disease}}
    made = workflow(tmp_path, config, "-n")
    text = made.stdout + made.stderr
    assert made.returncode == 0, text
    block = text[text.index("rule simulate_genotypes:") :].split("output:")[0]
    assert len({part for part in block.replace(",", " ").split() if "models/haplotypes" in part}) == 2


def test_the_donors_of_a_vcf_are_not_drawn(workflow: Any, tiny_config: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "cohort.vcf").write_text("")
    people = {"vcf": str(tmp_path / "cohort.vcf")}
    config = {**tiny_config, "scenario": {**tiny_config["scenario"], "population": people}}
    made = workflow(tmp_path / "run", config, "-n")
    assert made.returncode == 0, made.stdout + made.stderr
    text = made.stdout + made.stderr
    assert "rule simulate:" in text
    assert "rule simulate_genotypes:" not in text
    assert "cohort.vcf" in text[text.index("rule simulate:") :].split("output:")[0]
