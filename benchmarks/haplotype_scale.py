"""How fitting and drawing haplotypes grow with variants and donors, each in a process of its own.

    python benchmarks/haplotype_scale.py --data ../shared/data

Fits the default model to the first variants of chr2 EDAR (310 donors) and to part of the donors of the chr15 10K
set, and draws new donors of the fitted EDAR model (70,772 variants, YRI, CHB and FIN in turn) into a BCF with index.
Writes `haplotype_scale.csv` (`task`, `n_donors`, `n_variants`, CPU and wall seconds, peak RSS in GiB of the whole
process, bytes written) and `haplotype_scale.json`, and `haplotype_scale.png`. CPU seconds on a shared machine vary by
tens of per cent; wall seconds depend on what else runs.
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
from typing import Any

import numpy as np
import pandas as pd
from record import write_record

from genesim.config.inputs import GenotypePolicy
from genesim.config.model import HaplotypeConfig
from genesim.console import setup
from genesim.data.genotypes import read_genotypes
from genesim.estimators.haplotypes import HaplotypeModel
from genesim.provenance.atomic import atomic_file

HERE = Path(__file__).resolve().parent
EDAR, TENK = "1000g_chr2_edar_yri_chb_fin.vcf.gz", "1000g_chr15_10k_train.vcf.gz"
VARIANTS, DONORS, DRAWN = (10_000, 20_000, 40_000, 70_772), (313, 626, 1252), (2_500, 5_000, 10_000)


def fit(data: Path, file: str, n_donors: int, n_variants: int, model: Path) -> None:
    """Fit the default model to the first donors and variants of a file, and save it."""
    geno = read_genotypes(data / "genotypes" / file, policy=GenotypePolicy(min_allele_count=0))
    geno = geno.subset(variants=np.arange(min(n_variants, geno.n_variants)), donors=np.arange(n_donors))
    if file == EDAR:
        panel = pd.read_csv(data / "genotypes" / "1000g_samples.panel", sep="\t").set_index("sample")
        ancestry = panel["pop"].reindex(geno.donors)
    else:
        panel = pd.read_csv(data / "genotypes" / "1000g_chr15_10k.panel.tsv", sep="\t").set_index("donor")
        ancestry = panel["ancestry"].reindex(geno.donors)
    begin, wall = time.process_time(), time.perf_counter()
    fitted = HaplotypeModel.fit(geno, ancestry)
    report(begin, wall)
    fitted.save(model)


def draw(model: Path, n_donors: int, out: Path) -> None:
    """Draw donors of a saved model into a BCF."""
    fitted = HaplotypeModel.load(model)
    shares = {name: 1 / len(fitted.ancestries) for name in fitted.ancestries}
    begin, wall = time.process_time(), time.perf_counter()
    fitted.write_sample(out, n_donors, shares, seed=1)
    report(begin, wall, out.stat().st_size)


def report(begin: float, wall: float, size: int = 0) -> None:
    """Print the figures of this process as JSON."""
    figures = {
        "cpu_seconds": time.process_time() - begin,
        "wall_seconds": time.perf_counter() - wall,
        "peak_rss_gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
        "bytes_written": size,
    }
    print(json.dumps(figures), flush=True)


def child(*arguments: str) -> dict[str, Any]:
    """Run this script for one measurement."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(HERE), str(HERE.parent)])}
    shown = subprocess.run(
        [sys.executable, __file__, *arguments], stdout=subprocess.PIPE, text=True, check=True, env=environment
    )
    return json.loads(shown.stdout.splitlines()[-1])


def figure(table: pd.DataFrame, path: Path) -> None:
    """CPU seconds against size, beside the line through the largest size and the origin."""
    import matplotlib.pyplot as plt

    shown = [("fit_variants", "n_variants", "variants"), ("fit_donors", "n_donors", "training donors")]
    shown.append(("draw", "n_donors", "donors drawn"))
    figure, axes = plt.subplots(1, 3, figsize=(10, 3.2), layout="constrained")
    for axis, (task, size, name) in zip(axes, shown, strict=True):
        rows = table[table["task"] == task].sort_values(size)
        last = rows.iloc[-1]
        axis.plot([0, last[size]], [0, last["cpu_seconds"]], color="0.7", linestyle="--", label="proportional")
        axis.plot(rows[size], rows["cpu_seconds"], marker="o", label="measured")
        axis.set(xlabel=name, ylabel="CPU seconds", xlim=(0, None), ylim=(0, None))
    axes[0].set_title("fit, 310 donors (chr2 EDAR)", fontsize=9)
    axes[1].set_title("fit, 10,000 variants (chr15)", fontsize=9)
    axes[2].set_title("draw and write BCF, 70,772 variants", fontsize=9)
    axes[0].legend(frameon=False, fontsize=8)
    figure.savefig(path, dpi=120)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("GENESIM_DATA", "../shared/data")))
    parser.add_argument("--out", type=Path, default=HERE)
    parser.add_argument("--variants", type=int, nargs="+", default=list(VARIANTS))
    parser.add_argument("--donors", type=int, nargs="+", default=list(DONORS))
    parser.add_argument("--drawn", type=int, nargs="+", default=list(DRAWN))
    parser.add_argument("--child", nargs="+", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    setup()
    if asked.child:
        task, model, *rest = asked.child
        if task == "fit":
            fit(asked.data, rest[0], int(rest[1]), int(rest[2]), Path(model))
        else:
            draw(Path(model), int(rest[0]), Path(rest[1]))
        return
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        tasks = [("fit_variants", EDAR, 310, n) for n in sorted(asked.variants)]
        tasks += [("fit_donors", TENK, n, 10_000) for n in asked.donors]
        for task, file, n_donors, n_variants in tasks:
            name = str(folder / f"{task}_{n_donors}_{n_variants}")
            found = child("--data", str(asked.data), "--child", "fit", name, file, str(n_donors), str(n_variants))
            rows.append({"task": task, "n_donors": n_donors, "n_variants": n_variants} | found)
            print(rows[-1], flush=True)
        largest = folder / f"fit_variants_310_{max(asked.variants)}"
        for n_donors in asked.drawn:
            found = child("--child", "draw", str(largest), str(n_donors), str(folder / "drawn.bcf"))
            rows.append({"task": "draw", "n_donors": n_donors, "n_variants": max(asked.variants)} | found)
            print(rows[-1], flush=True)
    table = pd.DataFrame(rows)
    with atomic_file(asked.out / "haplotype_scale.csv") as temporary_file:
        table.to_csv(temporary_file, index=False, float_format="%.5g")
    figure(table, asked.out / "haplotype_scale.png")
    write_record(asked.out / "haplotype_scale.json", config=HaplotypeConfig().model_dump(mode="json"))


if __name__ == "__main__":
    main()
