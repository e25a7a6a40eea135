"""The schema that the workflow validates with is the one of the records that parse the config."""

from pathlib import Path

import pytest
import yaml

from genesim.config.base import load, parse
from genesim.config.run import RunConfig, load_run
from genesim.config.scenario import Scenario
from genesim.config.schema import SCHEMAS, schema_text
from genesim.errors import ConfigError

CONFIG = Path(__file__).resolve().parents[2] / "config"


@pytest.mark.parametrize("name", SCHEMAS)
def test_written_schemas_agree_with_the_records(name):
    assert (CONFIG / f"{name}.schema.json").read_text() == schema_text(name)


@pytest.mark.parametrize("path", sorted(CONFIG.glob("*.yaml")))
def test_shipped_configs_parse(path):
    load(RunConfig, path)


@pytest.mark.parametrize("path", sorted((CONFIG / "scenarios").glob("*.yaml")))
def test_shipped_scenarios_parse(path):
    assert load(Scenario, path).name


def test_a_run_has_one_source():
    values = yaml.safe_load((CONFIG / "config.yaml").read_text())
    values["inputs"] = {"h5ad": "a.h5ad", "vcf": "b.vcf.gz"}
    with pytest.raises(ConfigError, match="not both"):
        parse(RunConfig, values)


def test_inline_json_and_its_mistakes():
    assert load_run('{"seed": 3}').seed == 3
    with pytest.raises(ConfigError, match="not valid JSON"):
        load_run("{seed")
    with pytest.raises(ConfigError, match="'seed'"):
        load_run('{"seed": -1}')


def test_every_donor_needs_a_cell():
    with pytest.raises(ConfigError, match="every donor needs a cell"):
        parse(Scenario, {"population": {"n_donors": 10}, "cells": {"n_cells": 5}})
