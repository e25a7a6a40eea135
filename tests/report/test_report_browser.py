"""The page in a real browser: it sorts and searches by keyboard, prints whole, and asks the network for nothing."""

from __future__ import annotations

import base64
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from genesim.report.figures import Figure
from genesim.report.html import write_report

EVIL = "<script>alert('x')</script><img src=x onerror=alert(1)>"
WIDE = '<svg xmlns="http://www.w3.org/2000/svg" width="700" height="60"><rect width="700" height="60"/></svg>'
VALUES = [0.07, 12000.0, np.nan, 0.5, 1.4e-4]


def frame() -> pd.DataFrame:
    levels = ["middle", "good", "unknown", "bad", "near"]
    return pd.DataFrame(
        {
            "subject": ["cells"] * 4 + ["haplotypes 22"],
            "metric": list("abcde"),
            "label": ["Gene means", EVIL, "Depth", "Membership", "LD"],
            "headline": [True, True, False, False, False],
            "meaning": "Words about it.",
            "unit": "KS",
            "value": VALUES,
            "low": np.array(VALUES) * 0.9,
            "high": np.array(VALUES) * 1.1,
            "floor": [0.02, 100.0, np.nan, 9.0, 1e-5],
            "null": [0.12, 20000.0, 1.0, 0.9, 1.0],
            "n": 500,
            "normalised": [0.5, 0.01, np.nan, 4.8, 0.1],
            "level": levels,
            "verdict": [f"{level} words" for level in levels],
            "family": ["fidelity", "fidelity", "fidelity", "privacy", "truth"],
        }
    )


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    genes = pd.DataFrame({"gene": ["B", EVIL, "a"], "size": [1.4e-4, 12345.0, np.nan], "note": ["x", None, "10"]})
    return write_report(
        tmp_path_factory.mktemp("page") / "report.html",
        title=f"Run {EVIL}",
        scores=frame(),
        summary={"lead": "A lead.", "counts": {"donors": 12345}, "real": ["Cells."], "simulated": [EVIL]},
        figures=[Figure(f"f{i}", f"Figure {i}", f"What is read from it: {EVIL}", WIDE) for i in range(4)],
        provenance={"seed": 7, "inputs": {"cells.h5ad": "ab" * 32}},
        tables={"Genes": genes, "Scenario": {"effects": [{"gene": EVIL}]}},
        command=f"genesim report --title '{EVIL}' \\\n  --out report.html",
    )


@pytest.fixture
def opened(browser: Any, page: Path) -> Any:
    browser.look(1100)
    browser.open(page)
    return browser


HEADS = "[...document.querySelectorAll('table.scores')[0].tHead.rows[0].cells]"
NAMES = "[...document.querySelectorAll('table.scores')[0].tBodies[0].rows].map(r => r.cells[0].dataset.sort)"


def quiet(browser: Any, page: Path) -> None:
    """No error, no refusal by the policy, and no request but for the page itself and what it holds."""
    assert browser.of("Runtime.exceptionThrown") == []
    assert browser.of("Log.entryAdded") == []
    assert browser.of("Runtime.consoleAPICalled") == []
    assert browser.of("Page.javascriptDialogOpening") == []
    asked = {p["request"]["url"] for p in browser.of("Network.requestWillBeSent")}
    assert {url for url in asked if not url.startswith("data:image/svg+xml;base64,")} == {page.resolve().as_uri()}


def test_it_opens_without_an_error_or_a_request(opened: Any, page: Path) -> None:
    assert opened.run("document.title") == f"Run {EVIL}"
    assert opened.run("document.querySelectorAll('script').length") == 1
    images = "[...document.images]"
    # Lazy images load when they are come to.
    opened.run(f"Promise.all({images}.map(i => (i.loading = 'eager', i.decode())))")
    assert opened.run(f"{images}.map(i => i.naturalWidth)") == [700] * 4
    assert opened.run("getComputedStyle(document.querySelector('.card')).borderTopWidth") == "1px"
    quiet(opened, page)


def test_the_policy_stops_every_other_script(opened: Any, page: Path) -> None:
    opened.run("document.body.insertAdjacentHTML('beforeend', '<img src=\"x:\" onerror=\"window.ran = 1\">')")
    opened.run("document.body.append(Object.assign(document.createElement('script'), {textContent: 'window.ran = 2'}))")
    opened.run("document.body.append(Object.assign(new Image(), {src: 'https://example.org/x.png'}))")
    opened.run("new Promise(r => setTimeout(r, 300))")
    assert opened.run("window.ran ?? null") is None
    refused = " ".join(p["entry"]["text"] for p in opened.of("Log.entryAdded"))
    assert refused.count("Content Security Policy") >= 3
    assert "script-src" in refused
    assert "img-src" in refused
    with pytest.raises(AssertionError):
        quiet(opened, page)  # so the check of the other tests would see it


def test_numbers_sort_as_numbers_missing_last_by_keyboard(opened: Any, page: Path) -> None:
    before = opened.run(NAMES)
    assert before == ["Gene means", EVIL, "Depth", "Membership"]
    opened.run(f"{HEADS}[2].querySelector('button').focus()")
    opened.press("Enter")
    assert opened.run(NAMES) == ["Gene means", "Membership", EVIL, "Depth"]
    assert opened.run(f"{HEADS}.map(h => h.ariaSort)") == ["none", "none", "ascending", "none", "none", "none"]
    opened.press(" ")
    assert opened.run(NAMES) == [EVIL, "Membership", "Gene means", "Depth"]
    assert opened.run(f"{HEADS}[2].ariaSort") == "descending"
    # By words, and by verdict in the order of the levels, not of the alphabet.
    opened.run(f"{HEADS}[0].querySelector('button').click()")
    assert opened.run(NAMES)[1:] == ["Depth", "Gene means", "Membership"]
    opened.run(f"{HEADS}[5].querySelector('button').click()")
    assert opened.run(NAMES) == [EVIL, "Gene means", "Membership", "Depth"]
    # A table as it is written: 1.4e-04 < 12,345 < missing.
    opened.run("document.querySelectorAll('details table')[0].tHead.rows[0].cells[1].querySelector('button').click()")
    cells = "[...document.querySelectorAll('details table')[0].tBodies[0].rows].map(r => r.cells[1].textContent)"
    assert opened.run(cells) == ["1.4e-04", "12,345", "–"]
    quiet(opened, page)


def type_into(browser: Any, field: int, words: str) -> None:
    browser.run(f"document.querySelectorAll('input[type=search]')[{field}].select() ?? null")
    browser.run(f"document.querySelectorAll('input[type=search]')[{field}].focus()")
    browser.call("Input.insertText", text=words)


def test_search_hides_rows_counts_and_opens_what_is_folded(opened: Any, page: Path) -> None:
    count = "document.querySelectorAll('.search output')[{}].textContent"
    shown = "[...document.querySelectorAll('table.scores tbody tr')].filter(r => r.checkVisibility()).length"
    assert opened.run(count.format(0)) == "5 rows"
    type_into(opened, 0, "WORDS gene")
    assert opened.run(count.format(0)) == "1 of 5 rows"
    assert opened.run(shown) == 1
    type_into(opened, 0, "haplotypes")  # a subject's name finds all of its rows
    assert opened.run(count.format(0)) == "1 of 5 rows"
    assert opened.run("[...document.querySelectorAll('#scores .group')].map(g => g.checkVisibility())") == [False, True]
    type_into(opened, 0, "<script>")
    assert opened.run(count.format(0)) == "1 of 5 rows"
    type_into(opened, 0, "nowhere")
    assert (opened.run(count.format(0)), opened.run(shown)) == ("0 of 5 rows", 0)
    details = "[...document.querySelectorAll('details')].map(d => d.checkVisibility() && d.open)"
    assert opened.run(details) == [True, False, False]
    type_into(opened, 1, "seed")
    assert opened.run(details) == [False, False, True]
    opened.run("document.querySelectorAll('input')[1].value = ''")
    opened.run("document.querySelectorAll('input')[1].dispatchEvent(new Event('input')) && null")
    assert opened.run(details) == [True, False, False]
    quiet(opened, page)


def test_screen_readers_find_names_for_everything(opened: Any) -> None:
    nodes = opened.call("Accessibility.getFullAXTree")["nodes"]
    named = [(n["role"]["value"], n.get("name", {}).get("value", "")) for n in nodes if not n.get("ignored")]
    for role in ("searchbox", "button", "table", "region", "navigation", "image"):
        found = [name for r, name in named if r == role]
        assert found, role
        if role != "table":
            assert all(found), (role, found)
    assert ("searchbox", "Search scores") in named
    assert ("table", "cells") in named
    assert [n for r, n in named if r == "columnheader"][:3] == ["Metric", "Floor to null", "Value"]
    assert opened.run("document.documentElement.lang") == "en"
    # What only a button or the sight can reach is not all: everything that scrolls takes the focus.
    scrolls = "[...document.querySelectorAll('.view, .wide, pre')].every(e => e.tabIndex === 0)"
    assert opened.run(scrolls)


def test_the_command_is_copied_or_selected(opened: Any, page: Path) -> None:
    opened.run("document.querySelector('button.copy').click()")
    opened.run("new Promise(r => setTimeout(r, 200))")
    said = opened.run("document.querySelector('[role=status]').textContent")
    assert said.startswith(("Copied", "Selected"))
    assert opened.run("document.querySelector('pre.command').textContent").endswith("\\\n  --out report.html")
    quiet(opened, page)


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [360, 1100])
def test_no_screen_is_too_narrow_and_dark_is_dark(opened: Any, page: Path, width: int, dark: bool) -> None:
    opened.look(width, dark=dark)
    assert opened.run("document.documentElement.scrollWidth") == width
    assert opened.run("matchMedia('(prefers-color-scheme: dark)').matches") == dark
    colours = opened.run(
        "['.sheet', 'body', 'input'].map(s => document.querySelector(s)).map(e => { const c = getComputedStyle(e);"
        "return [c.color, c.backgroundColor].map(x => x.match(/\\d+/g).slice(0, 3).map(Number)) })"
    )
    for ink, paper in colours:
        assert (sum(ink) > sum(paper)) == dark
    assert contrast(*colours[1]) > 7
    shot = opened.picture()
    assert struct.unpack(">II", shot[16:24]) == (width, 900)
    quiet(opened, page)


def contrast(a: list[float], b: list[float]) -> float:
    """Ratio of relative luminances (WCAG 2.2)."""

    def luminance(colour: list[float]) -> float:
        c = np.array(colour) / 255
        return float(np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4) @ [0.2126, 0.7152, 0.0722])

    high, low = sorted((luminance(a), luminance(b)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def test_every_word_can_be_read_in_either_scheme(opened: Any) -> None:
    levels = (
        "['.good', '.near', '.middle', '.bad', '.unknown'].map(s => 'td' + s).map(s => document.querySelector(s))"
        ".concat([...document.querySelectorAll('.meaning, .soft, nav a, thead button, .mark, label')])"
    )
    for dark in (False, True):
        opened.look(1100, dark=dark)
        papers, inks = opened.run(
            "(() => { const rgb = x => x.match(/\\d+/g).slice(0, 3).map(Number);"
            "const papers = ['body', '.sheet'].map(s => getComputedStyle(document.querySelector(s)).backgroundColor);"
            f"return [papers.map(rgb), {levels}"
            ".map(e => [e.className || e.tagName, rgb(getComputedStyle(e).color)])] })()"
        )
        assert [name for name, ink in inks if min(contrast(ink, p) for p in papers) < 4.5] == []


def test_print_unfolds_everything_and_hides_the_controls(opened: Any, page: Path) -> None:
    opened.look(1100, media="print")
    assert not opened.run("document.querySelector('.search').checkVisibility()")
    opened.run("dispatchEvent(new Event('beforeprint')) && null")
    assert opened.run("[...document.querySelectorAll('details')].every(d => d.open)")
    opened.run("dispatchEvent(new Event('afterprint')) && null")
    assert opened.run("[...document.querySelectorAll('details')].map(d => d.open)") == [True, False, False]
    pdf = base64.b64decode(opened.call("Page.printToPDF", printBackground=True)["data"])
    assert pdf.startswith(b"%PDF")


def test_without_the_script_everything_is_there(opened: Any, page: Path) -> None:
    opened.call("Emulation.setScriptExecutionDisabled", value=True)
    opened.open(page)
    opened.call("Emulation.setScriptExecutionDisabled", value=False)
    assert opened.run("document.querySelectorAll('button, input').length") == 0
    assert opened.run("[...document.querySelectorAll('table.scores tbody tr')].every(r => r.checkVisibility())")
    assert EVIL in opened.run("document.querySelector('pre.command').textContent")
