"""Inputs of the effect estimator: donors, genes and variants joined, and expression by donor."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import anndata as ad
import numpy as np
import pandas as pd
from scipy import sparse

from genesim.console import log
from genesim.data.contigs import reconcile_contigs
from genesim.data.expression import read_expression
from genesim.data.genotypes.record import Genotypes
from genesim.data.preflight_h5ad import open_h5ad
from genesim.errors import H5adError, InputError, JoinError

MIN_DONORS = 10
ALL = "all"
Scale = Literal["counts", "linear", "log2"]


@dataclass(frozen=True)
class DonorExpression:
    """Expression of one cell type by donor.

    Attributes:
        values: gene x donor; counts, or expression on the scale given.
        library: Library size per donor, over all genes (ones where the scale is not counts).
        n_cells: Cells per donor.
    """

    values: np.ndarray
    library: np.ndarray
    n_cells: np.ndarray


def dosages(alleles: np.ndarray) -> np.ndarray:
    """Alternate copies, float32 [variant, donor], NaN missing.

    A haploid call counts twice: against a reference one it changes expression by the full allelic fold
    change, as a homozygote does.
    """
    copies = alleles.astype(np.float32)
    copies[..., 1] = np.where(alleles[..., 1] == -2, copies[..., 0], copies[..., 1])
    copies[copies < 0] = np.nan
    return copies.sum(-1)


def mean_imputed(dosage: np.ndarray, mean: np.ndarray | None = None) -> np.ndarray:
    """`dosage` [variant, donor] with missing entries at the variant's mean (its own where None)."""
    missing = np.isnan(dosage)
    if mean is None:
        called = np.maximum((~missing).sum(1), 1)
        mean = np.where(missing, 0, dosage).sum(1) / called
    return np.where(missing, mean[:, None], dosage).astype(np.float32)


def read_donor_expression(
    expression: ad.AnnData | str,
    donor_key: str,
    labels_key: str | None,
    bulk: bool,
    scale: Scale,
    layer: str | None,
) -> tuple[ad.AnnData, pd.Series]:
    """The expression as AnnData and the donor of each of its rows.

    Raises:
        H5adError: Not readable, or values that do not fit `scale`.
    """
    if not bulk or scale == "counts":
        has_key = not bulk or not isinstance(expression, ad.AnnData) or donor_key in expression.obs
        adata = read_expression(
            expression, layer=layer, donor_key=donor_key if has_key else None, labels_key=labels_key
        )
    else:
        if not isinstance(expression, ad.AnnData):
            with open_h5ad(expression):
                pass  # checks the file before anndata trusts it
        adata = expression if isinstance(expression, ad.AnnData) else ad.read_h5ad(expression)
        x = adata.X if layer is None else adata.layers[layer]
        x = x.toarray() if sparse.issparse(x) else np.asarray(x)
        bad = ~np.isfinite(x) | ((x < 0) if scale == "linear" else False)
        if bad.any():
            raise H5adError(
                f"{int(bad.sum())} values are missing, infinite" + (" or negative" if scale == "linear" else ""),
                where="expression",
                remedy="repair them, or say scale='log2' where values are on a log2 scale",
            )
        adata = ad.AnnData(x.astype(np.float64), obs=adata.obs.copy(), var=adata.var.copy())
    donor = adata.obs[donor_key] if donor_key in adata.obs else pd.Series(adata.obs_names, adata.obs_names)
    donor = donor.astype(str)
    if bulk and donor.duplicated().any():
        raise H5adError(
            f"bulk expression has several rows of donor '{donor[donor.duplicated()].iloc[0]}'",
            where="expression",
            remedy="give one row a donor, or bulk=False to sum counts",
        )
    return adata, donor


def match_donors(expressed: Sequence[str], genotyped: Sequence[str]) -> list[str]:
    """Donors with both, in the order of the genotypes.

    Raises:
        JoinError: Fewer than 10; both sides are shown.
    """
    have = set(expressed)
    both = [d for d in map(str, genotyped) if d in have]
    if len(both) < MIN_DONORS:
        raise JoinError(
            f"{len(both)} donors have both expression and genotypes, at least {MIN_DONORS} are needed; "
            f"expression has {', '.join(sorted(have)[:4])} ..., genotypes "
            f"have {', '.join(map(str, genotyped[:4]))} ...",
            where="donors",
            remedy="give both the same donor ids (donor_key names the column of obs)",
        )
    only = len(have) - len(both), len(genotyped) - len(both)
    if any(only):
        log.info("cis effects: %d donors; left out: %d with expression only, %d with genotypes only", len(both), *only)
    return both


def match_genes(genes: pd.DataFrame | None, var: pd.DataFrame, contigs: Sequence[str]) -> pd.DataFrame:
    """Genes of `var` with a position on a genotyped contig: index gene, `contig` as genotypes name it, `tss`.

    Raises:
        InputError: No positions are given.
        JoinError: No gene is on a genotyped contig.
    """
    table = var if genes is None else genes
    if "contig" not in table and "chrom" in table:
        table = table.rename(columns={"chrom": "contig"})
    lacking = [c for c in ("contig", "tss") if c not in table]
    if lacking:
        raise InputError(
            f"gene positions lack the columns {lacking}",
            where="genes" if genes is not None else "var",
            remedy="give genes=, a table with index gene and columns contig, tss (0-based)",
        )
    table = table.loc[table.index.isin(var.index), ["contig", "tss"]]
    placed = table["contig"].notna() & (table["contig"] != "") & (table["tss"].fillna(-1) >= 0)
    if not placed.all():
        log.info("cis effects: %d genes without a TSS are left out", int((~placed).sum()))
    table = table[placed]
    names = table["contig"].astype(str)
    known = reconcile_contigs(contigs, names.unique(), missing="skip", where="genotypes")
    table = table.assign(contig=names.map(known).astype(object), tss=table["tss"].astype(np.int64))
    located = table.dropna(subset=["contig"])
    if located.empty:
        raise JoinError(
            f"none of {len(var)} genes lies on a genotyped contig ({', '.join(contigs[:5])})",
            where="genes",
            remedy="check gene names, contig names and that both use one genome build",
        )
    if len(located) < len(var):
        log.info("cis effects: %d of %d genes lie on a genotyped contig", len(located), len(var))
    return located.set_axis(pd.Index(located.index.astype(str), dtype=object, name="gene"))


def cis_windows(genes: pd.DataFrame, variants: pd.DataFrame, usable: np.ndarray, window: int) -> list[np.ndarray]:
    """Indices of the usable variants at most `window` bp from each gene's TSS, ascending."""
    found: list[np.ndarray] = [np.zeros(0, np.int64)] * len(genes)
    contig = variants["contig"].to_numpy()
    start = variants["start"].to_numpy()
    for name, rows in genes.reset_index(drop=True).groupby("contig"):
        here = np.flatnonzero((contig == name) & usable)
        here = here[np.argsort(start[here], kind="stable")]
        low = np.searchsorted(start[here], rows["tss"] - window)
        high = np.searchsorted(start[here], rows["tss"] + window, side="right")
        for gene, a, b in zip(rows.index, low, high, strict=True):
            found[gene] = np.sort(here[a:b])
    return found


def allele_means(genotypes: Genotypes, columns: np.ndarray, at_once: int = 20_000) -> np.ndarray:
    """Mean dosage of each variant over the donors at `columns` (0 where none is called)."""
    mean = np.zeros(genotypes.n_variants)
    for first in range(0, genotypes.n_variants, at_once):
        d = dosages(genotypes.alleles[first : first + at_once][:, columns])
        called = (~np.isnan(d)).sum(1)
        mean[first : first + at_once] = np.nansum(d, 1) / np.maximum(called, 1)
    return mean


def pseudobulk(
    adata: ad.AnnData,
    donor: pd.Series,
    donors: Sequence[str],
    genes: pd.Index,
    rows: np.ndarray | None = None,
) -> DonorExpression:
    """Sum of the counts of each donor's cells (those at `rows`)."""
    code = pd.Index(donors).get_indexer(pd.Index(donor))
    chosen = code >= 0
    if rows is not None:
        chosen &= rows
    cell = np.flatnonzero(chosen)
    sums = sparse.csr_matrix(
        (np.ones(len(cell)), (code[cell], cell)), shape=(len(donors), adata.n_obs), dtype=np.float64
    )
    x = adata.X
    total = sums @ x
    total = total.toarray() if sparse.issparse(total) else np.asarray(total)
    columns = adata.var_names.get_indexer(genes)
    return DonorExpression(
        values=total[:, columns].T,
        library=total.sum(1),
        n_cells=np.bincount(code[cell], minlength=len(donors)),
    )


def numeric_covariates(covariates: pd.DataFrame | None, donors: Sequence[str]) -> np.ndarray:
    """donor x covariate numbers; text columns become 0/1 columns, one level left out.

    Raises:
        JoinError: A donor has no row.
        InputError: A value is missing.
    """
    if covariates is None or covariates.shape[1] == 0:
        return np.zeros((len(donors), 0))
    table = covariates.set_axis(covariates.index.astype(str))
    absent = [d for d in donors if d not in table.index]
    if absent:
        raise JoinError(
            f"{len(absent)} donors have no covariates: {', '.join(absent[:5])}",
            where="covariates",
            remedy="add their rows, or leave these donors out",
        )
    table = table.loc[list(donors)]
    missing = table.columns[table.isna().any()]
    if len(missing):
        raise InputError(
            f"covariates {list(missing)} have missing values", where="covariates", remedy="fill or drop them"
        )
    return pd.get_dummies(table, drop_first=True, dtype=float).to_numpy(np.float64)
