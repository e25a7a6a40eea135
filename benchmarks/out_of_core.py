"""The five verbs at growing size, each a process of its own: CPU seconds, peak memory, and how they grow.

    python benchmarks/out_of_core.py --data ../shared/data --sizes 0.25 0.5 1

Size 1 is 1,000,000 cells x 2,000 genes of 10,000 donors with 70,000 variants; cells and donors go with the size, genes
and variants stay. Cells are OneK1K's as they are, again and again (1,000 genes; the second thousand are those of
another cell of the same type); donors are mosaics of 1000 Genomes haplotypes (3 Mb of chr2, 310 donors), written as VCF
text. Distances are stretched twenty times, to 60 Mb: a gene's window then holds about as many variants as in a whole
genome of common ones. Training makes a fixed number of steps and passes, and effects are those of a table (a variant a
gene): what reading costs is asked here, not whether anything has converged. The evaluation is a small one (500 cells,
no attacks).

Writes `out_of_core.csv` (a row a size and verb: CPU and wall seconds, peak RSS of the process in GiB, bytes that it
wrote), `out_of_core_exponents.csv` (slopes of log CPU and log memory on log size, between the sizes that were
done), and `out_of_core.json`. CPU seconds on a shared machine vary by tens of per cent.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
import yaml
from record import ROOT, write_record
from scipy import sparse

from genesim import rng
from genesim.config.inputs import GenotypePolicy
from genesim.data.genotypes import read_genotypes
from genesim.data.genotypes.write_blocks import write_genotype_blocks
from genesim.data.write import write_blocks
from genesim.provenance.record import Provenance

HERE = Path(__file__).resolve().parent
CELLS, DONORS, VARIANTS = 1_000_000, 10_000, 70_000
STAGES = ("prepare", "train expression", "train haplotypes", "train effects", "simulate", "evaluate", "report")
_ROWS, _SEGMENT, _STRETCH = 10_000, 1000, 20


def make_cells(source: Path, path: Path, n_cells: int, donors: list[str], seed: int) -> list[str]:
    """Write real cells, repeated, of each donor as many; the names of the genes."""
    real = ad.read_h5ad(source)
    random = rng.generator(seed, "cells")
    partner = np.arange(real.n_obs)
    types = real.obs["cell_type"].astype(str).to_numpy()
    for label in np.unique(types):
        of = np.flatnonzero(types == label)
        partner[of] = random.permutation(of)
    counts = sparse.csr_matrix(real.X).astype(np.int32)
    counts = sparse.hstack([counts, counts[partner]], format="csr")
    rows = random.integers(0, real.n_obs, n_cells)
    obs = pd.DataFrame(
        {"cell_type": pd.Categorical(types[rows]), "donor": pd.Categorical(np.resize(donors, n_cells))},
        index=pd.Index([f"cell{i}" for i in range(n_cells)], dtype=object),
    )
    names = [f"{name}{copy}" for copy in ("", "_b") for name in real.var_names]
    var = pd.DataFrame(index=pd.Index(names, dtype=object))
    shell = ad.AnnData(sparse.csr_matrix((n_cells, len(names)), dtype=np.int32), obs=obs, var=var)
    blocks = (counts[rows[at : at + _ROWS]] for at in range(0, n_cells, _ROWS))
    write_blocks(shell, blocks, path, Provenance("out-of-core benchmark", seed, {}, synthetic=True))
    return names


def make_donors(source: Path, path: Path, donors: list[str], n_variants: int, seed: int) -> pd.DataFrame:
    """Write donors whose haplotypes are copied from real ones, now from this, now from that; the common variants."""
    real = read_genotypes(source, policy=GenotypePolicy(min_allele_count=0))
    n_variants = min(n_variants, real.n_variants)
    real = real.subset(variants=np.arange(n_variants))
    start = real.variants["start"]
    stretched = real.variants.assign(start=(start - start.iloc[0]) * _STRETCH + 1_000_000)
    founders = real.alleles.reshape(n_variants, -1)
    random = rng.generator(seed, "donors")
    taken = random.integers(0, founders.shape[1], 2 * len(donors))

    def blocks() -> Iterator[np.ndarray]:
        for at in range(0, n_variants, _SEGMENT):
            moved = random.random(len(taken)) < 0.2
            taken[moved] = random.integers(0, founders.shape[1], int(moved.sum()))
            for first in range(at, min(at + _SEGMENT, n_variants), 100):
                yield founders[first : min(first + 100, at + _SEGMENT, n_variants)][:, taken].reshape(
                    -1, len(donors), 2
                )

    write_genotype_blocks(path, stretched, pd.Index(donors, dtype=object), real.contig_lengths, blocks())
    frequency = real.allele_frequency()
    return stretched[np.minimum(frequency, 1 - frequency) > 0.15]


def make_genes(folder: Path, names: list[str], common: pd.DataFrame, seed: int) -> None:
    """Write where the genes lie, and an effect of one common variant on each."""
    lead = common.iloc[np.linspace(0, len(common) - 1, len(names)).astype(int)]
    start = lead["start"].to_numpy() + 1000
    lines = [
        f'{contig}\tbenchmark\tgene\t{at + 1}\t{at + 2000}\t.\t+\t.\tgene_id "{name}";'
        for name, contig, at in zip(names, lead["contig"], start, strict=True)
    ]
    (folder / "genes.gtf").write_text("\n".join(lines) + "\n")
    beta = rng.generator(seed, "effects").normal(0.0, 0.4, len(names))
    table = {"gene": names, "contig": lead["contig"].to_numpy(), "position": lead["start"].to_numpy() + 1}
    table |= {"ref": lead["ref"].to_numpy(), "alt": lead["alt"].to_numpy(), "beta": beta, "se": 0.1, "pip": 0.95}
    pd.DataFrame(table).to_csv(folder / "effects.tsv", sep="\t", index=False)


def make_inputs(folder: Path, data: Path, n_cells: int, n_donors: int, n_variants: int, seed: int) -> None:
    """Cells, donors, genes and effects of one size."""
    donors = [f"donor{i}" for i in range(n_donors)]
    genes = make_cells(data / "expression" / "onek1k_40donors.h5ad", folder / "cells.h5ad", n_cells, donors, seed)
    panel = data / "genotypes" / "1000g_chr2_edar_yri_chb_fin.vcf.gz"
    common = make_donors(panel, folder / "donors.vcf.gz", donors, n_variants, seed)
    make_genes(folder, genes, common, seed)


@contextmanager
def folder_of(parent: Path | None, size: float) -> Iterator[Path]:
    """Where the files of one size lie: below `parent`, or in a temporary folder."""
    if parent is None:
        with tempfile.TemporaryDirectory() as name:
            yield Path(name)
    else:
        folder = parent / f"size_{size:g}"
        folder.mkdir(parents=True, exist_ok=True)
        yield folder


def settings(folder: Path, n_cells: int, n_donors: int, steps: int, states: int) -> dict[str, Any]:
    """The run's config; the defaults but for what is told above."""
    plan = {"n_steps": steps, "steps_per_call": min(50, steps)}
    return {
        "seed": 0,
        "inputs": {
            "h5ad": str(folder / "cells.h5ad"),
            "vcf": str(folder / "donors.vcf.gz"),
            "genes": str(folder / "genes.gtf"),
            "genotypes": {"min_allele_count": 0},
        },
        "models": {
            "expression": {
                "method": "vae",
                "vae": {**plan, "minibatch_size": 128, "learning_rate": 0.002},
                "flow": {**plan, "learning_rate": 0.002, "ema_decay": 0.9, "weight_decay": 0.0},
            },
            "haplotypes": {"n_states": states, "n_passes": 1},
            "effects": {"method": "table", "prior": {"table": str(folder / "effects.tsv")}},
        },
        "scenario": {
            "name": "out_of_core",
            "population": {"n_donors": n_donors},
            "effects": {"learned": True},
            "cells": {"n_cells": n_cells},
        },
        "evaluate": {"max_cells": 500, "n_bootstrap": 5, "donor_audit": None, "white_box": False, "linkage": False},
        "report": {"embedding": "pca"},
    }


def words(stage: str, folder: Path) -> list[str]:
    """Of the command line."""
    config = ["--config", str(folder / "run.yaml"), "--quiet"]
    cohort, models = ["--cohort", str(folder / "cohort")], ["--models", str(folder / "models")]
    made = {name: [f"--{name}", str(folder / name)] for name in ("simulated", "evaluation")}
    verb, *kind = stage.split()
    given, out = {
        "prepare": ([], "cohort"),
        "train": (cohort, f"models/{kind[0] if kind else ''}"),
        "simulate": (models, "simulated"),
        "evaluate": ([*cohort, *made["simulated"], *models], "evaluation"),
        "report": ([*cohort, *made["simulated"], *made["evaluation"]], "report.html"),
    }[verb]
    return [str(Path(sys.executable).parent / "genesim"), verb, *kind, *config, *given, "--out", str(folder / out)]


def size_of(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def measure(stage: str, folder: Path) -> dict[str, float]:
    """Run one verb: what the kernel says of its process."""
    before, begin = size_of(folder), time.monotonic()
    with open(folder / "log.txt", "ab") as log:
        process = subprocess.Popen(words(stage, folder), stdout=log, stderr=log, env={**os.environ, "COLUMNS": "200"})
        _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise RuntimeError(f"{stage} ended with {process.returncode}: {(folder / 'log.txt').read_text()[-3000:]}")
    return {
        "cpu_s": usage.ru_utime + usage.ru_stime,
        "wall_s": time.monotonic() - begin,
        "peak_rss_gib": usage.ru_maxrss / 2**20,
        "written_mib": (size_of(folder) - before) / 2**20,
    }


def exponents(table: pd.DataFrame) -> pd.DataFrame:
    """Slope of the logarithm of each cost on that of the size, a stage: over all sizes, and between the last two."""
    found = []
    for stage, rows in table.groupby("stage", sort=False):
        rows = rows.sort_values("size")
        if len(rows) < 2:
            continue
        row: dict[str, Any] = {"stage": stage, "n_sizes": len(rows)}
        for cost in ("cpu_s", "peak_rss_gib"):
            x, y = np.log(rows["size"].to_numpy()), np.log(rows[cost].to_numpy())
            row[cost] = np.polyfit(x, y, 1)[0]
            row[f"{cost}_last_two"] = (y[-1] - y[-2]) / (x[-1] - x[-2])
        found.append(row)
    return pd.DataFrame(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--sizes", type=float, nargs="+", default=[0.0625, 0.25, 1.0])
    parser.add_argument("--variants", type=int, default=VARIANTS)
    parser.add_argument("--stages", nargs="+", default=list(STAGES), choices=STAGES)
    parser.add_argument("--steps", type=int, default=200, help="of the expression network and of its flow")
    parser.add_argument("--states", type=int, default=16, help="learned haplotypes")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, default=None, help="keeps the files; what is there is used again")
    parser.add_argument("--resume", action="store_true", help="keep what the table has, and add to it (with --folder)")
    parser.add_argument("--out", type=Path, default=HERE)
    asked = parser.parse_args()
    path = asked.out / "out_of_core.csv"
    rows: list[dict[str, Any]] = pd.read_csv(path).to_dict("records") if asked.resume and path.exists() else []
    for size in asked.sizes:
        done = {row["stage"] for row in rows if row["size"] == size}
        stages = [stage for stage in STAGES if stage in asked.stages and stage not in done]
        if not stages:
            continue
        n_cells, n_donors = round(CELLS * size), round(DONORS * size)
        with folder_of(asked.folder, size) as folder:
            if not (folder / "effects.tsv").exists():
                make_inputs(folder, asked.data, n_cells, n_donors, asked.variants, asked.seed)
            made = settings(folder, n_cells, n_donors, asked.steps, asked.states)
            (folder / "run.yaml").write_text(yaml.safe_dump(made))
            for stage in stages:
                at = {"size": size, "n_cells": n_cells, "n_donors": n_donors, "n_variants": asked.variants}
                rows.append({**at, "stage": stage, **measure(stage, folder)})
                print(rows[-1], flush=True)
                pd.DataFrame(rows).round(4).to_csv(path, index=False)
    table = pd.DataFrame(rows).sort_values("size", kind="stable")
    table.round(4).to_csv(path, index=False)
    exponents(table).round(3).to_csv(asked.out / "out_of_core_exponents.csv", index=False)
    largest = table.groupby("stage", sort=False)["peak_rss_gib"].max()
    whole = table[table["size"] >= 1]
    write_record(
        asked.out / "out_of_core.json",
        steps=asked.steps,
        states=asked.states,
        largest_peak_rss_gib=largest.round(2).to_dict(),
        within_6_gib_at_size_1=whole[whole["peak_rss_gib"] <= 6]["stage"].tolist() if len(whole) else "not done",
    )


if __name__ == "__main__":
    main()
