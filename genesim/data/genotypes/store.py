"""The genotype store inside a cohort: one byte a call, compressed, one parquet file a contig.

The cohort's directory is written atomically, and verified against its manifest, by whoever owns it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from genesim.data.contigs import reconcile_contigs
from genesim.data.genotypes.record import Genotypes
from genesim.errors import ArtefactError

_SCHEMA = "genesim-genotypes-1"
_REMEDY = "prepare the cohort again"
_ROWS = 16_384  # variants of a row group


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
            for at in range(0, len(rows), _ROWS):
                packed = np.ascontiguousarray(_pack(genotypes, rows[at : at + _ROWS]))
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


def _read_calls(path: Path, n_variants: int, n_donors: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Alleles and phases of the next variants, a row group at a time."""
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
            for group in range(file.num_row_groups):
                column = file.read_row_group(group, columns=["calls"])["calls"]
                if column.null_count:
                    raise ArtefactError("holds variants without calls", where=str(path), remedy=_REMEDY)
                for chunk in column.chunks:
                    raw = np.frombuffer(chunk.buffers()[1], dtype=np.uint8)
                    first = chunk.offset * n_donors
                    yield _unpack(raw[first : first + len(chunk) * n_donors].reshape(-1, n_donors))
    except (OSError, KeyError, pa.ArrowException) as error:
        raise ArtefactError(f"cannot be read ({error})", where=str(path), remedy=_REMEDY) from error


def read_store(directory: str | Path, contigs: Sequence[str] | None = None) -> Genotypes:
    """Read what `write_store` wrote, in the same order of variants.

    Args:
        directory: The store.
        contigs: Contigs to read; the others' calls are not touched. None reads all.

    Raises:
        ArtefactError: The store is incomplete or inconsistent.
        JoinError: A contig that the store does not have.
    """
    import pyarrow as pa

    directory = Path(directory)
    about = _about(directory)
    stored: list[str] = about["contigs"]
    wanted = stored
    if contigs:
        wanted = list(reconcile_contigs(stored, contigs, where=str(directory)).values())
    donors = pd.Index(about["donors"], dtype=object)
    path = directory / "variants.parquet"
    try:
        table = pd.read_parquet(path)
    except (OSError, pa.ArrowException) as error:
        raise ArtefactError(f"cannot be read ({error})", where=str(path), remedy=_REMEDY) from error
    for name in ("variant", "contig", "ref", "alt"):
        table[name] = table[name].to_numpy(dtype=object)
    table = table[table["contig"].isin(wanted)]
    variants = table.set_index(pd.Index(table["variant"], dtype=object, name="variant")).drop(columns="variant")
    alleles = np.empty((len(variants), len(donors), 2), dtype=np.int8)
    phased = np.empty((len(variants), len(donors)), dtype=bool)
    for contig in wanted:
        rows = np.flatnonzero(variants["contig"] == contig)
        at = 0
        for calls, is_phased in _read_calls(
            directory / f"calls-{stored.index(contig)}.parquet", len(rows), len(donors)
        ):
            here = rows[at : at + len(calls)]
            alleles[here], phased[here] = calls, is_phased
            at += len(calls)
    return Genotypes(
        alleles=alleles,
        phased=phased,
        variants=variants,
        donors=donors,
        contig_lengths=about["contig_lengths"],
        report=about["report"],
    )
