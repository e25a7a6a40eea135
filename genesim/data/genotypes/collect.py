"""The call-level policies, applied to each chunk of variants at once; what passes is kept."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
import pandas as pd
from jaxtyping import Bool, Int8

from genesim.config.inputs import GenotypePolicy
from genesim.data.coordinates import to_one_based
from genesim.data.genotypes.record import ABSENT, MISSING, allele_counts, stack_variants
from genesim.errors import VcfError

CHUNK_BYTES = 1 << 24
Variant = tuple[str, int, str, str, str]
"""contig, start (0-based), name, ref, alt."""


class Collector:
    """Variants of one file, as they are read.

    Args:
        policy: What to do with calls that are not plain.
        where: The file, for errors.
    """

    def __init__(self, policy: GenotypePolicy, where: str) -> None:
        self._policy = policy
        self._where = where
        self._kept: list[tuple[np.ndarray, np.ndarray, pd.DataFrame]] = []
        self.counts: Counter[str] = Counter()

    def add(
        self,
        variants: Sequence[Variant],
        alleles: Int8[np.ndarray, "variant donor 2"],
        phased: Bool[np.ndarray, "variant donor"],
    ) -> None:
        """Take variants, with codes as in `Genotypes` but half-missing calls as they are; arrays are changed."""
        first, second = alleles[:, :, 0], alleles[:, :, 1]
        missing = (first == MISSING) | (second == MISSING)
        half = missing & ((first >= 0) | (second >= 0))
        if half.any() and self._policy.half_missing == "error":
            contig, start, *_ = variants[int(np.flatnonzero(half.any(axis=1))[0])]
            raise VcfError(
                f"a call at {contig}:{to_one_based(start)} has one missing allele",
                where=self._where,
                remedy="set genotypes.half_missing to 'missing', or correct the record",
            )
        alleles[half] = MISSING
        haploid = second == ABSENT
        phased &= ~missing
        phased |= haploid

        n_alternate, n_called = allele_counts(alleles)
        too_missing = missing.mean(axis=1) > self._policy.max_missing
        rare = ~too_missing & (np.minimum(n_alternate, n_called - n_alternate) < self._policy.min_allele_count)
        keep = ~too_missing & ~rare
        self.counts.update(
            half_missing_calls=int(half.sum()),
            haploid_calls=int(haploid.sum()),
            missing_calls=int(missing.sum()),
            variants_too_missing=int(too_missing.sum()),
            variants_too_rare=int(rare.sum()),
        )
        if keep.any():
            table = pd.DataFrame(variants, columns=["contig", "start", "name", "ref", "alt"])
            self._kept.append((alleles[keep], phased[keep], table[keep]))

    def finish(self) -> tuple[np.ndarray, np.ndarray, pd.DataFrame] | None:
        """Alleles, phases and the table of all variants that passed; None where there is none."""
        if not self._kept:
            return None
        kept, self._kept = self._kept, []
        alleles, phased, tables = (list(column) for column in zip(*kept, strict=True))
        del kept  # each chunk goes as it is copied, so that calls are in memory once
        return stack_variants(alleles), stack_variants(phased), pd.concat(tables, ignore_index=True)
