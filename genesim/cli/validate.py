"""`genesim validate`: is an artefact whole and unaltered?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def run(
    artefact: Annotated[
        Path, typer.Argument(metavar="DIR", help="Cohort, model, simulation, evaluation, or release bundle.")
    ],
    hash: Annotated[str | None, typer.Option(help="Release hash that the bundle must have.")] = None,
) -> None:
    """Check every file of an artefact against its manifest; of a bundle also its log, approval and papers."""
    from genesim.release.check import is_bundle

    if artefact.is_file():
        from genesim.release.archive import check_archive

        typer.echo(f"{artefact}: {check_archive(artefact, hash).words}")
    elif is_bundle(artefact):
        from genesim.release.check import check_bundle

        typer.echo(f"{artefact}: {check_bundle(artefact, hash).words}")
    else:
        from genesim.errors import ConfigError
        from genesim.provenance.manifest import verify_manifest

        verify_manifest(artefact)
        if hash is not None:
            raise ConfigError("--hash is for bundles", where=str(artefact), remedy="give a release bundle")
        typer.echo(f"{artefact}: whole")
