"""`import genesim as gs`: the names that users call, whatever was imported before."""

from __future__ import annotations

import subprocess
import sys

import pytest

VERBS = ("prepare", "train", "simulate", "evaluate", "report")


@pytest.mark.parametrize("before", ["pass", "import genesim.simulate.effects, genesim.report.html; gs.train"])
def test_a_verb_is_a_function_although_a_subpackage_has_its_name(before: str) -> None:
    code = f"""
import genesim as gs
{before}
for verb in {VERBS!r}:
    value = getattr(gs, verb)
    assert type(value).__name__ == "function", (verb, value)
from genesim import train
from genesim.train.loop import fit
assert train is gs.train
assert set(gs.__all__) <= set(dir(gs))
"""
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert shown.returncode == 0, shown.stderr
