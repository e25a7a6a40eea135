"""Benchmarks of the workflow itself run the very example that the tests run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml


def test_the_tiny_config_is_that_of_the_tests(tiny_values: dict[str, Any]) -> None:
    path = Path(__file__).resolve().parents[2] / "benchmarks" / "tiny.yaml"
    assert yaml.safe_load(path.read_text()) == tiny_values
