"""Matching contig names between inputs: `22` and `chr22` are one contig only where nothing contradicts it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Literal

from genesim.errors import JoinError


def bare_name(contig: str) -> str:
    """`contig` without a leading `chr` (in any case).

    `chrM` and `MT` stay apart: in GRCh37 they are different sequences.
    """
    return contig[3:] if contig[:3].lower() == "chr" and len(contig) > 3 else contig


def _some(names: Iterable[str], n: int = 8) -> str:
    listed = list(names)
    return ", ".join(listed[:n]) + (f", ... ({len(listed)} in all)" if len(listed) > n else "")


def reconcile_contigs(
    have: Iterable[str],
    want: Iterable[str],
    *,
    missing: Literal["error", "skip"] = "error",
    where: str | None = None,
) -> dict[str, str]:
    """Map each wanted contig to the name that `have` uses for it.

    An equal name wins; else the names are compared without `chr`.

    Args:
        have: Contig names of the file that is searched.
        want: Contig names to find there.
        missing: What to do with a wanted contig that is not there; "skip" leaves it out.
        where: The file to name in errors.

    Returns:
        `{wanted name: name in have}`, in the order of `want`; names that differ were mapped.

    Raises:
        JoinError: A contig is missing (with "error"), or a match is ambiguous: two contigs of
            `have` fit one wanted name, or two wanted names fit one contig.
    """
    have_names = list(dict.fromkeys(have))
    want_names = list(dict.fromkeys(want))
    present = set(have_names)
    by_bare: dict[str, list[str]] = defaultdict(list)
    for name in have_names:
        by_bare[bare_name(name)].append(name)

    found: dict[str, str] = {}
    absent: list[str] = []
    for name in want_names:
        if name in present:
            found[name] = name
            continue
        fits = by_bare.get(bare_name(name), [])
        if len(fits) > 1:
            raise JoinError(
                f"contig '{name}' could be any of: {_some(fits)}",
                where=where,
                remedy="name contigs exactly as the file does",
            )
        if fits:
            found[name] = fits[0]
        else:
            absent.append(name)

    wanted_as: dict[str, list[str]] = defaultdict(list)
    for name, other in found.items():
        wanted_as[other].append(name)
    for other, names in wanted_as.items():
        if len(names) > 1:
            raise JoinError(
                f"contigs {_some(names)} would all be '{other}'",
                where=where,
                remedy="use one naming ('22' or 'chr22') throughout",
            )
    if absent and missing == "error":
        raise JoinError(
            f"contigs not found: {_some(absent)}; present are: {_some(have_names) or 'none'}",
            where=where,
            remedy="use contigs that are present, of the same genome build",
        )
    return found
