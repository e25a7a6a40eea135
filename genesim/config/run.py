"""A whole run: what the workflow and every verb's `--config` read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pydantic import Field, PositiveInt, model_validator

from genesim.config.base import Record, load, parse, read_yaml
from genesim.config.evaluate import EvaluateConfig
from genesim.config.inputs import InputsConfig
from genesim.config.model import ModelsConfig
from genesim.config.scenario import Scenario
from genesim.errors import ConfigError


class ExampleConfig(Record):
    """The built-in example: real cells bundled with scanpy, donors simulated by msprime."""

    n_donors: PositiveInt = Field(300, ge=12)
    """Genotyped donors, a third from each population."""
    n_cell_donors: PositiveInt = Field(36, ge=4)
    """Donors that the 700 cells are dealt to."""


class Pathvars(Record):
    """Where the workflow writes."""

    results: str = "results/demo"
    logs: str = "results/demo/logs"
    benchmarks: str = "results/demo/benchmarks"


class RunConfig(Record):
    """One run from raw files to the report."""

    seed: int = Field(0, ge=0, lt=2**31)
    pathvars: Pathvars = Pathvars()
    example: ExampleConfig | None = None
    """Make the built-in example's raw files and run on them; then `inputs` stays out."""
    inputs: InputsConfig | None = None
    models: ModelsConfig = ModelsConfig()
    scenario: Scenario | Path = Scenario()
    """The scenario, or the path of its YAML file."""
    evaluate: EvaluateConfig = EvaluateConfig()

    @model_validator(mode="after")
    def _one_source(self) -> RunConfig:
        if self.example is not None and self.inputs is not None:
            raise ValueError("set either 'example' or 'inputs', not both")
        return self

    def resolved_scenario(self) -> Scenario:
        """The scenario, read from its file where it is given by path."""
        return self.scenario if isinstance(self.scenario, Scenario) else load(Scenario, self.scenario)


def example_inputs(directory: str | Path, config: ExampleConfig) -> InputsConfig:
    """Inputs of the built-in example once its raw files are in `directory`."""
    directory = Path(directory)
    return InputsConfig(
        h5ad=directory / "cells.h5ad",
        vcf=directory / "donors.vcf.gz",
        donors=directory / "donors.tsv",
        genes=directory / "genes.gtf",
        contigs=("21", "22"),
    )


def load_run(source: str | Path | None) -> RunConfig:
    """A run from a YAML file, from inline JSON (text that starts with `{`), or all defaults.

    Raises:
        ConfigError: Naming the key, its value and what is allowed.
    """
    if source is None:
        return RunConfig()
    text = str(source)
    if not text.lstrip().startswith("{"):
        return parse(RunConfig, read_yaml(source) or {}, where=text)
    try:
        values: Any = json.loads(text)
    except json.JSONDecodeError as error:
        raise ConfigError(f"is not valid JSON ({error})", where="--config", remedy="give a file") from error
    return parse(RunConfig, values, where="--config")
