"""The commands that make a report again, written from what its inputs say of themselves."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from genesim.config.base import parse
from genesim.config.evaluate import EvaluateConfig
from genesim.config.model import EffectConfig
from genesim.config.report import ReportConfig
from genesim.config.scenario import Scenario
from genesim.provenance.paths import without_folders

_EVALUATED = "scores.parquet.provenance.json"


def _line(verb: str, config: Mapping[str, Any], seed: int, **options: str) -> str:
    """One command; folders of the machine that made the files are left out."""
    words = ["genesim", verb]
    for name, value in options.items():
        words += [f"--{name}", value]
    if config:
        words += ["--config", json.dumps(without_folders(dict(config)), sort_keys=True)]
    return shlex.join([*words, "--seed", str(seed)])


def _changed(record: Any) -> dict[str, Any]:
    """Settings that are not the defaults."""
    return record.model_dump(mode="json", exclude_defaults=True)


def commands(
    simulated: str | Path,
    evaluation: str | Path,
    *,
    title: str,
    config: ReportConfig,
    seed: int,
    example: bool = False,
    perturbed: bool = False,
) -> str:
    """`simulate`, `evaluate` and `report`, a line each, with every setting that is not a default.

    Args:
        simulated: Directory that `simulate` wrote.
        evaluation: Directory that `evaluate` wrote.
        title, config, seed, example: Of the report.
        perturbed: The report shows a screen's predictions too.
    """
    simulated, evaluation = Path(simulated), Path(evaluation)
    scenario = parse(Scenario, yaml.safe_load((simulated / "scenario.yaml").read_text()), where="scenario.yaml")
    made = json.loads((simulated / "provenance.json").read_text())
    scored = json.loads((evaluation / _EVALUATED).read_text())
    settings = dict(scored["config"])
    effects = _changed(parse(EffectConfig, settings.pop("effects", {}), where=_EVALUATED))
    asked = {"evaluate": _changed(parse(EvaluateConfig, settings, where=_EVALUATED)), "models": {"effects": effects}}
    chosen = {name: value for name, value in asked.items() if value and value != {"effects": {}}}
    page: dict[str, Any] = {"example": {}} if example else {}
    page |= {"report": _changed(config)} if _changed(config) else {}
    more = {"perturbed": "perturb/effects.parquet"} if perturbed else {}
    attacking = {"models": "models"} if {"expression", "effects"} & set(scored["inputs"]) else {}
    lines = [
        _line("simulate", {"scenario": _changed(scenario)}, made["seed"], models="models", out="sim"),
        _line("evaluate", chosen, scored["seed"], cohort="cohort", simulated="sim", **attacking, out="evaluation"),
        _line(
            "report", page, seed, cohort="cohort", simulated="sim", evaluation="evaluation", title=title, **more,
            out="report.html",
        ),
    ]  # fmt: skip
    return "\n".join(lines)
