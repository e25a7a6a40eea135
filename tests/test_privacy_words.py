"""No file says that data are something no test can show."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
CLAIM = re.compile("anonym" + "(ous|ity)", re.IGNORECASE)
TEXT = {".py", ".md", ".rst", ".toml", ".yaml", ".yml", ".html", ".j2", ".ipynb", ".json", ".cff", ".smk"}
PLACES = ("genesim", "tests", "benchmarks", "docs", "notebooks", "config", "workflows", "profiles")


def test_the_word_is_nowhere() -> None:
    files = [p for p in ROOT.iterdir() if p.is_file() and p.suffix in TEXT]
    files += [p for place in PLACES for p in (ROOT / place).rglob("*") if p.is_file() and p.suffix in TEXT]
    assert len(files) > 300
    assert CLAIM.search("an Anonym" + "ous cohort")
    found = [p.relative_to(ROOT) for p in files if CLAIM.search(p.read_text(encoding="utf-8"))]
    assert not found
