"""The base record, and reading YAML into one with errors that name the file and the key."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from genesim.errors import ConfigError


class Record(BaseModel):
    """A frozen record that refuses unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, use_attribute_docstrings=True)


R = TypeVar("R", bound=Record)


def _known_keys(record: type[BaseModel], location: tuple[int | str, ...]) -> list[str]:
    """Field names at `location` inside `record`, to suggest the one that was meant."""
    current: Any = record
    for step in location:
        if not (isinstance(current, type) and issubclass(current, BaseModel)) or step not in current.model_fields:
            return []
        annotation = current.model_fields[str(step)].annotation
        options = [annotation, *getattr(annotation, "__args__", ())]
        current = next((o for o in options if isinstance(o, type) and issubclass(o, BaseModel)), None)
    return list(current.model_fields) if current is not None else []


def parse(record: type[R], values: Any, where: str = "config") -> R:
    """Validate `values` as `record`.

    Raises:
        ConfigError: Naming the first offending key, its value and what is allowed.
    """
    try:
        return record.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        # Where a value may be of several types, pydantic puts the name of the type into the location.
        location = tuple(step for step in first["loc"] if not str(step).startswith("function-"))
        key = ".".join(str(step) for step in location) or "(top level)"
        if first["type"] == "extra_forbidden":
            known = _known_keys(record, location[:-1])
            near = difflib.get_close_matches(str(location[-1]), known, 1)
            remedy = f"did you mean '{near[0]}'?" if near else f"known keys: {', '.join(known) or 'see docs'}"
            raise ConfigError(f"unknown key '{key}'", where=where, remedy=remedy) from error
        message = first["msg"].removeprefix("Value error, ")
        # A rule over several keys names them itself; its value would be the whole record.
        found = f"key '{key}'" if isinstance(first.get("input"), dict) else f"key '{key}' is {first.get('input')!r}"
        raise ConfigError(f"{found}: {message}", where=where, remedy=f"correct '{key}'") from error


def read_yaml(path: str | Path) -> Any:
    """Parse a YAML file with the safe loader.

    Raises:
        ConfigError: The file is absent or is not YAML.
    """
    try:
        with open(path, encoding="utf-8") as handle:
            return yaml.safe_load(handle)
    except OSError as error:
        raise ConfigError(f"cannot be read ({error.strerror})", where=str(path), remedy="check the path") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"is not valid YAML ({error})", where=str(path), remedy="correct the line that is named"
        ) from error


def load(record: type[R], path: str | Path) -> R:
    """Read a YAML file as `record`."""
    return parse(record, read_yaml(path) or {}, where=str(path))
