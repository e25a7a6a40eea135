"""What a whole run leaves for readers: a small page, its figures as files, and the commands that make them again."""

from __future__ import annotations

import html
import json
import re
import shlex
import shutil
import subprocess
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from genesim.provenance.manifest import verify_manifest

ROOT = Path(__file__).resolve().parents[2]
MOST_BYTES = 3_000_000
EXPECTED = {
    "score-strip", "embedding", "genes", "gene-distributions", "cells", "correlations", "ld-decay",
    "allele-frequencies", "genotype-pca", "effect-recovery", "expression-by-genotype",
}  # fmt: skip


def commands(page: str) -> list[list[str]]:
    (block,) = re.findall(r"<pre class=\"command\"[^>]*><code>(.*?)</code></pre>", page, re.S)
    return [shlex.split(line) for line in html.unescape(block).splitlines()]


def test_the_page_of_a_run_is_small_and_holds_the_figures(tiny_run: Path) -> None:
    page = tiny_run / "results" / "report.html"
    assert page.stat().st_size < MOST_BYTES
    drawn = set(re.findall(r'<figure id="figure-([a-z-]+)">', page.read_text(encoding="utf-8")))
    assert drawn >= EXPECTED
    files = {path.stem: path for path in (tiny_run / "results" / "figures").glob("*.svg")}
    assert set(files) == drawn
    for path in files.values():
        assert ET.parse(path).getroot()[0].text, path


def test_every_figure_has_a_caption_for_the_workflows_report() -> None:
    captions = (ROOT / "workflows" / "report" / "figure.rst").read_text()
    source = "".join(path.read_text() for path in (ROOT / "genesim" / "pipeline").glob("report*.py"))
    assert "yield" in source
    named = set(re.findall(r'^  "([a-z-]+)":', captions, re.M))
    assert named == EXPECTED | {"perturbation-effects", "subgroups", "attack-roc"}


def test_the_workflows_report_holds_the_figures_with_captions(
    tiny_run: Path, workflow: Any, tiny_config: dict[str, Any], tmp_path: Path
) -> None:
    made = workflow(tiny_run, tiny_config, "--report", str(tmp_path / "x.html"))
    assert made.returncode == 0, made.stdout + made.stderr
    whole = (tmp_path / "x.html").read_text(encoding="utf-8")
    for name in EXPECTED:
        assert f"{name}.svg" in whole, name
    assert "The simulated line should lie on the real one" in whole
    assert "A figure of the report." not in whole  # no figure is without a caption of its own


def test_a_report_begun_again_leaves_no_half_of_the_figures(
    tiny_run: Path, workflow: Any, tiny_config: dict[str, Any], tmp_path: Path
) -> None:
    """Snakemake removes outputs before a rule runs: it must not take the figures away one by one."""
    shutil.copytree(tiny_run, tmp_path / "run", symlinks=True, ignore=shutil.ignore_patterns("returncode"))
    results = tmp_path / "run" / "results"
    before = {path.name: path.read_bytes() for path in (results / "figures").glob("*.svg")}
    assert before
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "genesim").write_text("#!/bin/sh\nexit 1\n")
    (tmp_path / "bin" / "genesim").chmod(0o755)
    words = workflow.command(tmp_path / "run", tiny_config, "--forcerun", "report")
    path = f"{tmp_path / 'bin'}:{workflow.environment['PATH']}"
    environment = {**workflow.environment, "PATH": path}
    failed = subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert failed.returncode != 0
    assert "Error in rule report" in failed.stdout + failed.stderr
    assert {path.name: path.read_bytes() for path in (results / "figures").glob("*.svg")} == before
    # What says that they are of a report that ended is gone, as is the page.
    left = {path.name for path in results.iterdir()} - {path.name for path in (tiny_run / "results").iterdir()}
    assert not left
    assert not [
        name for name in ("report.html", "figures/manifest.sha256", "shown_figures") if (results / name).exists()
    ]
    again = workflow(tmp_path / "run", tiny_config)
    assert again.returncode == 0, again.stdout + again.stderr
    verify_manifest(results / "figures")
    for name in ("report.html", "figures/manifest.sha256", "shown_figures/manifest.sha256"):
        assert (results / name).read_bytes() == (tiny_run / "results" / name).read_bytes()


def test_the_reports_own_command_gives_the_same_bytes(
    tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from genesim.cli.app import app

    before = (tiny_run / "results" / "report.html").read_text(encoding="utf-8")
    for name in ("cohort", "sim", "evaluation"):
        (tmp_path / name).symlink_to(tiny_run / "results" / name)
    monkeypatch.chdir(tmp_path)
    *_, last = commands(before)
    assert last[:2] == ["genesim", "report"]
    answer = CliRunner().invoke(app, last[1:])
    assert answer.exit_code == 0, answer.output
    assert (tmp_path / "report.html").read_text(encoding="utf-8") == before


def test_the_evaluations_command_names_the_models_that_attacked(tiny_run: Path) -> None:
    """Without them it would score no white-box attack and no linkage: it once did not name them."""
    results = tiny_run / "results"
    inputs = json.loads((results / "evaluation" / "scores.parquet.provenance.json").read_text())["inputs"]
    assert {"expression", "effects"} <= set(inputs)
    _, evaluate, _ = commands((results / "report.html").read_text(encoding="utf-8"))
    assert evaluate[evaluate.index("--models") + 1] == "models"


@pytest.mark.slow
def test_the_other_commands_give_the_same_cells_and_scores(
    tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import pandas as pd

    from genesim.cli.app import app

    results = tiny_run / "results"
    for name in ("cohort", "models"):
        (tmp_path / name).symlink_to(results / name)
    monkeypatch.chdir(tmp_path)
    for command in commands((results / "report.html").read_text(encoding="utf-8"))[:2]:
        answer = CliRunner().invoke(app, command[1:])
        assert answer.exit_code == 0, answer.output
    for name in ("sim/truth/effects.parquet", "sim/truth/donors.parquet", "evaluation/scores.parquet"):
        pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / name), pd.read_parquet(results / name))
