"""How well a classifier tells simulated cells from held-out real ones, beside floor, null and copula.

Writes `expression.csv` (one row a data set, generator and setting) and `expression.json` (command, versions,
settings) beside this file. AUC .5 means indistinguishable; read every value between the floor (real training
cells against real test cells) and the null (independent NB a label).

    GENESIM_DATA=path/to/shared/data python benchmarks/expression.py --seeds 0 1 2
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
from record import write_record
from scipy import sparse

from genesim import rng
from genesim.config.model import ExpressionConfig
from genesim.data.expression import read_expression
from genesim.estimators.expression import ExpressionModel
from genesim.metrics import expression as metrics
from genesim.models.catalog import methods

HERE = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Case:
    """A data set divided into training and test cells."""

    name: str
    train: ad.AnnData
    test: ad.AnnData
    labels_key: str


def _halves(cells: ad.AnnData, seed: int) -> tuple[ad.AnnData, ad.AnnData]:
    order = rng.generator(seed, "benchmark", "cells").permutation(cells.n_obs)
    half = cells.n_obs // 2
    return cells[np.sort(order[:half])].copy(), cells[np.sort(order[half:])].copy()


def onek1k(data: Path, seed: int, by_donor: bool) -> Case:
    """OneK1K, 40 donors, divided by cells or by donors (new people: the floor itself is high)."""
    cells = read_expression(data / "expression" / "onek1k_40donors.h5ad", labels_key="cell_type")
    if not by_donor:
        return Case("onek1k_cells", *_halves(cells, seed), "cell_type")
    donor = cells.obs["indiv"].astype(str).to_numpy()
    order = rng.generator(seed, "benchmark", "donors").permutation(np.unique(donor))
    first = np.isin(donor, order[: len(order) // 2])
    return Case("onek1k_donors", cells[first].copy(), cells[~first].copy(), "cell_type")


def kang(data: Path, seed: int) -> Case:
    """Kang interferon-beta, the 2,000 genes most variable for their mean; labels are type x condition."""
    cells = read_expression(data / "perturbation" / "kang_ifnb.h5ad")
    mean = np.asarray(cells.X.mean(axis=0)).ravel()
    square = np.asarray(cells.X.multiply(cells.X).mean(axis=0)).ravel()
    fano = (square - mean**2) / (mean + 0.01)
    cells = cells[:, np.sort(np.argsort(-fano, kind="stable")[:2000])].copy()
    cells.obs["group"] = cells.obs["cell_type"].astype(str) + "_" + cells.obs["condition"].astype(str)
    return Case("kang", *_halves(read_expression(cells, labels_key="group"), seed), "group")


def pbmc68k(seed: int) -> Case:
    """pbmc68k_reduced (700 cells): counts come back exactly from log1p(CP10k) and totals."""
    import scanpy as sc

    source = sc.datasets.pbmc68k_reduced()
    x = sparse.csr_matrix(source.raw.X, copy=True)
    x.data = np.expm1(x.data)
    x = sparse.csr_matrix(sparse.diags(source.obs["n_counts"].to_numpy() / 1e4) @ x)
    x.data = np.rint(x.data)
    cells = ad.AnnData(x, obs=source.obs[["bulk_labels"]].copy(), var=source.raw.var[[]].copy())
    return Case("pbmc68k_reduced", *_halves(read_expression(cells, labels_key="bulk_labels"), seed), "bulk_labels")


def cases(data: Path, seed: int, wanted: list[str]) -> Iterator[Case]:
    """The wanted data sets, divided anew for each seed."""
    makers: dict[str, Callable[[], Case]] = {
        "onek1k_cells": lambda: onek1k(data, seed, by_donor=False),
        "onek1k_donors": lambda: onek1k(data, seed, by_donor=True),
        "kang": lambda: kang(data, seed),
        "pbmc68k_reduced": lambda: pbmc68k(seed),
    }
    for name in wanted:
        yield makers[name]()


def scored(case: Case, other: ad.AnnData, seed: int) -> dict[str, float]:
    """AUCs of `other` against the test cells, on equal numbers of cells."""
    n = min(case.test.n_obs, other.n_obs)
    order = rng.generator(seed, "benchmark", "order")
    test = case.test.X[np.sort(order.permutation(case.test.n_obs)[:n])]
    found = other.X[np.sort(order.permutation(other.n_obs)[:n])]
    means = [metrics.gene_summaries(x).mean for x in (test, found)]
    return {
        "auc": metrics.classifier_auc(test, found, seed=seed).auc,
        "auc_harder": metrics.classifier_auc(test, found, seed=seed, harder=True).auc,
        "gene_mean_rmse": metrics.gene_mean_error(*means),
        "n_cells": n,
    }


def settings(wanted: list[str]) -> dict[str, ExpressionConfig]:
    """Generators by name: the default, variants around it, and the baselines."""
    default = ExpressionConfig()
    every = {
        "vae": default,
        "vae_kl_1": default.model_copy(update={"kl_weight": 1.0}),
        "vae_early_stop": default.model_copy(
            update={"validation_share": 0.1, "vae": default.vae.model_copy(update={"patience": 10})}
        ),
        "vae_dropout_0": default.model_copy(update={"dropout": 0.0}),
    } | {name: default.model_copy(update={"method": name}) for name in methods("expression")[1:]}
    return {name: every[name] for name in wanted}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("GENESIM_DATA", "../shared/data")))
    parser.add_argument("--out", type=Path, default=HERE)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--datasets", nargs="+", default=["onek1k_cells", "onek1k_donors", "kang", "pbmc68k_reduced"])
    parser.add_argument("--generators", nargs="+", default=list(methods("expression")))
    asked = parser.parse_args()
    configs = settings(asked.generators)
    rows = []
    for seed in asked.seeds:
        for case in cases(asked.data, seed, asked.datasets):
            key = {
                "dataset": case.name,
                "seed": seed,
                "n_train": case.train.n_obs,
                "n_genes": case.train.n_vars,
            }
            rows.append({**key, "generator": "real training cells (floor)", **scored(case, case.train, seed)})
            for name, config in configs.items():
                wall, cpu = time.monotonic(), time.process_time()
                model = ExpressionModel.fit(case.train, labels_key=case.labels_key, config=config, seed=seed)
                timing = {"fit_wall_s": time.monotonic() - wall, "fit_cpu_s": time.process_time() - cpu}
                drawn = model.sample(case.test.n_obs, seed=seed)
                rows.append({**key, "generator": name, **scored(case, drawn, seed), **timing})
                print(rows[-1], flush=True)
            asked.out.mkdir(parents=True, exist_ok=True)
            pd.DataFrame(rows).round(4).to_csv(asked.out / "expression.csv", index=False)
    described = {name: config.model_dump(mode="json") for name, config in configs.items()}
    write_record(asked.out / "expression.json", settings=described)


if __name__ == "__main__":
    main()
