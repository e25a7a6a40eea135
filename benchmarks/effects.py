"""Effects of variants and all their peers in one run (GEUVADIS, chr22).

    export TENSORQTL_PYTHON=~/tensorqtl/bin/python JAXQTL_PYTHON=~/jaxqtl/bin/python
    python benchmarks/effects.py --data ../shared/data --seeds 0 1 2

`--parts` takes some of:
- `held_out`: expression of held-out donors by SuSiE, elastic net (PrediXcan), ridge, top variant (below);
- `finemap`: credible sets beside susieR's, genes at 5 % FDR beside tensorQTL's (`effect_peers.py`);
- `counts`: power on negative binomial counts beside tensorQTL and jaxQTL (`effect_count_peers.py`);
- `realism`: what a mapper finds on simulated donors, beside splatPop's recipe (`effect_realism.py`).

Held out: R2 = 1 - SSE/SST over held-out donors of 5 folds, per gene, then the mean over genes. Expression is log2 RPKM;
three genotype PCs and `--factors` hidden factors are fitted in the training donors only, and SST is taken
about the training mean. SuSiE's priors (sizes, distances to the TSS) are learned from the training donors of all
genes drawn (compilation counts in `learn_cpu_s_per_gene`). `susie_flat` knows no distances, as the baselines do.
`shuffled` is SuSiE with the donors of the genotypes permuted. A seed decides the genes and the folds.

Writes `effects.csv` (held out: a row a model and seed, one over the distinct genes of all seeds), `effects_peers.csv`
(the other parts: part, seed, who, metric, value) and `effects.json` (command, settings, versions).
"""

from __future__ import annotations

import argparse
import sys
import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path

import anndata as ad
import effect_count_peers
import effect_peers
import effect_realism
import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from effect_calibration import CellKind, read_panel
from record import write_record

from genesim import rng
from genesim.config.model import EffectConfig
from genesim.console import progress, setup
from genesim.data.genotypes import read_genotypes
from genesim.estimators.effect_inputs import allele_means, cis_windows, dosages, match_genes, mean_imputed
from genesim.metrics.effects import held_out_r2
from genesim.models.catalog import CATALOG
from genesim.models.effects.baselines import predict_genetic, susie_coefficients
from genesim.models.effects.learning import learn_mixture
from genesim.models.effects.marginal import tss_curve_of
from genesim.models.effects.problem import EffectProblem, orthonormal_covariates
from genesim.models.effects.response import hidden_factors, linear_response
from genesim.models.effects.scan import PriorOf, batches, build_batch
from genesim.models.effects.susie import fit_susie
from genesim.provenance.atomic import atomic_file

N_FOLDS = 5
DosageOf = Callable[[np.ndarray], np.ndarray]
BASELINES = ("effects", "baseline")
SUSIE = ("susie", "susie_flat", "shuffled")
PARTS = ("held_out", "finemap", "counts", "realism")


def elastic_net(problem: EffectProblem, n_genes: int) -> np.ndarray:
    """scikit-learn's elastic net, penalty by inner cross-validation, as PrediXcan uses it (l1_ratio 0.5)."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import ElasticNetCV

    warnings.simplefilter("ignore", ConvergenceWarning)  # its weakest penalties, which are not chosen

    x, y = np.asarray(problem.genotype), np.asarray(problem.response)
    coefficients = np.zeros(np.asarray(problem.scale).shape, np.float32)
    for i in range(n_genes):
        present = np.abs(x[i]).sum(1) > 0
        net = ElasticNetCV(l1_ratio=0.5, cv=3, alphas=15, eps=2e-2, max_iter=1000, fit_intercept=False)
        coefficients[i] = net.fit(x[i][present], y[i][present]).coef_
    return coefficients


MODELS = {
    **{row.id: lambda p, n, _, row=row: row.build(p) for row in CATALOG if (row.modality, row.role) == BASELINES},
    "elastic_net": lambda p, n, _: elastic_net(p, n),
    "susie": lambda p, n, prior: susie_coefficients(fit_susie(p, prior, n_effects=EffectConfig().n_effects)),
}
MODELS["susie_flat"] = MODELS["susie"]


def held_out_response(
    response: np.ndarray, known: np.ndarray, train: np.ndarray, n_factors: int
) -> tuple[np.ndarray, np.ndarray]:
    """Response without covariates (training coefficients), and the covariates with the factors."""
    basis = orthonormal_covariates(known, train)
    weight = np.broadcast_to(train, response.shape).astype(float)
    _, loadings = hidden_factors(response * train, weight, basis, n_factors)

    def residual(design: np.ndarray) -> np.ndarray:
        design = np.column_stack([np.ones(len(train)), design])
        coefficients = np.linalg.lstsq(design[train], response[:, train].T, rcond=None)[0]
        return response - (design @ coefficients).T

    left = residual(known)
    spread = left[:, train].std(1, keepdims=True)
    standard = left / np.where(spread > 1e-9, spread, np.inf)
    factors = np.linalg.lstsq(loadings, standard, rcond=None)[0].T if loadings.shape[1] else known[:, :0]
    design = np.column_stack([known, factors])
    return residual(design), design


def run(data: Path, n_genes: int, n_factors: int, window: int, seed: int, models: list[str]) -> pd.DataFrame:
    """Held-out R2 of every gene under every model, and the model's CPU seconds a gene and fold."""
    expression = ad.read_h5ad(data / "paired" / "geuvadis_chr22.h5ad")
    genotypes = read_genotypes(data / "paired" / "geuvadis_chr22.vcf.gz")
    columns = genotypes.donors.get_indexer(expression.obs_names.astype(str))
    mean = allele_means(genotypes, columns)
    usable = np.minimum(mean, 2 - mean) / 2 >= EffectConfig().min_maf
    located = match_genes(None, expression.var, list(genotypes.variants["contig"].unique()))
    windows = cis_windows(located, genotypes.variants, usable, window)
    draw = rng.generator(seed, "benchmark", "effects")
    chosen = np.sort(draw.choice(np.flatnonzero([len(w) > 0 for w in windows]), n_genes, replace=False))
    fold = draw.permutation(len(columns)) % N_FOLDS
    shuffled = columns[draw.permutation(len(columns))]
    present = np.ones(len(columns), bool)
    response, _ = linear_response(np.asarray(expression[:, located.index].X, float).T, present)
    known = expression.obsm["covariates"][:, :3]

    truth = np.zeros((n_genes, len(columns)))
    names = [m for m in MODELS if m in models] + ["shuffled"]
    predicted = {name: np.zeros_like(truth) for name in names}
    seconds, learning = dict.fromkeys(names, 0.0), dict.fromkeys(names, 0.0)
    compiled: set[tuple[str, int, int]] = set()
    picked = [windows[g] for g in chosen]
    start, tss = genotypes.variants["start"].to_numpy(np.int64), located["tss"].to_numpy(np.int64)
    distance = [start[window] - tss[gene] for gene, window in zip(chosen, picked, strict=True)]
    for k in progress(range(N_FOLDS), "folds"):
        train = fold != k
        left, design = held_out_response(response, known, train, n_factors)
        truth[:, ~train] = left[chosen][:, ~train]
        basis = orthonormal_covariates(design, train)
        for name in names:
            at = shuffled if name == "shuffled" else columns

            def dosage_of(index: np.ndarray, at: np.ndarray = at) -> np.ndarray:
                return mean_imputed(dosages(genotypes.alleles[index][:, at]), mean[index])

            planned = list(batches(picked, len(columns), 32))
            weigh: PriorOf | None = None
            weight = np.broadcast_to(train, (n_genes, len(columns))).astype(float)

            def problem_of(
                batch: tuple[np.ndarray, int, int],
                weight: np.ndarray = weight,
                basis: np.ndarray = basis,
                dosage_of: DosageOf = dosage_of,
                weigh: PriorOf | None = None,
            ) -> EffectProblem:
                genes, width, size = batch
                shape = (width, size)
                return build_batch(genes, shape, response[chosen], weight, basis, picked, dosage_of, prior_of=weigh)

            prior = None
            if name in SUSIE:
                started = time.process_time()
                if name != "susie_flat":
                    config = EffectConfig(gene_minibatch=32)
                    curve, _ = tss_curve_of(response[chosen], weight, basis, picked, distance, dosage_of, config)
                    weigh = curve.prior_of(distance)
                problem_of = partial(problem_of, weigh=weigh)
                prior = learn_mixture(lambda p=problem_of, b=planned: map(p, b))
                learning[name] += time.process_time() - started
            for genes, width, size in planned:
                problem = problem_of((genes, width, size))
                model = MODELS["susie" if name in SUSIE else name]
                if name != "elastic_net" and (name, size, width) not in compiled:
                    jax.block_until_ready(jnp.asarray(model(problem, len(genes), prior)))
                    compiled.add((name, size, width))
                started = time.process_time()
                coefficients = jax.block_until_ready(jnp.asarray(model(problem, len(genes), prior)))
                seconds[name] += time.process_time() - started
                raw = np.zeros((width, len(columns), size), np.float32)
                for i, g in enumerate(genes):
                    raw[i, :, : len(picked[g])] = dosage_of(picked[g]).T
                value = np.asarray(predict_genetic(coefficients, problem, jnp.asarray(raw)))
                predicted[name][np.ix_(genes, np.flatnonzero(~train))] = value[: len(genes)][:, ~train]
    return pd.concat(
        [
            pd.DataFrame(
                {
                    "seed": seed,
                    "gene": located.index[chosen],
                    "model": name,
                    "r2": held_out_r2(truth, predicted[name]),
                    "cpu_s": seconds[name] / n_genes / N_FOLDS,
                    "learn_cpu_s": learning[name] / n_genes / N_FOLDS,
                }
            )
            for name in names
        ],
        ignore_index=True,
    )


def summary(found: pd.DataFrame, seed: str) -> pd.DataFrame:
    """A row a model: means over genes (one that several seeds drew counts once) with standard errors."""
    r2 = found.pivot_table("r2", "gene", "model", aggfunc="mean")
    n = len(r2)
    difference = r2.rsub(r2["susie"], axis=0)
    return pd.DataFrame(
        {
            "seed": seed,
            "n_genes": n,
            "mean_r2": r2.mean(),
            "se": r2.std() / np.sqrt(n),
            "susie_minus_model": difference.mean(),
            "se_of_difference": difference.std() / np.sqrt(n),
            "genes_over_0.1": (r2 > 0.1).sum(),
            "cpu_s_per_gene": found.groupby("model")["cpu_s"].mean(),
            "learn_cpu_s_per_gene": found.groupby("model")["learn_cpu_s"].mean(),
        }
    ).reindex(list(dict.fromkeys(found["model"])))


def peers(data: Path, parts: list[str], seeds: list[int]) -> pd.DataFrame:
    """The parts beside `held_out`."""
    panel = read_panel(data)

    def counts() -> pd.DataFrame:
        share = CellKind.of(ad.read_h5ad(data / "expression" / "onek1k_40donors.h5ad")).share
        return effect_count_peers.measure(panel, share, seeds)

    measures: dict[str, Callable[[], pd.DataFrame]] = {
        "finemap": lambda: effect_peers.measure(panel, seeds),
        "counts": counts,
        "realism": lambda: effect_realism.measure(panel, seeds),
    }
    found = [measures[part]() for part in parts]
    return pd.concat(found, ignore_index=True)[["part", "seed", "who", "metric", "value"]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--parts", nargs="+", default=list(PARTS), choices=PARTS)
    parser.add_argument("--genes", type=int, default=100, help="of a seed, held out")
    parser.add_argument("--factors", type=int, default=25)
    parser.add_argument("--window", type=int, default=500_000)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--models", nargs="+", default=list(MODELS), choices=list(MODELS))
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".csv"))
    given = parser.parse_args()
    setup()
    if "held_out" in given.parts:
        wanted = list(dict.fromkeys([*given.models, "susie"]))
        parts = [run(given.data, given.genes, given.factors, given.window, seed, wanted) for seed in given.seeds]
        tables = [summary(part, str(seed)) for seed, part in zip(given.seeds, parts, strict=True)]
        table = pd.concat([*tables, summary(pd.concat(parts), "all")]).reset_index()
        with atomic_file(given.out) as temporary:
            table.to_csv(temporary, index=False, float_format="%.5f")
        sys.stdout.write(table.to_string(index=False) + "\n")
    others = [part for part in given.parts if part != "held_out"]
    if others:
        found = peers(given.data, others, given.seeds)
        with atomic_file(given.out.with_name(f"{given.out.stem}_peers.csv")) as temporary:
            found.to_csv(temporary, index=False, float_format="%.5g")
        shown = found.groupby(["part", "metric", "who"], sort=False)["value"].agg(["mean", "std"])
        sys.stdout.write(shown.round(4).to_string() + "\n")
    settings = {k: str(v) for k, v in vars(given).items() if k not in ("data", "out")}
    write_record(given.out.with_suffix(".json"), settings=settings)


if __name__ == "__main__":
    main()
