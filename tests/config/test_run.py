"""A run as the workflow reads it: what would fail hours later is refused here, by key."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from genesim.config.base import parse
from genesim.config.run import Pathvars, RunConfig, workflow_run
from genesim.config.scenario import Scenario
from genesim.errors import ConfigError

INPUTS = {"h5ad": "a.h5ad", "vcf": "a.vcf.gz", "contigs": ["1"]}


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({}, "neither 'example' nor 'inputs'"),
        ({"example": {}, "inputs": INPUTS}, "not both"),
        ({"inputs": {**INPUTS, "contigs": []}}, "key 'inputs.contigs' is empty"),
        ({"example": {}, "models": {"expression": {"method": "independent"}}}, "'models.expression.method'"),
        ({"example": {"n_cell_donors": 5}}, "key 'example.n_cell_donors' is 5"),
        ({"example": {"n_donors": 12, "n_cell_donors": 13}}, "n_cell_donors is larger than n_donors"),
        ({"example": {"n_genes": 9}}, "key 'example.n_genes' is 9"),
        ({"example": {}, "scenario": "nowhere.yaml"}, "nowhere.yaml: cannot be read"),
        ({"example": {}, "scenario": {"cells": {"n_cells": "x"}}}, "key 'scenario.cells.n_cells' is 'x'"),
        ({"example": {}, "report": {"embedding": "tsne"}}, "key 'report.embedding' is 'tsne'"),
    ],
)
def test_what_the_workflow_cannot_run_is_refused_with_its_key(values: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        workflow_run(values)
    assert said in str(caught.value)
    assert " -> " in str(caught.value)


def test_the_workflow_gets_its_inputs_and_its_scenario_read(tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text("{name: mine}")
    run, inputs = workflow_run({"example": {}, "pathvars": {"results": "here"}, "scenario": str(tmp_path / "s.yaml")})
    assert isinstance(run.scenario, Scenario)
    assert run.scenario.name == "mine"
    assert inputs.h5ad == Path("here/example/cells.h5ad")
    assert inputs.contigs == ("21", "22")
    assert workflow_run({"inputs": INPUTS})[1].vcf == Path("a.vcf.gz")


def test_logs_and_benchmarks_go_with_the_results() -> None:
    assert Pathvars(results="a").resolved() == {"results": "a", "logs": "a/logs", "benchmarks": "a/benchmarks"}
    assert Pathvars(results="a", logs="/var/log").resolved()["logs"] == "/var/log"


def test_a_nested_key_of_a_union_is_named_plainly() -> None:
    with pytest.raises(ConfigError, match=r"unknown key 'scenario\.cels' -> did you mean 'cells'\?"):
        parse(RunConfig, {"scenario": {"cels": {}}})
