"""`genesim`: the five verbs and their helpers. Heavy packages load only when a verb runs."""

from __future__ import annotations

import sys

import typer

from genesim import __version__
from genesim.cli import (
    benchmark,
    doctor,
    evaluate,
    example,
    perturb,
    prepare,
    release,
    report,
    schema,
    simulate,
    train,
    validate,
)
from genesim.errors import GenesimError

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Learn from your VCF and h5ad; simulate donors, genotypes, variant effects and cells, with truth.",
)


def _version(show: bool) -> None:
    if show:
        typer.echo(f"genesim {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Print the version."),
) -> None:
    """Five verbs: prepare, train, simulate, evaluate, report."""


for module in (prepare, train, simulate, evaluate, report, perturb, benchmark, example, validate, doctor, schema):
    app.command(module.__name__.rsplit(".", 1)[-1])(module.run)
app.add_typer(release.app, name="release")


def main() -> None:
    """Entry point: an error that genesim raises on purpose becomes one line and its exit code."""
    code, error = 1, ""
    try:
        app()
        code = 0
    except GenesimError as raised:
        print(f"genesim: {type(raised).__name__}: {raised}", file=sys.stderr)
        code, error = raised.exit_code, type(raised).__name__
        sys.exit(code)
    except SystemExit as ended:  # typer's way out, whatever happened
        code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
        raise
    except BaseException as raised:
        error = type(raised).__name__
        raise
    finally:
        # Loaded only where a verb has locked its output.
        if (lock := sys.modules.get("genesim.provenance.lock")) is not None:
            lock.release()
        # Loaded only where a verb has begun, which `--help` has not.
        if (run_log := sys.modules.get("genesim.provenance.run_log")) is not None:
            run_log.end(code, error)
