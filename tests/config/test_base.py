from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import Field, PositiveInt, ValidationError, model_validator

from genesim.config.base import Record, load, parse
from genesim.config.model import ModelsConfig
from genesim.errors import ConfigError


class Inner(Record):
    n_cells: PositiveInt = 5
    """Cells."""
    name: str = "x"


class Outer(Record):
    inner: Inner = Inner()
    maybe: Inner | None = None
    several: tuple[Inner, ...] = ()
    by_name: dict[str, Inner] = Field(default_factory=dict)
    n_donors: int

    @model_validator(mode="after")
    def _even(self) -> Outer:
        if self.n_donors % 2:
            raise ValueError("n_donors must be even")
        return self


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_yaml_becomes_a_frozen_record(tmp_path: Path) -> None:
    record = load(Outer, write(tmp_path / "c.yaml", "n_donors: 4\ninner:\n  n_cells: 7\n"))
    assert record.inner == Inner(n_cells=7)
    assert record.n_donors == 4
    with pytest.raises(ValidationError):
        record.n_donors = 6  # type: ignore[misc]


def test_an_empty_file_gives_the_defaults(tmp_path: Path) -> None:
    assert load(ModelsConfig, write(tmp_path / "c.yaml", "")) == ModelsConfig()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"n_donors": 2, "iner": {}}, r"unknown key 'iner'.*did you mean 'inner'\?"),
        ({"n_donors": 2, "inner": {"n_cell": 3}}, r"unknown key 'inner.n_cell'.*did you mean 'n_cells'\?"),
        ({"n_donors": 2, "maybe": {"n_cell": 3}}, r"unknown key 'maybe.n_cell'.*did you mean 'n_cells'\?"),
        ({"n_donors": 2, "zzz": 1}, r"unknown key 'zzz'.*known keys: inner, maybe"),
        ({"n_donors": 2, "several": [{}, {"zzz": 1}]}, r"unknown key 'several.1.zzz'"),
        ({"n_donors": 2, "by_name": {"a": {"zzz": 1}}}, r"unknown key 'by_name.a.zzz'"),
        ({"n_donors": "many"}, r"key 'n_donors' is 'many'.*integer.*correct 'n_donors'"),
        ({"n_donors": 2, "inner": {"n_cells": 0}}, r"key 'inner.n_cells' is 0.*greater than 0"),
        ({"n_donors": 2, "inner": {"n_cells": True, "name": 3}}, r"key 'inner.name' is 3"),
        ({"n_donors": 2, "inner": 5}, r"key 'inner' is 5"),
        ({}, r"key 'n_donors'"),
        ({"n_donors": 3}, r"n_donors must be even"),
        ([1], r"\(top level\)"),
    ],
)
def test_an_error_names_file_key_and_remedy(tmp_path: Path, values: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        parse(Outer, values, where="run.yaml")
    assert str(caught.value).startswith("run.yaml: ")
    assert caught.value.remedy
    assert caught.value.exit_code == 2


def test_a_file_that_is_no_config_is_a_config_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        load(Outer, tmp_path / "absent.yaml")
    with pytest.raises(ConfigError, match="not valid YAML"):
        load(Outer, write(tmp_path / "a.yaml", "a: [1,"))
    (tmp_path / "b.yaml").write_bytes(b"\xff\xfe\x00\x01")
    with pytest.raises(ConfigError, match="not valid YAML"):
        load(Outer, tmp_path / "b.yaml")
    with pytest.raises(ConfigError, match="not valid YAML"):  # no object is ever built from a file
        load(Outer, write(tmp_path / "c.yaml", "n_donors: !!python/object/apply:os.getcwd []\n"))
    with pytest.raises(ConfigError, match="top level"):
        load(Outer, write(tmp_path / "d.yaml", "just text\n"))
