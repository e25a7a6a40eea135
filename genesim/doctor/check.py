"""What one check says, and many of them as text."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

Status = Literal["ok", "note", "missing"]


@dataclass(frozen=True)
class Check:
    """What was looked at and what was found.

    Attributes:
        name: What was looked at.
        status: "missing" where a run needs it and cannot have it; "note" where something optional is absent.
        found: What is there, or what is wrong.
        remedy: What to do; empty where nothing is to be done.
    """

    name: str
    status: Status
    found: str
    remedy: str = ""


def failed(checks: Iterable[Check]) -> bool:
    """Whether anything that is needed is missing."""
    return any(check.status == "missing" for check in checks)


def table(checks: Iterable[Check]) -> str:
    """One line a check: status, name, what was found and, if any, the remedy."""
    rows = list(checks)
    width = max((len(check.name) for check in rows), default=0)
    lines = []
    for check in rows:
        line = f"{check.status:<8}{check.name:<{width}}  {check.found}"
        lines.append(f"{line} -> {check.remedy}" if check.remedy else line)
    return "\n".join(lines)
