"""PLINK 1 file sets: .bed (two bits a call, variant-major), .bim, .fam."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from genesim.data.genotypes.plink_tables import companion, read_bim, read_donors
from genesim.data.genotypes.sites import Site
from genesim.data.genotypes.source import ArraySource, Record
from genesim.errors import VcfError

_SUFFIXES = (".bed", ".bim", ".fam")
_MAGIC = b"\x6c\x1b"
_AGAIN = "copy the file set again, or make it again (`plink2 --make-bed`)"


def _code_table() -> np.ndarray:
    """int8 [byte, 4, 2]: the alleles of the four calls in a byte, from its lowest bits up."""
    of_code = np.array([(1, 1), (-1, -1), (0, 1), (0, 0)], dtype=np.int8)  # 00 A1/A1, 01 missing, 10 het, 11 A2/A2
    codes = np.arange(256)[:, None] >> np.array([0, 2, 4, 6]) & 3
    return of_code[codes]


_CALLS = _code_table()


def is_plink1(path: Path) -> bool:
    """Whether `path` is a file of such a set, by suffix or content, or the prefix of one."""
    if path.is_file():
        with open(path, "rb") as handle:
            return path.suffix in _SUFFIXES or handle.read(3) == _MAGIC + b"\x01"
    return path.suffix in _SUFFIXES or (not path.exists() and Path(f"{path}.bed").is_file())


class Plink1Source(ArraySource):
    """A PLINK 1 file set; REF is the A2 allele, heterozygotes are unphased (0, 1).

    Raises:
        VcfError: A file that is absent, of another format, or of another size than the tables ask for.
    """

    sort = "sort it: plink2 --make-pgen --sort-vars"

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._bed, self._bim, fam = (companion(path, (suffix,), _SUFFIXES) for suffix in _SUFFIXES)
        self.where = str(self._bed)
        self.files = (self._bed, self._bim, fam)
        self.donors = read_donors(fam)
        self.contig_lengths = {}
        with open(self._bed, "rb") as handle:
            magic, size = handle.read(3), handle.seek(0, 2)
        if magic[:2] != _MAGIC:
            raise VcfError(
                f"is not a PLINK 1 .bed: it starts with {magic!r}",
                where=self.where,
                remedy="give a genotype file (.bed is also a format of intervals)",
            )
        if magic[2:] != b"\x01":
            raise VcfError(
                "is donor-major, a layout of before 2008",
                where=self.where,
                remedy="make it variant-major (`plink --bfile ... --make-bed`)",
            )
        n_variants = sum(1 for _ in self.records())
        self._width = -(-len(self.donors) // 4)
        expected = 3 + n_variants * self._width
        if size != expected:
            raise VcfError(
                f"has {size} bytes, and {n_variants} variants in {self._bim.name} of {len(self.donors)} donors "
                f"in {fam.name} take {expected}" + (": it is truncated" if size < expected else ""),
                where=self.where,
                remedy=_AGAIN,
            )

    def records(self) -> Iterable[Record]:
        return read_bim(self._bim)

    def calls(self, rows: np.ndarray, chosen: np.ndarray, sites: list[Site]) -> tuple[np.ndarray, np.ndarray]:
        packed = np.empty((len(rows), self._width), dtype=np.uint8)
        with open(self._bed, "rb") as handle:
            for i, row in enumerate(rows.tolist()):
                handle.seek(3 + row * self._width)
                if handle.readinto(packed[i].data) != self._width:
                    raise VcfError(f"ends within {sites[i].record}", where=self.where, remedy=_AGAIN)
        alleles = _CALLS[packed].reshape(len(rows), 4 * self._width, 2)[:, chosen]
        return alleles.astype(np.int16), np.zeros(alleles.shape[:2], dtype=bool)
