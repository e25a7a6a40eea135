"""JSON Schema of the run and of the scenario, generated from the records that also parse them."""

from __future__ import annotations

import json
from typing import Any

from genesim.config.base import Record
from genesim.config.run import RunConfig
from genesim.config.scenario import Scenario

SCHEMAS: dict[str, type[Record]] = {"run": RunConfig, "scenario": Scenario}
DIALECT = "https://json-schema.org/draft/2020-12/schema"


def schema(name: str) -> dict[str, Any]:
    """JSON Schema (2020-12) called `name`."""
    return {"$schema": DIALECT, **SCHEMAS[name].model_json_schema()}


def schema_text(name: str) -> str:
    """The schema as the file `config/<name>.schema.json` holds it."""
    return json.dumps(schema(name), indent=2, sort_keys=True) + "\n"
