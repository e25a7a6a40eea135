"""What the person who releases a simulation answers: the record of a run does not know it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pydantic import Field, field_validator

from genesim.config.base import Record

LONGEST = 5_000
"""Most characters of one answer."""


def refuse_unfounded(text: str) -> str:
    """A text that a person gave, if it can stand in a release.

    Raises:
        ValueError: It says that no donor can be recognised, which no test can show; or is too long or not printable.
    """
    if "anonym" in text.casefold():
        raise ValueError("says that data are anonymised, which no test can show; say what was tested instead")
    if len(text) > LONGEST:
        raise ValueError(f"has {len(text)} characters; {LONGEST} is the most")
    if not all(c.isprintable() or c in "\n\t" for c in text):
        raise ValueError("holds control characters")
    return text


class ReleaseAnswers(Record):
    """Answers for the papers of a release; whatever is left out is listed there as not answered."""

    title: str | None = None
    """Name of the released data."""
    publisher: str | None = None
    """Who releases them: a person or an institution."""
    contact: str | None = None
    """Where questions go: an e-mail address or a web page."""
    license: str | None = None
    """Under which terms: a licence's name or web address."""
    intended_uses: tuple[str, ...] = ()
    """What the data and models are meant for."""
    uses_to_avoid: tuple[str, ...] = ()
    """What they are not fit for, besides what the model cards say."""
    datasheet: dict[str, str | None] = Field(default_factory=dict)
    """Answer by question of the data sheet; `genesim release questions` lists them. "not applicable: why" is one."""

    @field_validator("*", mode="after")
    @classmethod
    def _founded(cls, value: Any) -> Any:
        for text in _texts(value):
            refuse_unfounded(text)
            if not text.strip():
                raise ValueError("is blank; leave it out where there is no answer")
        return value


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield str(key)
            yield from _texts(inner)
    elif isinstance(value, tuple):
        for inner in value:
            yield from _texts(inner)
