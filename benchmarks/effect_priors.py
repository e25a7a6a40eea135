"""Does knowing more beforehand help? Held-out R2 of cis effects under priors (GEUVADIS, chr22), few donors and more.

    python benchmarks/effect_priors.py --data ../shared/data --seeds 0 1 2

A seed divides the donors: 150 make an external table (every variant of each window, least squares), 73 are tested, and
60 or all 120 of the rest are the run's own. Fits are `EffectModel.fit` on the same own donors:

- `none`: every variant as likely. `default`, `learn`: weighted by distance to the TSS, by the built-in curve or one
  learned from the own donors. **The built-in curve was learned from all of these donors**: its row is no evidence.
- `table`: the table as prior of the places; `table, sizes`: sizes combined as well. `shuffled`: the table's rows given
  to other variants of their gene, the null of a prior.
- `table alone`: `EffectModel.from_table`, no own donors.

Expression is log2 RPKM less 3 genotype components and 15 hidden factors, fitted in the own donors. Also the largest PIP
of each gene on average. Writes `effect_priors.csv` (own donors, prior, mean over genes of the
seeds' mean R2, difference from `none` with its standard error over genes) and `.json`.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
from effects import held_out_response
from record import write_record

from genesim import rng
from genesim.config.effect_prior import EffectPriorConfig
from genesim.config.model import EffectConfig
from genesim.console import progress, setup
from genesim.data.effect_table import EffectTable, effect_table
from genesim.data.genotypes import Genotypes, read_genotypes
from genesim.estimators.effect_inputs import allele_means, cis_windows, dosages, match_genes, mean_imputed
from genesim.estimators.effect_prior import EffectPrior
from genesim.estimators.effects import EffectModel
from genesim.metrics.effects import held_out_r2
from genesim.models.effects.response import linear_response
from genesim.provenance.atomic import atomic_file

N_TABLE, N_TEST, FACTORS = 150, 73, 15
PRIORS = ("none", "default", "learn", "table", "table, sizes", "shuffled")


def least_squares(
    response: np.ndarray, dosage: np.ndarray, windows: list[np.ndarray], variants: pd.DataFrame, genes: pd.Index
) -> pd.DataFrame:
    """beta and se of every variant of each gene alone; `response` gene x donor is centred."""
    parts = []
    for gene, y, window in zip(genes, response, windows, strict=True):
        x = dosage[window] - dosage[window].mean(1, keepdims=True)
        xx = np.maximum((x**2).sum(1), 1e-9)
        beta = x @ y / xx
        left = ((y - beta[:, None] * x) ** 2).sum(1) / (len(y) - 2 - FACTORS - 3)
        at = variants.iloc[window]
        parts.append(
            pd.DataFrame(
                {
                    "contig": at["contig"].to_numpy(),
                    "position": at["start"].to_numpy() + 1,
                    "ref": at["ref"].to_numpy(),
                    "alt": at["alt"].to_numpy(),
                    "gene": gene,
                    "beta": beta,
                    "se": np.sqrt(left / xx),
                }
            )
        )
    return pd.concat(parts, ignore_index=True)


def shuffled(table: pd.DataFrame, draw: np.random.Generator) -> pd.DataFrame:
    """The estimates of a gene given to other variants of its window."""
    order = np.concatenate([draw.permutation(rows) for rows in table.groupby("gene", sort=False).indices.values()])
    place = np.concatenate(list(table.groupby("gene", sort=False).indices.values()))
    out = table.copy()
    out.loc[place, ["beta", "se"]] = table.loc[order, ["beta", "se"]].to_numpy()
    return out


def prior_of(name: str, table: EffectTable, other: EffectTable) -> EffectPrior | None:
    if name in ("default", "learn"):
        return EffectPrior(EffectPriorConfig(tss=name))
    if name == "none":
        return None
    settings = EffectPriorConfig(sizes=name == "table, sizes")
    return EffectPrior(settings, table=other if name == "shuffled" else table)


def run(data: Path, n_genes: int, window: int, seed: int) -> pd.DataFrame:
    """Held-out R2 and largest PIP of each gene, for both numbers of own donors and every prior."""
    expression = ad.read_h5ad(data / "paired" / "geuvadis_chr22.h5ad")
    geno = read_genotypes(data / "paired" / "geuvadis_chr22.vcf.gz")
    expression = expression[geno.donors.astype(str)].copy()
    mean = allele_means(geno, np.arange(geno.n_donors))
    located = match_genes(None, expression.var, list(geno.variants["contig"].unique()))
    usable = np.minimum(mean, 2 - mean) / 2 >= EffectConfig().min_maf
    windows = cis_windows(located, geno.variants, usable, window)
    draw = rng.generator(seed, "benchmark", "effect priors")
    chosen = np.sort(draw.choice(np.flatnonzero([len(w) >= 50 for w in windows]), n_genes, replace=False))
    genes, picked = located.iloc[chosen], [windows[g] for g in chosen]
    order = draw.permutation(geno.n_donors)
    study, test, rest = order[:N_TABLE], order[N_TABLE : N_TABLE + N_TEST], order[N_TABLE + N_TEST :]
    dosage = mean_imputed(dosages(geno.alleles), mean)
    response, _ = linear_response(np.asarray(expression[:, genes.index].X, float).T, np.ones(geno.n_donors, bool))
    known = expression.obsm["covariates"][:, :3]

    def adjusted(members: np.ndarray) -> np.ndarray:
        mask = np.isin(np.arange(geno.n_donors), members)
        return held_out_response(response, known, mask, FACTORS)[0]

    frame = least_squares(adjusted(study)[:, study], dosage[:, study], picked, geno.variants, genes.index)
    table, other = effect_table(frame), effect_table(shuffled(frame, draw))
    config = EffectConfig(window=window, n_factors=0, n_permutations=50, n_genotype_factors=0, kinship="none")
    found = []

    def record(own: int, name: str, model: EffectModel, truth: np.ndarray, members: np.ndarray) -> None:
        value = model.predict(people(geno, test)).mean.reindex(columns=genes.index).fillna(0.0).to_numpy().T
        # Predictions are about the fit's mean donor; the truth is about the own donors' mean.
        centre = model.predict(people(geno, members)).mean.reindex(columns=genes.index).fillna(0.0).to_numpy().mean(0)
        pip = model.table().groupby("gene")["pip"].max().reindex(genes.index).fillna(0.0)
        r2 = held_out_r2(truth[:, test], value - centre[:, None])
        found.append(pd.DataFrame({"seed": seed, "own": own, "prior": name, "gene": genes.index, "r2": r2, "pip": pip}))

    for own in (60, len(rest)):
        members = rest[:own]
        truth = adjusted(members)
        bulk = ad.AnnData(
            truth[:, members].T, obs=pd.DataFrame(index=geno.donors[members].astype(str)), var=genes.copy()
        )
        for name in progress(PRIORS, f"priors, {own} donors"):
            model = EffectModel.fit(
                bulk,
                people(geno, members),
                genes,
                bulk=True,
                scale="log2",
                config=config,
                prior=prior_of(name, table, other),
                seed=seed,
            )
            record(own, name, model, truth, members)
        if own == 60:
            alone = EffectModel.from_table(table, people(geno, members), genes, config=config, n_donors=N_TABLE)
            record(0, "table alone", alone, truth, members)
    return pd.concat(found, ignore_index=True)


def people(geno: Genotypes, columns: np.ndarray) -> Genotypes:
    return geno.subset(donors=columns)


def summary(found: pd.DataFrame) -> pd.DataFrame:
    """A row a number of own donors and a prior: means over genes, differences from no prior with standard errors."""
    mean = found.groupby(["own", "prior", "gene"], sort=False)[["r2", "pip"]].mean().reset_index()
    rows = []
    for (own, prior), part in mean.groupby(["own", "prior"], sort=False):
        plain = mean[(mean["own"] == (own or 60)) & (mean["prior"] == "none")].set_index("gene")["r2"]
        ahead = part.set_index("gene")["r2"] - plain
        rows.append(
            {
                "own_donors": own,
                "prior": prior,
                "n_genes": len(part),
                "mean_r2": part["r2"].mean(),
                "ahead_of_none": ahead.mean(),
                "se_over_genes": ahead.std() / np.sqrt(len(ahead)),
                "largest_pip": part["pip"].mean(),
            }
        )
    return pd.DataFrame(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--genes", type=int, default=120)
    parser.add_argument("--window", type=int, default=500_000)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".csv"))
    given = parser.parse_args()
    setup()
    table = summary(pd.concat([run(given.data, given.genes, given.window, seed) for seed in given.seeds]))
    with atomic_file(given.out) as temporary:
        table.to_csv(temporary, index=False, float_format="%.5f")
    settings = {k: str(v) for k, v in vars(given).items() if k not in ("data", "out")}
    write_record(given.out.with_suffix(".json"), settings=settings)
    sys.stdout.write(table.to_string(index=False) + "\n")


if __name__ == "__main__":
    main()
