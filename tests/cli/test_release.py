"""`genesim release` and `genesim validate` from a shell."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from genesim.release.questions import template


def test_from_a_run_to_a_release(tiny_run: Path, tmp_path: Path, genesim: Callable[..., Any]) -> None:
    results, bundle, answers = tiny_run / "results", tmp_path / "bundle", tmp_path / "answers.yaml"
    dry = genesim("release", "prepare", results, "--out", bundle, "--dry-run")
    assert (dry.code, dry.out) == (0, f"would gather {results} into {bundle}\n")
    assert not bundle.exists()

    asked = genesim("release", "questions")
    assert asked.out == template()
    given = yaml.safe_load(asked.out) | {"title": "From a shell"}
    answers.write_text(yaml.safe_dump(given))
    made = genesim("release", "prepare", results, "--out", bundle, "--answers", answers)
    assert made.code == 0, made.err
    assert "not answered (31): publisher" in made.out
    hash = re.findall(r"bundle hash ([0-9a-f]{64})", made.out)[0]
    assert genesim("validate", bundle).out.startswith(f"{bundle}: whole; not approved by anyone")

    refused = genesim("release", "finish", bundle)
    assert refused.code == 4
    assert (
        f"nobody has approved it -> a named person runs: genesim release approve {bundle} --hash {hash}" in refused.err
    )
    who = ("--hash", hash, "--name", "Ann Example", "--role", "steward", "--statement", "I release it.")
    assert "questions are not answered" in genesim("release", "approve", bundle, *who).err
    approved = genesim("release", "approve", bundle, *who, "--accept-unanswered")
    assert "approved by Ann Example (steward)" in approved.out

    archive = tmp_path / "bundle.tar.gz"
    done = genesim("release", "finish", bundle, "--archive", archive)
    assert done.code == 0, done.err
    head = re.findall(r"release hash ([0-9a-f]{64})", done.out)[0]
    for what in (bundle, archive):
        assert genesim("validate", what, "--hash", head).code == 0
        assert genesim("validate", what, "--hash", "0" * 64).code == 4

    (bundle / "data" / "scenario.yaml").write_text("name: other\n")
    broken = genesim("validate", bundle)
    assert broken.code == 4
    assert "data/scenario.yaml differs from the manifest (the approval by Ann Example is void)" in broken.err
    assert "Traceback" not in broken.err


def test_a_hash_is_asked_of_bundles_only(tiny_run: Path, genesim: Callable[..., Any]) -> None:
    assert genesim("validate", tiny_run / "results" / "sim").code == 0
    refused = genesim("validate", tiny_run / "results" / "sim", "--hash", "0" * 64)
    assert refused.code == 2
    assert "--hash is for bundles" in refused.err
