"""Copies of ALT that donors carry beyond what is expected of them: what linear effects of genotypes act on."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from jaxtyping import Float

from genesim.data.genotypes import Genotypes


def centred_dosage(
    genotypes: Genotypes, variants: Sequence[str] | pd.Index, frequency: Float[np.ndarray, " variant"]
) -> Float[np.ndarray, "variant donor"]:
    """Copies of ALT minus 2 x frequency; a haploid donor's only copy stands for both, a missing allele is expected."""
    rows = genotypes.variants.index.get_indexer(pd.Index(list(variants), dtype=object))
    alleles = genotypes.alleles[rows].astype(np.float64)
    alleles[:, :, 1] = np.where(alleles[:, :, 1] == -2, alleles[:, :, 0], alleles[:, :, 1])
    p = np.asarray(frequency, np.float64)[:, None]
    return np.where(alleles < 0, p[:, :, None], alleles).sum(axis=2) - 2 * p
