"""External tables about variants: effects on genes, scores of sequence models, annotation weights.

Columns go by the names of the eQTL Catalogue (`molecular_trait_id`, `variant`, `beta`, `se`, `pip`, `cs_id`; the ALT
allele is the effect allele), of GTEx and tensorQTL (`variant_id`, `slope`, `slope_se`, `pval_nominal`), or plain ones.
"""

from __future__ import annotations

import os
import re
import warnings
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from genesim.data.coordinates import to_zero_based
from genesim.data.names import plain_frame, some
from genesim.data.parquet import read_parquet
from genesim.errors import InputError
from genesim.provenance.record import hash_input

Kind = Literal["effects", "scores", "weights"]
NUMBERS = ("beta", "se", "pip", "p_value", "frequency", "score", "weight")
_ALIASES = {
    "variant": ("variant", "variant_id", "snp", "rsid"),
    "contig": ("contig", "chromosome", "chrom", "#chrom", "chr"),
    "position": ("position", "pos", "bp"),
    "ref": ("ref", "reference_allele", "other_allele", "non_effect_allele"),
    "alt": ("alt", "alternate_allele", "effect_allele", "assessed_allele"),
    "gene": ("gene", "gene_id", "phenotype_id", "molecular_trait_id"),
    "cell_type": ("cell_type", "celltype", "cell_type_name"),
    "credible_set": ("credible_set", "cs_id"),
    "beta": ("beta", "slope"),
    "se": ("se", "slope_se", "standard_error"),
    "pip": ("pip", "posterior_prob"),
    "p_value": ("p_value", "pvalue", "pval_nominal", "pval"),
    "frequency": ("frequency", "af", "eaf", "effect_allele_frequency", "alt_frequency"),
    "score": ("score",),
    "weight": ("weight",),
}
_NAME = re.compile(r"^(.+?)[_:](\d{1,10})[_:]([ACGTN]+)[_:]([ACGTN]+)(?:_b\d+)?$", re.IGNORECASE)
_BASES = re.compile(r"[ACGT]+")
_NEEDED: dict[Kind, tuple[str, ...]] = {"effects": ("gene",), "scores": ("score",), "weights": ("weight",)}
_MISSING = ("", "NA", "NaN", "nan", ".", "None")


@dataclass(frozen=True)
class EffectTable:
    """Rows about variants, typed and checked, not yet compared with any genotypes.

    Attributes:
        rows: Columns contig, start (0-based; -1 where only `id` names the variant), ref, alt (the allele that `beta`
            and `frequency` are of), id, gene ("" for any), cell_type ("" for any), credible_set ("" for none), and
            beta, se, pip, p_value, frequency, score, weight (NaN where not given).
        kind: What the rows are: effects have a gene and beta with se, or pip; scores a score; weights a weight.
        source: The file, for messages.
        sha256: Its digest; "" where it was no file.
    """

    rows: pd.DataFrame
    kind: Kind
    source: str = "table"
    sha256: str = ""

    def __len__(self) -> int:
        return len(self.rows)


def read_effect_table(
    path: str | os.PathLike[str], kind: Kind | None = None, columns: Mapping[str, str] | None = None
) -> EffectTable:
    """Read an external table: TSV (`.tsv`, `.txt`), CSV (`.csv`), both also `.gz`, or parquet.

    Args:
        path: The table.
        kind: What it is; None tells by its columns (`score`, `weight`, else effects).
        columns: Columns to rename, as `{"slope_shrunk": "beta"}`.

    Raises:
        InputError: Unreadable, no column that names variants or holds values, or values that have no meaning
            (the column and the first row at fault are named).
    """
    path, where = Path(path), os.fspath(path)
    return effect_table(_read(path), kind, columns, where, hash_input(path))


def effect_table(
    frame: pd.DataFrame,
    kind: Kind | None = None,
    columns: Mapping[str, str] | None = None,
    source: str = "table",
    sha256: str = "",
) -> EffectTable:
    """A DataFrame as an `EffectTable`; see `read_effect_table`."""
    frame = frame.rename(columns=dict(columns or {}))
    lower = {str(name).lower(): name for name in reversed(list(frame.columns))}
    given = {
        name: frame[lower[found]]
        for name, aliases in _ALIASES.items()
        if (found := next((a for a in aliases if a in lower), None)) is not None
    }
    if "frequency" not in given and {"ac", "an"} <= set(lower):
        ac, an = (pd.to_numeric(frame[lower[c]], errors="coerce") for c in ("ac", "an"))
        given["frequency"] = ac / an.where(an > 0)
    kind = kind or ("scores" if "score" in given else "weights" if "weight" in given else "effects")

    def refuse(found: str, remedy: str) -> InputError:
        return InputError(found, where=source, remedy=remedy)

    absent = [name for name in _NEEDED[kind] if name not in given]
    if kind == "effects" and "pip" not in given and not ("beta" in given and {"se", "p_value"} & set(given)):
        absent.append("beta and se (or p_value), or pip")
    sites = {"contig", "position", "ref", "alt"} <= set(given)
    if not sites and "variant" not in given:
        absent.append("variant, or contig, position, ref and alt")
    if absent:
        raise refuse(
            f"has no column {'; '.join(absent)}; its columns are {some(frame.columns, 12)}",
            "rename them (`columns`): variant is chr_position_ref_alt",
        )
    rows = _sites(given, sites, len(frame))
    if kind == "effects" and (rows["start"] < 0).any():
        name = rows["id"][rows["start"] < 0].iloc[0]
        raise refuse(
            f"names the variant {name!r} without position and alleles: the sign of its effect has no meaning",
            "give variants as chr_position_ref_alt, or the columns contig, position, ref and alt",
        )
    for name in ("gene", "cell_type", "credible_set"):
        rows[name] = _text(given[name]) if name in given else np.full(len(frame), "", object)
    for name in NUMBERS:
        rows[name] = _numbers(given[name], name, source) if name in given else np.full(len(frame), np.nan)
    if kind == "effects":
        rows = _with_standard_errors(rows)
    _check(rows, kind, refuse)
    return EffectTable(plain_frame(rows.reset_index(drop=True)), kind, source, sha256)


def _read(path: Path) -> pd.DataFrame:
    where = str(path)
    suffixes = [s.lower() for s in path.suffixes if s.lower() not in (".gz", ".bgz")]
    separator = {".tsv": "\t", ".txt": "\t", ".csv": ","}.get(suffixes[-1] if suffixes else "")
    try:
        if suffixes[-1:] == [".parquet"]:
            frame = read_parquet(path)
            return frame.reset_index() if frame.index.name else frame
        if separator is not None:
            zipped: Literal["gzip"] | None = "gzip" if path.suffix.lower() in (".gz", ".bgz") else None
            with warnings.catch_warnings():
                warnings.simplefilter("error", pd.errors.ParserWarning)  # a row of too many fields
                return pd.read_csv(
                    path,
                    sep=separator,
                    dtype=str,
                    keep_default_na=False,
                    index_col=False,
                    encoding="utf-8-sig",
                    compression=zipped,
                )
    except (OSError, zlib.error, ValueError, EOFError, pd.errors.ParserWarning) as error:
        text = getattr(error, "strerror", None) or str(error).strip().splitlines()[0]
        raise InputError(f"cannot be read ({text})", where=where, remedy="check the path and the file") from error
    raise InputError("the suffix tells no format", where=where, remedy="name it .tsv, .csv or .parquet by content")


def _text(values: pd.Series) -> np.ndarray:
    text = values.astype(object).where(values.notna(), "").map(str).map(str.strip)
    return text.where(~text.isin(_MISSING), "").to_numpy(object)


def _numbers(values: pd.Series, name: str, source: str) -> np.ndarray:
    """Numbers, NaN where missing.

    Raises:
        InputError: Something that is no number.
    """
    if pd.api.types.is_numeric_dtype(values):
        return values.to_numpy(np.float64, na_value=np.nan)
    text = _text(values)
    found = pd.to_numeric(pd.Series(text).where(text != "", None), errors="coerce").to_numpy(np.float64)
    wrong = np.flatnonzero(np.isnan(found) & (text != ""))
    if len(wrong):
        raise InputError(
            f"column '{name}' holds {text[wrong[0]]!r} in row {wrong[0] + 1}, which is no number",
            where=source,
            remedy="correct it, or leave it empty where it is unknown",
        )
    return found


def _sites(given: Mapping[str, pd.Series], sites: bool, n: int) -> pd.DataFrame:
    """contig, start, ref, alt and id of each row, from the columns of sites, else from the variants' names."""
    name = _text(given["variant"]) if "variant" in given else np.full(n, "", object)
    if sites:
        position = pd.to_numeric(given["position"], errors="coerce").fillna(0).to_numpy(np.int64)
        text = {c: _text(given[c]) for c in ("contig", "ref", "alt")}
        start = np.where((position > 0) & (text["contig"] != ""), to_zero_based(position), -1)
    else:
        parts = [_NAME.match(each) for each in name]
        text = {
            c: np.array([m[i] if m else "" for m in parts], object) for c, i in (("contig", 1), ("ref", 3), ("alt", 4))
        }
        start = np.array([to_zero_based(int(m[2])) if m else -1 for m in parts], np.int64)
    upper = {c: np.array([a.upper() for a in text[c]], object) for c in ("ref", "alt")}
    return pd.DataFrame({"contig": text["contig"], "start": start.astype(np.int64), **upper, "id": name})


def _with_standard_errors(rows: pd.DataFrame) -> pd.DataFrame:
    """Where `se` is missing it follows from beta and a two-sided p-value."""
    from scipy.stats import norm

    open_ = rows["se"].isna() & rows["beta"].notna() & (rows["beta"] != 0) & rows["p_value"].between(0, 1)
    open_ &= (rows["p_value"] > 0) & (rows["p_value"] < 1)
    z = norm.isf(rows["p_value"].where(open_, 0.5) / 2)
    return rows.assign(se=np.where(open_, rows["beta"].abs() / z, rows["se"]))


def _check(rows: pd.DataFrame, kind: Kind, refuse: Callable[[str, str], InputError]) -> None:
    """Raise (`refuse`) at the first value without a meaning."""
    tests = [
        ("se", ~(rows["se"] > 0), "above 0"),
        ("pip", ~rows["pip"].between(0, 1 + 1e-6), "0 to 1"),
        ("p_value", ~rows["p_value"].between(0, 1), "0 to 1"),
        ("frequency", ~rows["frequency"].between(0, 1), "0 to 1"),
        ("weight", ~(rows["weight"] >= 0), "0 or more"),
        *((name, np.isinf(rows[name]), "finite") for name in ("beta", "score", "se", "weight")),
    ]
    for name, wrong, allowed in tests:
        wrong = wrong & rows[name].notna()
        if wrong.any():
            at = int(np.flatnonzero(wrong)[0])
            raise refuse(
                f"column '{name}' is {rows[name].iloc[at]} in row {at + 1}",
                f"it must be {allowed}; correct the row, or leave the value empty where it is unknown",
            )
    located = rows["start"] >= 0
    plain = rows["ref"].map(lambda a: bool(_BASES.fullmatch(a))) & rows["alt"].map(lambda a: bool(_BASES.fullmatch(a)))
    if kind == "effects" and not (located & plain).any():
        raise refuse(
            "no row has a position and plain alleles (A, C, G, T)", "give chr_position_ref_alt with base letters"
        )
