"""Imputation of held-out donors from a synthetic reference panel, by Beagle.

Held-out donors keep `N_TYPED` variants of at least 1 % minor-allele frequency, evenly spaced; Beagle 5 (Browning, Zhou
and Browning 2018, AJHG 103:338) imputes the others from the panel. Rare haplotypes must be in the panel for rare
alleles to come back, which no summary of common variants sees. The command is `beagle`, or what `$BEAGLE` names.
"""

from __future__ import annotations

import gzip
import os
import shlex
import shutil
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Float, Int, Int8

N_TYPED = 350
MIN_TYPED_MAF = 0.01
MIN_MAF = 0.001  # of the variants behind the overall r2
MAF_BINS = {"rare": (0.002, 0.01), "low": (0.01, 0.05), "common": (0.05, 0.5)}
"""Bins [lower, upper) of minor-allele frequency among the held-out haplotypes."""

Haplotypes = Int8[np.ndarray, "haplotype variant"]


def beagle() -> list[str] | None:
    """Words of the command; None where Beagle is absent."""
    words = shlex.split(os.environ.get("BEAGLE", "beagle"))
    return words if shutil.which(words[0]) else None


def write_vcf(path: Path, haplotypes: Haplotypes, variants: pd.DataFrame) -> None:
    """A plain phased VCF, two rows a donor."""
    donors = "\t".join(f"D{i}" for i in range(len(haplotypes) // 2))
    fields = ("#CHROM", "POS", "ID", "REF", "ALT", "QUAL", "FILTER", "INFO", "FORMAT")
    head = '##fileformat=VCFv4.2\n##FORMAT=<ID=GT,Number=1,Type=String,Description="Genotype">\n'
    head += "".join(f"##contig=<ID={name}>\n" for name in variants["contig"].unique())
    calls = np.empty((haplotypes.shape[1], len(haplotypes) // 2, 4), np.uint8)
    calls[:, :, 0], calls[:, :, 2] = ord("\t"), ord("|")
    calls[:, :, 1], calls[:, :, 3] = haplotypes[::2].T + ord("0"), haplotypes[1::2].T + ord("0")
    with open(path, "wb") as handle:
        handle.write((head + "\t".join(fields) + "\t" + donors + "\n").encode())
        rows = zip(variants["contig"], variants["start"], variants["ref"], variants["alt"])
        for number, (contig, start, ref, alt) in enumerate(rows):
            handle.write(f"{contig}\t{start + 1}\tV{number}\t{ref}\t{alt}\t.\tPASS\t.\tGT".encode())
            handle.write(calls[number].tobytes() + b"\n")


def _write_map(path: Path, variants: pd.DataFrame, centimorgans: Float[np.ndarray, " variant"]) -> None:
    table = pd.DataFrame({"contig": variants["contig"], "id": ".", "cM": centimorgans, "pos": variants["start"] + 1})
    table.drop_duplicates("pos").to_csv(path, sep=" ", header=False, index=False, float_format="%.8f")


def typed_variants(held_out: Haplotypes, positions: Int[np.ndarray, " variant"]) -> Int[np.ndarray, " typed"]:
    """Evenly spaced common variants, at most `N_TYPED`, no two at one position."""
    frequency = held_out.mean(0)
    common = np.flatnonzero(np.minimum(frequency, 1 - frequency) >= MIN_TYPED_MAF)
    common = common[np.unique(positions[common], return_index=True)[1]]
    chosen = np.linspace(0, len(common) - 1, min(N_TYPED, len(common))).astype(int)
    return common[np.unique(chosen)]


def impute(
    panel: Haplotypes,
    held_out: Haplotypes,
    variants: pd.DataFrame,
    centimorgans: Float[np.ndarray, " variant"],
    seed: int,
    memory_mb: int = 6000,
) -> tuple[Float[np.ndarray, "donor variant"], Int[np.ndarray, " typed"]]:
    """Dosages of held-out donors, typed variants as they are; NaN where a position was given up.

    Args:
        panel: Reference haplotypes, two rows a donor.
        held_out: Haplotypes of the donors to impute.
        variants: Columns contig, start (0-based), ref, alt.
        centimorgans: Genetic position of each variant.
        seed: Beagle's.
        memory_mb: Of Java's heap.

    Raises:
        RuntimeError: Beagle failed, with the end of what it said.
    """
    command, positions = beagle(), variants["start"].to_numpy()
    assert command is not None, "ask `beagle()` first"
    typed = typed_variants(held_out, positions)
    # Beagle wants one record a position: a typed variant where there is one.
    order = np.lexsort((~np.isin(np.arange(len(positions)), typed), positions))
    kept = np.sort(order[np.unique(positions[order], return_index=True)[1]])
    with tempfile.TemporaryDirectory() as work:
        folder = Path(work)
        write_vcf(folder / "panel.vcf", panel[:, kept], variants.iloc[kept])
        write_vcf(folder / "target.vcf", held_out[:, typed], variants.iloc[typed])
        _write_map(folder / "map", variants.iloc[kept], centimorgans[kept])
        words = [*command, "ref=panel.vcf", "gt=target.vcf", "map=map", "out=out", f"seed={seed + 1}", "nthreads=1"]
        environment = os.environ | {"JAVA_TOOL_OPTIONS": f"-Xmx{memory_mb}m -XX:+UseSerialGC"}
        # Java announces its options on standard error, which is of use only where Beagle fails.
        ran = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, check=False)
        if ran.returncode:
            raise RuntimeError(f"Beagle failed: {ran.stdout[-1000:]}{ran.stderr[-2000:]}")
        found = np.full((len(held_out) // 2, len(positions)), np.nan, np.float32)
        rows = {(int(p), r, a): k for k, p, r, a in zip(kept, positions[kept], *_alleles(variants, kept))}
        with gzip.open(folder / "out.vcf.gz", "rt") as handle:
            for line in handle:
                if line.startswith("#"):
                    continue
                _, position, _, ref, alt, _, _, _, layout, *calls = line.rstrip("\n").split("\t")
                where = layout.split(":").index("DS")
                row = rows[int(position) - 1, ref, alt]
                found[:, row] = [call.split(":")[where] for call in calls]
    return found, typed


def _alleles(variants: pd.DataFrame, rows: np.ndarray) -> tuple[list[str], list[str]]:
    table = variants.iloc[rows]
    return table["ref"].tolist(), table["alt"].tolist()


def squared_correlations(
    dosage: Float[np.ndarray, "donor variant"], held_out: Haplotypes
) -> Float[np.ndarray, " variant"]:
    """r^2 of dosage and genotype over donors, a variant; 0 for a constant dosage, NaN for a constant genotype."""
    truth = (held_out[::2] + held_out[1::2]).astype(np.float32)
    x, y = dosage - dosage.mean(0), truth - truth.mean(0)
    norm = np.sqrt((x**2).sum(0) * (y**2).sum(0))
    r = np.divide((x * y).sum(0), norm, out=np.zeros_like(norm), where=norm > 1e-6)
    return np.where(np.isnan(norm) | ((y**2).sum(0) < 1e-6), np.nan, r**2)


def imputation_r2(
    dosage: Float[np.ndarray, "donor variant"], typed: Int[np.ndarray, " typed"], held_out: Haplotypes
) -> dict[str, float]:
    """Mean r^2 over untyped variants: those of `MIN_MAF` among the held-out haplotypes, and by bin of `MAF_BINS`."""
    r2 = squared_correlations(dosage, held_out)
    r2[typed] = np.nan
    frequency = held_out.mean(0)
    maf = np.minimum(frequency, 1 - frequency)
    found = {"impute_r2": r2[maf >= MIN_MAF]}
    found |= {f"impute_r2_{name}": r2[(maf >= low) & (maf < high)] for name, (low, high) in MAF_BINS.items()}
    return {name: float(np.nanmean(x)) if np.isfinite(x).any() else float("nan") for name, x in found.items()}
