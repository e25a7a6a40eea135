"""Memory and CPU of `gs.evaluate` on files of real and simulated cells: 100,000, 300,000 and a million of each.

A cell of the files is two real OneK1K cells of one type side by side: 2,000 genes at the density of real cells, and
seldom twice the same cell. Half of the real cells are training cells, the other half is held out; they are made of
disjoint halves of the OneK1K cells. The simulated cells are made like the training cells. Each size is measured in a
process of its own: `peak_rss_gib` is the whole memory of the process, Python and libraries included.

    python benchmarks/evaluate_scale.py --cells 100000 300000 1000000

Writes `evaluate_scale.csv` (a row a size), and `evaluate_scale.json` with the exponents: the slopes of log memory and
log CPU seconds on log cells.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
from cases import halves, onek1k
from record import write_record
from scipy import sparse

import genesim as gs
from genesim import rng
from genesim.data.write import write_blocks
from genesim.provenance.record import Provenance

BLOCK = 10_000
LABELS = "cell_type"


def make(path: Path, source: ad.AnnData, n_cells: int, seed: int, name: str) -> None:
    """Write `n_cells` cells, each two cells of one type of `source` side by side, types as frequent as there."""
    random = rng.generator(seed, "evaluate scale", name)
    labels = source.obs[LABELS].astype(str).to_numpy()
    counts = sparse.csr_matrix(source.X)
    first = random.integers(0, source.n_obs, n_cells)
    second = np.empty(n_cells, int)
    for label in np.unique(labels):
        at = np.flatnonzero(labels[first] == label)
        second[at] = random.choice(np.flatnonzero(labels == label), len(at))

    def blocks() -> Iterator[sparse.csr_matrix]:
        for start in range(0, n_cells, BLOCK):
            rows = slice(start, start + BLOCK)
            yield sparse.hstack([counts[first[rows]], counts[second[rows]]], format="csr", dtype=np.int32)

    obs = pd.DataFrame(
        {LABELS: pd.Categorical(labels[first])},
        index=pd.Index([f"{name}{i}" for i in range(n_cells)], dtype=object),
    )
    genes = [f"{gene}{mark}" for mark in ("", " again") for gene in source.var_names]
    empty = ad.AnnData(sparse.csr_matrix((n_cells, len(genes)), dtype=np.int32), obs=obs, var=pd.DataFrame(index=genes))
    write_blocks(empty, blocks(), path, Provenance("evaluate scale benchmark", seed, {}, synthetic=True))


def measure(folder: Path, seed: int) -> dict[str, float]:
    """Figures of one evaluation in this process, and some of its rows, to show that it is one."""
    before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, time.process_time()
    scores = gs.evaluate(
        folder / "test.h5ad", folder / "simulated.h5ad", folder / "train.h5ad", labels_key=LABELS, seed=seed
    )
    found = {
        "rss_before_gib": before,
        "peak_rss_gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
        "cpu_s": time.process_time() - start,
        "n_rows": len(scores),
    }
    for metric in ("gene_mean_rmse", "ks_gene_variance", "marker_overlap", "classifier_auc", "exact_copies_cells"):
        score = scores[metric]
        found |= {metric: score.value, f"{metric}_floor": score.floor, f"{metric}_null": score.null}
        found |= {f"{metric}_n": score.n}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("GENESIM_DATA", "../shared/data")))
    parser.add_argument("--cells", type=int, nargs="+", default=[100_000, 300_000, 1_000_000])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, default=None, help="for the files of cells; a temporary one by default")
    parser.add_argument("--out", type=Path, default=Path(__file__).resolve().parent)
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.measure is not None:
        print(json.dumps(measure(asked.measure, asked.seed)))
        return
    asked.out.mkdir(parents=True, exist_ok=True)
    sides = dict(zip(("train", "test"), halves(onek1k(asked.data)[0], asked.seed), strict=True))
    rows = []
    for n_cells in asked.cells:
        with tempfile.TemporaryDirectory(dir=asked.folder) as name:
            folder = Path(name)
            for part, source, n in (
                ("train", "train", n_cells // 2),
                ("test", "test", n_cells - n_cells // 2),
                ("simulated", "train", n_cells),
            ):
                make(folder / f"{part}.h5ad", sides[source], n, asked.seed, part)
            size = sum(p.stat().st_size for p in folder.iterdir()) / 2**30
            command = [sys.executable, __file__, "--measure", str(folder), "--seed", str(asked.seed)]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        rows.append({"n_cells": n_cells, "files_gib": size, **json.loads(done.stdout.splitlines()[-1])})
        print(rows[-1], flush=True)
        table = pd.DataFrame(rows)
        table.round(5).to_csv(asked.out / "evaluate_scale.csv", index=False)
        exponents = {}
        if len(table) > 1:
            x = np.log(table["n_cells"])
            exponents = {name: float(np.polyfit(x, np.log(table[name]), 1)[0]) for name in ("peak_rss_gib", "cpu_s")}
        write_record(asked.out / "evaluate_scale.json", cells=asked.cells, seed=asked.seed, exponents=exponents)
    print(exponents)


if __name__ == "__main__":
    main()
