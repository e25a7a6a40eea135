"""Profiles of other clouds and the container recipe: they cannot be run here, and say so; what can be checked is."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
UNTESTED = {"kubernetes": "kubernetes", "googlebatch": "googlebatch", "awsbatch": "aws-batch"}


def test_every_profile_is_known() -> None:
    assert {p.name for p in (ROOT / "profiles").iterdir()} == {"default", "slurm", *UNTESTED}


@pytest.mark.parametrize(("name", "executor"), UNTESTED.items())
def test_profiles_that_nobody_has_run_say_so(name: str, executor: str) -> None:
    text = (ROOT / "profiles" / name / "config.yaml").read_text()
    profile, slurm = yaml.safe_load(text), yaml.safe_load((ROOT / "profiles" / "slurm" / "config.yaml").read_text())
    assert text.startswith("# UNTESTED")
    assert profile["executor"] == executor
    # As on a real cluster, where it was run.
    for key in ("rerun-incomplete", "retries", "default-resources", "show-failed-logs"):
        assert profile[key] == slurm[key], key


def test_the_container_recipe_copies_what_there_is() -> None:
    text = (ROOT / "Containerfile").read_text()
    copied = [word for line in text.splitlines() if line.startswith("COPY") for word in line.split()[1:-1]]
    assert {"pyproject.toml", "genesim", "Snakefile", "workflows", "profiles", "config"} <= set(copied)
    assert [name for name in copied if "[" not in name and not (ROOT / name).exists()] == []
