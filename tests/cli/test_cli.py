"""The command line: light, and its errors name the key and the remedy."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
HEAVY = ("jax", "flax", "anndata", "pandas", "scanpy", "pydantic", "matplotlib")
VERBS = ("prepare", "train", "simulate", "evaluate", "report", "perturb", "example", "validate", "schema", "release")


def run(*arguments):
    return subprocess.run(
        [sys.executable, "-c", "from genesim.cli.app import main; main()", *arguments],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )


def test_help_lists_the_verbs_and_is_quick():
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        shown = run("--help")
        seconds.append(time.perf_counter() - start)
    assert shown.returncode == 0
    assert all(verb in shown.stdout for verb in VERBS)
    assert min(seconds) < 0.5


@pytest.mark.parametrize("module", ["genesim", "genesim.cli.app"])
def test_imports_are_light(module):
    code = f"import sys, {module}; print([m for m in {HEAVY!r} if m in sys.modules])"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("verb", "unused"),
    [("prepare", ("jax", "flax", "scanpy", "sklearn")), ("train", ("scanpy", "sklearn", "scipy.stats", "matplotlib"))],
)
def test_a_verb_starts_without_what_it_does_not_use(verb, unused):
    code = f"import sys, genesim.pipeline.{verb}; print([m for m in {unused!r} if m in sys.modules])"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"


def test_errors_are_one_line_with_the_exit_code_of_their_class(tmp_path):
    config = tmp_path / "run.yaml"
    config.write_text("sed: 1\n")
    shown = run("prepare", "--config", str(config), "--out", str(tmp_path / "cohort"))
    assert shown.returncode == 2
    assert "unknown key 'sed'" in shown.stderr
    assert "did you mean 'seed'?" in shown.stderr
    assert "Traceback" not in shown.stderr
    assert not (tmp_path / "cohort").exists()


def test_a_dry_run_writes_nothing(tmp_path):
    shown = run("simulate", "--models", str(tmp_path), "--out", str(tmp_path / "sim"), "--dry-run")
    assert shown.returncode == 0
    assert shown.stdout.startswith("would simulate 100 donors")
    assert list(tmp_path.iterdir()) == []


def test_validate_names_the_altered_file(tmp_path):
    from genesim.provenance.atomic import atomic_directory

    with atomic_directory(tmp_path / "thing") as directory:
        (directory / "a.txt").write_text("hello")
    assert run("validate", str(tmp_path / "thing")).returncode == 0
    (tmp_path / "thing" / "a.txt").write_text("hullo")
    shown = run("validate", str(tmp_path / "thing"))
    assert shown.returncode == 4
    assert "a.txt differs" in shown.stderr
