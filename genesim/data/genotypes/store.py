"""The genotype store inside a cohort: one byte a call, compressed, one parquet file a contig.

The cohort's directory is written atomically, and verified against its manifest, by whoever owns it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Bool

from genesim.data.contigs import reconcile_contigs
from genesim.data.genotypes.record import Genotypes, positions
from genesim.data.names import some
from genesim.data.parquet import read_parquet
from genesim.errors import ArtefactError

_SCHEMA = "genesim-genotypes-1"
_REMEDY = "prepare the cohort again"
_AT_ONCE = 4_096  # variants
_ROWS, _GROUP_BYTES = 16_384, 2**25  # most variants, and most calls, of a row group


def _pack(genotypes: Genotypes, rows: np.ndarray) -> np.ndarray:
    """uint8 [variant, donor]: first copy + 2 in bits 3-4, second + 2 in bits 1-2, phase in bit 0."""
    shifted = (genotypes.alleles[rows] + np.int8(2)).view(np.uint8)
    return (shifted[:, :, 0] << 3) | (shifted[:, :, 1] << 1) | genotypes.phased[rows].view(np.uint8)


def _unpack(packed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    codes = np.stack([packed >> 3, (packed >> 1) & 3], axis=2).view(np.int8)
    return codes - np.int8(2), (packed & 1).astype(bool)


def write_store(genotypes: Genotypes, directory: str | Path) -> None:
    """Write `genotypes.json`, `variants.parquet` and `calls-<i>.parquet` (contig i) into `directory`.

    Variants keep their order; those of one contig need not be neighbours.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    contigs = [str(name) for name in genotypes.variants["contig"].unique()]
    at_once = min(_ROWS, max(1, _GROUP_BYTES // max(1, genotypes.n_donors)))
    for number, contig in enumerate(contigs):
        rows = np.flatnonzero(genotypes.variants["contig"] == contig)
        kind = pa.binary(genotypes.n_donors)
        # Contigs are numbered, because their names may hold anything ("HLA:1", "../x").
        with pq.ParquetWriter(
            directory / f"calls-{number}.parquet",
            pa.schema({"calls": kind}),
            compression="zstd",
            use_dictionary=False,
        ) as writer:
            for at in range(0, len(rows), at_once):
                packed = np.ascontiguousarray(_pack(genotypes, rows[at : at + at_once]))
                calls = pa.FixedSizeBinaryArray.from_buffers(kind, len(packed), [None, pa.py_buffer(packed)])
                writer.write_table(pa.table({"calls": calls}))
    table = genotypes.variants.reset_index(names="variant")
    table.to_parquet(directory / "variants.parquet", index=False)
    about = {
        "schema": _SCHEMA,
        "contigs": contigs,
        "contig_lengths": genotypes.contig_lengths,
        "donors": [str(name) for name in genotypes.donors],
        "report": genotypes.report,
    }
    (directory / "genotypes.json").write_text(json.dumps(about, indent=1) + "\n")


def _about(directory: Path) -> dict[str, Any]:
    try:
        about = json.loads((directory / "genotypes.json").read_text())
    except (OSError, ValueError) as error:
        raise ArtefactError(f"genotypes.json cannot be read ({error})", where=str(directory), remedy=_REMEDY) from error
    if not isinstance(about, dict) or about.get("schema") != _SCHEMA:
        raise ArtefactError(f"the genotype store is not of the format {_SCHEMA}", where=str(directory), remedy=_REMEDY)
    return about


def _read_calls(
    path: Path, n_variants: int, n_donors: int, rows: np.ndarray
) -> Iterator[tuple[slice, np.ndarray, np.ndarray]]:
    """Alleles and phases of `rows` (ascending) of a file, by row groups; those that hold none of them are not read.

    Yields:
        Which of `rows`, their alleles, and their phases.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            found, kind = file.metadata.num_rows, file.schema_arrow.field("calls").type
            if found != n_variants or kind != pa.binary(n_donors):
                raise ArtefactError(
                    f"holds {found} variants of {kind}, not {n_variants} of {n_donors} donors",
                    where=str(path),
                    remedy=_REMEDY,
                )
            first = 0
            for group in range(file.num_row_groups):
                last = first + file.metadata.row_group(group).num_rows
                here = slice(*np.searchsorted(rows, (first, last)))
                if here.start < here.stop:
                    column = file.read_row_group(group, columns=["calls"])["calls"].combine_chunks()
                    if column.null_count:
                        raise ArtefactError("holds variants without calls", where=str(path), remedy=_REMEDY)
                    raw = np.frombuffer(column.buffers()[1], np.uint8, len(column) * n_donors, column.offset * n_donors)
                    yield here, *_unpack(raw.reshape(-1, n_donors)[rows[here] - first])
                first = last
    except (OSError, KeyError, pa.ArrowException) as error:
        raise ArtefactError(f"cannot be read ({error})", where=str(path), remedy=_REMEDY) from error


@dataclass(frozen=True, eq=False)
class StoredGenotypes:
    """Genotypes whose calls stay on disk until `subset` asks for some of them.

    Attributes:
        directory: The store.
        variants: As in `Genotypes`, and so are `donors`, `contig_lengths` and `report`.
        contigs: In the order of their files.
    """

    directory: Path
    variants: pd.DataFrame
    donors: pd.Index
    contig_lengths: dict[str, int | None]
    report: dict[str, int]
    contigs: tuple[str, ...]

    @property
    def n_variants(self) -> int:
        return len(self.variants)

    @property
    def n_donors(self) -> int:
        return len(self.donors)

    def subset(
        self,
        variants: Sequence[str] | pd.Index | np.ndarray | None = None,
        donors: Sequence[str] | pd.Index | np.ndarray | None = None,
    ) -> Genotypes:
        """The given variants and donors in memory, as `Genotypes.subset` gives them; no other calls are kept.

        Raises:
            ArtefactError: The store is incomplete or inconsistent.
            JoinError: An id that is not present, or a mask of another length.
        """
        rows = positions(self.variants.index, variants, "variants")
        columns = positions(self.donors, donors, "donors")
        chosen = slice(None) if np.array_equal(columns, np.arange(self.n_donors)) else columns
        alleles = np.empty((len(rows), len(columns), 2), np.int8)
        phased = np.empty((len(rows), len(columns)), bool)
        contig = self.variants["contig"].to_numpy(object)
        for number, name in enumerate(self.contigs):
            stored = np.flatnonzero(contig == name)
            asked = np.flatnonzero(contig[rows] == name)
            if not len(asked):
                continue
            in_file = np.searchsorted(stored, rows[asked])
            order = np.argsort(in_file, kind="stable")
            path = self.directory / f"calls-{number}.parquet"
            for here, calls, is_phased in _read_calls(path, len(stored), self.n_donors, in_file[order]):
                at = asked[order[here]]
                alleles[at], phased[at] = calls[:, chosen], is_phased[:, chosen]
        return Genotypes(
            alleles=alleles,
            phased=phased,
            variants=self.variants.iloc[rows],
            donors=self.donors[columns],
            contig_lengths=dict(self.contig_lengths),
            report=dict(self.report),
        )


def called_throughout(
    sources: Iterable[tuple[Genotypes | StoredGenotypes, pd.Index | None]], variants: pd.Index
) -> Bool[np.ndarray, " variant"]:
    """Which of `variants` have no missing allele in these donors (None: all) of these genotypes; read in blocks."""
    called = np.ones(len(variants), bool)
    for source, donors in sources:
        for at in range(0, len(variants), _AT_ONCE):
            block = slice(at, at + _AT_ONCE)
            called[block] &= (source.subset(variants=variants[block], donors=donors).alleles >= 0).all(axis=(1, 2))
    return called


def open_store(directory: str | Path) -> StoredGenotypes:
    """What `write_store` wrote, with its variants and donors read and its calls on disk.

    Raises:
        ArtefactError: The store is incomplete or inconsistent.
    """
    directory = Path(directory)
    about = _about(directory)
    try:
        table = read_parquet(directory / "variants.parquet")
        for name in ("variant", "contig", "ref", "alt"):
            table[name] = table[name].to_numpy(dtype=object)
        unknown = set(table["contig"]) - set(about["contigs"])
        if unknown:
            raise ValueError(f"no calls of the contigs {some(sorted(map(str, unknown)))}")
        return StoredGenotypes(
            directory,
            table.set_index(pd.Index(table["variant"], dtype=object, name="variant")).drop(columns="variant"),
            pd.Index(about["donors"], dtype=object),
            dict(about["contig_lengths"]),
            dict(about["report"]),
            tuple(about["contigs"]),
        )
    except (OSError, LookupError, TypeError, ValueError) as error:
        raise ArtefactError(f"cannot be read ({error})", where=str(directory), remedy=_REMEDY) from error


def read_store(directory: str | Path, contigs: Sequence[str] | None = None) -> Genotypes:
    """Read what `write_store` wrote, in the same order of variants.

    Args:
        directory: The store.
        contigs: Contigs to read; the others' calls are not touched. None reads all.

    Raises:
        ArtefactError: The store is incomplete or inconsistent.
        JoinError: A contig that the store does not have.
    """
    store = open_store(directory)
    if not contigs:
        return store.subset()
    wanted = list(reconcile_contigs(list(store.contigs), contigs, where=str(directory)).values())
    return store.subset(variants=store.variants["contig"].isin(wanted).to_numpy(bool))
