"""The workflow as a module of another one, as Snakemake's workflow catalog has it: with that one's own config."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from genesim.config.run import RunConfig, workflow_run

pytest.importorskip("snakemake", reason="the workflow extra is not installed")
ROOT = Path(__file__).resolve().parents[2]

# Beside the genesim rules, a rule of its own that goes on from their outputs.
OTHER = """
configfile: "other.yaml"

module genesim:
    snakefile:
        {snakefile!r}
    config:
        config["genesim"]

use rule * from genesim as genesim_*

rule count_cells:
    default_target: True
    input:
        rules.genesim_all.input,
        cells="ours/sim/sim.h5ad",
    output:
        "n_cells.txt",
    shell:
        "python -c 'import anndata; print(anndata.read_h5ad(\\"{{input.cells}}\\", backed=True).n_obs)' > {{output}}"
"""


# What snakedeploy writes for a workflow of the catalog.
DEPLOYED = """
from snakemake.utils import min_version

min_version("6.10.0")

configfile: "config/config.yaml"

module genesim:
    snakefile:
        github("owner/genesim", path="workflow/Snakefile", tag="v1")
    config:
        config

use rule * from genesim
"""


def other_workflow(folder: Path, genesim: dict[str, Any]) -> None:
    (folder / "workflow").mkdir(parents=True)
    (folder / "workflow" / "Snakefile").write_text(OTHER.format(snakefile=str(ROOT / "Snakefile")))
    (folder / "other.yaml").write_text(yaml.safe_dump({"genesim": genesim}))


def snakemake(folder: Path, workflow: Any, *arguments: str) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, "-m", "snakemake", "--cores", "2", *arguments]
    return subprocess.run(words, cwd=folder, env=workflow.environment, capture_output=True, text=True, check=False)


@pytest.fixture
def deployed(tmp_path: Path, workflow: Any) -> Any:
    """A folder made as snakedeploy makes it, and Snakemake in it; the workflow is a tag of a repository elsewhere."""
    source = tmp_path / "source"
    for name in ("Snakefile", "workflow", "workflows", "config"):
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        source.mkdir(exist_ok=True)
        copy(ROOT / name, source / name)
    author = ["-c", "user.name=a", "-c", "user.email=a@b"]
    for words in (["init", "-q"], ["add", "-A"], [*author, "commit", "-qm", "v1"], ["tag", "v1"]):
        subprocess.run(["git", *words], cwd=source, check=True, capture_output=True)
    folder = tmp_path / "deployed"
    (folder / "workflow").mkdir(parents=True)
    (folder / "workflow" / "Snakefile").write_text(DEPLOYED)
    shutil.copytree(ROOT / "config", folder / "config")
    # Git goes to the folder above instead of GitHub.
    instead = {"KEY_0": f"url.{source.as_uri()}.insteadOf", "VALUE_0": "https://github.com/owner/genesim"}
    environment = {**workflow.environment, "XDG_CACHE_HOME": str(tmp_path / "cache"), "GIT_CONFIG_COUNT": "1"}
    environment |= {f"GIT_CONFIG_{name}": value for name, value in instead.items()}

    def snakemake_in_it(*arguments: str) -> subprocess.CompletedProcess[str]:
        words = [sys.executable, "-m", "snakemake", "--cores", "2", *arguments]
        return subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, check=False)

    return folder, snakemake_in_it


def planned_jobs(text: str) -> dict[str, str]:
    return dict(re.findall(r"^(\w+) +(\d+)$", text, re.M))


@pytest.fixture
def ours(tiny_config: dict[str, Any]) -> dict[str, Any]:
    return {"pathvars": {"results": "ours"}, **tiny_config}


def test_another_workflow_imports_every_rule_with_its_own_config(
    tmp_path: Path, workflow: Any, ours: dict[str, Any]
) -> None:
    other_workflow(tmp_path, ours)
    shown = snakemake(tmp_path, workflow, "--dry-run", "--printshellcmds")
    text = shown.stdout + shown.stderr
    assert shown.returncode == 0, text
    planned = dict(re.findall(r"^(\w+) +(\d+)$", text, re.M))
    assert planned.pop("count_cells") == "1"
    assert planned.pop("total") == "14"
    assert all(name.startswith("genesim_") for name in planned)
    outputs = [path for line in re.findall(r"^ +output: (.*)$", text, re.M) for path in line.split(", ")]
    assert all(path.startswith("ours/") or path == "n_cells.txt" for path in outputs)
    assert "results/demo" not in text
    assert '"n_cells": 240' in text  # of the other workflow's config


def test_its_config_is_checked_as_ever(tmp_path: Path, workflow: Any, ours: dict[str, Any]) -> None:
    other_workflow(tmp_path, {**ours, "sed": 1})
    shown = snakemake(tmp_path, workflow, "--dry-run")
    assert shown.returncode != 0
    assert "unknown key 'sed'" in shown.stdout + shown.stderr


@pytest.mark.slow
def test_the_other_workflow_goes_on_from_the_outputs(tmp_path: Path, workflow: Any, ours: dict[str, Any]) -> None:
    other_workflow(tmp_path, ours)
    shown = snakemake(tmp_path, workflow)
    assert shown.returncode == 0, (shown.stdout + shown.stderr)[-5000:]
    assert (tmp_path / "n_cells.txt").read_text().strip() == "240"
    assert (tmp_path / "ours" / "report.html").stat().st_size


def test_the_catalogs_standard_usage_plans_the_built_in_example(deployed: Any) -> None:
    _, snakemake_in_it = deployed
    shown = snakemake_in_it("--dry-run")
    assert shown.returncode == 0, shown.stdout + shown.stderr
    planned = planned_jobs(shown.stdout + shown.stderr)
    words = [sys.executable, "-m", "snakemake", "--nolock", "--forceall", "--dry-run", "--cores", "2"]
    here = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    assert int(planned["total"]) > 10
    assert planned == planned_jobs(here.stdout + here.stderr)


def test_the_catalogs_standard_usage_takes_the_config_of_its_own_folder(deployed: Any, ours: dict[str, Any]) -> None:
    folder, snakemake_in_it = deployed
    (folder / "config" / "config.yaml").write_text(yaml.safe_dump(ours))
    shown = snakemake_in_it("--dry-run", "--printshellcmds")
    text = shown.stdout + shown.stderr
    assert shown.returncode == 0, text
    assert "ours/report.html" in text
    assert '"n_cells": 240' in text
    (folder / "config" / "config.yaml").write_text(yaml.safe_dump({**ours, "sed": 1}))
    shown = snakemake_in_it("--dry-run")
    assert shown.returncode != 0
    assert "unknown key 'sed'" in shown.stdout + shown.stderr


@pytest.mark.slow
def test_the_catalogs_standard_usage_runs_and_reports(
    deployed: Any, tiny_config: dict[str, Any], tiny_run: Path
) -> None:
    folder, snakemake_in_it = deployed
    config = {"pathvars": {"results": "results"}, **tiny_config}
    (folder / "config" / "config.yaml").write_text(yaml.safe_dump(config))
    shown = snakemake_in_it()
    assert shown.returncode == 0, (shown.stdout + shown.stderr)[-5000:]
    for name in ("sim/manifest.sha256", "report.html"):
        assert (folder / "results" / name).read_bytes() == (tiny_run / "results" / name).read_bytes()
    shown = snakemake_in_it("--report", "whole.html")
    assert shown.returncode == 0, (shown.stdout + shown.stderr)[-5000:]
    assert "The simulated line should lie on the real one" in (folder / "whole.html").read_text(encoding="utf-8")


def test_the_catalog_finds_what_it_asks_for() -> None:
    settings = yaml.safe_load((ROOT / ".snakemake-workflow-catalog.yml").read_text())
    assert settings["usage"]["software-stack-deployment"]["report"]
    assert (ROOT / "workflow" / "Snakefile").is_file()
    text = (ROOT / "config" / "README.md").read_text()
    example, *more = re.findall(r"```yaml\n(.*?)```", text, re.S)
    assert not more
    run, inputs = workflow_run(yaml.safe_load(example))
    assert run.pathvars.results == "results/mine"
    assert inputs is not None
    sections = {name for row in re.findall(r"^\| (`.*?) \|", text, re.M) for name in re.findall(r"`(\w+)`", row)}
    assert sections == set(RunConfig.model_fields) - {"seed", "pathvars"}
