"""VCF Zarr stores as bio2zarr writes them: a directory or a .zip, Zarr format 2 or 3.

Layout: https://github.com/sgkit-dev/vcf-zarr-spec.
"""

from __future__ import annotations

import math
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from genesim.console import log
from genesim.data.genotypes.record import ABSENT, MISSING
from genesim.data.genotypes.sites import Site
from genesim.data.genotypes.source import ArraySource, Record
from genesim.data.zarr_chunks import chunk_files, damaged_chunk, is_chunk
from genesim.errors import VcfError

_AGAIN = "copy the store again, or make it again (`vcf2zarr convert`)"
_NEEDED = (
    "variant_contig", "variant_position", "variant_allele", "call_genotype", "sample_id", "contig_id",
)  # fmt: skip
_ROWS = 10_000
_DAMAGE = (OSError, ValueError, KeyError, RuntimeError, TypeError, EOFError, zlib.error, zipfile.BadZipFile)
"""What Zarr, its codecs and zipfile raise on a damaged store."""
_DEFLATE, _MOST = 1032, 100_000
"""Bytes that a compressed byte can stand for: deflate's limit, and what is taken for that of other methods."""


def is_zarr(path: Path) -> bool:
    """Whether `path` is a directory or a zip archive; no other genotype format is either."""
    if not path.is_file():
        return path.is_dir()
    with open(path, "rb") as handle:  # zipfile.is_zipfile looks at the end, where a compressed VCF may hold anything
        return handle.read(4) == b"PK\x03\x04"


def _check_archive(path: Path) -> None:
    """Check that members claim no more bytes than the archive can hold: room is made for what they claim.

    Raises:
        zipfile.BadZipFile: One does, or the archive's directory cannot be read.
    """
    size = path.stat().st_size
    with zipfile.ZipFile(path) as archive:
        for entry in archive.infolist():
            most = entry.compress_size * {zipfile.ZIP_STORED: 1, zipfile.ZIP_DEFLATED: _DEFLATE}.get(
                entry.compress_type, _MOST
            )
            if entry.header_offset + entry.compress_size > size or entry.file_size > most:
                raise zipfile.BadZipFile(f"member {entry.filename[:80]!r} claims {entry.file_size} bytes")


class ZarrSource(ArraySource):
    """A VCF Zarr store. A chunk of calls that was lost cannot be told from one of reference alleles: see the warning.

    Raises:
        VcfError: No such store, an array that is absent, incomplete or that does not fit the others.
    """

    sort = "sort the VCF (`bcftools sort`) and convert it again"

    def __init__(self, path: Path) -> None:
        import zarr

        super().__init__()
        self.where = str(path)
        self._path = path
        self.files = (path,) if path.is_file() else tuple(p for p in path.rglob("*") if p.is_file())
        try:
            if path.is_file():
                _check_archive(path)
            store: Any = path if path.is_dir() else zarr.storage.ZipStore(path, mode="r")
            group = zarr.open_group(store, mode="r")
            self._arrays = dict(group.arrays())
        except _DAMAGE as error:
            raise VcfError(
                f"is not a VCF Zarr store ({error})",
                where=self.where,
                remedy="give the store's root directory or its .zip",
            ) from error
        absent = [name for name in _NEEDED if name not in self._arrays]
        if absent:
            raise VcfError(f"lacks the arrays {', '.join(absent)}", where=self.where, remedy=_AGAIN)
        self.donors = tuple(self._texts("sample_id"))
        self._contigs = self._texts("contig_id")
        known = self._read("contig_length", ...).tolist() if "contig_length" in self._arrays else []
        lengths = [int(n) if n > 0 else None for n in known] or [None] * len(self._contigs)
        self._check(len(lengths))
        self.contig_lengths = dict(zip(self._contigs, lengths, strict=True))

    def _check(self, n_lengths: int) -> None:
        """Donors and contigs are unique; the arrays have the shapes of one store, and all their chunks."""
        for what, names in (("donor", self.donors), ("contig", self._contigs)):
            repeated = [name for name, n in Counter(names).items() if n > 1]
            if repeated or not names or not all(name.strip() for name in names):
                raise VcfError(
                    f"{what} {repeated[0]!r} is repeated" if repeated else f"there is no {what}, or one has no name",
                    where=self.where,
                    remedy=f"give every {what} one name",
                )
        n, d = self._arrays["variant_position"].shape[0], len(self.donors)
        shapes = {
            "variant_contig": (n,), "variant_position": (n,), "variant_allele": (n, None), "variant_id": (n,),
            "variant_filter": (n, None), "call_genotype": (n, d, None), "call_genotype_phased": (n, d),
            "call_genotype_mask": (n, d, None),
        }  # fmt: skip
        for name, shape in shapes.items():
            array = self._arrays.get(name)
            if array is None:
                continue
            if len(array.shape) != len(shape) or any(w not in (None, h) for w, h in zip(shape, array.shape)):
                raise VcfError(
                    f"{name} has the shape {array.shape}, with {n} variants of {d} donors",
                    where=self.where,
                    remedy=_AGAIN,
                )
            # Zarr reads a chunk that is absent as zeros, and bio2zarr leaves out what is zero throughout: only a
            # position or an allele is never that.
            if name in ("variant_position", "variant_allele", "call_genotype"):
                stored = array.shards or array.chunks
                n_stored = math.prod(-(-length // size) for length, size in zip(array.shape, stored))
                n_lost = n_stored - self._n_files(name)
                if n_lost > 0 and name == "call_genotype":
                    log.warning("%s: %d chunks of calls are absent, which says all reference", self.where, n_lost)
                elif n_lost > 0:
                    raise VcfError(
                        f"{name} lacks {n_lost} of {n_stored} chunks: the store is incomplete",
                        where=self.where,
                        remedy=_AGAIN,
                    )
            # An archive has checksums instead.
            if self._path.is_dir() and (problem := damaged_chunk(array, self._path)):
                raise VcfError(problem, where=self.where, remedy=_AGAIN)
        if n_lengths != len(self._contigs):
            raise VcfError("contig_length does not fit contig_id", where=self.where, remedy=_AGAIN)

    def _n_files(self, name: str) -> int:
        """Files of an array that are chunks or shards (zarr's own count fails on archives with folders)."""
        if self._path.is_dir():
            return sum(1 for _ in chunk_files(self._path / name))
        with zipfile.ZipFile(self._path) as archive:
            return sum(entry.startswith(f"{name}/") and is_chunk(Path(entry)) for entry in archive.namelist())

    def _read(self, name: str, at: Any) -> np.ndarray:
        """A part of an array; `at` indexes each dimension on its own."""
        try:
            array = self._arrays[name]
            return np.asarray(array[...] if at is ... else array.get_orthogonal_selection(at))
        except _DAMAGE as error:
            raise VcfError(f"{name} cannot be read ({error})", where=self.where, remedy=_AGAIN) from error

    def _texts(self, name: str) -> list[str]:
        return [str(text) for text in self._read(name, ...).tolist()]

    def records(self) -> Iterator[Record]:
        n = self._arrays["variant_position"].shape[0]
        faults: np.ndarray | None = None
        if "variant_filter" in self._arrays and "filter_id" in self._arrays:
            faults = np.array([name not in ("PASS", ".") for name in self._texts("filter_id")])
        contigs = [name.encode() for name in self._contigs]
        for first in range(0, n, _ROWS):
            rows = slice(first, min(first + _ROWS, n))
            position = self._read("variant_position", rows).tolist()
            contig = self._read("variant_contig", rows)
            if contig.min() < 0 or contig.max() >= len(contigs):
                raise VcfError(
                    f"variant_contig holds a number without a contig among records {first + 1} to {rows.stop}",
                    where=self.where,
                    remedy=_AGAIN,
                )
            alleles = self._read("variant_allele", rows).tolist()
            names = self._read("variant_id", rows).tolist() if "variant_id" in self._arrays else ["."] * len(position)
            passed = np.ones(len(position), dtype=bool)
            if faults is not None:
                flags = self._read("variant_filter", rows)
                if flags.shape[1] != len(faults):
                    raise VcfError("variant_filter does not fit filter_id", where=self.where, remedy=_AGAIN)
                passed = np.logical_not(flags[:, faults].any(axis=1))
            for i, listed in enumerate(alleles):
                ref, *alternates = listed
                yield Record(
                    contigs[int(contig[i])],
                    int(position[i]),
                    str(names[i]).encode() or b".",
                    str(ref).encode(),
                    ",".join(a for a in alternates if a).encode() or b".",
                    bool(passed[i]),
                )

    def calls(self, rows: np.ndarray, chosen: np.ndarray, sites: list[Site]) -> tuple[np.ndarray, np.ndarray]:
        order = np.argsort(chosen)
        back = np.argsort(order)
        at = (rows, chosen[order])
        alleles = self._read("call_genotype", (*at, slice(None)))[:, back].astype(np.int16)
        if "call_genotype_mask" in self._arrays:
            masked = self._read("call_genotype_mask", (*at, slice(None)))[:, back].astype(bool)
            alleles[masked & (alleles >= 0)] = MISSING
        more = (alleles[:, :, 2:] != ABSENT).any(axis=2)
        if more.any():
            record, donor = np.argwhere(more)[0]
            raise VcfError(
                f"donor {self.donors[chosen[donor]]} has more than two copies at {sites[record].record}",
                where=self.where,
                remedy="leave out polyploid records or donors; genesim reads haploid and diploid calls",
            )
        if alleles.min(initial=0) < ABSENT:
            raise VcfError(
                f"call_genotype holds {alleles.min()} among {sites[0].record} to {sites[-1].record}",
                where=self.where,
                remedy=_AGAIN,
            )
        pairs = np.full((*alleles.shape[:2], 2), ABSENT, dtype=np.int16)
        pairs[:, :, : min(2, alleles.shape[2])] = alleles[:, :, :2]
        pairs[:, :, 0][pairs[:, :, 0] == ABSENT] = MISSING
        if "call_genotype_phased" in self._arrays:
            return pairs, self._read("call_genotype_phased", at)[:, back].astype(bool)
        return pairs, np.zeros(pairs.shape[:2], dtype=bool)
