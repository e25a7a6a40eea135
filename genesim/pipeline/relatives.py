"""Held-out donors with relatives in training: they carry training haplotypes, whatever a generator gives away."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from genesim.console import log
from genesim.data.cohort import Cohort
from genesim.data.thin import thinned_variants
from genesim.metrics.kinship import THIRD_DEGREE, king_robust
from genesim.release.records import shown

SURE = 4.0
"""Standard errors of a kinship that a pair has to exceed: among 30,000 pairs of strangers about one does."""
PARENT_AND_CHILD = 2**-2.5
"""Kinship above which donors are of the first degree; noise that hides even these leaves nothing to be told."""


def held_out_relatives(cohort: Cohort) -> tuple[pd.Index, dict[str, Any]]:
    """Held-out donors with a relative, to the third degree where the noise allows, among the training donors.

    KING-robust on variants thinned for LD. The record says how far relatives can be told, for JSON.
    """
    none = pd.Index([], dtype=object)
    donors = cohort.genotypes.donors
    split = cohort.donors["split"].reindex(donors).to_numpy()
    train, test = np.flatnonzero(split == "train"), np.flatnonzero(split == "test")
    thinned = thinned_variants(cohort.genotypes)
    if thinned.n_variants < 2 or not len(train) or not len(test):
        return none, {"told": False, "n_variants": thinned.n_variants}
    king = king_robust(thinned.dosage)
    threshold = max(THIRD_DEGREE, SURE * king.noise)
    told = threshold <= PARENT_AND_CHILD
    record: dict[str, Any] = {"told": told, "n_variants": thinned.n_variants, "noise": round(king.noise, 4)}
    if not told:
        log.info("relatives across the split cannot be told from %d variants", thinned.n_variants)
        return none, record
    found = donors[test[(king.kinship[np.ix_(test, train)] > threshold).any(axis=1)]]
    return found, record | {"threshold": round(threshold, 4), "left_out": shown(len(found))}
