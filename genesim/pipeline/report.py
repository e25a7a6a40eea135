"""report: scores, figures and provenance on one self-contained HTML page."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, get_args

import anndata as ad
import numpy as np
import pandas as pd
import yaml

from genesim.config.inputs import GenotypePolicy
from genesim.config.report import ReportConfig
from genesim.console import log
from genesim.data.cohort import Cohort, load_cohort
from genesim.data.expression import read_expression
from genesim.data.genotypes import Genotypes, read_genotypes
from genesim.evaluate.score import ScoreTable
from genesim.models.base import Modality
from genesim.models.catalog import card, spec
from genesim.models.catalog import methods as methods_of
from genesim.pipeline.evaluate import at_mix
from genesim.provenance.manifest import verify_manifest
from genesim.provenance.paths import without_folders
from genesim.report import expression_figures, genetic_figures
from genesim.report.figures import Figure
from genesim.report.html import write_report
from genesim.report.score_figures import score_strip


def report(scores: ScoreTable, out: str | Path, *, title: str = "genesim evaluation", **page: Any) -> Path:
    """Write a report of any score table; `page` takes what `genesim.report.html.write_report` does."""
    frame = scores.to_frame()
    page.setdefault("figures", [score_strip(frame)] if len(frame) else [])
    path = write_report(out, title=title, scores=frame, **page)
    log.info("report: %s", path)
    return path


def _strongest_effect(truth: Path, cells: ad.AnnData, genotypes: Genotypes) -> Iterator[Figure]:
    """Expression by genotype of the planted effect that explains most variance among well-expressed genes."""
    effects = pd.read_parquet(truth / "effects.parquet")
    effects = effects[effects["cell_type"] == "*"]
    if not len(effects):
        return
    mean = np.asarray(cells.X.mean(axis=0)).ravel()
    expressed = pd.Series(mean, index=cells.var_names)
    p = effects["training_frequency"].to_numpy(float)
    weight = effects["log2_afc"].to_numpy(float) ** 2 * p * (1 - p) * np.log1p(expressed[effects["gene"]].to_numpy())
    best = effects.iloc[int(np.argmax(weight))]
    library = np.asarray(cells.X.sum(axis=1)).ravel()
    value = np.log1p(1e4 * np.asarray(cells[:, best["gene"]].X.todense()).ravel() / library)
    by_donor = pd.Series(value).groupby(cells.obs["donor"].astype(str).to_numpy()).mean().reindex(genotypes.donors)
    yield genetic_figures.expression_by_genotype(
        by_donor.to_numpy(),
        genotypes.subset(variants=[best["variant"]]).dosage()[0],
        gene=str(best["gene"]),
        variant=str(best["variant"]),
        alleles=(str(best["ref"]), str(best["alt"])),
    )


def _figures(
    cohort: Cohort,
    cells: ad.AnnData,
    genotypes: Genotypes,
    simulated: Path,
    recovery: pd.DataFrame,
    config: ReportConfig,
    seed: int,
) -> Iterator[Figure]:
    key = cohort.info["inputs"]["labels_key"]
    real = cohort.cells_of("test")
    made = at_mix(cells[:, real.var_names].copy(), real, key, seed)
    labels = [None if key is None else c.obs[key].astype(str).to_numpy() for c in (real, made)]
    yield expression_figures.embedding(real.X, made.X, *labels, method=config.embedding, seed=seed)
    yield expression_figures.genes(real.X, made.X)
    yield expression_figures.cells(real.X, made.X)
    yield expression_figures.correlations(real.X, made.X, *labels, gene_names=list(real.var_names))
    contig = genotypes.variants["contig"].iloc[0]
    here = genotypes.subset(variants=genotypes.variants["contig"].to_numpy() == contig)
    held_out = cohort.genotypes_of("test").subset(variants=list(here.variants.index))
    called = np.asarray((held_out.alleles >= 0).all(axis=(1, 2)) & (here.alleles >= 0).all(axis=(1, 2)))
    held_out, here = held_out.subset(variants=called), here.subset(variants=called)
    position = here.variants["start"].to_numpy()
    yield genetic_figures.ld_decay_of({"real": held_out.haplotypes(), "simulated": here.haplotypes()}, position)
    yield genetic_figures.allele_frequencies(held_out.allele_frequency(), here.allele_frequency())
    ancestry = pd.read_parquet(simulated / "truth" / "donors.parquet").set_index("donor")["ancestry"]
    yield genetic_figures.genotype_pca(
        held_out.dosage().T,
        here.dosage().T,
        cohort.donors["ancestry"].reindex(held_out.donors).astype(str).to_numpy(),
        ancestry.reindex(here.donors).astype(str).to_numpy(),
    )
    if len(recovery):
        yield genetic_figures.effect_recovery(
            recovery["planted"].to_numpy(float),
            recovery["estimated"].to_numpy(float),
            recovery["found"].to_numpy(bool),
        )
    yield from _strongest_effect(simulated / "truth", cells, genotypes)


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


def _about(cohort: Cohort, about: str | None) -> dict[str, list[str]]:
    """What is measured and what is made up, in plain sentences."""
    inputs = cohort.info["inputs"]
    real = [f"Counts of {cohort.cells.n_obs:,} cells and {cohort.cells.n_vars:,} genes ({Path(inputs['h5ad']).name})."]
    made = ["Everything under 'simulated' on this page: donors, genotypes, effects and cells describe no person."]
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
) -> Path:
    """Write the report of a run.

    Args:
        cohort: The prepared cohort, or its directory.
        simulated: Directory that `simulate` wrote.
        evaluation: Directory that `evaluate` wrote.
        out: HTML file.
        example: The training donors are those of the built-in example, hence invented; the page says so.
    """
    simulated, evaluation = Path(simulated), Path(evaluation)
    for directory in (simulated, evaluation):
        verify_manifest(directory)
    cohort = cohort if isinstance(cohort, Cohort) else load_cohort(cohort)
    cells = read_expression(simulated / "sim.h5ad", donor_key="donor", labels_key=cohort.info["inputs"]["labels_key"])
    everything = GenotypePolicy(filters="all", min_allele_count=0, max_missing=1)
    genotypes = read_genotypes(simulated / "sim.vcf.gz", policy=everything)
    genotypes = genotypes.subset(variants=genotypes.variants.index.isin(cohort.genotypes.variants.index))
    table = ScoreTable.from_frame(pd.read_parquet(evaluation / "scores.parquet"))
    recovery = pd.read_parquet(evaluation / "recovery.parquet")
    figures = [score_strip(table.to_frame())]
    figures += _figures(cohort, cells, genotypes, simulated, recovery, config or ReportConfig(), seed)
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
                "simulated cells": cells.n_obs,
                "variants": genotypes.n_variants,
                "real training donors": len(cohort.donors_of("train")),
                "real held-out donors": len(cohort.donors_of("test")),
            },
            **_about(cohort, EXAMPLE if example else None),
        },
        figures=figures,
        provenance=provenance,
        tables={
            "Models": models_table(provenance["config"].get("models", {})),
            "Scenario": without_folders(scenario),
            "Preparation": without_folders(dict(cohort.info)),
        },
    )
