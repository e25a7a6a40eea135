"""Donors: reading a donor table, and joining the donors of cells with those of genotypes.

Identifiers are text and are compared exactly: a path, HTML or `0012` is as good a name as any, and no
near match is ever taken for a match.
"""

from __future__ import annotations

import os
import warnings
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from genesim.console import log
from genesim.data.names import plain_frame, some
from genesim.data.parquet import read_parquet
from genesim.errors import InputError, JoinError

UNKNOWN = "unknown"
_TEXT = ("donor", "genotype_id", "ancestry", "sex")
_MISSING = ("", "NA", "NaN", "nan", ".")


def read_donor_table(path: str | os.PathLike[str], columns: Mapping[str, str] | None = None) -> pd.DataFrame:
    """Read a donor table: TSV (`.tsv`, `.txt`, `.panel`), CSV (`.csv`), both also `.gz`, or parquet.

    Args:
        path: The table. Columns without a name are left out.
        columns: Columns to rename, as `{"sample": "donor"}`.

    Returns:
        Indexed by `donor`, as text. `genotype_id` ("" where missing), `ancestry` and `sex` ("unknown" where
        missing) are text if present; any other column is numeric where all its values are, else text.

    Raises:
        InputError: Unreadable; no column `donor`; donors without name or repeated; a genotype_id repeated.
    """
    path, where = Path(path), os.fspath(path)
    suffixes = [suffix.lower() for suffix in path.suffixes if suffix.lower() != ".gz"]
    separator = {".tsv": "\t", ".txt": "\t", ".panel": "\t", ".csv": ","}.get(suffixes[-1] if suffixes else "")
    try:
        if suffixes[-1:] == [".parquet"]:
            table = plain_frame(read_parquet(path))
            if "donor" not in table.columns and table.index.name == "donor":
                table = table.reset_index()
        elif separator is not None:
            with warnings.catch_warnings():
                warnings.simplefilter("error", pd.errors.ParserWarning)  # a row of too many fields
                table = pd.read_csv(
                    path,
                    sep=separator,
                    dtype=str,
                    keep_default_na=False,
                    index_col=False,
                    encoding="utf-8-sig",
                )
        else:
            raise InputError(
                "the suffix tells no format", where=where, remedy="name it .tsv, .csv or .parquet by content"
            )
    except (OSError, zlib.error, ValueError, EOFError, pd.errors.ParserWarning) as error:
        text = getattr(error, "strerror", None) or str(error).strip().splitlines()[0]
        raise InputError(f"cannot be read ({text})", where=where, remedy="check the path and the file") from error
    table = table[[name for name in table.columns if not str(name).startswith("Unnamed: ")]]
    absent = [name for name in columns or {} if name not in table.columns]
    if absent:
        raise InputError(
            f"has no column {some(absent)} to rename; its columns are {some(table.columns)}",
            where=where,
            remedy="correct donor_columns",
        )
    table = table.rename(columns=dict(columns or {}))
    if "donor" not in table.columns:
        raise InputError(
            f"has no column 'donor'; its columns are {some(table.columns)}",
            where=where,
            remedy="name the column of donor ids 'donor'; a .tsv is separated by tabs, a .csv by commas",
        )
    if table.empty:
        raise InputError("has no rows", where=where, remedy="give one row for each donor")
    return _typed(table, where)


def _typed(table: pd.DataFrame, where: str) -> pd.DataFrame:
    columns = {str(name): _text_or_number(str(name), table[name]) for name in table.columns}
    frame = pd.DataFrame(columns)
    unnamed = np.flatnonzero(frame["donor"] == "")
    if len(unnamed):
        raise InputError(
            f"{len(unnamed)} donors have no name (first: row {unnamed[0] + 1})",
            where=where,
            remedy="fill the column 'donor'",
        )
    for column in ("donor", "genotype_id"):
        if column in frame:
            values = frame[column][frame[column] != ""]
            twice = values[values.duplicated()].unique()
            if len(twice):
                raise InputError(
                    f"column '{column}' holds more than once: {some(twice)}",
                    where=where,
                    remedy="keep one row for each donor",
                )
    for column in ("ancestry", "sex"):
        if column in frame:
            frame[column] = frame[column].where(frame[column] != "", UNKNOWN)
    return plain_frame(frame.set_index("donor"))


def _text_or_number(name: str, column: pd.Series) -> pd.Series:
    text = column.map(lambda value: "" if pd.isna(value) else str(value)).astype(object)
    missing = text.isin(["", "nan"] if name in ("donor", "genotype_id") else list(_MISSING))
    text = text.where(~missing, "")
    if name in _TEXT:
        return text
    numbers = pd.to_numeric(text.where(~missing), errors="coerce")
    return numbers if bool((numbers.notna() == ~missing).all()) and not bool(missing.all()) else text


def join_donors(
    cell_donors: Iterable[object],
    genotype_donors: Iterable[object],
    table: pd.DataFrame | None = None,
    min_overlap: float = 0.5,
) -> pd.DataFrame:
    """Join the donors of cells with genotypes, by equal names or by the table's `genotype_id`.

    Args:
        cell_donors: Donor of each cell (repeats are fine), or the donors.
        genotype_donors: Names of the genotypes' donor axis.
        table: As `read_donor_table` gives it; rows of donors without cells and genotypes are left out.
        min_overlap: Smallest share of the cells' donors that must have genotypes.

    Returns:
        Indexed by `donor`, sorted: all donors with cells or genotypes. `genotype_id` ("" without genotypes),
        `has_cells`, `has_genotypes`, `ancestry` and `sex` ("unknown" where not given), then the table's other
        columns. A genotyped donor whom the table does not rename is called as in the genotypes.
        `attrs["join"]` holds the counts, which are logged too.

    Raises:
        JoinError: Too few of the cells' donors have genotypes (examples of both sides are given), or one
            name would stand for two people.
    """
    with_cells = sorted({str(donor) for donor in cell_donors})
    genotyped = [str(donor) for donor in genotype_donors]
    if not with_cells:
        raise JoinError("the cells have no donors", remedy="give cells with a donor each")
    table = pd.DataFrame(index=pd.Index([], dtype=object)) if table is None else table
    given = table["genotype_id"] if "genotype_id" in table else pd.Series("", index=table.index, dtype=object)
    genotype_of = {
        str(donor): str(donor) if pd.isna(genotype) or genotype == "" else str(genotype)
        for donor, genotype in given.items()
    }
    donor_of = {genotype: donor for donor, genotype in genotype_of.items()}
    if len(donor_of) < len(genotype_of):
        twice = pd.Series(genotype_of)
        raise JoinError(
            f"genotypes are claimed by several donors: {some(twice[twice.duplicated()].unique())}",
            where="donor table",
            remedy="give each donor a genotype_id of its own",
        )
    called = {genotype: donor_of.get(genotype, genotype) for genotype in genotyped}
    confused = [g for g in genotyped if g not in donor_of and genotype_of.get(g, g) != g]
    if confused:
        raise JoinError(
            f"the genotypes of {some(confused)} belong to no donor of the table, which gives donors of that "
            "name other genotypes",
            where="donor table",
            remedy="give those genotypes a row of their own in the donor table",
        )
    genotype_of |= {donor: genotype for genotype, donor in called.items()}
    present = set(genotyped)
    everyone = sorted({*with_cells, *called.values()})
    frame = pd.DataFrame(index=pd.Index(everyone, dtype=object, name="donor"))
    frame["genotype_id"] = [
        genotype_of.get(donor, donor) if genotype_of.get(donor, donor) in present else "" for donor in everyone
    ]
    frame["has_cells"] = frame.index.isin(with_cells)
    frame["has_genotypes"] = (frame["genotype_id"] != "").to_numpy()
    for column in ("ancestry", "sex"):
        values = table[column].reindex(frame.index) if column in table else pd.Series(index=frame.index)
        frame[column] = values.astype(object).where(values.notna(), UNKNOWN)
    for column in table.columns.difference(frame.columns, sort=False):
        frame[column] = table[column].reindex(frame.index)
    _check_overlap(frame, table, min_overlap)
    return plain_frame(frame)


def _check_overlap(frame: pd.DataFrame, table: pd.DataFrame, min_overlap: float) -> None:
    both = frame["has_cells"] & frame["has_genotypes"]
    only_cells = frame.index[frame["has_cells"] & ~both]
    only_genotypes = frame.index[frame["has_genotypes"] & ~both]
    n_cell_donors = int(frame["has_cells"].sum())
    frame.attrs["join"] = {
        "n_donors_with_cells": n_cell_donors,
        "n_donors_with_genotypes": int(frame["has_genotypes"].sum()),
        "n_donors_with_both": int(both.sum()),
        "n_table_rows_unused": int((~table.index.isin(frame.index)).sum()),
    }
    if both.sum() < min_overlap * n_cell_donors:
        raise JoinError(
            f"{int(both.sum())} of the {n_cell_donors} donors with cells have genotypes, and at least "
            f"{min_overlap:.0%} must; only in the cells: {some(only_cells)}; only in the genotypes: "
            f"{some(only_genotypes)}" + _near(only_cells, only_genotypes),
            remedy="name the genotypes of each donor in the donor table (columns donor, genotype_id), or "
            "lower min_donor_overlap",
        )
    if len(only_cells):
        log.warning("donors with cells but without genotypes: %s", some(only_cells))
    if len(only_genotypes):
        log.info("donors with genotypes but without cells: %s", some(only_genotypes))


def _near(only_cells: pd.Index, only_genotypes: pd.Index) -> str:
    """A hint, never used for joining: how many names differ only in case or surrounding space."""
    folded = {name.strip().casefold() for name in only_genotypes}
    n_near = sum(name.strip().casefold() in folded for name in only_cells)
    return f" ({n_near} names differ only in case or surrounding spaces)" if n_near else ""
