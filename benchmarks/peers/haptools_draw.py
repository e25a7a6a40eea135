"""haptools simgenotype (Massarat et al. 2023, Bioinformatics 39:btad104) as a generator within populations.

It recombines panel haplotypes over generations of a model of admixture. Here each population is drawn by itself,
`GENERATIONS` after its founding from panel haplotypes of that population alone. The program is `$HAPTOOLS`, or
`haptools` on the path; an environment of its own keeps its pins apart from genesim's.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import pysam
from jaxtyping import Float, Int, Int8

GENERATIONS = 40


def program() -> str | None:
    """Path of haptools; None where it is absent."""
    return shutil.which(os.environ.get("HAPTOOLS", "haptools"))


def _read(path: Path, n_variants: int) -> Int8[np.ndarray, "haplotype variant"]:
    from genesim.config.inputs import GenotypePolicy
    from genesim.data.genotypes import read_genotypes

    found = read_genotypes(path, policy=GenotypePolicy(min_allele_count=0, filters="all"))
    if found.n_variants != n_variants:
        raise RuntimeError(f"haptools wrote {found.n_variants} of {n_variants} variants")
    return found.haplotypes()


def draw(
    train: Int8[np.ndarray, "haplotype variant"],
    codes: Int[np.ndarray, " haplotype"],
    asked: Int[np.ndarray, " drawn"],
    labels: list[str],
    variants: pd.DataFrame,
    centimorgans: Float[np.ndarray, " variant"],
    seed: int,
) -> Int8[np.ndarray, "drawn variant"]:
    """One haplotype for each population code of `asked`.

    Args:
        variants: Columns contig, start (0-based), ref, alt; one record a position.

    Raises:
        subprocess.CalledProcessError: haptools failed.
    """
    from haplotype_imputation import write_vcf

    words = program()
    assert words is not None, "ask `program()` first"
    contig = str(variants["contig"].iloc[0])
    out = np.empty((len(asked), train.shape[1]), np.int8)
    with tempfile.TemporaryDirectory() as work:
        folder = Path(work)
        write_vcf(folder / "panel.vcf", train, variants)
        pysam.tabix_index(str(folder / "panel.vcf"), preset="vcf", force=True)  # without an index it reads nothing
        write_map(folder / f"chr{contig}.map", contig, variants["start"].to_numpy() + 1, centimorgans)
        donors = [f"D{i}\t{labels[code]}" for i, code in enumerate(codes[::2])]
        (folder / "donors.tsv").write_text("\n".join(donors) + "\n")
        for code, label in enumerate(labels):
            rows = np.flatnonzero(asked == code)
            if not len(rows):
                continue
            share = "\t".join("1" if name == label else "0" for name in labels)
            head = "\t".join([str(len(rows) // 2), "Admixed", *labels])
            # All of the population itself at the founding, and no migrants later.
            model = f"{head}\n1\t0\t{share}\n{GENERATIONS}\t1\t" + "\t".join("0" for _ in labels) + "\n"
            (folder / "model.dat").write_text(model)
            command = [words, "simgenotype", "--model", "model.dat", "--mapdir", str(folder), "--chroms", contig]
            command += ["--ref_vcf", "panel.vcf.gz", "--sample_info", "donors.tsv", "--seed", str(seed + 1)]
            command += ["--out", "out.vcf", "--verbosity", "ERROR"]
            subprocess.run(
                command, cwd=folder, check=True, stdout=subprocess.DEVNULL, env=os.environ | {"PYTHONPATH": ""}
            )
            out[rows] = _read(folder / "out.vcf", train.shape[1])
    return out


def write_map(path: Path, contig: str, positions: np.ndarray, centimorgans: np.ndarray) -> None:
    """A map in PLINK's columns: contig, id, cM, base pairs."""
    table = pd.DataFrame({"contig": contig, "id": ".", "cM": centimorgans, "pos": positions}).drop_duplicates("pos")
    table.to_csv(path, sep="\t", header=False, index=False, float_format="%.8f")
