"""`genesim release`: gather a run into a bundle, have a named person approve it, release it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from genesim.cli.options import DryRun, Out, Quiet, planned, say

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Gather a run into a bundle, have a named person approve its hash, release it.",
)
Bundle = Annotated[Path, typer.Argument(help="Bundle that `genesim release prepare` wrote.")]


@app.command()
def prepare(
    run: Annotated[Path, typer.Argument(help="Results folder: cohort/, models/, sim/, evaluation/, report.html.")],
    out: Out,
    answers: Annotated[Path | None, typer.Option(help="YAML with what only you know; see `questions`.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the scores by group.")] = 0,
    dry_run: DryRun = False,
    quiet: Quiet = False,
) -> None:
    """Gather data, scores, cards, data sheet, privacy, fairness, crate, log and manifest into a bundle."""
    from genesim import console

    console.setup(quiet)
    if planned(dry_run, f"gather {run}", out):
        return
    from genesim.pipeline.release import prepare_release

    found = prepare_release(run, out=out, answers=answers, seed=seed)
    open_questions = found.index.not_answered
    if open_questions:
        say(quiet, f"not answered ({len(open_questions)}): {', '.join(open_questions)}")
    say(quiet, f"bundle hash {found.bundle_hash}", out)


@app.command()
def questions() -> None:
    """Print a YAML file of every question, to fill in for `prepare --answers`."""
    from genesim.release.questions import template

    typer.echo(template(), nl=False)


@app.command()
def approve(
    bundle: Bundle,
    hash: Annotated[str, typer.Option(help="The bundle hash that you have read and approve.")],
    name: Annotated[str, typer.Option(help="Your name.")],
    role: Annotated[str, typer.Option(help="What entitles you to approve.")],
    statement: Annotated[str, typer.Option(help="What you state.")],
    accept_unanswered: Annotated[bool, typer.Option(help="Accept that questions are left open.")] = False,
    quiet: Quiet = False,
) -> None:
    """Approve a bundle's hash as a named person; any change to the bundle voids it."""
    from genesim.release.approve import approve_release

    found = approve_release(
        bundle,
        bundle_hash=hash,
        name=name,
        role=role,
        statement=statement,
        accept_unanswered=accept_unanswered,
    )
    say(quiet, f"{bundle}: {found.words}")


@app.command()
def finish(
    bundle: Bundle,
    archive: Annotated[Path | None, typer.Option(help="Also write the bundle as one .tar.gz.")] = None,
    quiet: Quiet = False,
) -> None:
    """Release an approved bundle; refuses where nobody approved it or anything has changed since."""
    from genesim.release.approve import finish_release

    found = finish_release(bundle)
    if archive is not None:
        from genesim.release.archive import write_archive

        write_archive(bundle, archive)
        say(quiet, archive)
    say(quiet, f"{bundle}: {found.words}")
