"""The genotype store inside a cohort: one byte a call, compressed, one parquet file a contig.

The cohort's directory is written atomically, and verified against its manifest, by whoever owns it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from genesim.data.contigs import reconcile_contigs
from genesim.data.genotypes.record import Genotypes
from genesim.errors import ArtefactError

_SCHEMA = "genesim-genotypes-1"
_REMEDY = "prepare the cohort again"


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
        packed = _pack(genotypes, np.flatnonzero(genotypes.variants["contig"] == contig))
        calls = pa.FixedSizeBinaryArray.from_buffers(
            pa.binary(packed.shape[1]), len(packed), [None, pa.py_buffer(np.ascontiguousarray(packed))]
        )
        # Contigs are numbered, because their names may hold anything ("HLA:1", "../x").
        pq.write_table(
            pa.table({"calls": calls}),
            directory / f"calls-{number}.parquet",
            compression="zstd",
            use_dictionary=False,
            row_group_size=16_384,
        )
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


def _read_calls(path: Path, n_variants: int, n_donors: int) -> tuple[np.ndarray, np.ndarray]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        column = pq.read_table(path, columns=["calls"])["calls"]
    except (OSError, pa.ArrowException) as error:
        raise ArtefactError(f"cannot be read ({error})", where=str(path), remedy=_REMEDY) from error
    if len(column) != n_variants or column.type != pa.binary(n_donors) or column.null_count:
        raise ArtefactError(
            f"holds {len(column)} variants of {column.type}, not {n_variants} of {n_donors} donors",
            where=str(path),
            remedy=_REMEDY,
        )
    packed = np.empty((n_variants, n_donors), dtype=np.uint8)
    at = 0
    for chunk in column.chunks:
        raw = np.frombuffer(chunk.buffers()[1], dtype=np.uint8)
        skipped = chunk.offset * n_donors
        packed[at : at + len(chunk)] = raw[skipped : skipped + len(chunk) * n_donors].reshape(-1, n_donors)
        at += len(chunk)
    return _unpack(packed)


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
        alleles[rows], phased[rows] = _read_calls(
            directory / f"calls-{stored.index(contig)}.parquet", len(rows), len(donors)
        )
    return Genotypes(
        alleles=alleles,
        phased=phased,
        variants=variants,
        donors=donors,
        contig_lengths=about["contig_lengths"],
        report=about["report"],
    )
