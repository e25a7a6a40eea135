"""The built-in example's raw inputs: real cells, simulated donors, invented gene positions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import scipy.sparse as sp

from genesim import rng
from genesim.data.coordinates import interval_to_one_based
from genesim.data.example_donors import POPULATIONS, SEGMENT_LENGTH, SEGMENTS, donor_table, write_donors_vcf
from genesim.errors import ConfigError, H5adError
from genesim.provenance.atomic import atomic_file

_TARGET = 1e4  # scanpy's bundled file holds log1p(counts per 10,000), rounded to three decimals
_ROUNDING = 5e-4
_FLOAT_SLACK = 1e-6

_ABOUT = """\
The built-in example of genesim
===============================

Real
  cells.h5ad     Integer UMI counts of {n_cells} peripheral blood mononuclear cells and {n_genes} genes:
                 the set "pbmc68k_reduced" that ships with scanpy, from Zheng et al. 2017, Nature
                 Communications 8:14049. The file in scanpy holds log1p(counts per 10,000); the counts
                 were restored exactly, and the restoration was checked. Gene symbols and cell types
                 are the published ones.

Not real
  cells' donors  All these cells come from one person. Each was assigned to one of {n_cell_donors} donors
                 at random, within its cell type: there is no donor effect in the data.
  donors.vcf.gz  {n_donors} donors who do not exist, simulated with msprime under the out-of-Africa
                 demography of Gutenkunst et al. 2009 ({populations}). Flaws that real files have were put
                 in on purpose: several alternate alleles, missing calls, low-quality records, a repeated
                 record, indels, a symbolic <DEL>.
  donors.tsv     Their ancestry is the simulated population; their sex is random.
  genes.gtf      Gene positions, lengths and strands are INVENTED: the genes were spread at random over
                 the simulated segments of contigs 21 and 22.

Nothing biological can be concluded from the pairing of these cells with these genotypes: it exists to
try the software. Seed: {seed}.
"""


def restore_counts(log_normalized: np.ndarray | sp.spmatrix, totals: np.ndarray) -> sp.csr_matrix:
    """Integer counts from log1p(counts per 10,000) rounded to three decimals.

    The rounding of x by at most 0.0005 moves a count c of a cell with total n by at most about
    (c + n / 10,000) * 0.0005; a count is accepted only inside that bound, and only if the bound is below 0.5.

    Args:
        log_normalized: [cell, gene].
        totals: Total counts of each cell.

    Returns:
        CSR int32 [cell, gene].

    Raises:
        H5adError: A value that no single integer explains.
    """
    matrix = sp.coo_matrix(log_normalized)
    totals = np.asarray(totals, dtype=np.float64)
    scale = totals[matrix.row] / _TARGET
    raw = np.expm1(matrix.data.astype(np.float64)) * scale
    counts = np.rint(raw)
    bound = (counts + scale) * np.expm1(_ROUNDING + _FLOAT_SLACK)
    wrong = ~(np.abs(raw - counts) <= bound) | ~(bound < 0.5) | (counts < 0)
    if wrong.any() or not np.isfinite(totals).all():
        first = int(np.flatnonzero(wrong)[0]) if wrong.any() else 0
        raise H5adError(
            f"{int(wrong.sum())} values do not come from integer counts, the first at "
            f"cell {matrix.row[first]}, gene {matrix.col[first]}",
            where="scanpy.datasets.pbmc68k_reduced",
            remedy="install a scanpy release that ships the original file",
        )
    restored = sp.csr_matrix((counts.astype(np.int32), (matrix.row, matrix.col)), shape=matrix.shape)
    restored.eliminate_zeros()
    restored.sort_indices()
    return restored


def deal_cells(cell_type: np.ndarray, donors: list[str], seed: int) -> np.ndarray:
    """A donor for each cell: cells of a type are dealt round in random order, for a like mix."""
    dealt = np.empty(len(cell_type), dtype=object)
    first = 0
    for label in sorted(set(cell_type)):
        stream = rng.generator(seed, "example", "cells", str(label))
        cells = stream.permutation(np.flatnonzero(cell_type == label))
        # Going on where the last type stopped keeps the donors' totals within one cell of each other.
        for k, cell in enumerate(cells):
            dealt[cell] = donors[(first + k) % len(donors)]
        first += len(cells)
    return dealt


def example_cells(seed: int, donors: list[str], n_genes: int | None = None) -> Any:
    """AnnData of the real cells: CSR int32 counts, obs `cell_type` and `donor`, gene symbols as var_names.

    With `n_genes` the most expressed genes are kept, in the order of the file.
    """
    import anndata
    import scanpy

    source = scanpy.datasets.pbmc68k_reduced()
    cell_type = source.obs["bulk_labels"].astype(str).to_numpy(dtype=object)
    obs = pd.DataFrame(
        {
            "cell_type": pd.Categorical(cell_type),
            "donor": pd.Categorical(deal_cells(cell_type, donors, seed)),
        },
        index=pd.Index(source.obs_names.astype(str).to_numpy(dtype=object), dtype=object),
    )
    var = pd.DataFrame(index=pd.Index(source.raw.var_names.astype(str).to_numpy(dtype=object), dtype=object))
    counts = restore_counts(source.raw.X, source.obs["n_counts"].to_numpy())
    if n_genes is not None:
        total = np.asarray(counts.sum(axis=0)).ravel()
        kept = np.sort(np.argsort(-total, kind="stable")[:n_genes])
        counts, var = counts[:, kept], var.iloc[kept]
    return anndata.AnnData(X=counts, obs=obs, var=var)


def gene_lines(symbols: list[str], seed: int, length: int = SEGMENT_LENGTH) -> list[str]:
    """GTF lines that give every gene an invented place on the example's contigs, sorted."""
    stream = rng.generator(seed, "example", "genes")
    contigs = list(SEGMENTS)
    contig_of = stream.integers(0, len(contigs), len(symbols))
    sizes = np.minimum(stream.integers(500, 20_000, len(symbols)), length // 4)
    offsets = (stream.random(len(symbols)) * (length - sizes)).astype(np.int64)
    strands = stream.choice(["+", "-"], len(symbols))
    lines = [
        "#!These gene positions are INVENTED, for the example of genesim: see ABOUT.txt.",
        "#!genome-build GRCh37 (names and lengths of contigs only)",
    ]
    for i in np.lexsort((offsets, contig_of)):
        contig = contigs[contig_of[i]]
        start = SEGMENTS[contig] + int(offsets[i])
        first, last = interval_to_one_based(start, start + int(sizes[i]))
        names = f'gene_id "{symbols[i]}"; gene_name "{symbols[i]}";'
        lines.append(f"{contig}\tgenesim_invented\tgene\t{first}\t{last}\t.\t{strands[i]}\t.\t{names}")
    return lines


def write_example(
    out_dir: str | Path,
    seed: int = 0,
    n_donors: int = 300,
    n_cell_donors: int = 36,
    n_genes: int | None = None,
    max_variants: int = 2_500,
    segment_length: int = SEGMENT_LENGTH,
) -> dict[str, Path]:
    """Write the example's raw inputs; the same seed gives the same bytes.

    Args:
        out_dir: Folder to write into; made where absent.
        seed: Of the simulated donors and of every assignment.
        n_donors: Genotyped donors, divided evenly over the three populations.
        n_cell_donors: Donors with cells, drawn at random from each population.
        n_genes: Genes kept, the most expressed ones; None keeps all.
        max_variants: Most sites of each of the two contigs.
        segment_length: Simulated bp of each contig, at most 1,000,000.

    Returns:
        Paths by name: `cells` (h5ad), `genotypes` (bgzipped VCF), `donors` (TSV), `genes` (GTF), `about`.

    Raises:
        ConfigError: Numbers that do not fit together.
        GenesimError: msprime is not installed.
        ResourceError: The location cannot be written.
    """
    if not 6 <= n_cell_donors <= n_donors:
        raise ConfigError(
            f"{n_cell_donors} donors with cells of {n_donors} donors",
            where="example",
            remedy="ask for at least 6 donors with cells, and no more than there are donors",
        )
    if max_variants < 1 or not 10_000 <= segment_length <= SEGMENT_LENGTH:
        raise ConfigError(
            f"{max_variants} variants on {segment_length} bp",
            where="example",
            remedy=f"ask for at least 1 variant and 10,000 to {SEGMENT_LENGTH:,} bp",
        )
    folder = Path(out_dir)
    paths = {
        "cells": folder / "cells.h5ad",
        "genotypes": folder / "donors.vcf.gz",
        "donors": folder / "donors.tsv",
        "genes": folder / "genes.gtf",
        "about": folder / "ABOUT.txt",
    }
    donors = donor_table(seed, n_donors)
    with atomic_file(paths["genotypes"]) as temporary:
        write_donors_vcf(temporary, seed, donors, max_variants, segment_length)
    with atomic_file(paths["donors"]) as temporary:
        donors.to_csv(temporary, sep="\t", index=False, lineterminator="\n")
    cells = example_cells(seed, _cell_donors(donors, n_cell_donors, seed), n_genes)
    with atomic_file(paths["cells"]) as temporary:
        cells.write_h5ad(temporary, compression="gzip")
    with atomic_file(paths["genes"]) as temporary:
        lines = gene_lines(list(cells.var_names), seed, segment_length)
        temporary.write_text("\n".join(lines) + "\n", encoding="utf-8")
    with atomic_file(paths["about"]) as temporary:
        text = _ABOUT.format(
            n_cells=cells.n_obs,
            n_genes=cells.n_vars,
            n_donors=n_donors,
            n_cell_donors=n_cell_donors,
            populations=", ".join(POPULATIONS),
            seed=seed,
        )
        temporary.write_text(text, encoding="utf-8")
    return paths


def _cell_donors(donors: pd.DataFrame, n: int, seed: int) -> list[str]:
    """Donors with cells, as evenly over the populations as they allow, in the order of the table."""
    stream = rng.generator(seed, "example", "cell donors")
    shuffled = donors.iloc[stream.permutation(len(donors))]
    turn = shuffled.groupby("ancestry").cumcount()
    chosen = shuffled.assign(turn=turn).sort_values("turn", kind="stable").head(n).index
    return [str(name) for name in donors["donor"].loc[sorted(chosen)]]
