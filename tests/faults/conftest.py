"""Raw inputs of twelve donors, small enough that a fault shows in a second."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import yaml
from scipy import sparse

from genesim.data.genotypes import Genotypes, write_vcf

N_DONORS, N_CELLS, N_GENES, N_VARIANTS = 12, 120, 10, 40


def genotypes(donors: list[str], n_variants: int = N_VARIANTS) -> Genotypes:
    """Phased genotypes of one contig, every variant polymorphic."""
    random = np.random.default_rng(3)
    alleles = random.integers(0, 2, (n_variants, len(donors), 2)).astype(np.int8)
    alleles[:, 0] = (0, 1)
    variants = pd.DataFrame(
        {
            "contig": "21",
            "start": 1000 + 500 * np.arange(n_variants),
            "ref": np.full(n_variants, "A", object),
            "alt": np.full(n_variants, "G", object),
        },
        index=pd.Index([f"v{i}" for i in range(n_variants)], dtype=object),
    )
    phased = np.ones(alleles.shape[:2], bool)
    return Genotypes(alleles, phased, variants, pd.Index(donors, dtype=object), contig_lengths={"21": 1_000_000})


def cells(donors: list[str], genes: list[str]) -> ad.AnnData:
    """Counts of two cell types."""
    random = np.random.default_rng(4)
    counts = sparse.csr_matrix(random.poisson(2.0, (N_CELLS, len(genes))).astype(np.float32) + 0)
    obs = pd.DataFrame(
        {"donor": np.resize(donors, N_CELLS), "cell_type": np.resize(["T", "B"], N_CELLS)},
        index=[f"c{i}" for i in range(N_CELLS)],
    )
    return ad.AnnData(counts, obs=obs, var=pd.DataFrame(index=genes))


def write_inputs(folder: Path, donors: list[str], genes: list[str]) -> dict[str, Any]:
    """Raw files in `folder`, as `inputs` of a config."""
    folder.mkdir(parents=True, exist_ok=True)
    cells(donors, genes).write_h5ad(folder / "cells.h5ad")
    write_vcf(genotypes(donors), folder / "donors.vcf.gz")
    lines = [
        f'21\tx\tgene\t{1000 + 1500 * i}\t{2000 + 1500 * i}\t.\t+\t.\tgene_id "ENSG{i:011d}"; gene_name "{name}";'
        for i, name in enumerate(genes)
    ]
    (folder / "genes.gtf").write_text("\n".join(lines) + "\n")
    files = {"h5ad": "cells.h5ad", "vcf": "donors.vcf.gz", "genes": "genes.gtf"}
    return {**{key: str(folder / name) for key, name in files.items()}, "contigs": ["21"]}


@pytest.fixture
def inputs(tmp_path: Path) -> dict[str, Any]:
    """Whole raw inputs."""
    return write_inputs(tmp_path / "raw", [f"d{i}" for i in range(N_DONORS)], [f"G{i}" for i in range(N_GENES)])


@pytest.fixture
def config(tmp_path: Path) -> Callable[[dict[str, Any]], Path]:
    """Write a run config for some inputs."""

    def write(inputs: dict[str, Any]) -> Path:
        path = tmp_path / "run.yaml"
        path.write_text(yaml.safe_dump({"inputs": inputs}))
        return path

    return write


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[int], Path]]:
    """`small_disk(kib)`: a file system of its own of that size."""
    mounted: list[Path] = []

    def mount(kib: int) -> Path:
        folder = tmp_path / f"disk{len(mounted)}"
        folder.mkdir()
        words = ["mount", "-t", "tmpfs", "-o", f"size={kib}k,mode=0755", "tmpfs", str(folder)]
        try:
            shown = subprocess.run(words, capture_output=True, text=True, check=False)
        except FileNotFoundError:
            pytest.skip("mount is not installed")
        if shown.returncode:
            pytest.skip(f"no file system may be mounted here: {shown.stderr.strip()}")
        mounted.append(folder)
        return folder

    yield mount
    for folder in mounted:
        # htslib keeps the descriptor of a file that it could not close: the mount goes when this process does.
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def left(folder: Path) -> list[str]:
    """Every file below `folder`, hidden ones too."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


@pytest.fixture
def left_in() -> Callable[[Path], list[str]]:
    """`left`, for tests."""
    return left


@pytest.fixture
def make_inputs() -> Callable[..., dict[str, Any]]:
    """`write_inputs`, for tests."""
    return write_inputs


@pytest.fixture
def make_genotypes() -> Callable[..., Genotypes]:
    """`genotypes`, for tests."""
    return genotypes
