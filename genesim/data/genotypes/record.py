"""`Genotypes`: the alleles of donors at biallelic variants, in memory."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int8

from genesim.errors import InputError, JoinError

REF, ALT, MISSING, ABSENT = 0, 1, -1, -2
COLUMNS = ("contig", "start", "ref", "alt")
_BLOCK_BYTES = 1 << 24


def _refuse(found: str, remedy: str) -> InputError:
    return InputError(found, where="genotypes", remedy=remedy)


def _first_repeated(index: pd.Index) -> str:
    return str(index[index.duplicated()][0])


@dataclass(frozen=True, eq=False)
class Genotypes:
    """Alleles of donors at biallelic variants.

    Attributes:
        alleles: int8 [variant, donor, 2]; 0 reference, 1 alternate, -1 missing, -2 no second copy
            (a haploid call, as of chrX in males).
        phased: bool [variant, donor]; a haploid call counts as phased, a missing one does not.
        variants: Indexed by unique variant id; columns `contig`, `start` (0-based, bp), `ref`, `alt`.
        donors: Unique donor ids.
        contig_lengths: Length in bp of every declared contig, None where unknown; in file order.
        report: What the reading policies did, by name (counts of records, variants or calls).

    Raises:
        InputError: Shapes, types, names or allele codes that do not fit together.
    """

    alleles: Int8[np.ndarray, "variant donor 2"]
    phased: Bool[np.ndarray, "variant donor"]
    variants: pd.DataFrame
    donors: pd.Index
    contig_lengths: dict[str, int | None] = field(default_factory=dict)
    report: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        n_variants, n_donors = len(self.variants), len(self.donors)
        if self.alleles.shape != (n_variants, n_donors, 2) or self.alleles.dtype != np.int8:
            raise _refuse(
                f"alleles are {self.alleles.dtype} of shape {self.alleles.shape}",
                f"give int8 of shape ({n_variants}, {n_donors}, 2)",
            )
        if self.phased.shape != (n_variants, n_donors) or self.phased.dtype != np.bool_:
            raise _refuse(
                f"phased is {self.phased.dtype} of shape {self.phased.shape}",
                f"give bool of shape ({n_variants}, {n_donors})",
            )
        absent = [name for name in COLUMNS if name not in self.variants.columns]
        if absent:
            raise _refuse(f"variants lack the columns {', '.join(absent)}", f"give {', '.join(COLUMNS)}")
        if not self.variants.index.is_unique:
            raise _refuse(f"variant id '{_first_repeated(self.variants.index)}' is repeated", "use unique ids")
        if not self.donors.is_unique:
            raise _refuse(f"donor '{_first_repeated(self.donors)}' is repeated", "use unique donor ids")
        if self.alleles.size and (
            self.alleles.min() < ABSENT or self.alleles.max() > ALT or self.alleles[:, :, 0].min(initial=0) < MISSING
        ):
            raise _refuse(
                "alleles hold codes that have no meaning",
                "use 0, 1, -1 (missing) and, in the second copy only, -2 (haploid)",
            )

    @property
    def n_variants(self) -> int:
        return self.alleles.shape[0]

    @property
    def n_donors(self) -> int:
        return self.alleles.shape[1]

    def subset(
        self,
        variants: Sequence[str] | pd.Index | np.ndarray | None = None,
        donors: Sequence[str] | pd.Index | np.ndarray | None = None,
        overwrite: bool = False,
    ) -> Genotypes:
        """The given variants and donors, in the given order; arrays are copied only where something is left out.

        Args:
            variants: Variant ids, a boolean mask or integer positions; None keeps all.
            donors: Donor ids, a boolean mask or integer positions; None keeps all.
            overwrite: Bring donors to their new order in the arrays of this object, which must not be used any more:
                half the memory.

        Raises:
            JoinError: An id that is not present, or a mask of another length.
        """
        rows = positions(self.variants.index, variants, "variants")
        columns = positions(self.donors, donors, "donors")
        take = _taken_in_place if overwrite and variants is None else _taken
        return Genotypes(
            alleles=take(self.alleles, rows, columns),
            phased=take(self.phased, rows, columns),
            variants=self.variants.iloc[rows],
            donors=self.donors[columns],
            contig_lengths=dict(self.contig_lengths),
            report=dict(self.report),
        )

    def dosage(self) -> Float[np.ndarray, "variant donor"]:
        """Alternate copies, float32 [variant, donor]: 0-2 (0-1 in haploid calls), NaN missing."""
        dosage = (self.alleles == ALT).sum(axis=2, dtype=np.float32)
        dosage[(self.alleles == MISSING).any(axis=2)] = np.nan
        return dosage

    def haplotypes(self) -> Int8[np.ndarray, "haplotype variant"]:
        """Alleles, int8 [2 * donor, variant], a donor's copies in neighbouring rows (codes unchanged)."""
        return np.ascontiguousarray(self.alleles.transpose(1, 2, 0)).reshape(2 * self.n_donors, self.n_variants)

    def allele_frequency(self) -> Float[np.ndarray, " variant"]:
        """Alternate share of called copies, float64 [variant]; NaN where none is called."""
        n_alternate, n_called = allele_counts(self.alleles)
        return np.divide(n_alternate, n_called, out=np.full(self.n_variants, np.nan), where=n_called > 0)


def _taken(array: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """`array[rows][:, columns]`, without a copy on the way and with none of what stays whole."""
    every_row = np.array_equal(rows, np.arange(array.shape[0]))
    every_column = np.array_equal(columns, np.arange(array.shape[1]))
    if every_column:
        return array if every_row else array[rows]
    return array[:, columns] if every_row else array[rows[:, None], columns]


def _taken_in_place(array: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """`array[:, columns]` in the memory of `array`, all of whose rows are kept."""
    if np.array_equal(columns, np.arange(array.shape[1])):
        return array
    size = max(1, _BLOCK_BYTES // max(1, array[:1].size))
    for at in range(0, len(rows), size):
        array[at : at + size, : len(columns)] = array[at : at + size][:, columns]
    return array[:, : len(columns)]


def stack_variants(parts: list[np.ndarray]) -> np.ndarray:
    """`np.concatenate(parts)`; the list is emptied, each part going as it is copied: half the memory where nobody
    else holds them.
    """
    if len(parts) == 1:
        return parts.pop()
    whole = np.empty((sum(map(len, parts)), *parts[0].shape[1:]), parts[0].dtype)
    end = len(whole)
    while parts:
        part = parts.pop()
        whole[end - len(part) : end] = part
        end -= len(part)
    return whole


def allele_counts(
    alleles: Int8[np.ndarray, "variant donor 2"],
) -> tuple[np.ndarray, np.ndarray]:
    """Alternate and called copies of every variant: two int64 [variant] (AC and AN of a VCF)."""
    n_alternate, n_called = np.zeros(len(alleles), np.int64), np.zeros(len(alleles), np.int64)
    size = max(1, _BLOCK_BYTES // max(1, alleles[:1].size))
    for at in range(0, len(alleles), size):  # each comparison makes as many bytes as it reads
        block = alleles[at : at + size]
        n_alternate[at : at + size] = np.count_nonzero(block == ALT, axis=(1, 2))
        n_called[at : at + size] = np.count_nonzero(block >= REF, axis=(1, 2))
    return n_alternate, n_called


def positions(index: pd.Index, chosen: Sequence[str] | pd.Index | np.ndarray | None, what: str) -> np.ndarray:
    """Where `chosen` (ids, a mask or positions; None all) lie in `index`.

    Raises:
        JoinError: An id that is not present, or a mask of another length; `what` names them.
    """
    if chosen is None:
        return np.arange(len(index))
    values = np.asarray(chosen)
    if values.dtype == np.bool_:
        if values.shape != (len(index),):
            raise JoinError(
                f"a mask of length {len(values)} was given for {len(index)} {what}",
                where="genotypes",
                remedy="give one entry for each",
            )
        return np.flatnonzero(values)
    if np.issubdtype(values.dtype, np.integer):
        if values.size and not (-len(index) <= values.min() and values.max() < len(index)):
            raise JoinError(
                f"position {values.max()} was asked of {len(index)} {what}",
                where="genotypes",
                remedy=f"give positions below {len(index)}",
            )
        return values
    positions = index.get_indexer(pd.Index(values, dtype=object))
    if (positions < 0).any():
        absent = [str(name) for name in values[positions < 0]]
        raise JoinError(
            f"{len(absent)} {what} are not present: {', '.join(absent[:8])}{' ...' if len(absent) > 8 else ''}",
            where="genotypes",
            remedy=f"ask only for {what} that are there",
        )
    return positions


def concatenate(parts: Iterable[Genotypes]) -> Genotypes:
    """Join genotypes of the same donors along variants (one part a contig, say).

    Donors follow the order of the first part; reports add up. Parts that only an iterator holds go as they are
    joined, so that calls are in memory once.

    Raises:
        JoinError: Nothing to join, donors that differ, a variant id in two parts, or a contig of two lengths.
    """
    donors: pd.Index | None = None
    tables, alleles, phased = [], [], []
    lengths: dict[str, int | None] = {}
    report: dict[str, int] = {}
    for part in parts:
        donors = part.donors if donors is None else donors
        differing = donors.symmetric_difference(part.donors)
        if len(differing):
            raise JoinError(
                f"the parts have different donors: {', '.join(map(str, differing[:8]))}",
                where="genotypes",
                remedy="give every part the same donors (`subset(donors=...)`)",
            )
        aligned = part if part.donors.equals(donors) else part.subset(donors=donors)
        tables.append(aligned.variants)
        alleles.append(aligned.alleles)
        phased.append(aligned.phased)
        for contig, length in part.contig_lengths.items():
            known = lengths.get(contig)
            if known is not None and length is not None and known != length:
                raise JoinError(
                    f"contig '{contig}' has {known} bp in one part and {length} bp in another",
                    where="genotypes",
                    remedy="join files of one genome build",
                )
            lengths[contig] = length if known is None else known
        for name, count in part.report.items():
            report[name] = report.get(name, 0) + count
        del part, aligned
    if donors is None:
        raise JoinError("there is nothing to join", where="genotypes", remedy="give at least one part")
    variants = pd.concat(tables)
    if not variants.index.is_unique:
        raise JoinError(
            f"variant '{_first_repeated(variants.index)}' is in more than one part",
            where="genotypes",
            remedy="join parts that do not overlap",
        )
    return Genotypes(
        alleles=stack_variants(alleles),
        phased=stack_variants(phased),
        variants=variants,
        donors=donors,
        contig_lengths=lengths,
        report=report,
    )
