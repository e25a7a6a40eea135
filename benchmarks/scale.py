"""Training from counts on disk: memory, the loader's speed alone, and training's beside the same cells in memory.

Makes a file of independent negative-binomial counts (about 5 % above zero; 20,000 drawn cells are repeated, which
changes nothing for speed or memory), then, each in a process of its own, trains from it on disk and in memory.
Writes `scale.csv` (one row a format and source) and `scale.json` (command, versions, settings) beside this file.

    python benchmarks/scale.py --cells 1000000 --genes 2000 --steps 300

Columns: `open_s` reads and checks every count; `loader_cells_s` minibatches alone, no model; `train_cells_s` VAE
training after the first compiled call; `fit_s` and `peak_rss_gib` all of `ExpressionModel.fit` (VAE and flow of
`--steps` each, encoding of every cell in between), the process's whole memory.
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
from record import write_record
from scipy import sparse

from genesim import rng
from genesim.config.model import ExpressionConfig, TrainPlan
from genesim.data.backed import BackedCounts
from genesim.data.expression import open_expression
from genesim.data.write import write_blocks
from genesim.estimators import expression_fit
from genesim.estimators.expression import ExpressionModel
from genesim.provenance.record import Provenance
from genesim.train.loop import fit as loop_fit

HERE = Path(__file__).resolve().parent
_DRAWN = 20_000
_DENSITY = 0.05
_BYTES = 6  # on disk, a stored value, compressed: more than any run took


def make(path: Path, n_cells: int, n_genes: int, seed: int) -> None:
    """Write the cells; their labels are drawn, their counts do not depend on them."""
    random = rng.generator(seed, "scale")
    need, free = int(n_cells * n_genes * _DENSITY * _BYTES), shutil.disk_usage(path.parent).free
    if free < need:
        raise SystemExit(f"{path.parent} has {free / 2**30:.1f} GiB free, about {need / 2**30:.1f} GiB are needed")
    parts = []
    for _ in range(0, min(n_cells, _DRAWN), 1000):
        mean = random.lognormal(0, 0.3, (1000, 1)) * random.permutation(np.geomspace(0.005, 0.5, n_genes))
        # Half the genes' counts are held back: what is left is above zero in about 5 % of the entries.
        counts = random.poisson(mean * random.gamma(2.0, 0.5, mean.shape)) * (random.random(mean.shape) < 0.55)
        counts[:, 0] += 1
        parts.append(sparse.csr_matrix(counts.astype(np.int32)))
    drawn = sparse.vstack(parts, format="csr")[: min(n_cells, _DRAWN)]

    def blocks() -> Iterator[sparse.csr_matrix]:
        for first in range(0, n_cells, _DRAWN):
            yield drawn[: min(_DRAWN, n_cells - first)]

    obs = pd.DataFrame(
        {"cell_type": pd.Categorical.from_codes(random.integers(0, 10, n_cells), [f"type{i}" for i in range(10)])},
        index=pd.Index([f"cell{i}" for i in range(n_cells)], dtype=object),
    )
    var = pd.DataFrame(index=pd.Index([f"gene{i}" for i in range(n_genes)], dtype=object))
    empty = ad.AnnData(sparse.csr_matrix((n_cells, n_genes), dtype=np.int32), obs=obs, var=var)
    write_blocks(empty, blocks(), path, Provenance("scale benchmark", seed, {}, synthetic=True))


class _Clock:
    """Hook that notes when each compiled call was done."""

    def __init__(self) -> None:
        self.seen: list[tuple[int, float]] = []

    def __call__(self, step: int, state: object, info: object) -> None:
        self.seen.append((step, time.monotonic()))


def measure(path: Path, stream: bool, steps: int, size: int, seed: int) -> dict[str, float]:
    """The figures of one source of cells, in this process."""
    plan = TrainPlan(n_steps=steps, minibatch_size=size, steps_per_call=max(1, min(50, steps // 4)))
    config = ExpressionConfig(vae=plan, flow=plan.model_copy(update={"ema_decay": 0.9}), loading_penalty=0.0)
    found: dict[str, float] = {}
    start = time.monotonic()
    with open_expression(path, labels_key="cell_type", stream=stream) as cells:
        found["open_s"] = time.monotonic() - start
        counts = cells.counts
        found["n_cells"], found["n_genes"] = counts.shape
        n_stored = int(counts.stored.sum()) if isinstance(counts, BackedCounts) else counts.nnz
        found["density"] = n_stored / np.prod(counts.shape)
    clock = _Clock()

    def watched(model: object, data: object, plan: TrainPlan, key: object, **given: object) -> object:
        """The training loop, with the loader measured alone before and a clock in it."""
        if "loader_cells_s" not in found:
            data(0)  # the first buffer is read before any step, once
            begin = time.monotonic()
            for step in range(steps):
                data(step)
            found["loader_cells_s"] = steps * size / (time.monotonic() - begin)
            given["hooks"] = [clock]
        return loop_fit(model, data, plan, key, **given)  # type: ignore[arg-type]

    expression_fit.fit = watched  # type: ignore[assignment]
    start = time.monotonic()
    ExpressionModel.fit(path, labels_key="cell_type", config=config, seed=seed, stream=stream)
    found["fit_s"] = time.monotonic() - start
    (first, begin), (last, end) = clock.seen[0], clock.seen[-1]
    found["train_cells_s"] = (last - first) * size / (end - begin)
    found["peak_rss_gib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", type=int, default=1_000_000)
    parser.add_argument("--genes", type=int, default=2000)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--minibatch", type=int, default=512)
    parser.add_argument("--formats", nargs="+", default=["h5ad", "zarr"], choices=["h5ad", "zarr"])
    parser.add_argument("--sources", nargs="+", default=["disk", "memory"], choices=["disk", "memory"])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, default=None, help="for the file of cells; a temporary one by default")
    parser.add_argument("--out", type=Path, default=HERE)
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.measure is not None:
        found = measure(asked.measure, asked.sources == ["disk"], asked.steps, asked.minibatch, asked.seed)
        print(json.dumps(found))
        return
    rows = []
    asked.out.mkdir(parents=True, exist_ok=True)
    for kind in asked.formats:
        with tempfile.TemporaryDirectory(dir=asked.folder) as folder:
            path = Path(folder) / f"cells.{kind}"
            start = time.monotonic()
            make(path, asked.cells, asked.genes, asked.seed)
            written = time.monotonic() - start
            files = [path] if path.is_file() else [p for p in path.rglob("*") if p.is_file()]
            size = sum(p.stat().st_size for p in files)
            for source in asked.sources:
                command = [sys.executable, __file__, "--measure", str(path), "--sources", source]
                command += ["--steps", str(asked.steps), "--minibatch", str(asked.minibatch), "--seed", str(asked.seed)]
                done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
                found = json.loads(done.stdout.splitlines()[-1])
                row = {"format": kind, "source": source, "file_gib": size / 2**30, "write_s": written, **found}
                rows.append(row)
                print(row, flush=True)
                pd.DataFrame(rows).round(3).to_csv(asked.out / "scale.csv", index=False)
    write_record(asked.out / "scale.json", steps=asked.steps, minibatch=asked.minibatch, seed=asked.seed)


if __name__ == "__main__":
    main()
