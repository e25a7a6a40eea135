"""`genesim benchmark`: data sets with planted truth, and scores of answers to them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from genesim.cli.options import Quiet, say

_NAMES = "eqtl, eqtl_specific, eqtl_dynamic, de, rare_type, batch, doublets, donors, grn"


def run(
    words: Annotated[list[str], typer.Argument(metavar="NAME | score NAME", help=f"One of {_NAMES}.")],
    out: Annotated[Path | None, typer.Option("--out", help="Directory to write the benchmark into.")] = None,
    models: Annotated[Path | None, typer.Option(help="Directory of trained models; else the built-in example.")] = None,
    size: Annotated[str, typer.Option(help="small, medium or large.")] = "small",
    difficulty: Annotated[str, typer.Option(help="easy, medium or hard.")] = "medium",
    data: Annotated[Path | None, typer.Option(help="With score: the benchmark's directory.")] = None,
    answer: Annotated[Path | None, typer.Option(help="With score: the answer, a .csv, .tsv or .parquet.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed.")] = 0,
    quiet: Quiet = False,
) -> None:
    """Write a benchmark with truth and a card, or score an answer to one."""
    from genesim import console

    console.setup(quiet)
    if words[0] == "score":
        if len(words) != 2 or data is None or answer is None:
            raise typer.BadParameter("give: score NAME --data DIR --answer FILE")
        from genesim.pipeline.benchmark import score_benchmark

        typer.echo(score_benchmark(data, answer, words[1]).to_csv(sep="\t", index=False, lineterminator="\n"), nl=False)
        return
    if len(words) != 1 or out is None:
        raise typer.BadParameter("give: NAME --out DIR")
    from genesim.pipeline.benchmark import make_benchmark
    from genesim.provenance.atomic import check_writable

    check_writable(out)
    made = make_benchmark(words[0], out, models=models, size=size, difficulty=difficulty, seed=seed)  # type: ignore[arg-type]
    say(quiet, made)
