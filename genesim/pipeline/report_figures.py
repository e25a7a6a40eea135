"""The figures of a run's report, read from the directories that its verbs wrote."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd

from genesim import rng
from genesim.config.report import ReportConfig
from genesim.data.cohort import Cohort
from genesim.data.genotypes import Genotypes
from genesim.evaluate.donor_attacks import ATTACKS
from genesim.metrics.interval import proportion_interval
from genesim.pipeline.evaluate_cells import at_mix
from genesim.pipeline.release_groups import group_rows
from genesim.pipeline.report_cells import MOST_DONORS
from genesim.report import expression_figures, gene_figures, genetic_figures
from genesim.report.figures import Figure
from genesim.report.perturbation_overview import perturbation_effects
from genesim.report.privacy_figures import area, attack_roc
from genesim.report.recovery_figures import effect_recovery
from genesim.report.subgroup_figures import subgroups

_PCA_VARIANTS = 20_000
"""Variants behind the principal components of donors: every k-th of more."""
AUDIT = "donor_privacy.json"
"""The evaluation's record of the attacks on donors, with the curve of each."""


@dataclass(frozen=True)
class Run:
    """What a run made, read once.

    Attributes:
        cohort: Real donors and cells.
        cells: Simulated cells.
        genotypes: Simulated genotypes, at the cohort's variants.
        truth: Folder of truth tables.
        evaluation: Folder that `evaluate` wrote.
        scores: Its scores.
        perturbed: Table of effects that `perturb` wrote, where the run has a screen.
    """

    cohort: Cohort
    cells: ad.AnnData
    genotypes: Genotypes
    truth: Path
    evaluation: Path
    scores: pd.DataFrame
    perturbed: Path | None = None


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


def _cell_figures(run: Run, config: ReportConfig, seed: int) -> Iterator[Figure]:
    key = run.cohort.info["inputs"]["labels_key"]
    real = run.cohort.cells_of("test")
    made = at_mix(run.cells[:, real.var_names].copy(), real, key, seed)
    labels = [None if key is None else c.obs[key].astype(str).to_numpy() for c in (real, made)]
    names = list(real.var_names)
    yield expression_figures.embedding(real.X, made.X, *labels, method=config.embedding, seed=seed)
    yield expression_figures.genes(real.X, made.X)
    yield gene_figures.gene_distributions(real.X, made.X, names)
    yield expression_figures.cells(real.X, made.X)
    yield expression_figures.correlations(real.X, made.X, *labels, gene_names=names)


def _some_donors(donors: pd.Index, seed: int, name: str) -> pd.Index:
    """All, or a draw of as many as a figure can show."""
    order = rng.generator(seed, "report", "donors", name).permutation(len(donors))
    return donors[np.sort(order[:MOST_DONORS])]


def _genotype_figures(run: Run, seed: int) -> Iterator[Figure]:
    genotypes, cohort = run.genotypes, run.cohort
    if not genotypes.n_variants:
        return
    rows = genotypes.variants.index[genotypes.variants["contig"] == genotypes.variants["contig"].iloc[0]]
    real = cohort.donors_of("test")
    tested = _some_donors(real.index[real["has_genotypes"].to_numpy(dtype=bool)], seed, "real")
    held_out = cohort.genotypes.subset(variants=list(rows), donors=tested)
    here = genotypes.subset(variants=list(rows), donors=_some_donors(genotypes.donors, seed, "simulated"))
    called = np.asarray((held_out.alleles >= 0).all(axis=(1, 2)) & (here.alleles >= 0).all(axis=(1, 2)))
    held_out, here = held_out.subset(variants=called), here.subset(variants=called)
    position = here.variants["start"].to_numpy()
    yield genetic_figures.ld_decay_of({"real": held_out.haplotypes(), "simulated": here.haplotypes()}, position)
    yield genetic_figures.allele_frequencies(held_out.allele_frequency(), here.allele_frequency())
    ancestry = pd.read_parquet(run.truth / "donors.parquet").set_index("donor")["ancestry"]
    spread = np.arange(0, here.n_variants, max(1, -(-here.n_variants // _PCA_VARIANTS)))
    held_out, here = held_out.subset(variants=spread), here.subset(variants=spread)
    yield genetic_figures.genotype_pca(
        held_out.dosage().T,
        here.dosage().T,
        cohort.donors["ancestry"].reindex(held_out.donors).astype(str).to_numpy(),
        ancestry.reindex(here.donors).astype(str).to_numpy(),
    )


def _effect_figures(run: Run) -> Iterator[Figure]:
    recovery = pd.read_parquet(run.evaluation / "recovery.parquet")
    if len(recovery):
        rows = run.scores[run.scores["metric"] == "effect_false_discovery"]
        # Wilson's interval: a bootstrap of no false call at all would be sure of none.
        false = [proportion_interval(round(row["value"] * row["n"]), int(row["n"])) for _, row in rows.iterrows()]
        yield effect_recovery(
            recovery["planted"].to_numpy(float),
            recovery["estimated"].to_numpy(float),
            recovery["found"].to_numpy(bool),
            false_discovery=false[0] if false else None,
        )
    yield from _strongest_effect(run.truth, run.cells, run.genotypes)


def attack_figures(evaluation: Path) -> Iterator[Figure]:
    if not (evaluation / AUDIT).exists():  # an evaluation written before there was one
        return
    curves = json.loads((evaluation / AUDIT).read_text()).get("curves", {})
    # Curves are means over folds on a grid of false-positive rates; every attack starts from calling nobody.
    drawn = {name: (np.r_[0.0, curve["fpr"]], np.r_[0.0, curve["tpr"]]) for name, curve in curves.items()}
    attacks = {ATTACKS[name]: curve for name, curve in drawn.items() if name in ATTACKS}
    planted = [curve for name, curve in drawn.items() if name not in ATTACKS]
    control = {"planted memoriser, best attack": max(planted, key=area)} if planted else {}
    if attacks:  # none where they could not be made
        yield attack_roc(attacks | control, controls=tuple(control))


def _group_figures(run: Run, seed: int) -> Iterator[Figure]:
    """None where no group has enough donors: the fairness part of a release says which and why."""
    donors = pd.read_parquet(run.truth / "donors.parquet").set_index("donor")
    rows, _ = group_rows(run.cohort, run.cells, run.genotypes, donors, seed, run.truth)
    if rows:
        table = pd.DataFrame([row.model_dump() for row in rows])
        table["group"] = np.where(table["attribute"] == "all donors", "all donors", table["group"])
        yield subgroups(table)


def run_figures(run: Run, config: ReportConfig, seed: int) -> Iterator[Figure]:
    """The figures in the page's order: cells, genotypes, effects, perturbations, groups of donors, attacks."""
    yield from _cell_figures(run, config, seed)
    yield from _genotype_figures(run, seed)
    yield from _effect_figures(run)
    if run.perturbed is not None:
        yield perturbation_effects(pd.read_parquet(run.perturbed))
    yield from _group_figures(run, seed)
    yield from attack_figures(run.evaluation)
