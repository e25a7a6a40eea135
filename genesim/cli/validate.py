"""`genesim validate`: is an artefact whole and unaltered?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def run(directory: Annotated[Path, typer.Argument(help="Cohort, model, simulation or evaluation.")]) -> None:
    """Check every file of an artefact against its manifest."""
    from genesim.provenance.manifest import verify_manifest

    verify_manifest(directory)
    typer.echo(f"{directory}: whole")
