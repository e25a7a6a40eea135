"""How well denoised expression predicts molecules it has not seen: molecular cross-validation.

    SCVI_PYTHON=path/to/scvi/bin/python GENESIM_DATA=path/to/data python benchmarks/imputation.py --seeds 0 1 2

Each count is divided in two by binomial thinning, A ~ Binomial(count, 1/2) and B = count - A (Batson, Royer & Webber
2019, bioRxiv 786269). Methods see A of all cells, without labels, and give each cell's rates; the prediction of B is
rate x library size of A. `scvi`, `scvi_long` and `genesim_latent` are rates at a cell's latent; `genesim` and the rows
`*_own_counts` their posterior means given each gene's own count in A too. 1% of the pooled mean is mixed into every
method's rates, so that no deviance is infinite.
Writes `imputation.csv` (a row a data set, seed and method), `imputation.png` and `imputation.json`.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
from cases import CHOSEN, MAKERS, arguments
from fits import MODEL_SOURCES, Fit, fit_genesim, sources
from jaxtyping import Float
from peers import fit_scvi, scvi_changes
from record import write_record
from scipy import sparse

from genesim import rng
from genesim.metrics.expression import library_size, log_normalise

METHODS = (
    "pooled_mean",
    "raw",
    "knn",
    "scvi",
    "scvi_long",
    "scvi_own_counts",
    "scvi_long_own_counts",
    "genesim_latent",
    "genesim",
)
POWERS = (1, 2, 3, 4, 6, 8, 12)
"""Steps of diffusion that are tried; the best on B is reported, which favours the smoother."""
N_COMPONENTS, N_NEIGHBOURS = 30, 15
FLOOR_SHARE = 0.01
BLOCK = 1024

Rates = Float[np.ndarray, "cell gene"]


def thinned(counts: sparse.csr_matrix, seed: int) -> tuple[sparse.csr_matrix, sparse.csr_matrix]:
    """Two halves of the molecules of the cells that have some in the first."""
    a = counts.copy()
    a.data = rng.generator(seed, "benchmark", "thin").binomial(counts.data.astype(np.int64), 0.5).astype(np.float32)
    b = sparse.csr_matrix(counts - a)
    a.eliminate_zeros()
    b.eliminate_zeros()
    kept = np.flatnonzero(library_size(a) > 0)
    return a[kept], b[kept]


def raw(a: sparse.csr_matrix) -> Rates:
    """Share of each gene in the cell's counts."""
    return (a.toarray() / library_size(a)[:, None]).astype(np.float32)


def with_own_counts(rates: Rates, theta: Float[np.ndarray, " gene"], a: sparse.csr_matrix) -> Rates:
    """What `ExpressionModel.denoise` makes of rates and counts, of the rates and inverse dispersions of a peer.

    scVI has no such function of its own; its row tells what comes from this step and what from the networks.
    """
    found = rates * (theta + a.toarray()) / (theta + library_size(a)[:, None] * rates)
    return (found / found.sum(axis=1, keepdims=True)).astype(np.float32)


def knn(a: sparse.csr_matrix, seed: int) -> Iterator[tuple[int, Rates]]:
    """Rates smoothed by diffusion on a graph of nearest neighbours, for each of `POWERS` (van Dijk 2018, Cell: MAGIC).

    Gaussian kernel on principal components, its width each cell's distance to its 5th neighbour, made symmetric,
    rows scaled to sum to 1.
    """
    from sklearn.decomposition import PCA
    from sklearn.neighbors import NearestNeighbors

    log = log_normalise(a).toarray()
    points = PCA(min(N_COMPONENTS, min(log.shape) - 1), svd_solver="randomized", random_state=seed).fit_transform(log)
    distance, near = NearestNeighbors(n_neighbors=N_NEIGHBOURS + 1).fit(points).kneighbors(points)
    kernel = np.exp(-((distance / distance[:, [5]]) ** 2))
    start = np.arange(0, near.size + 1, near.shape[1])
    graph = sparse.csr_matrix((kernel.ravel(), near.ravel(), start), shape=(len(points), len(points)))
    graph = graph + graph.T
    markov = sparse.csr_matrix(sparse.diags(1 / np.asarray(graph.sum(axis=1)).ravel()) @ graph)
    rates = raw(a).astype(np.float64)
    for power in range(1, max(POWERS) + 1):
        rates = markov @ rates
        if power in POWERS:
            yield power, rates.astype(np.float32)


def _expected_square_root() -> tuple[np.ndarray, np.ndarray]:
    """Grid of means m and E sqrt(X), X ~ Poisson(m); sqrt(m) itself would be a biased prediction of sqrt(X)."""
    from scipy.stats import poisson

    grid = np.concatenate([[0.0], np.geomspace(1e-6, 300, 2000)])
    support = np.arange(500)
    return grid, poisson.pmf(support[None, :], grid[:, None]) @ np.sqrt(support)


def losses(
    rates: Rates, pooled: Float[np.ndarray, " gene"], a: sparse.csr_matrix, b: sparse.csr_matrix
) -> dict[str, float]:
    """Of B given the rates: mean Poisson deviance a cell, and mean squared error an entry of sqrt(B).

    sqrt(B) is compared with its expectation under Poisson. A logarithm of normalised counts has no such
    expectation, and its raw error favours predictions that are too small.
    """
    from scipy.special import xlogy

    grid, root = _expected_square_root()
    deviance = error = 0.0
    size = library_size(a)
    for first in range(0, len(rates), BLOCK):
        part = slice(first, first + BLOCK)
        share = (1 - FLOOR_SHARE) * rates[part] + FLOOR_SHARE * pooled
        mean, seen = share * size[part, None], b[part].toarray()
        deviance += 2 * (xlogy(seen, seen / mean) - seen + mean).sum()
        large = mean > grid[-1]
        expected = np.where(large, np.sqrt(mean), np.interp(mean, grid, root))
        error += ((np.sqrt(seen) - expected) ** 2).sum()
    return {"deviance": float(deviance / len(rates)), "mse_sqrt": float(error / rates.size)}


def measured(
    method: str, a: sparse.csr_matrix, b: sparse.csr_matrix, seed: int, cache: Path, config: dict[str, Any]
) -> dict[str, Any] | None:
    """Losses and fit seconds of one method; None where scVI has none."""
    # Half a molecule more for each gene: one that A has none of may be in B.
    pooled = (np.asarray(a.sum(axis=0), np.float64).ravel() + 0.5) / (a.sum() + 0.5 * a.shape[1])
    unlabelled = np.repeat("cell", a.shape[0])
    cpu = time.process_time()
    if method == "knn":
        found = [losses(rates, pooled, a, b) | {"setting": f"t={power}"} for power, rates in knn(a, seed)]
        return min(found, key=lambda one: one["deviance"]) | {"fit_cpu_s": time.process_time() - cpu}
    figures: dict[str, float] = {}
    if method == "pooled_mean":
        rates = np.broadcast_to(pooled, a.shape).astype(np.float32)
    elif method == "raw":
        rates = raw(a)
    else:
        fit: Fit | None
        if method.startswith("genesim"):
            fit = fit_genesim(cache, a, unlabelled, rates=True, seed=seed, config=config)
        else:
            changes = scvi_changes(a.shape[0], long="long" in method)
            if changes is not None:
                changes |= {"rates": True, "theta": True}  # the second is there to tell older fits, which lack it
            fit = None if changes is None else fit_scvi(cache, a, unlabelled, seed=seed, **changes)
        if fit is None:
            return None
        rates, figures = fit.arrays["latent_rates" if method == "genesim_latent" else "rates"], fit.figures
        if method in ("scvi_own_counts", "scvi_long_own_counts"):
            rates = with_own_counts(rates, fit.arrays["theta"], a)
    return losses(rates, pooled, a, b) | {"fit_cpu_s": figures.get("fit_cpu_s", float("nan"))}


def figure(table: pd.DataFrame, path: Path) -> None:
    """Share of the pooled mean's loss that each method removes: a panel a loss, mean over seeds, SD as bars."""
    from matplotlib.figure import Figure

    metrics = [str(name) for name in table if str(name).endswith("_explained")]
    picture = Figure(figsize=(3.2 * len(metrics), 3.2), layout="constrained")
    datasets = list(dict.fromkeys(table["dataset"]))
    shown = [name for name in METHODS if name in set(table["method"]) - {"pooled_mean"}]
    for axis, metric in zip(picture.subplots(1, len(metrics), squeeze=False)[0], metrics):
        for i, method in enumerate(shown):
            by = table[table["method"] == method].groupby("dataset")[metric]
            mean, sd = by.mean().reindex(datasets), by.std().reindex(datasets).fillna(0.0)
            at = np.arange(len(datasets)) + 0.7 / len(shown) * (i - (len(shown) - 1) / 2)
            axis.errorbar(at, mean, yerr=sd, fmt="o", ms=4, label=method)
        axis.axhline(0, color="0.6", lw=0.8)
        axis.set_xticks(range(len(datasets)), datasets, fontsize=7)
        axis.set(title=metric.removesuffix("_explained"), ylabel="share of loss removed, against pooled mean")
        axis.title.set_fontsize(9)
        axis.yaxis.label.set_fontsize(7)
    picture.legend(*axis.get_legend_handles_labels(), loc="outside lower center", ncols=4, fontsize=8)
    picture.savefig(path, dpi=150)


def explained(table: pd.DataFrame) -> pd.DataFrame:
    """The table with 1 - loss / loss of the pooled mean, a column a loss."""
    table = table.copy()
    base = table[table["method"] == "pooled_mean"].set_index(["dataset", "seed"])
    index = pd.MultiIndex.from_frame(table[["dataset", "seed"]])
    for name in ("deviance", "mse_sqrt"):
        table[f"{name}_explained"] = 1 - table[name].to_numpy() / base[name].reindex(index).to_numpy()
    return table


KEY = ["dataset", "seed", "method"]


def before(folder: Path) -> tuple[pd.DataFrame, dict[str, Any] | None]:
    """Rows of an earlier run and what is on record of it; none where there is none."""
    if not (folder / "imputation.csv").is_file():
        return pd.DataFrame(), None
    return pd.read_csv(folder / "imputation.csv"), json.loads((folder / "imputation.json").read_text())


def united(kept: pd.DataFrame, new: pd.DataFrame) -> pd.DataFrame:
    """Rows of both, the new ones where both have one, by seed and data set, methods in their order."""
    table = pd.concat([kept, new]).drop_duplicates(KEY, keep="last")
    order = [table["seed"], pd.factorize(table["dataset"])[0], table["method"].map(METHODS.index)]
    return table.iloc[np.lexsort(order[::-1])].reset_index(drop=True)


def main() -> None:
    parser = arguments(__doc__, ["onek1k", "kang_2000", "pbmc68k_reduced"])
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--add", action="store_true", help="keep the rows of --out that this run does not make anew")
    asked = parser.parse_args()
    if "pooled_mean" not in asked.methods:
        parser.error("--methods must have pooled_mean: the others are compared with it")
    asked.out.mkdir(parents=True, exist_ok=True)
    rows: list[dict[str, Any]] = []
    kept, earlier = before(asked.out) if asked.add else (pd.DataFrame(), None)
    for seed in asked.seeds:
        for name in asked.datasets:
            cells: ad.AnnData = MAKERS[name](asked.data)[0]
            a, b = thinned(sparse.csr_matrix(cells.X), seed)
            for method in asked.methods:
                found = measured(method, a, b, seed, asked.cache, CHOSEN.get(name, {}))
                if found is not None:
                    rows.append({"dataset": name, "seed": seed, "method": method, "n_cells": a.shape[0], **found})
                    print({k: round(v, 4) if isinstance(v, float) else v for k, v in rows[-1].items()}, flush=True)
            table = explained(united(kept, pd.DataFrame(rows)))
            table.round(5).to_csv(asked.out / "imputation.csv", index=False)
    figure(table, asked.out / "imputation.png")
    settings = {"powers": POWERS, "n_components": N_COMPONENTS, "n_neighbours": N_NEIGHBOURS, "floor": FLOOR_SHARE}
    settings |= {"chosen": CHOSEN, "sources": {"model": sources(MODEL_SOURCES)}}
    write_record(asked.out / "imputation.json", **settings, **({"earlier": earlier} if earlier else {}))


if __name__ == "__main__":
    main()
