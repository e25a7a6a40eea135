"""The whole workflow on a tiny built-in example: files in, every output, nothing to do the second time."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from genesim.provenance.manifest import verify_manifest
from genesim.provenance.run_log import read_run_log

OUTPUTS = [
    "example/cells.h5ad",
    "example/donors.vcf.gz",
    "example/donors.tsv",
    "example/genes.gtf",
    "example/ABOUT.txt",
    "cohort/cells.h5ad",
    "cohort/donors.parquet",
    "cohort/genes.parquet",
    "cohort/cohort.json",
    "sim/sim.vcf.gz",
    "sim/sim.vcf.gz.tbi",
    "sim/sim.h5ad",
    "sim/scenario.yaml",
    "sim/provenance.json",
    "sim/truth/effects.parquet",
    "sim/truth/donors.parquet",
    "sim/truth/genes.parquet",
    "sim/truth/expression.parquet",
    "evaluation/scores.parquet",
    "evaluation/scores.csv",
    "evaluation/recovery.parquet",
    "report.html",
]
ARTEFACTS = [
    "parts/genotypes/21",
    "parts/genotypes/22",
    "cohort",
    "models/expression",
    "models/haplotypes/21",
    "models/haplotypes/22",
    "models/effects",
    "parts/simulated/21",
    "parts/simulated/22",
    "sim",
    "evaluation",
]
JOBS = [
    "example",
    "prepare_genotypes.21",
    "prepare_genotypes.22",
    "prepare",
    "train_expression",
    "train_haplotypes.21",
    "train_haplotypes.22",
    "train_effects",
    "simulate_genotypes.21",
    "simulate_genotypes.22",
    "simulate",
    "evaluate",
    "report",
]
# Attributes from which a browser fetches by itself.
FETCHED = {"src", "srcset", "poster", "background", "data", "action", "formaction", "ping", "manifest"}


def test_every_job_leaves_whole_outputs_a_log_and_a_benchmark(tiny_run: Path) -> None:
    results = tiny_run / "results"
    assert [name for name in OUTPUTS if not (results / name).stat().st_size] == []
    for name in ARTEFACTS:
        verify_manifest(results / name)
    assert sorted(p.stem for p in (results / "logs").glob("*.log")) == sorted(JOBS)
    assert sorted(p.stem for p in (results / "benchmarks").iterdir()) == sorted(JOBS)
    logs = "".join(p.read_text() for p in (results / "logs").glob("*.log"))
    assert "Traceback" not in logs
    assert "RuntimeWarning" not in logs
    left = [str(p) for p in results.rglob(".tmp-*")] + list(map(str, (results / "checkpoints").glob("*/*")))
    assert left == []


def test_one_log_has_every_command_with_its_time_and_memory(tiny_run: Path) -> None:
    commands, n_broken = read_run_log(tiny_run / "results" / "logs" / "run.jsonl")
    assert n_broken == 0
    assert [c["state"] for c in commands] == ["ended"] * len(JOBS)
    verbs = [c["command"][0] for c in commands]
    assert sorted(set(verbs)) == ["evaluate", "example", "prepare", "report", "simulate", "train"]
    assert (verbs.count("train"), verbs.count("prepare"), verbs.count("simulate")) == (4, 3, 3)
    for one in commands:
        assert one["cpu_s"] > 0
        assert 0 < one["wall_s"] < 3600
        assert 50 < one["peak_rss_mib"] < 6000
        assert one["seed"] == 0
        assert "jax" in one["versions"]


def test_a_second_run_has_nothing_to_do(tiny_run: Path, workflow: Any, tiny_config: dict[str, Any]) -> None:
    before = {p: p.stat().st_mtime_ns for p in (tiny_run / "results").rglob("*")}
    again = workflow(tiny_run, tiny_config)
    assert again.returncode == 0, again.stderr
    assert "Nothing to be done" in again.stdout + again.stderr
    assert {p: p.stat().st_mtime_ns for p in (tiny_run / "results").rglob("*")} == before


def test_another_setting_runs_only_what_depends_on_it(
    tiny_run: Path, workflow: Any, tiny_config: dict[str, Any]
) -> None:
    def planned() -> set[str]:
        shown = workflow(tiny_run, tiny_config, "--dry-run", "--quiet", "rules")
        return set(re.findall(r"^(\w+) +[12]$", shown.stdout, re.M))

    tiny_config["evaluate"]["n_bootstrap"] = 6
    assert planned() == {"evaluate", "report", "all"}
    tiny_config["scenario"]["cells"]["n_cells"] = 130
    assert planned() == {"simulate_genotypes", "simulate", "evaluate", "report", "all"}


class _Fetches(HTMLParser):
    """Collects what a browser would load: fetched attributes, stylesheets and CSS urls outside the page."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.in_style = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.in_style = tag == "style"
        for name, value in attrs:
            inside = (value or "").startswith(("data:", "#"))
            linked = tag in ("link", "use", "image") and name in ("href", "xlink:href")
            if (name in FETCHED or linked) and not inside:
                self.found.append(f"<{tag} {name}={value!r}>")
            if name == "style":
                self.css(value or "")
        # A script inside the page is let run by its hash; one with a source is found above.
        if tag in ("iframe", "object", "embed", "base"):
            self.found.append(f"<{tag}>")

    def handle_data(self, data: str) -> None:
        if self.in_style:
            self.css(data)

    def css(self, text: str) -> None:
        self.found += [u for u in re.findall(r"url\(\s*['\"]?([^)'\"]*)", text) if not u.startswith(("data:", "#"))]
        self.found += re.findall(r"@import[^;]*", text)


def test_the_report_fetches_nothing(tiny_run: Path) -> None:
    page = (tiny_run / "results" / "report.html").read_text(encoding="utf-8")
    parser = _Fetches()
    parser.feed(page)
    assert parser.found == []
    assert "Preparation" in page
    assert "<svg" in page
    for name, value in (("src", "https://x.org/a.png"), ("style", "background: url(//x.org)")):
        parser.feed(f'<img {name}="{value}">')  # the check would see one
    assert len(parser.found) == 2
