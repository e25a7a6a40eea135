"""Do relatives and population structure make false cis effects, and does the model stop them?

    python benchmarks/effect_kinship.py --data ../shared/data --seeds 0 1 2

- `families`: 300 donors, 180 founders with real haplotypes (1000 Genomes, five European populations, chr2:134.5-137
  Mb), in nuclear families with four children, first-cousin families and unrelated donors. A background genome of 22
  contigs with 500 independent common variants each is made up for the founders and handed down the same pedigree: from
  it kinship is estimated, and it carries the polygenic residual (each gene has effects at all 11,000 variants).
- `structured`: YRI, CHB and FIN (chr2:108-111 Mb, real) whose expression differs by population; the background has
  allele frequencies that differ as much (Balding & Nichols, FST 0.1).

Type I error is that of single-variant t tests of null genes at LD-thinned variants of the real region. Power: effects
of one variant that explain 5 % of the variance, at the threshold that 0.1 % of the null tests pass (so that an inflated
test gains nothing), and at p < 0.001. Models: `plain` (neither), `components` (genotype components, as many as asked),
`mixed` (families from KING), `pedigree` (the true kinship), `auto` (the default), `region` (two components of the
tested region itself). CPU: whole `EffectModel.fit`, in turns.

- `real`: 343 Europeans of four populations (GEUVADIS, chr22) and the bulk expression of 100 genes: does the default
  cost anything where nobody is related? Trained on a random half: genes at 5 % FDR, R2 of the genetic value in the
  other half (expression without its known covariates), and relatives found (all false).

Writes `effect_kinship.csv` (part, model, seed, metric, value, n) and `.json`.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anndata as ad
import jax.numpy as jnp
import numpy as np
import pandas as pd
from record import write_record
from scipy.special import stdtr

from genesim import rng
from genesim.config.model import EffectConfig
from genesim.data.genotypes import read_genotypes
from genesim.data.genotypes.record import Genotypes, concatenate
from genesim.data.thin import thinned_variants
from genesim.estimators.effect_inputs import dosages, mean_imputed
from genesim.estimators.effect_structure import Kinship, donor_structure
from genesim.estimators.effects import EffectModel
from genesim.models.effects.baselines import marginal_correlation
from genesim.models.effects.kinship import fit_heritability
from genesim.models.effects.problem import make_problem, orthonormal_covariates
from genesim.models.effects.response import linear_response
from genesim.provenance.atomic import atomic_file
from genesim.simulate.pedigree import simulate_pedigree
from genesim.simulate.pedigree_table import first_cousins, founders_of, nuclear_families

N_CONTIGS, PER_CONTIG = 22, 500
N_GENES, N_TESTED = 1500, 20
EXPLAINED = 0.05
Row = tuple[str, str, int, str, float, int]


@dataclass(frozen=True)
class Panel:
    """Donors with a real region and a background genome.

    Attributes:
        region, whole: Genotypes of the real region; with the background.
        tested: Dosages at thinned variants of the region [variant, donor].
        background: Standardised dosages of the background [variant, donor].
        kinship: True kinship of the donors, from the pedigree; None where there is none.
        population: Of each donor.
    """

    region: Genotypes
    whole: Genotypes
    tested: np.ndarray
    background: np.ndarray
    kinship: pd.DataFrame | None
    population: np.ndarray


def background(donors: pd.Index, population: np.ndarray, fst: float, draw: np.random.Generator) -> Genotypes:
    """Independent common variants, 200 kb apart, of unrelated donors whose populations differ by `fst`."""
    n = N_CONTIGS * PER_CONTIG
    names = np.unique(population)
    ancestral = draw.uniform(0.1, 0.9, n)
    frequency = np.repeat(ancestral[:, None], len(names), 1)
    if fst:
        shape = (1 - fst) / fst
        frequency = draw.beta(ancestral[:, None] * shape, (1 - ancestral[:, None]) * shape, (n, len(names)))
    own = frequency[:, np.searchsorted(names, population)]
    alleles = (draw.random((*own.shape, 2)) < own[..., None]).astype(np.int8)
    contig = np.repeat([f"b{i + 1}" for i in range(N_CONTIGS)], PER_CONTIG).astype(object)
    variants = pd.DataFrame(
        {"contig": contig, "start": np.tile(np.arange(PER_CONTIG) * 200_000, N_CONTIGS), "ref": "A", "alt": "G"},
        index=pd.Index([f"b{i}" for i in range(n)], dtype=object),
    )
    return Genotypes(alleles, np.ones(own.shape, bool), variants, donors)


def pedigree_kinship(pedigree: pd.DataFrame) -> pd.DataFrame:
    """Kinship by recursion; parents stand before their children."""
    names = pedigree["donor"].tolist()
    at = {name: i for i, name in enumerate(names)}
    k = np.zeros((len(names), len(names)))
    for i, row in enumerate(pedigree.itertuples()):
        k[i, i] = 0.5
        if row.father:
            father, mother = at[row.father], at[row.mother]
            k[i, :i] = k[:i, i] = (k[father, :i] + k[mother, :i]) / 2
            k[i, i] += k[father, mother] / 2
    return pd.DataFrame(k, index=names, columns=names)


def _panel(region: Genotypes, made: Genotypes, kinship: pd.DataFrame | None, population: np.ndarray) -> Panel:
    tested = thinned_variants(region).dosage
    x = dosages(made.alleles)
    x = x - x.mean(1, keepdims=True)
    spread = x.std(1, keepdims=True)
    whole = concatenate([region, made])
    return Panel(region, whole, tested, x / np.maximum(spread, 1e-6), kinship, population)


def families_panel(data: Path, seed: int) -> Panel:
    draw = rng.generator(seed, "kinship benchmark", "families")
    region = read_genotypes(data / "genotypes" / "1000g_chr2_lct_eur.vcf.gz")
    pedigree = pd.concat([nuclear_families(30, 4, prefix="N"), first_cousins(10, prefix="C")], ignore_index=True)
    n_alone = 40
    alone = pd.DataFrame({"donor": [f"U{i}" for i in range(n_alone)], "father": "", "mother": "", "sex": "female"})
    pedigree = pd.concat([pedigree, alone], ignore_index=True)
    names = pd.Index(founders_of(pedigree).index, dtype=object)
    chosen = region.subset(donors=np.sort(draw.choice(region.n_donors, len(names), replace=False)))
    chosen = Genotypes(chosen.alleles, chosen.phased, chosen.variants, names, chosen.contig_lengths)
    founders = concatenate([chosen, background(names, np.zeros(len(names), int), 0.0, draw)])
    everyone, _ = simulate_pedigree(founders, pedigree, seed=seed)
    real = everyone.variants["contig"].isin(region.variants["contig"].unique()).to_numpy()
    ordered = _by_generation(pedigree)
    kinship = pedigree_kinship(ordered)
    return _panel(
        everyone.subset(variants=real), everyone.subset(variants=~real), kinship, np.zeros(everyone.n_donors, int)
    )


def _by_generation(pedigree: pd.DataFrame) -> pd.DataFrame:
    done: list[pd.DataFrame] = []
    left, known = pedigree, {""}
    while len(left):
        ready = left["father"].isin(known) & left["mother"].isin(known)
        done.append(left[ready])
        known |= set(left.loc[ready, "donor"])
        left = left[~ready]
    return pd.concat(done, ignore_index=True)


def structured_panel(data: Path, seed: int) -> Panel:
    draw = rng.generator(seed, "kinship benchmark", "structured")
    region = read_genotypes(data / "genotypes" / "1000g_chr2_edar_yri_chb_fin.vcf.gz")
    samples = pd.read_csv(data / "genotypes" / "1000g_samples.panel", sep=r"\s+", index_col=0)
    population = samples.loc[region.donors.astype(str)].iloc[:, 0].to_numpy(str)
    return _panel(region, background(region.donors, population, 0.1, draw), None, population)


def expression_of(panel: Panel, n_genes: int, draw: np.random.Generator) -> np.ndarray:
    """Null expression [gene, donor] of residual variance 1: half polygenic; populations differ by one SD."""
    n_donors = panel.background.shape[1]
    noise = draw.normal(size=(n_genes, n_donors))
    names = np.unique(panel.population)
    if len(names) > 1:
        return noise + draw.normal(size=(n_genes, len(names)))[:, np.searchsorted(names, panel.population)]
    polygenic = draw.normal(size=(n_genes, len(panel.background))) @ panel.background
    polygenic /= np.sqrt(len(panel.background))
    return np.sqrt(0.5) * (polygenic + noise)


def p_values(panel: Panel, y: np.ndarray, chosen: np.ndarray, model: str, tick: list[dict] | None = None) -> np.ndarray:
    """p of gene x tested variant; `chosen` are rows of `panel.tested`."""
    genotypes, config, kinship = _setting(panel, model)
    columns = np.arange(genotypes.n_donors)
    structure = donor_structure(genotypes, columns, genotypes.donors.tolist(), kinship, config)
    if tick is not None:
        tick.append(structure.report)
    basis = orthonormal_covariates(structure.components, np.ones(len(columns), bool))
    weight = np.ones_like(y)
    families = structure.families
    h = None if families is None else fit_heritability(y, weight, basis, families)
    x = mean_imputed(panel.tested)[chosen].transpose(0, 2, 1)
    problem = make_problem(
        jnp.asarray(y, jnp.float32),
        jnp.asarray(weight, jnp.float32),
        jnp.asarray(x),
        jnp.asarray(basis, jnp.float32),
        jnp.ones(chosen.shape, jnp.float32),
        families,
        None if h is None else jnp.asarray(h),
    )
    r = np.asarray(marginal_correlation(problem), np.float64)
    dof = np.asarray(problem.dof, np.float64)[:, None] - 1
    return 2 * stdtr(dof, -np.abs(r) * np.sqrt(dof / np.maximum(1 - r**2, 1e-12)))


def _setting(panel: Panel, model: str) -> tuple[Genotypes, EffectConfig, Kinship]:
    none = EffectConfig(kinship="none", n_genotype_factors=0)
    if model == "plain":
        return panel.whole, none, "none"
    if model == "components":
        return panel.whole, none.model_copy(update={"n_genotype_factors": 5}), "none"
    if model == "mixed":
        return panel.whole, none, "auto"
    if model == "pedigree":
        return panel.region, none, panel.kinship
    if model == "region":
        return panel.region, none.model_copy(update={"n_genotype_factors": 2}), "none"
    return panel.whole, EffectConfig(), "auto"


def evaluated(part: str, panel: Panel, models: list[str], seed: int) -> Iterator[Row]:
    draw = rng.generator(seed, "kinship benchmark", part, "expression")
    y = expression_of(panel, N_GENES, draw)
    chosen = np.stack([draw.choice(len(panel.tested), N_TESTED, replace=False) for _ in range(N_GENES)])
    causal = mean_imputed(panel.tested)[chosen[:, 0]]
    causal = causal - causal.mean(1, keepdims=True)
    effect = np.sqrt(EXPLAINED) / np.maximum(causal.std(1, keepdims=True), 1e-6) * causal
    planted = y + effect * y.std(1, keepdims=True)
    for model in models:
        reports: list[dict] = []
        null = p_values(panel, y, chosen, model, reports)
        hit = p_values(panel, planted, chosen[:, :1], model)[:, 0]
        for level in (0.05, 0.001):
            yield part, model, seed, f"type I error at {level:g}", float((null < level).mean()), null.size
        yield part, model, seed, "power at an empirical 0.1 %", float((hit < np.quantile(null, 0.001)).mean()), len(hit)
        yield part, model, seed, "power at p < 0.001", float((hit < 0.001).mean()), len(hit)
        for name in ("n_pairs", "n_families", "n_genotype_factors", "noise"):
            if name in reports[0]:
                yield part, model, seed, name, float(reports[0][name]), 1


def cost(panel: Panel, seed: int, n_genes: int = 64) -> Iterator[Row]:
    """CPU seconds of whole fits, first ones (which compile) left out."""
    draw = rng.generator(seed, "kinship benchmark", "cost")
    start = panel.region.variants["start"]
    var = pd.DataFrame(
        {
            "contig": str(panel.region.variants["contig"].iloc[0]),
            "tss": np.linspace(start.min(), start.max(), n_genes).astype(int),
        },
        index=[f"g{i}" for i in range(n_genes)],
    )
    obs = pd.DataFrame(index=panel.region.donors.astype(str))
    expression = ad.AnnData(expression_of(panel, n_genes, draw).T, obs=obs, var=var)
    seconds: dict[str, list[float]] = {"plain": [], "pedigree": []}
    for repeat in range(3):
        for model, taken in seconds.items():
            genotypes, config, kinship = _setting(panel, model)
            config = config.model_copy(update={"window": 250_000, "n_factors": 0})
            begun = time.process_time()
            EffectModel.fit(expression, genotypes, bulk=True, scale="log2", kinship=kinship, config=config)
            if repeat:
                taken.append(time.process_time() - begun)
    for model, taken in seconds.items():
        yield "families", model, seed, "CPU seconds of a fit", float(np.mean(taken)), len(taken)


def real(data: Path, seed: int, n_genes: int = 100) -> Iterator[Row]:
    """eGenes and held-out R2 by the number of genotype components."""
    draw = rng.generator(seed, "kinship benchmark", "real")
    expression = ad.read_h5ad(data / "paired" / "geuvadis_chr22.h5ad")
    genotypes = read_genotypes(data / "paired" / "geuvadis_chr22.vcf.gz")
    expression = expression[genotypes.donors.astype(str)]
    expression = expression[:, np.sort(draw.choice(expression.n_vars, n_genes, replace=False))].copy()
    order = draw.permutation(genotypes.n_donors)
    train, test = np.sort(order[: len(order) // 2]), np.sort(order[len(order) // 2 :])
    known = pd.DataFrame(expression.obsm["covariates"][:, :28], index=expression.obs_names)
    present = np.ones(len(test), bool)
    y, _ = linear_response(expression.X[test].T, present)
    basis = orthonormal_covariates(known.iloc[test].to_numpy(), present)
    y = y - (y @ basis) @ basis.T
    settings: dict[str, Any] = {"plain": 0, "auto": "auto", "components": 5}
    for model, n in settings.items():
        config = EffectConfig(window=300_000, n_factors=0, n_effects=2, n_genotype_factors=n)
        fit = EffectModel.fit(
            expression[train].copy(), genotypes, bulk=True, scale="linear", covariates=known, config=config
        )
        shown = fit.predict(genotypes.subset(donors=test)).mean[expression.var_names].to_numpy().T
        shown = shown - (shown @ basis) @ basis.T
        r2 = 1 - ((y - shown) ** 2).sum(1) / np.maximum((y**2).sum(1), 1e-9)
        yield "real", model, seed, "genes at 5 % FDR", float(fit.egenes()["is_egene"].sum()), n_genes
        yield "real", model, seed, "mean held-out R2", float(r2.mean()), n_genes
        for name in ("n_pairs", "n_genotype_factors", "noise"):
            yield "real", model, seed, name, float(fit.provenance.config["donors"][name]), 1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("GENESIM_DATA", "../shared/data")))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parts = ["families", "structured", "real"]
    parser.add_argument("--parts", nargs="+", choices=parts, default=parts)
    parser.add_argument("--out", type=Path, default=Path(__file__).resolve().parent)
    options = parser.parse_args()
    path = options.out / "effect_kinship.csv"
    columns = ["part", "model", "seed", "metric", "value", "n"]
    for seed in options.seeds:
        rows: list[Row] = []
        if "families" in options.parts:
            panel = families_panel(options.data, seed)
            rows += evaluated("families", panel, ["plain", "components", "mixed", "pedigree", "auto"], seed)
            rows += cost(panel, seed)
        if "structured" in options.parts:
            panel = structured_panel(options.data, seed)
            rows += evaluated("structured", panel, ["plain", "components", "region", "auto"], seed)
        if "real" in options.parts:
            rows += real(options.data, seed)
        table = pd.DataFrame(rows, columns=columns)
        if path.exists():  # other parts and seeds stay
            before = pd.read_csv(path)
            again = before["part"].isin(options.parts) & (before["seed"] == seed)
            table = pd.concat([before[~again], table], ignore_index=True)
        with atomic_file(path) as temporary:
            table.to_csv(temporary, index=False, float_format="%.6g")
        print(f"seed {seed} is done", flush=True)
    write_record(options.out / "effect_kinship.json", seeds=options.seeds, n_genes=N_GENES, n_tested=N_TESTED)
    print(table.groupby(["part", "metric", "model"], sort=False)["value"].mean().unstack().to_string())


if __name__ == "__main__":
    main()
