"""report: scores, figures and provenance on one self-contained HTML page."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import pandas as pd
import yaml

from genesim.config.inputs import GenotypePolicy
from genesim.config.report import ReportConfig
from genesim.console import log
from genesim.data.cohort import Cohort, load_cohort
from genesim.data.genotypes import read_genotypes
from genesim.evaluate.score_table import ScoreTable
from genesim.models.base import Modality
from genesim.models.catalog import card, spec
from genesim.models.catalog import methods as methods_of
from genesim.pipeline.report_cells import read_shown, shown_cells
from genesim.pipeline.report_command import commands
from genesim.pipeline.report_figures import Run, run_figures
from genesim.provenance.atomic import atomic_directory
from genesim.provenance.manifest import verify_manifest
from genesim.provenance.paths import without_folders
from genesim.report.figures import Figure
from genesim.report.html import write_report
from genesim.report.score_figures import score_strip


def report(scores: ScoreTable, out: str | Path, *, title: str = "genesim evaluation", **page: Any) -> Path:
    """Write a report of any score table; `page` takes what `genesim.report.html.write_report` does."""
    overall = scores.overall.to_frame()
    page.setdefault("figures", [score_strip(overall)] if len(overall) else [])
    path = write_report(out, title=title, scores=scores.to_frame(), **page)
    log.info("report: %s", path)
    return path


def write_figures(figures: Sequence[Figure], out: str | Path) -> Path:
    """Write each figure as `<name>.svg`, its title and caption inside for screen readers, whole or not at all."""
    with atomic_directory(out) as directory:
        for figure in figures:
            (directory / f"{figure.name}.svg").write_text(figure.titled(), encoding="utf-8")
    return Path(out)


def models_table(methods: Mapping[str, Any]) -> pd.DataFrame:
    """The models behind the simulated data, their sources, and what they are scored beside."""
    rows = []
    for modality in (m for m in get_args(Modality) if m in methods):
        found = card(modality, methods[modality])
        beside = [spec(modality, id).title for id in methods_of(modality) if spec(modality, id).role == "baseline"]
        rows.append(
            {
                "of": modality,
                "model": found["title"],
                "fitted by": found["fitted_by"].replace("_", " "),
                "sources": "; ".join(found["citations"]),
                "baselines": ", ".join(beside),
            }
        )
    return pd.DataFrame(rows)


def _about(cohort: Cohort, n_cells: int, shown: tuple[int, int], about: str | None) -> dict[str, list[str]]:
    """What is measured and what is made up, in plain sentences.

    Args:
        n_cells: Real cells.
        shown: Real cells, and simulated ones where they are not all (else 0), that figures are of.
    """
    inputs = cohort.info["inputs"]
    real = [f"Counts of {n_cells:,} cells and {cohort.cells.n_vars:,} genes ({Path(inputs['h5ad']).name})."]
    made = ["Everything under 'simulated' on this page: donors, genotypes, effects and cells describe no person."]
    if shown[0] < n_cells:
        real.append(f"Figures are of {shown[0]:,} of the cells, drawn at random.")
    if shown[1]:
        made.append(f"Figures are of {shown[1]:,} of the simulated cells, drawn at random.")
    if about is None:
        real.append(f"Genotypes of {cohort.genotypes.n_donors:,} donors ({Path(inputs['vcf']).name}).")
    else:
        made.append(about)
    if "donors" in inputs["deal"]:
        made.append(
            "Which genotyped donor the cells of a donor belong to was dealt at random: the inputs are not paired."
        )
    if (n := int(cohort.genes["dealt"].sum())) > 0:
        made.append(f"Positions of {n:,} genes were dealt at random over the genotyped regions.")
    return {"real": real, "simulated": made}


EXAMPLE = (
    "The training donors of the built-in example are invented as well: their genotypes come from msprime under the "
    "out-of-Africa model of Gutenkunst et al. 2009, gene positions are invented, and cells were dealt to donors "
    "at random. Only the cells' counts are real (10x PBMC 68k, bundled with scanpy)."
)


def report_run(
    cohort: Cohort | str | Path,
    simulated: str | Path,
    evaluation: str | Path,
    *,
    out: str | Path,
    title: str = "genesim report",
    example: bool = False,
    config: ReportConfig | None = None,
    seed: int = 0,
    perturbed: str | Path | None = None,
    figures: str | Path | None = None,
) -> Path:
    """Write the report of a run.

    Args:
        cohort: The prepared cohort, or its directory.
        simulated: Directory that `simulate` wrote.
        evaluation: Directory that `evaluate` wrote.
        out: HTML file.
        example: The training donors are those of the built-in example, hence invented; the page says so.
        config: Of the page.
        seed: Of what is drawn for the figures.
        perturbed: Table of effects that `perturb` wrote, where the run has a screen.
        figures: Directory for the figures as SVG files too.
    """
    perturbed = None if perturbed is None else Path(perturbed)
    simulated, evaluation = Path(simulated), Path(evaluation)
    for directory in (simulated, evaluation):
        verify_manifest(directory)
    cohort = cohort if isinstance(cohort, Cohort) else load_cohort(cohort, cells_on_disk=True, genotypes_on_disk=True)
    n_real = cohort.cells.n_obs
    cohort = replace(cohort, cells=shown_cells(cohort.cells, seed))
    cells, n_cells = read_shown(simulated / "sim.h5ad", cohort.info["inputs"]["labels_key"], seed)
    shown = (cohort.cells.n_obs, cells.n_obs if cells.n_obs < n_cells else 0)
    everything = GenotypePolicy(filters="all", min_allele_count=0, max_missing=1)
    genotypes = read_genotypes(simulated / "sim.vcf.gz", policy=everything)
    genotypes = genotypes.subset(variants=genotypes.variants.index.isin(cohort.genotypes.variants.index))
    table = ScoreTable.from_frame(pd.read_parquet(evaluation / "scores.parquet"))
    frame = table.overall.to_frame()
    run = Run(cohort, cells, genotypes, simulated / "truth", evaluation, frame, perturbed)
    drawn = [score_strip(frame), *run_figures(run, config or ReportConfig(), seed)]
    if figures is not None:
        write_figures(drawn, figures)
    scenario = yaml.safe_load((simulated / "scenario.yaml").read_text())
    provenance = json.loads((simulated / "provenance.json").read_text())
    return report(
        table,
        out,
        title=title,
        summary={
            "lead": "Simulated cells, genotypes and effects against real data that no model has seen.",
            "counts": {
                "simulated donors": genotypes.n_donors,
                "simulated cells": n_cells,
                "variants": genotypes.n_variants,
                "real training donors": len(cohort.donors_of("train")),
                "real held-out donors": len(cohort.donors_of("test")),
            },
            **_about(cohort, n_real, shown, EXAMPLE if example else None),
        },
        figures=drawn,
        provenance=provenance,
        command=commands(
            simulated,
            evaluation,
            title=title,
            config=config or ReportConfig(),
            seed=seed,
            example=example,
            perturbed=perturbed is not None,
        ),
        tables={
            "Models": models_table(provenance["config"].get("models", {})),
            "Scenario": without_folders(scenario),
            "Preparation": without_folders(dict(cohort.info)),
        },
    )
