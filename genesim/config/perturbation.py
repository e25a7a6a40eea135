"""What a user may set of a perturbation run: the screen, the model, and the perturbations to sweep over."""

from __future__ import annotations

import csv
import math
from pathlib import Path

from pydantic import Field, PositiveInt, field_validator

from genesim.config.base import Record
from genesim.config.model import PerturbationConfig
from genesim.errors import ConfigError


def parse_amounts(text: str, separator: str = "+") -> dict[str, float]:
    """ "A:0.5+B" as {"A": 0.5, "B": 1.0}, in the order of names.

    Raises:
        ConfigError: No name, a name twice, or an amount that is no positive number.
    """
    found: dict[str, float] = {}
    for part in text.split(separator):
        name, _, amount = (piece.strip() for piece in (part if ":" in part else f"{part}:1").rpartition(":"))
        try:
            value = float(amount)
        except ValueError:
            value = math.nan
        if not name or name in found or not math.isfinite(value) or value <= 0:
            raise ConfigError(
                f"'{text}' is no perturbation",
                where="perturbation",
                remedy=f"write names joined by '{separator}', each with its amount after ':' if not 1, as A:0.5+B",
            )
        found[name] = value
    return dict(sorted(found.items()))


def name_of(amounts: dict[str, float], separator: str = "+") -> str:
    """File name of a perturbation: "A@0.5+B"; the order of its parts does not matter."""
    parts = (name if value == 1 else f"{name}@{value:g}" for name, value in sorted(amounts.items()))
    return separator.join(parts).replace("/", "_")


def read_sweep(path: str | Path) -> tuple[str, ...]:
    """Perturbations of a tab-separated table: its column `perturbation`, as "A:0.5+B".

    Raises:
        ConfigError: No such file, column or row.
    """
    try:
        with open(path, encoding="utf-8", newline="") as lines:
            rows = list(csv.DictReader(lines, delimiter="\t"))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        text = error.strerror if isinstance(error, OSError) else error
        raise ConfigError(f"cannot be read ({text})", where=str(path), remedy="check the path and the file") from error
    found = tuple(row["perturbation"].strip() for row in rows if (row.get("perturbation") or "").strip())
    if not found:
        raise ConfigError(
            "has no perturbation",
            where=str(path),
            remedy="give a tab-separated table with a column 'perturbation', such as A:0.5+B",
        )
    return found


class PerturbationRun(Record):
    """A perturbation screen to learn from and what to predict."""

    h5ad: Path
    """The screen: integer counts in X, or in the layer that `layer` names."""
    perturbation_key: str = "condition"
    """Column of obs with labels such as 'A', 'A+B' or the control."""
    control: str = "control"
    """Label of control cells."""
    covariate_keys: tuple[str, ...] = ()
    """Columns of obs that make the context, as a cell type."""
    dose_key: str | None = None
    """Column of obs with doses: a number, or '1+2' for the parts of 'A+B'."""
    library_key: str | None = None
    """Column of obs with library sizes, where the genes are a panel."""
    layer: str | None = None
    separator: str = Field("+", min_length=1)
    """Between the parts of a label."""
    controls: Path | None = None
    """Cells to predict from; none takes the screen's control cells."""
    n_cells: PositiveInt | None = None
    """Cells of each prediction, drawn from the controls; none changes each control once."""
    sweep: tuple[str, ...] | Path = ()
    """Perturbations to predict, as 'A:0.5+B', or the path of a tab-separated table with a column `perturbation`."""
    model: PerturbationConfig = PerturbationConfig()

    @field_validator("sweep")
    @classmethod
    def _readable(cls, value: tuple[str, ...] | Path) -> tuple[str, ...] | Path:
        if isinstance(value, tuple):
            try:
                for text in value:
                    parse_amounts(text)
            except ConfigError as error:
                raise ValueError(error.found) from error
        return value

    def requests(self) -> dict[str, dict[str, float]]:
        """Amounts of every perturbation of the sweep, by file name.

        Raises:
            ConfigError: A perturbation that cannot be read, or two of one name.
        """
        texts = self.sweep if isinstance(self.sweep, tuple) else read_sweep(self.sweep)
        return named_requests(texts, self.separator)


def named_requests(texts: tuple[str, ...] | list[str], separator: str = "+") -> dict[str, dict[str, float]]:
    """Amounts by file name.

    Raises:
        ConfigError: See `parse_amounts`; or one perturbation twice.
    """
    found: dict[str, dict[str, float]] = {}
    for text in texts:
        amounts = parse_amounts(text, separator)
        name = name_of(amounts, separator)
        if name in found:
            raise ConfigError(f"'{text}' is there twice", where="perturbations", remedy="name each once")
        found[name] = amounts
    return found
