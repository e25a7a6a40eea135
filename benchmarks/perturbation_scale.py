"""What fitting perturbations costs at the size of Norman 2019: 90,000 cells x 5,000 genes, some 250 conditions.

Real cells (Norman, PerturBench: 500 genes, 3 % of the counts above zero) are tiled: cells under new names of
conditions, genes thinned. CPU seconds stand beside those of one pass of log1p and mean over the same counts, since
seconds alone say as much of the machine as of the code. The matrix is read whole from memory, and from a file a
piece at a time.

    python benchmarks/perturbation_scale.py --cells 90000 --genes 5000
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
from pathlib import Path

import anndata as ad
import h5py
import numpy as np
import pandas as pd
from record import write_record
from scipy import sparse

SCREENS = 8
"""Copies of the screen whose conditions have names of their own: 8 x 33 conditions, as many as Norman 2019 has."""


def tiled(cells: ad.AnnData, n_cells: int, n_genes: int, seed: int, path: Path) -> None:
    """Write an h5ad of `n_cells` x `n_genes`: each copy has its own conditions, each copied gene 60 % of its counts."""
    random = np.random.default_rng(seed)
    counts = sparse.csr_matrix(cells.X).astype(np.int32)
    copies = -(-n_cells // cells.n_obs)
    genes = [f"{name}.{k}" if k else str(name) for k in range(-(-n_genes // cells.n_vars)) for name in cells.var_names]
    genes = genes[:n_genes]
    label, indptr = [], [np.zeros(1, np.int64)]
    with h5py.File(path, "w") as file:
        group = file.create_group("X")
        data = group.create_dataset("data", (0,), maxshape=(None,), dtype=np.int32, chunks=(2**18,))
        indices = group.create_dataset("indices", (0,), maxshape=(None,), dtype=np.int32, chunks=(2**18,))
        total = 0
        for copy in range(copies):
            rows = random.permutation(cells.n_obs)[: min(cells.n_obs, n_cells - copy * cells.n_obs)]
            blocks = [counts[rows]]
            while sum(b.shape[1] for b in blocks) < n_genes:
                thin = counts[rows].copy()
                thin.data = random.binomial(thin.data, 0.6).astype(np.int32)
                thin.eliminate_zeros()
                blocks.append(thin)
            block = sparse.hstack(blocks, format="csr")[:, :n_genes].tocsr()
            block.sort_indices()
            for store, values in ((data, block.data), (indices, block.indices)):
                store.resize((total + block.nnz,))
                store[total:] = values
            indptr.append(total + block.indptr[1:].astype(np.int64))
            total += block.nnz
            for name in cells.obs["condition"].astype(str).to_numpy()[rows]:
                parts = [
                    p if p == "control" or not copy % SCREENS else f"{p}.{copy % SCREENS}" for p in name.split("+")
                ]
                label.append("+".join(parts))
        group["indptr"] = np.concatenate(indptr)
        group.attrs.update({"encoding-type": "csr_matrix", "encoding-version": "0.1.0", "shape": (n_cells, n_genes)})
        file.attrs.update({"encoding-type": "anndata", "encoding-version": "0.1.0"})
        obs = pd.DataFrame({"condition": label}, index=[f"c{i}" for i in range(n_cells)])
        ad.io.write_elem(file, "obs", obs)
        ad.io.write_elem(file, "var", pd.DataFrame(index=pd.Index(genes, dtype=object)))
        for name in ("layers", "obsm", "varm", "obsp", "varp", "uns"):
            ad.io.write_elem(file, name, {})


def measured(path: Path, what: str) -> dict[str, float | str | int]:
    """CPU seconds and largest memory of one way to go over the cells; called in a process of its own."""
    from genesim.estimators.perturbation import PerturbationModel

    before = time.process_time()
    if what == "reference":
        x = ad.read_h5ad(path).X
        start = time.process_time()
        x = x.astype(np.float64).log1p()
        x.mean(0)
    else:
        start = before
        if what == "fit":
            given: ad.AnnData | str = ad.read_h5ad(path)
            start = time.process_time()
        else:
            given = str(path)
        model = PerturbationModel.fit(given, "condition", stream=True if what == "fit_streamed" else None)
    found: dict[str, float | str | int] = {
        "what": what,
        "cpu_s": round(time.process_time() - start, 2),
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }
    if what != "reference":
        found["n_conditions"] = model.learned.library.n_conditions
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", type=int, default=90_000)
    parser.add_argument("--genes", type=int, default=5_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    parser.add_argument("--one", nargs=2, metavar=("FILE", "WHAT"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(measured(Path(arguments.one[0]), arguments.one[1])))
        return
    data = Path(os.environ.get("GENESIM_DATA", Path(__file__).parents[2] / "shared" / "data"))
    cells = ad.read_h5ad(data / "perturbation" / "norman_mcfaline.h5ad")
    cells = cells[cells.obs["dataset"] == "norman19"].copy()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "tiled.h5ad"
        tiled(cells, arguments.cells, arguments.genes, arguments.seed, path)
        rows = []
        for what in ("reference", "fit", "fit_streamed"):
            command = [sys.executable, __file__, "--one", str(path), what]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            rows.append(json.loads(done.stdout.strip().splitlines()[-1]))
            print(rows[-1], flush=True)
    table = pd.DataFrame(rows)
    table["times_reference"] = (table["cpu_s"] / table.loc[table["what"] == "reference", "cpu_s"].iloc[0]).round(2)
    table.insert(0, "cells", arguments.cells)
    table.insert(1, "genes", arguments.genes)
    table.to_csv(arguments.out / "perturbation_scale.csv", index=False)
    write_record(arguments.out / "perturbation_scale.json", cells=arguments.cells, genes=arguments.genes)


if __name__ == "__main__":
    main()
