"""Real data sets divided into random halves of cells: what every expression benchmark trains on and is tested on.

Each maker reads one file under the data folder (see CONTRIBUTING), keeps integer counts, names the column of
labels that every generator is conditioned on, and divides the cells anew for each seed.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
from scipy import sparse

from genesim import rng
from genesim.data.expression import read_expression
from genesim.estimators.expression_choice import CANDIDATES


@dataclass(frozen=True)
class Case:
    """A data set divided into training and test cells.

    Attributes:
        name: Key of `MAKERS`.
        train: Training cells; X is CSR of integer counts [cell, gene].
        test: Held-out cells of the same genes.
        labels_key: Column of obs that generators are conditioned on.
        seed: Seed of the division.
    """

    name: str
    train: ad.AnnData
    test: ad.AnnData
    labels_key: str
    seed: int

    def counts(self, part: str) -> sparse.csr_matrix:
        """Counts of "train" or "test" [cell, gene]."""
        return sparse.csr_matrix({"train": self.train, "test": self.test}[part].X)

    def labels(self, part: str) -> np.ndarray:
        """Labels of "train" or "test" as strings, one a cell."""
        return {"train": self.train, "test": self.test}[part].obs[self.labels_key].astype(str).to_numpy(dtype=str)


def halves(cells: ad.AnnData, seed: int) -> tuple[ad.AnnData, ad.AnnData]:
    """Two random halves of the cells, in file order."""
    order = rng.generator(seed, "benchmark", "cells").permutation(cells.n_obs)
    half = cells.n_obs // 2
    return cells[np.sort(order[:half])].copy(), cells[np.sort(order[half:])].copy()


def onek1k(data: Path) -> tuple[ad.AnnData, str]:
    """OneK1K, 40 donors, 4 cell types: 7,811 cells x 1,000 genes."""
    return read_expression(data / "expression" / "onek1k_40donors.h5ad", labels_key="cell_type"), "cell_type"


def _kang(data: Path) -> ad.AnnData:
    cells = read_expression(data / "perturbation" / "kang_ifnb.h5ad")
    cells.obs["group"] = cells.obs["cell_type"].astype(str) + "_" + cells.obs["condition"].astype(str)
    return cells


def kang_all(data: Path) -> tuple[ad.AnnData, str]:
    """Kang interferon-beta: 1,975 cells x all 6,998 genes; labels are 7 types x 2 conditions."""
    return read_expression(_kang(data), labels_key="group"), "group"


def kang_2000(data: Path) -> tuple[ad.AnnData, str]:
    """The same with the 2,000 genes most variable for their mean (Fano factor over all cells)."""
    cells = _kang(data)
    mean = np.asarray(cells.X.mean(axis=0)).ravel()
    square = np.asarray(cells.X.multiply(cells.X).mean(axis=0)).ravel()
    fano = (square - mean**2) / (mean + 0.01)
    cells = cells[:, np.sort(np.argsort(-fano, kind="stable")[:2000])].copy()
    return read_expression(cells, labels_key="group"), "group"


def papalexi(data: Path) -> tuple[ad.AnnData, str]:
    """Papalexi ECCITE-seq, 25 CRISPR targets and non-targeting: 20,729 cells x 299 genes."""
    return read_expression(data / "perturbation" / "papalexi_thp1.h5ad", labels_key="target"), "target"


def norman(data: Path) -> tuple[ad.AnnData, str]:
    """Norman CRISPRa (K562) and McFaline-Figueroa CRISPRi (three glioma lines): 5,961 cells x 500 genes.

    Labels are condition within data set, so a label of the second set mixes three cell lines: within-label
    structure that a generator must find by itself.
    """
    cells = read_expression(data / "perturbation" / "norman_mcfaline.h5ad")
    cells.obs["group"] = cells.obs["dataset"].astype(str) + "_" + cells.obs["condition"].astype(str)
    return read_expression(cells, labels_key="group"), "group"


def pbmc68k_reduced(data: Path) -> tuple[ad.AnnData, str]:
    """700 PBMCs x 765 genes that ship with scanpy; counts come back exactly from log1p(CP10k) and totals."""
    import scanpy as sc

    source = sc.datasets.pbmc68k_reduced()
    x = sparse.csr_matrix(source.raw.X, copy=True)
    x.data = np.expm1(x.data)
    x = sparse.csr_matrix(sparse.diags(source.obs["n_counts"].to_numpy() / 1e4) @ x)
    x.data = np.rint(x.data)
    cells = ad.AnnData(x, obs=source.obs[["bulk_labels"]].copy(), var=source.raw.var[[]].copy())
    return read_expression(cells, labels_key="bulk_labels"), "bulk_labels"


MAKERS: dict[str, Callable[[Path], tuple[ad.AnnData, str]]] = {
    "onek1k": onek1k,
    "kang_2000": kang_2000,
    "kang_all": kang_all,
    "papalexi": papalexi,
    "norman": norman,
    "pbmc68k_reduced": pbmc68k_reduced,
}
"""Data sets by name: whole, with their labels' column."""


CHOSEN: dict[str, dict[str, Any]] = {
    "kang_2000": CANDIDATES["regularised"],
    "pbmc68k_reduced": CANDIDATES["small"],
}
"""What `auto` chooses on the training half in every seed of expression.py: rare_types.py and imputation.py fit it
without the trials that would choose it again. On the other data sets they run the default as it is."""


def make(name: str, data: Path, seed: int) -> Case:
    """One data set divided by `seed`."""
    cells, labels_key = MAKERS[name](data)
    return Case(name, *halves(cells, seed), labels_key, seed)


def cases(data: Path, names: Sequence[str], seeds: Sequence[int]) -> Iterator[Case]:
    """Every data set for the first seed, then for the next: a run cut short has whole seeds."""
    for seed in seeds:
        for name in names:
            yield make(name, data, seed)


def arguments(description: str | None, datasets: Sequence[str]) -> argparse.ArgumentParser:
    """Arguments that all expression benchmarks share."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("GENESIM_DATA", "../shared/data")))
    parser.add_argument("--datasets", nargs="+", choices=list(MAKERS), default=list(datasets))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--cache", type=Path, default=Path(".cache/benchmarks"), help="folder of finished fits")
    parser.add_argument("--out", type=Path, default=Path(__file__).resolve().parent, help="folder of the results")
    return parser
