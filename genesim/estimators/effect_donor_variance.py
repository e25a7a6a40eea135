"""How much donors differ in each gene's expression, learned from their cells."""

from __future__ import annotations

from collections.abc import Mapping

import anndata as ad
import numpy as np
import pandas as pd
from scipy import sparse

from genesim.metrics.donor_variance import donor_variance, shrunk_variance

MIN_DONORS = 10


def donor_sd(adata: ad.AnnData, donor: pd.Series, rows: Mapping[str, np.ndarray | None]) -> pd.DataFrame:
    """SD over donors of log2 expression, whatever its causes: gene x cell type.

    Args:
        adata: Counts of cells.
        donor: Of each cell.
        rows: Cells of each type; None means all.

    Returns:
        All genes of `adata`, one column a type that has two or more cells of at least 10 donors. Variances are
        shrunk to their mean over genes by what their standard errors leave unsure. A gene without counts gets 0.
    """
    counts = sparse.csr_matrix(adata.X)
    library = np.asarray(counts.sum(1), np.float64).ravel()
    found = {}
    for name, chosen in rows.items():
        here = np.flatnonzero((library > 0) & (True if chosen is None else chosen))
        code, levels = pd.factorize(donor.to_numpy()[here])
        if (np.bincount(code, minlength=len(levels)) >= 2).sum() < MIN_DONORS:
            continue
        learned = donor_variance(counts[here], library[here], code)
        variance = np.nan_to_num(shrunk_variance(learned.donor, learned.standard_error, len(levels)))
        # Of the logarithm of a log-normal factor with this variance and mean 1.
        found[name] = np.sqrt(np.log1p(variance)) / np.log(2)
    return pd.DataFrame(found, index=pd.Index(adata.var_names.astype(str), dtype=object, name="gene"))
