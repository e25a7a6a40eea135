"""PLINK 2 file sets: .pgen (through pgenlib), .pvar or .pvar.zst, .psam."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from genesim.config.inputs import GenotypePolicy
from genesim.data.genotypes.pgen_header import read_pgen_header
from genesim.data.genotypes.plink_tables import companion, read_donors, read_pvar, read_pvar_contigs
from genesim.data.genotypes.record import MISSING
from genesim.data.genotypes.sites import Site
from genesim.data.genotypes.source import ArraySource, Record
from genesim.errors import VcfError

_SUFFIXES = (".pgen", ".pvar.zst", ".pvar", ".psam")
_AGAIN = "copy the file set again, or make it again (`plink2 --make-pgen`)"


def is_plink2(path: Path) -> bool:
    """Whether `path` is a file of such a set, by suffix or content, or the prefix of one."""
    suffixed = path.name.endswith(_SUFFIXES)
    if path.is_file():
        with open(path, "rb") as handle:
            start = handle.read(3)
        return suffixed or (start[:2] == b"\x6c\x1b" and start[2:] > b"\x01")
    return suffixed or (not path.exists() and Path(f"{path}.pgen").is_file())


class Plink2Source(ArraySource):
    """A PLINK 2 file set. Hard calls are read, with their phases; dosages are not.

    Raises:
        VcfError: A file that is absent, damaged, or that does not fit the others.
    """

    sort = "sort it: plink2 --make-pgen --sort-vars"

    def __init__(self, path: Path, policy: GenotypePolicy) -> None:
        super().__init__()
        self._policy = policy
        self._pgen = companion(path, (".pgen",), _SUFFIXES)
        self._pvar = companion(path, (".pvar", ".pvar.zst"), _SUFFIXES)
        psam = companion(path, (".psam",), _SUFFIXES)
        self.where = str(self._pgen)
        self.files = (self._pgen, self._pvar, psam)
        self._header = read_pgen_header(self._pgen)
        self.donors = read_donors(psam)
        self.contig_lengths = read_pvar_contigs(self._pvar)
        n_alleles = np.array([record.alternates.count(b",") + 2 for record in self.records()], dtype=np.uintp)
        for name, n, asked in (
            (self._pvar.name, len(n_alleles), self._header.n_variants),
            (psam.name, len(self.donors), self._header.n_donors),
        ):
            if n != asked:
                raise VcfError(f"holds {asked} rows, and {name} lists {n}", where=self.where, remedy=_AGAIN)
        two = self._header.multiallelic & (n_alleles < 3)
        if two.any():
            raise VcfError(
                f"record {int(np.flatnonzero(two)[0]) + 1} holds more alleles than {self._pvar.name} lists",
                where=self.where,
                remedy=_AGAIN,
            )
        self._offsets = np.concatenate([[0], np.cumsum(n_alleles)]).astype(np.uintp)

    def records(self) -> Iterable[Record]:
        return read_pvar(self._pvar)

    def calls(self, rows: np.ndarray, chosen: np.ndarray, sites: list[Site]) -> tuple[np.ndarray, np.ndarray]:
        import pgenlib

        dosages = np.flatnonzero(self._header.dosages[rows])
        if len(dosages) and self._policy.dosages == "error":
            raise VcfError(
                f"{sites[dosages[0]].record} holds dosages",
                where=self.where,
                remedy="set genotypes.dosages to 'hardcall' to read the hard calls beside them",
            )
        self.counts["records_with_dosages"] += len(dosages)
        order = np.argsort(chosen)  # pgenlib wants donors in file order
        back = np.argsort(order)
        alleles = np.empty((len(rows), 2 * len(chosen)), dtype=np.int32)
        phases = np.empty((len(rows), len(chosen)), dtype=np.uint8)
        multiallelic = self._offsets[-1] > 2 * self._header.n_variants
        try:
            with pgenlib.PgenReader(
                str(self._pgen).encode(),
                raw_sample_ct=self._header.n_donors,
                variant_ct=self._header.n_variants,
                sample_subset=chosen[order].astype(np.uint32),
                allele_idx_offsets=self._offsets if multiallelic else None,
            ) as reader:
                has_phases = bool(reader.hardcall_phase_present())
                reader.read_alleles_and_phasepresent_list(rows.astype(np.uint32), alleles, phases)
        except (RuntimeError, ValueError, OSError) as error:
            raise VcfError(
                f"pgenlib cannot read {sites[0].record} to {sites[-1].record} ({error})",
                where=self.where,
                remedy=_AGAIN,
            ) from error
        pairs = alleles.reshape(len(rows), len(chosen), 2)[:, back]
        pairs[pairs < 0] = MISSING
        # pgenlib says 1 of every homozygote: phase is stored of heterozygotes only.
        phased = phases[:, back].astype(bool) & has_phases
        return np.minimum(pairs, 10_000).astype(np.int16), phased
