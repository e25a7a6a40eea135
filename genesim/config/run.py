"""A whole run: what the workflow and every verb's `--config` read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pydantic import Field, PositiveInt, model_validator

from genesim import rng
from genesim.config.base import Record, load, parse, read_yaml
from genesim.config.evaluate import EvaluateConfig
from genesim.config.inputs import InputsConfig
from genesim.config.model import ModelsConfig
from genesim.config.perturbation import PerturbationRun
from genesim.config.report import ReportConfig
from genesim.config.scenario import Scenario
from genesim.errors import ConfigError


class ExampleConfig(Record):
    """The built-in example: real cells bundled with scanpy, donors simulated by msprime."""

    n_donors: PositiveInt = Field(300, ge=12)
    """Genotyped donors, a third from each population."""
    n_cell_donors: PositiveInt = Field(36, ge=6)
    """Donors that the 700 cells are dealt to."""
    n_genes: PositiveInt | None = Field(None, ge=10)
    """Genes kept, the most expressed ones; none keeps all 765."""
    max_variants: PositiveInt = 2500
    """Most sites of each of the two contigs."""

    @model_validator(mode="after")
    def _enough_donors(self) -> ExampleConfig:
        if self.n_cell_donors > self.n_donors:
            raise ValueError("n_cell_donors is larger than n_donors: donors with cells are genotyped too")
        return self


class Pathvars(Record):
    """Where the workflow writes."""

    results: str = "results/demo"
    logs: str | None = None
    """None puts them into `<results>/logs`."""
    benchmarks: str | None = None
    """None puts them into `<results>/benchmarks`."""

    def resolved(self) -> dict[str, str]:
        """Every path by its name."""
        return {
            "results": self.results,
            "logs": self.logs or f"{self.results}/logs",
            "benchmarks": self.benchmarks or f"{self.results}/benchmarks",
        }


class WorkflowConfig(Record):
    """Into how many jobs the workflow scatters its heavy steps. No number changes a result."""

    effect_shards: PositiveInt = 1
    """Jobs that fit the genes' effects, after one that learns what genes share (batches of
    `models.effects.gene_minibatch` genes are dealt to them)."""
    cell_shards: PositiveInt = 1
    """Jobs that draw the simulated cells, in whole chunks of 2,048."""
    replicates: PositiveInt = 1
    """Simulations of the scenario, each evaluated: the first with the run's seed, the others with seeds derived from
    it; `<results>/replicates/scores.parquet` has all scores."""


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
    perturbation: PerturbationRun | None = None
    """A perturbation screen: train on it and predict every perturbation of its sweep. Stands alone, or beside the
    rest of the run."""
    evaluate: EvaluateConfig = EvaluateConfig()
    report: ReportConfig = ReportConfig()
    workflow: WorkflowConfig = WorkflowConfig()

    @model_validator(mode="after")
    def _one_source(self) -> RunConfig:
        if self.example is not None and self.inputs is not None:
            raise ValueError("set either 'example' or 'inputs', not both")
        return self

    def replicate_seeds(self) -> dict[int, int]:
        """Seed of every replicate after the first, by its number."""
        return {i: rng.seed(self.seed, "replicate", i) for i in range(2, self.workflow.replicates + 1)}

    def resolved_scenario(self) -> Scenario:
        """The scenario, read from its file where it is given by path."""
        return self.scenario if isinstance(self.scenario, Scenario) else load(Scenario, self.scenario)


def example_inputs(directory: str | Path) -> InputsConfig:
    """Inputs of the built-in example once its raw files are in `directory`."""
    directory = Path(directory)
    return InputsConfig(
        h5ad=directory / "cells.h5ad",
        vcf=directory / "donors.vcf.gz",
        donors=directory / "donors.tsv",
        genes=directory / "genes.gtf",
        contigs=("21", "22"),
    )


def workflow_run(values: dict[str, Any]) -> tuple[RunConfig, InputsConfig | None]:
    """The run that the workflow plays, and its inputs, refused here where a job would refuse it hours later.

    Inputs are None where there is only a perturbation screen.

    Raises:
        ConfigError: Naming the key, its value and what is allowed.
    """
    where = "workflow config"
    run = parse(RunConfig, values, where=where)
    inputs = example_inputs(f"{run.pathvars.resolved()['results']}/example") if run.example else run.inputs
    if run.perturbation is not None and not run.perturbation.requests():
        raise ConfigError(
            "key 'perturbation.sweep' is empty: jobs are scattered over perturbations",
            where=where,
            remedy="list perturbations, such as A:0.5+B, or name a table of them",
        )
    if inputs is None:
        if run.perturbation is None:
            raise ConfigError("has neither 'example' nor 'inputs'", where=where, remedy="name your files in 'inputs'")
        return run.model_copy(update={"scenario": run.resolved_scenario()}), None
    if not inputs.contigs:
        raise ConfigError(
            "key 'inputs.contigs' is empty: jobs are scattered over contigs",
            where=where,
            remedy="list the contigs of the VCF to use",
        )
    if run.models.expression.method not in ("auto", "vae"):
        raise ConfigError(
            f"key 'models.expression.method' is {run.models.expression.method!r}: effects cannot be planted in it",
            where=where,
            remedy="set it to 'auto' or 'vae'; `genesim train expression` fits the baselines",
        )
    return run.model_copy(update={"scenario": run.resolved_scenario()}), inputs


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
