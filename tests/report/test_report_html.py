"""The page: escaped, self-contained, deterministic, and with floor and null on every row."""

from __future__ import annotations

import base64
import hashlib
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from genesim.errors import InputError
from genesim.report.figures import Figure
from genesim.report.html import render_report, write_report
from genesim.report.tables import as_table, number, text

EVIL = "<script>alert('x')</script>\" onload=\"alert(1)"
VOID = {"meta", "img", "br", "line", "circle", "rect", "path", "link", "input", "hr"}


def scores() -> pd.DataFrame:
    base = {
        "low": 0.05,
        "high": 0.09,
        "floor": 0.02,
        "null": 0.12,
        "n": 500,
        "unit": "KS",
        "headline": False,
        "meaning": "Words.",
    }
    rows = [
        {"subject": "cells", "metric": "a", "label": "Gene means", "value": 0.07, "normalised": 0.5},
        {"subject": "cells", "metric": "b", "label": EVIL, "value": 0.021, "normalised": 0.01, "headline": True},
        {"subject": EVIL, "metric": "c", "label": "Membership", "value": 0.5, "normalised": 4.8},
        {"subject": EVIL, "metric": "d", "label": "Unplaced", "value": 0.5, "normalised": np.nan, "n": 90},
    ]
    words = [("between floor and null", "middle"), ("at the floor", "good"), ("copies training data", "bad")]
    words.append(("too noisy to place", "unknown"))
    families = ["fidelity", "fidelity", "privacy", "privacy"]
    return pd.DataFrame(
        [
            {**base, **row, "verdict": verdict, "level": level, "family": family}
            for row, (verdict, level), family in zip(rows, words, families)
        ]
    )


def page(**changes: object) -> str:
    arguments: dict = {
        "title": f"Run {EVIL}",
        "scores": scores(),
        "summary": {"lead": EVIL, "counts": {"Donors": 12345, EVIL: 1}, "real": [EVIL], "simulated": [EVIL]},
        "figures": [Figure("a b", EVIL, EVIL, "<svg xmlns='http://www.w3.org/2000/svg'/>")] * 2,
        "provenance": {"inputs": {EVIL: "ab" * 32}, "seed": 7, "empty": {}, "list": [1, 2], "none": None},
        "command": f"genesim report '{EVIL}'",
        "tables": {"Scenario": {"effects": [{"gene": EVIL}]}, "Frame": pd.DataFrame({EVIL: [EVIL, 1.5]})},
    }
    return render_report(**(arguments | changes))


class Page(HTMLParser):
    """Collects what matters and insists on balanced tags."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(source)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def test_hostile_names_are_shown_as_text() -> None:
    parsed = Page(page())
    assert [attributes for tag, attributes in parsed.tags if tag == "script"] == [{}]
    for tag, attributes in parsed.tags:
        assert not any(key.startswith("on") for key in attributes), (tag, attributes)
        assert "style" not in attributes, (tag, attributes)
    assert sum(EVIL in words for words in parsed.words) >= 9


def test_nothing_is_fetched() -> None:
    source = page()
    for tag, attributes in Page(source).tags:
        assert tag not in ("link", "iframe", "object", "embed", "form", "base", "a") or (
            tag == "a" and str(attributes["href"]).startswith("#")
        )
        for key in ("src", "href"):
            if key in attributes:
                assert str(attributes[key]).startswith(("data:", "#")), attributes
    visible = re.sub(r"data:image/svg\+xml;base64,[A-Za-z0-9+/=]+", "", source)
    assert not re.search(r"https?://", visible)
    css = re.search(r"<style>(.*?)</style>", source, re.S)
    assert css
    assert "url(" not in css[1]
    assert "@import" not in css[1]


def test_the_policy_allows_one_style_sheet_one_script_and_images() -> None:
    source = page()
    policy = next(str(a["content"]) for tag, a in Page(source).tags if tag == "meta" and "http-equiv" in a)
    assert policy.startswith("default-src 'none';")
    for tag in ("style", "script"):
        (inside,) = re.findall(rf"<{tag}>(.*?)</{tag}>", source, re.S)
        digest = base64.b64encode(hashlib.sha256(inside.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy
    assert "unsafe" not in policy


def test_every_row_has_value_interval_floor_null_and_verdict() -> None:
    source = page()
    rows = re.findall(r"<tr>\s*<th scope=\"row\" data-sort.*?</tr>", source, re.S)[:4]
    for row in rows:
        assert 'data-label="Floor" data-sort="0.02">0.020' in row
        assert 'data-label="Null" data-sort="0.12">0.120' in row
        assert "[0.050, 0.090]" in row
    assert "between floor and null" in rows[0]
    assert "0.50 of the way from floor to null" in rows[0]
    assert "<path" in rows[2]  # beyond the null: an arrow
    assert "not between floor and null" in rows[3]
    assert "n = 90 to 500" in source
    assert "12,345" in source


def test_cards_name_the_weakest_and_never_praise_a_copier() -> None:
    source = page()
    cards = source[source.index('class="cards"') : source.index('class="key"')]
    assert "1 of 2 at or close to the floor" in cards
    assert "1 of 2 tests see training data" in cards
    assert "Weakest: Gene means" in cards
    clean = scores().iloc[:2].assign(family="privacy", level=["good", "unknown"])
    assert "No sign of training data in 1 of 2 tests" in page(scores=clean)


def test_the_verdict_begins_with_the_headline_scores() -> None:
    source = page()
    found = re.search(r'<ul class="headlines".*?</ul>', source, re.S)
    assert found
    assert found.start() < source.index('<div class="cards">')
    assert found[0].count("<li>") == 1
    assert "0.021" in found[0]
    assert "floor 0.020, null 0.120" in found[0]
    assert "at the floor" in found[0]
    assert "Gene means" not in found[0]
    assert 'class="headlines"' not in page(scores=scores().assign(headline=False))


def test_same_arguments_same_bytes_and_the_file_is_whole(tmp_path: Path) -> None:
    target = write_report(tmp_path / "new" / "report.html", title="Run", scores=scores())
    assert target.read_text(encoding="utf-8") == render_report(title="Run", scores=scores())
    assert page() == page()
    assert [p.name for p in target.parent.iterdir()] == ["report.html"]


def test_figures_with_one_name_get_their_own_anchors() -> None:
    anchors = [a["id"] for tag, a in Page(page()).tags if tag == "figure"]
    assert len(set(anchors)) == 2


def test_an_empty_report_still_says_what_it_is() -> None:
    source = page(scores=scores().iloc[:0], summary=None, figures=(), tables=None)
    Page(source)
    assert "Settings and provenance" in source
    assert "Verdict" not in source


def test_an_incomplete_score_table_is_refused() -> None:
    with pytest.raises(InputError, match="no column floor"):
        page(scores=scores().drop(columns="floor"))


def test_a_real_score_table_fits() -> None:
    # The frame's columns are the contract between the evaluation and the report.
    from genesim.evaluate.score import Score
    from genesim.evaluate.score_table import ScoreTable

    table = ScoreTable([Score("cells", "mmd2", 1e-4, 0.0, 2e-4, 0.0, 0.01, 99)])
    assert "MMD²" in render_report(title="x", scores=table.to_frame())


def test_values_as_text() -> None:
    found = [number(x) for x in (0.0, 0.54321, 12.345, 1248.3, 1.4e-4, 0.0012, -0.0036, float("nan"))]
    assert found == ["0", "0.543", "12.3", "1,248", "1.4e-04", "0.0012", "-0.0036", "–"]
    assert [text(x) for x in (None, True, 12345, 7, 2.0, 0.1, "a\x00b")] == [
        "–", "yes", "12,345", "7", "2", "0.1", "ab",
    ]  # fmt: skip


def test_nested_settings_become_dotted_rows_and_long_tables_are_cut() -> None:
    heads, rows, rest = as_table({"a": {"b": 1, "c": [1, 2]}, "d": [{"e": "x"}], "f": {}})
    assert (heads, rest) == ([], 0)
    assert rows == [["a.b", "1"], ["a.c", "1, 2"], ["d.1.e", "x"], ["f", "–"]]
    long = pd.DataFrame({"x": range(1800), "y": 1.23456})
    heads, rows, rest = as_table(long)
    assert heads == ["x", "y"]
    assert (len(rows), rest) == (500, 1300)
    assert "And 1,300 more rows." in page(tables={"Long": long})
