"""Which part of a file is asked for: a region as samtools writes it, or contigs."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from genesim.data.contigs import bare_name, reconcile_contigs
from genesim.data.coordinates import interval_to_zero_based
from genesim.errors import ConfigError, JoinError

_INTERVAL = re.compile(r"(?P<contig>.+):(?P<first>[\d,]+)(?P<dash>-)?(?P<last>[\d,]+)?")


@dataclass(frozen=True)
class Region:
    """A contig and its 0-based half-open interval [start, end) in bp; `end` None is the contig's end."""

    contig: str
    start: int = 0
    end: int | None = None


def parse_region(text: str, contigs: Iterable[str] = ()) -> Region:
    """Read `chr2`, `chr2:5000`, `chr2:5000-` or `chr2:108,000,000-111,000,000` (1-based, closed).

    Without a last position the region runs to the contig's end, as in samtools.

    Args:
        text: The region.
        contigs: Known contigs; one that equals `text` wins (HLA contigs have colons in their names).

    Raises:
        ConfigError: An interval that is empty or not written so.
    """
    if text in set(contigs):
        return Region(text)
    if ":" not in text and text.strip():
        return Region(text)
    found = _INTERVAL.fullmatch(text)
    if found and not (found["last"] and not found["dash"]):
        first = int(found["first"].replace(",", "") or 0)
        last = int(found["last"].replace(",", "") or 0) if found["last"] else None
        if first >= 1 and (last is None or last >= first):
            start, end = interval_to_zero_based(first, last if last is not None else first)
            return Region(found["contig"], start, None if last is None else end)
    raise ConfigError(
        f"region '{text}' cannot be read",
        where="region",
        remedy="write it as chr2:108,000,000-111,000,000 (1-based, both ends included)",
    )


@dataclass(frozen=True)
class Selection:
    """The contigs, by the file's own names, and the interval that records must overlap; None takes all.

    Attributes:
        contigs: Contigs to keep.
        start: First 0-based position to keep.
        end: Position after the last one to keep.
        n_renamed: Contigs whose name in the file differs from the one asked for.
    """

    contigs: frozenset[str] | None = None
    start: int = 0
    end: int | None = None
    n_renamed: int = 0


def select(
    region: str | None,
    contigs: Sequence[str] | None,
    declared: Iterable[str],
    present: Callable[[], Iterable[str]],
    where: str,
) -> Selection:
    """Settle what is asked for against the contigs of a file.

    Args:
        region: As `parse_region` reads it.
        contigs: Contigs to keep; None or empty takes all.
        declared: Contigs that the header declares.
        present: Gives the contigs that records have; called only where the header does not settle it.
        where: The file, for errors.

    Raises:
        ConfigError: A region that cannot be read, or a region outside `contigs`.
        JoinError: A contig that the file does not have, or whose match is ambiguous.
    """
    names = list(declared)
    interval = parse_region(region, names) if region is not None else None
    wanted = list(contigs or ())
    if interval is not None:
        if wanted and bare_name(interval.contig) not in {bare_name(name) for name in wanted}:
            raise ConfigError(
                f"region '{region}' is outside the contigs {', '.join(wanted)}",
                where="region",
                remedy="give a region or contigs, not both",
            )
        wanted = [interval.contig]
    if not wanted:
        return Selection()
    try:
        found = reconcile_contigs(names, wanted, where=where)
    except JoinError:
        found = reconcile_contigs(dict.fromkeys([*names, *present()]), wanted, where=where)
    return Selection(
        contigs=frozenset(found.values()),
        start=interval.start if interval else 0,
        end=interval.end if interval else None,
        n_renamed=sum(name != other for name, other in found.items()),
    )
