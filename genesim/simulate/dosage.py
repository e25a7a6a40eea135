"""Copies of ALT that donors carry beyond what is expected of them: what linear effects of genotypes act on."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from jaxtyping import Float

from genesim.data.genotypes import Genotypes
from genesim.data.ploidy import kind_of


def common_variants(variants: pd.DataFrame, min_maf: float) -> pd.Index:
    """Autosomal variants of at least this minor allele frequency: those whose dosage has the variance 2pq."""
    frequency = variants["frequency"].to_numpy(np.float64)
    contig = variants["contig"].astype(str)
    autosomal = contig.isin([name for name in contig.unique() if kind_of(name) == "autosome"])
    return variants.index[(np.minimum(frequency, 1 - frequency) >= min_maf) & autosomal.to_numpy(bool)]


def centred_dosage(
    genotypes: Genotypes, variants: Sequence[str] | pd.Index, frequency: Float[np.ndarray, " variant"]
) -> Float[np.ndarray, "variant donor"]:
    """Copies of ALT minus 2 x frequency; a haploid donor's only copy stands for both, a missing allele is expected."""
    rows = genotypes.variants.index.get_indexer(pd.Index(list(variants), dtype=object))
    alleles = genotypes.alleles[rows].astype(np.float64)
    alleles[:, :, 1] = np.where(alleles[:, :, 1] == -2, alleles[:, :, 0], alleles[:, :, 1])
    p = np.asarray(frequency, np.float64)[:, None]
    return np.where(alleles < 0, p[:, :, None], alleles).sum(axis=2) - 2 * p
