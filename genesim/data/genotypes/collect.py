"""Gather variants in chunks, apply the call-level policies to each chunk at once, keep what passes."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pandas as pd

from genesim.config.inputs import GenotypePolicy
from genesim.data.coordinates import to_one_based
from genesim.data.genotypes.calls import CallParser, decode_fixed, is_fixed, split_allele
from genesim.data.genotypes.record import ABSENT, MISSING, allele_counts
from genesim.errors import VcfError

_CHUNK_BYTES = 1 << 24


class Collector:
    """Variants of one file, as they are read.

    Args:
        policy: What to do with calls that are not plain.
        parser: Reads rows that are not `a/b` throughout.
        n_columns: Donors in the file.
        chosen: Their positions to keep, in the order to keep.
        where: The file, for errors.
    """

    def __init__(
        self, policy: GenotypePolicy, parser: CallParser, n_columns: int, chosen: np.ndarray, where: str
    ) -> None:
        self._policy = policy
        self._parser = parser
        self._n_columns = n_columns
        self._chosen = chosen
        self._where = where
        self._size = int(np.clip(_CHUNK_BYTES // (4 * n_columns), 1, 8192))
        self._fixed: list[bytes] = []
        self._fixed_at: list[int] = []
        self._odd: list[tuple[int, np.ndarray, np.ndarray]] = []
        self._pending: list[tuple[str, int, str, str, str]] = []
        self._kept: list[tuple[np.ndarray, np.ndarray, pd.DataFrame]] = []
        self.report: Counter[str] = Counter()

    def add(
        self,
        contig: str,
        start: int,
        name: str,
        ref: str,
        alternates: list[tuple[int, str]],
        n_alternate: int,
        row: bytes,
        record: str,
    ) -> None:
        """Add the variants of one record.

        Args:
            contig, start, name, ref: The record's; `start` 0-based.
            alternates: Alternate alleles to keep, each with its number in the record (from 1).
            n_alternate: Alternate alleles that the record lists.
            row: GT of every donor in the file.
            record: How to name the record in errors.
        """
        if n_alternate == 1 and is_fixed(row, self._n_columns):
            self._fixed.append(row)
            self._fixed_at.append(len(self._pending))
            self._pending.append((contig, start, name, ref, alternates[0][1]))
        else:
            alleles, phased = self._parser.row(row, self._chosen, n_alternate, record)
            for number, alternate in alternates:
                self._odd.append((len(self._pending), split_allele(alleles, number), phased))
                self._pending.append((contig, start, name, ref, alternate))
        if len(self._pending) >= self._size:
            self._flush()

    def _decoded(self) -> tuple[np.ndarray, np.ndarray]:
        """Alleles and phases of the pending variants."""
        n = len(self._pending)
        alleles = np.empty((n, len(self._chosen), 2), dtype=np.int8)
        phased = np.empty((n, len(self._chosen)), dtype=bool)
        if self._fixed:
            read, read_phased, valid = decode_fixed(self._fixed, self._n_columns)
            at = np.array(self._fixed_at)
            alleles[at] = read[:, self._chosen]
            phased[at] = read_phased[:, self._chosen]
            # Rows of the right length that are something else ("0\t1\t10/1"), or allele 2 of one alternate.
            for i in np.flatnonzero(~valid | (read > 1).any(axis=(1, 2))):
                contig, start, *_ = self._pending[at[i]]
                record = f"{contig}:{to_one_based(start)}"
                alleles[at[i]], phased[at[i]] = self._parser.row(self._fixed[i], self._chosen, 1, record)
        for row, odd, odd_phased in self._odd:
            alleles[row], phased[row] = odd, odd_phased
        return alleles, phased

    def _flush(self) -> None:
        if not self._pending:
            return
        alleles, phased = self._decoded()
        first, second = alleles[:, :, 0], alleles[:, :, 1]
        missing = (first == MISSING) | (second == MISSING)
        half = missing & ((first >= 0) | (second >= 0))
        if half.any() and self._policy.half_missing == "error":
            contig, start, *_ = self._pending[int(np.flatnonzero(half.any(axis=1))[0])]
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
        self.report.update(
            half_missing_calls=int(half.sum()),
            haploid_calls=int(haploid.sum()),
            missing_calls=int(missing.sum()),
            variants_too_missing=int(too_missing.sum()),
            variants_too_rare=int(rare.sum()),
        )
        if keep.any():
            table = pd.DataFrame(self._pending, columns=["contig", "start", "name", "ref", "alt"])
            self._kept.append((alleles[keep], phased[keep], table[keep]))
        self._pending, self._fixed, self._fixed_at, self._odd = [], [], [], []

    def finish(self) -> tuple[np.ndarray, np.ndarray, pd.DataFrame] | None:
        """Alleles, phases and the table of all variants that passed; None where there is none."""
        self._flush()
        if not self._kept:
            return None
        alleles, phased, tables = zip(*self._kept, strict=True)
        self._kept = []
        return np.concatenate(alleles), np.concatenate(phased), pd.concat(tables, ignore_index=True)
