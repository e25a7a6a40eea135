"""`genesim schema`: the JSON Schema of the config and of the scenario."""

from __future__ import annotations

from typing import Annotated

import typer


def run(name: Annotated[str, typer.Argument(help="run or scenario")]) -> None:
    """Print a JSON Schema, generated from the records that also parse the files."""
    from genesim.config.schema import SCHEMAS, schema_text
    from genesim.errors import ConfigError

    if name not in SCHEMAS:
        raise ConfigError(f"no schema is called {name!r}", where="schema", remedy=f"one of {', '.join(SCHEMAS)}")
    typer.echo(schema_text(name), nl=False)
