"""Fit, simulate, refit: does a cohort simulated from what was learned say the same as the cohort it was learned from?

    python benchmarks/effect_refit.py --data ../shared/data --seeds 0 1 2

There is no open set of single cells with genotypes, so the cohort to learn from is made: OneK1K's cells (four types)
given to 343 real Europeans (GEUVADIS, chr22, phased by Beagle) with declared effects (Laplace sizes, decay from TSS,
a share of them in one cell type only) and donors that deviate. Genes are put at random places on chr22.

- `fitted`: what the effect model and the cells of that cohort say.
- `refitted`: the same of a cohort of new donors whose haplotypes, expression, effects and deviations are learned.
- `floor`: another cohort of the declared scenario, with other donors' chances and other effects (two real studies).
- `shuffled` (the null): the learned cohort with genotypes given to other donors.
- `default`: new donors with effects of the default scenario in place of the learned ones (nothing fitted).
- `truth`: what was declared, where it is a number.

Writes `effect_refit.csv` (seed, cohort, cell_type, metric, value) and `.json`.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import anndata as ad
import numpy as np
import pandas as pd
from record import write_record

from genesim import rng
from genesim.config.base import parse
from genesim.config.model import EffectConfig, ExpressionConfig, HaplotypeConfig, TrainPlan
from genesim.config.scenario import Scenario
from genesim.console import setup
from genesim.data.genotypes import Genotypes, phase, read_genotypes, write_vcf
from genesim.estimators.effects import EffectModel
from genesim.estimators.expression import ExpressionModel
from genesim.estimators.haplotypes import HaplotypeModel
from genesim.metrics.donor_variance import donor_variance
from genesim.metrics.eqtl import shared_by_size, storey_pi1, weighted_quantiles
from genesim.pipeline.simulate import Models, simulate
from genesim.provenance.atomic import atomic_file
from genesim.simulate.dataset import SimulatedDataset

LABELS = "cell_type"
WINDOW = 500_000
DECLARED: dict[str, Any] = {
    "share_of_genes": 0.4,
    "n_causal": 1,
    "law": "laplace",
    "sd_log2_afc": 0.8,
    "window": WINDOW,
    "tss_decay": 60_000,
    "shared": 0.7,
    "effect_correlation": 0.9,
}
DONORS = {"donor_sd_log2": 0.35, "type_correlation": 0.5}
# The cells of the declared cohort need not be like real ones; what is learned from them has the default training.
SHORT = ExpressionConfig(
    method="vae",
    vae=TrainPlan(n_steps=800, minibatch_size=128, learning_rate=2e-3),
    flow=TrainPlan(n_steps=600, learning_rate=2e-3, ema_decay=0.998, weight_decay=0.0),
)
Row = tuple[str, str, str, float]


@dataclass(frozen=True)
class Places:
    """Positions of genes, where no effects have been learned yet."""

    genes: pd.DataFrame
    donor_sd: pd.DataFrame


def base_models(data: Path, n_genes: int) -> tuple[Models, Genotypes]:
    """Expression of OneK1K, haplotypes of GEUVADIS, genes at random places; and the phased genotypes."""
    cells = ad.read_h5ad(data / "expression" / "onek1k_40donors.h5ad")
    top = np.sort(np.argsort(-np.asarray(cells.X.sum(0)).ravel(), kind="stable")[:n_genes])
    cells = cells[:, top].copy()
    expression = ExpressionModel.fit(cells, labels_key=LABELS, config=SHORT)
    geno = phase(read_genotypes(data / "paired" / "geuvadis_chr22.vcf.gz"), impute_missing=True)
    haplotypes = HaplotypeModel.fit(geno, config=HaplotypeConfig())
    start = geno.variants["start"].to_numpy()
    places = np.sort(rng.generator(0, "refit", "places").choice(start, n_genes, replace=False))
    genes = pd.DataFrame({"contig": str(geno.variants["contig"].iloc[0]), "tss": places}, index=expression.genes)
    effects = Places(genes.rename_axis("gene"), pd.DataFrame(index=genes.index))
    return Models(expression, (haplotypes,), cast(EffectModel, effects)), geno


def cohort(models: Models, n_donors: int, n_cells: int, seed: int, **blocks: Any) -> SimulatedDataset:
    asked = {"population": {"n_donors": n_donors}, "cells": {"n_cells": n_cells}, "donor_effects": DONORS, **blocks}
    return simulate(parse(Scenario, asked), models, seed)


def fit(data: SimulatedDataset, genes: pd.DataFrame, shuffled: bool = False) -> EffectModel:
    """The effect model of a cohort, with the genotypes given to other donors where `shuffled`."""
    geno = data.genotypes
    if shuffled:
        order = rng.generator(0, "refit", "shuffled").permutation(geno.n_donors)
        geno = replace(geno, donors=geno.donors[order])
    config = EffectConfig(window=WINDOW)
    return EffectModel.fit(data.cells, geno, genes, donor_key="donor", labels_key=LABELS, config=config)


def summary(name: str, data: SimulatedDataset, model: EffectModel) -> Iterator[Row]:
    """What a cohort says."""
    cells, kinds = data.cells, data.cells.obs[LABELS].astype(str).to_numpy()
    calls, table = model.egenes(), model.table()
    distance = np.abs(table["position"].to_numpy() - 1 - model.genes["tss"].reindex(table["gene"]).to_numpy())
    library = np.asarray(cells.X.sum(1), float).ravel()
    donor = pd.factorize(cells.obs["donor"].astype(str))[0]
    for kind in sorted(set(kinds)):
        mine = calls[calls["cell_type"] == kind]
        yield name, kind, "pi1", storey_pi1(mine["p_value"].to_numpy())
        yield name, kind, "share of genes at 5 % FDR", float(mine["is_egene"].mean())
        here = ((table["cell_type"] == kind) & (table["credible_set"] > 0)).to_numpy()
        size = np.abs(table["log2_afc"].to_numpy() / np.maximum(table["pip"].to_numpy(), 1e-6))[here]
        pip = table["pip"].to_numpy()[here]
        for level, value in zip(
            (0.25, 0.5, 0.75, 0.9), weighted_quantiles(size, pip, np.array([0.25, 0.5, 0.75, 0.9]))
        ):
            yield name, kind, f"|log2 aFC| of credible effects, quantile {level:g}", float(value)
        for limit in (20_000, 60_000, 150_000):
            share = float((pip * (distance[here] <= limit)).sum() / max(pip.sum(), 1e-9))
            yield name, kind, f"credible effects within {limit // 1000} kb of the TSS", share
        rows = np.flatnonzero(kinds == kind)
        found = donor_variance(cells.X[rows], library[rows], donor[rows])
        yield name, kind, "SD of log2 expression over donors, mean", float(model.donor_sd[kind].mean())
        yield name, kind, "share of the variance of rates between donors, mean", float(np.nanmean(found.share))
    types = [kind for kind in sorted(set(kinds)) if kind in model.posteriors]
    lead = table[table["credible_set"] > 0].sort_values("pip").drop_duplicates(["gene", "cell_type"], keep="last")
    wide = table[table["cell_type"].isin(types)].pivot_table(
        index=["gene", "variant"], columns="cell_type", values="effect", fill_value=0.0
    )
    wide = wide.reindex(pd.MultiIndex.from_frame(lead[["gene", "variant"]].drop_duplicates())).fillna(0.0)
    yield name, "all types", "effects shared by sign and size", shared_by_size(wide.reindex(columns=types).to_numpy())


def agreement(name: str, first: EffectModel, second: EffectModel) -> Iterator[Row]:
    """Gene by gene: do donors differ as much in one cohort as in the other?"""
    for kind in first.labels:
        r = np.corrcoef(first.donor_sd[kind], second.donor_sd[kind].reindex(first.donor_sd.index))[0, 1]
        yield name, kind, "SD over donors, correlation over genes with the fitted cohort's", float(r)


def declared(data: SimulatedDataset) -> Iterator[Row]:
    effects, genes = data.effects, data.genes
    distance = np.abs(effects["position"] - 1 - genes["tss"].reindex(effects["gene"]).to_numpy())
    sizes = np.abs(effects["log2_afc"].to_numpy())
    for kind in data.cells.obs[LABELS].astype(str).unique():
        here = effects["cell_type"].isin(["*", kind]).to_numpy()
        yield "truth", kind, "pi1", effects.loc[here, "gene"].nunique() / len(genes)
        for level in (0.25, 0.5, 0.75, 0.9):
            yield (
                "truth",
                kind,
                f"|log2 aFC| of credible effects, quantile {level:g}",
                float(np.quantile(sizes[here], level)),
            )
        for limit in (20_000, 60_000, 150_000):
            share = float((distance[here] <= limit).mean())
            yield "truth", kind, f"credible effects within {limit // 1000} kb of the TSS", share


def one_seed(base: Models, vcf: Path, n_cells: int, seed: int) -> Iterator[Row]:
    genes = cast(Places, base.effects).genes
    of_vcf = {"population": {"vcf": str(vcf)}, "effects": {"random": DECLARED}}
    real = cohort(base, 0, n_cells, rng.seed(seed, "refit", "real"), **of_vcf)
    fitted = fit(real, genes)
    yield from declared(real)
    yield from summary("fitted", real, fitted)
    expression = ExpressionModel.fit(real.cells, labels_key=LABELS, config=ExpressionConfig(method="vae"))
    learned = Models(expression, base.haplotypes, fitted)
    n, drawn = real.genotypes.n_donors, rng.seed(seed, "refit", "drawn")
    deviations = {"donor_sd_log2": "learned", "type_correlation": DONORS["type_correlation"]}
    again = cohort(learned, n, n_cells, drawn, effects={"learned": True}, donor_effects=deviations)
    refitted = fit(again, genes)
    yield from summary("refitted", again, refitted)
    yield from agreement("refitted", fitted, refitted)
    yield from summary("shuffled", again, fit(again, genes, shuffled=True))
    plain = cohort(learned, n, n_cells, drawn, effects={"random": {}}, donor_effects={})
    unfitted = fit(plain, genes)
    yield from summary("default", plain, unfitted)
    yield from agreement("default", fitted, unfitted)
    other = cohort(base, 0, n_cells, rng.seed(seed, "refit", "floor"), **of_vcf)
    floor = fit(other, genes)
    yield from summary("floor", other, floor)
    yield from agreement("floor", fitted, floor)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--genes", type=int, default=200)
    parser.add_argument("--cells", type=int, default=10_000)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".csv"))
    given = parser.parse_args()
    setup()
    base, geno = base_models(given.data, given.genes)
    with tempfile.TemporaryDirectory() as folder:
        vcf = Path(folder) / "cohort.vcf.gz"
        write_vcf(geno, vcf)
        rows = [(seed, *row) for seed in given.seeds for row in one_seed(base, vcf, given.cells, seed)]
    table = pd.DataFrame(rows, columns=["seed", "cohort", "cell_type", "metric", "value"])
    with atomic_file(given.out) as temporary:
        table.to_csv(temporary, index=False, float_format="%.5g")
    settings = {k: str(v) for k, v in vars(given).items() if k not in ("data", "out")}
    write_record(given.out.with_suffix(".json"), settings=settings, declared=DECLARED, donors=DONORS)
    shown = table.pivot_table(index="metric", columns="cohort", values="value", sort=False)
    sys.stdout.write(shown.round(3).to_string() + "\n")


if __name__ == "__main__":
    main()
