"""Which records, and which of their alternate alleles, are taken: the policies that need no genotypes."""

from __future__ import annotations

import re
from collections import Counter
from typing import NamedTuple

from genesim.config.inputs import GenotypePolicy
from genesim.data.coordinates import to_zero_based
from genesim.data.genotypes.header import CONTIG_NAME
from genesim.data.genotypes.region import Selection
from genesim.errors import VcfError

_BASES = re.compile(rb"[ACGTURYKMSWBDHVN]+", re.IGNORECASE)
_SYMBOLIC = re.compile(rb"\*|<[^<>\s]+>|[^\s]*[\[\]][^\s]*|\.[A-Z]+|[A-Z]+\.", re.IGNORECASE)


class Site(NamedTuple):
    """A record that is taken.

    Attributes:
        contig, start, name, ref: The record's; `start` 0-based, bases in upper case.
        alternates: Alternate alleles to keep, each with its number in the record (from 1).
        n_alternate: Alternate alleles that the record lists.
        record: How to name the record in errors.
    """

    contig: str
    start: int
    name: str
    ref: str
    alternates: list[tuple[int, str]]
    n_alternate: int
    record: str


class SiteFilter:
    """Sees the records of one file in order; notices those out of order and repeated variants.

    Args:
        selection: Contigs and interval to take.
        policy: What to do with records that are not plain.
        lengths: Known contigs with their lengths in bp; contigs that appear are added.
        where: The file, for errors.
        sort: How to sort such a file, for errors.

    Attributes:
        counts: What was dropped, by name.
        done: No further record can be of interest.
    """

    def __init__(
        self, selection: Selection, policy: GenotypePolicy, lengths: dict[str, int | None], where: str, sort: str
    ) -> None:
        self._selection = selection
        self._policy = policy
        self._lengths = lengths
        self._where = where
        self._sort = sort
        self._raw: bytes | None = None  # no record yet: an empty name is no contig
        self._contig = ""
        self._position = 0
        self._finished: set[bytes] = set()
        self._seen: set[tuple[bytes, bytes]] = set()
        self.counts: Counter[str] = Counter(contigs_renamed=selection.n_renamed)
        self.done = False

    def fail(self, record: str, found: str, remedy: str = "correct or remove the record") -> VcfError:
        return VcfError(f"{record} {found}", where=self._where, remedy=remedy)

    def _move(self, number: int, raw_contig: bytes, position: int) -> None:
        """Follow the file to the next record."""
        if raw_contig != self._raw:
            if self._selection.end is not None and self._contig in (self._selection.contigs or ()):
                self.done = True
                return
            contig = self._text(raw_contig, number)
            if not CONTIG_NAME.fullmatch(contig):
                raise self.fail(f"record {number}", f"has the contig name {contig[:40]!r}")
            if raw_contig in self._finished:
                raise self.fail(f"record {number} ({contig}:{position})", "comes back to an earlier contig", self._sort)
            if self._raw:
                self._finished.add(self._raw)
            self._raw, self._contig = raw_contig, contig
            self._seen.clear()
            self._lengths.setdefault(contig, None)
        elif position != self._position:
            if position < self._position:
                raise self.fail(
                    f"record {number} ({self._contig}:{position})",
                    f"comes after position {self._position}: the file is not sorted",
                    self._sort,
                )
            self._seen.clear()
        self._position = position

    def admit(
        self,
        number: int,
        raw_contig: bytes,
        position: int,
        raw_name: bytes,
        ref: bytes,
        alternates: bytes,
        passed: bool = True,
        has_genotypes: bool = True,
    ) -> Site | None:
        """The record if it is taken; None where it is not, then see `done`.

        Args:
            number: Of the record, from 1.
            raw_contig, raw_name, ref, alternates: As a VCF has them.
            position: 1-based.
            passed: FILTER is PASS or absent.
            has_genotypes: The record has GT.

        Raises:
            VcfError: A record that is malformed, out of order, or refused by a policy.
        """
        policy, selection = self._policy, self._selection
        self._move(number, raw_contig, position)
        if self.done:
            return None
        start = to_zero_based(position)
        if selection.contigs is not None:
            if self._contig not in selection.contigs or start + len(ref) <= selection.start:
                return None
            if selection.end is not None and start >= selection.end:
                self.done = True
                return None
        self.counts["records"] += 1
        record = f"record {number} ({self._contig}:{position})"
        if policy.filters == "pass" and not passed:
            self.counts["filtered_records"] += 1
            return None
        kept, n_alternate = self._plain_alleles(ref, alternates, record)
        if not kept:
            return None
        length = self._lengths[self._contig]
        if position < 1 or position > (length or position):
            raise self.fail(record, f"lies outside its contig (1 to {length or 'its end'})")
        ref = ref.upper()
        if not has_genotypes:
            self.counts["records_without_genotypes"] += 1
            return None
        fresh = []
        for i, alternate in kept:
            if (ref, alternate) in self._seen:
                self.counts["duplicate_variants"] += 1
            else:
                self._seen.add((ref, alternate))
                fresh.append((i, alternate.decode()))
        if len(fresh) < len(kept) and policy.duplicates == "error":
            raise self.fail(record, "repeats a variant", "set genotypes.duplicates to 'drop'")
        if not fresh:
            return None
        return Site(self._contig, start, self._text(raw_name, number), ref.decode(), fresh, n_alternate, record)

    def _text(self, raw: bytes, number: int) -> str:
        try:
            text = raw.decode("utf-8")
        except UnicodeDecodeError as error:
            raise self.fail(f"record {number}", "has a name that is not UTF-8") from error
        if not text or any(c.isspace() for c in text):
            raise self.fail(f"record {number}", "has a name that is empty or holds spaces")
        return text

    def _plain_alleles(self, ref: bytes, alternates: bytes, record: str) -> tuple[list[tuple[int, bytes]], int]:
        """Alternate alleles to keep (number from 1, upper-case bases), and how many the record lists."""
        policy = self._policy
        if alternates == b".":
            self.counts["records_without_alternate"] += 1
            return [], 0
        if not _BASES.fullmatch(ref):
            raise self.fail(record, f"has the reference allele {ref[:20].decode('utf-8', 'replace')!r}")
        listed = alternates.split(b",")
        if len(listed) > 1 and policy.multiallelic == "error":
            raise self.fail(record, "is multiallelic", "set genotypes.multiallelic to 'split' or 'drop'")
        kept: list[tuple[int, bytes]] = []
        for number, alternate in enumerate(listed, 1):
            if alternate.upper() == ref.upper():
                raise self.fail(record, "lists its reference allele as alternate")
            if _BASES.fullmatch(alternate):
                kept.append((number, alternate.upper()))
            elif _SYMBOLIC.fullmatch(alternate):
                if policy.symbolic == "error":
                    raise self.fail(record, "has a symbolic allele", "set genotypes.symbolic to 'drop'")
                self.counts["symbolic_alleles_dropped"] += 1
            else:
                raise self.fail(record, f"has the alternate allele {alternate[:20].decode('utf-8', 'replace')!r}")
        if len(listed) > 1 and policy.multiallelic == "drop":
            self.counts["multiallelic_dropped"] += 1
            return [], len(listed)
        self.counts["multiallelic_split"] += len(listed) > 1
        return kept, len(listed)
