"""The GT field of every donor as numbers. Two ways: by bytes where all calls are `a/b`, else call by call."""

from __future__ import annotations

import re

import numpy as np

from genesim.errors import VcfError

_CALL = re.compile(rb"[/|]?(\.|\d+)(?:([/|])(\.|\d+))?(?:([/|])(?:\.|\d+))*")
_WIDTH = 4  # bytes of "0|1" and the tab that follows
_BAD = 100

_ALLELE = np.full(256, _BAD, dtype=np.int8)
_ALLELE[ord(".")] = -1
_ALLELE[ord("0") : ord("9") + 1] = np.arange(10)


def decode_fixed(rows: list[bytes], n_donors: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Alleles int8 [record, donor, 2], phased bool [record, donor], validity bool [record] of rows of `a/b`.

    Every row holds `n_donors` calls of three bytes, with tabs between them (see `is_fixed`).
    """
    text = np.frombuffer(b"\t".join(rows) + b"\t", dtype=np.uint8).reshape(len(rows), n_donors, _WIDTH)
    alleles = _ALLELE[text[:, :, 0::2]]
    phased = text[:, :, 1] == ord("|")
    valid = (
        (alleles != _BAD).all(axis=(1, 2))
        & (phased | (text[:, :, 1] == ord("/"))).all(axis=1)
        & (text[:, :, 3] == ord("\t")).all(axis=1)
    )
    return alleles, phased, valid


def is_fixed(row: bytes, n_donors: int) -> bool:
    """Whether the row may be `a/b` throughout; `decode_fixed` tells for certain."""
    return len(row) == _WIDTH * n_donors - 1


def genotype_row(file_format: bytes, samples: bytes) -> bytes | None:
    """The GT of every donor, with tabs between them; None where the record has no GT."""
    if file_format == b"GT":
        return samples
    keys = file_format.split(b":")
    if b"GT" not in keys:
        return None
    at = keys.index(b"GT")
    if at == 0:
        return b"\t".join([field.partition(b":")[0] for field in samples.split(b"\t")])
    # The specification puts GT first; htslib reads it anywhere, and so do we.
    return b"\t".join([(field.split(b":", at + 1) + [b"."] * at)[at] for field in samples.split(b"\t")])


class CallParser:
    """Reads calls of any form (haploid, alleles above 9, missing), remembering those it has seen."""

    def __init__(self, donors: tuple[str, ...], where: str) -> None:
        self._donors = donors
        self._where = where
        self._seen: dict[bytes, tuple[int, int, bool]] = {}

    def _parse(self, call: bytes, donor: str, record: str) -> tuple[int, int, bool]:
        found = _CALL.fullmatch(call)
        if not found:
            raise VcfError(
                f"donor {donor} has {call[:40].decode('utf-8', 'replace')!r} at {record}, not a genotype",
                where=self._where,
                remedy="correct or remove the record",
            )
        first, separator, second, more = found.groups()
        if more:
            raise VcfError(
                f"donor {donor} has more than two copies ({call.decode()}) at {record}",
                where=self._where,
                remedy="leave out polyploid records or donors; genesim reads haploid and diploid calls",
            )
        codes = [-1 if copy == b"." else min(int(copy[:9]), 10_000) for copy in (first, second) if copy]
        return (codes[0], codes[1], separator == b"|") if len(codes) == 2 else (codes[0], -2, True)

    def row(self, row: bytes, chosen: np.ndarray, n_alternate: int, record: str) -> tuple[np.ndarray, np.ndarray]:
        """Alleles int16 [donor, 2] and phased bool [donor] of the chosen donors (positions in the file).

        Raises:
            VcfError: Too many or too few columns, a call that is no GT, a polyploid call, or an allele
                that the record does not list.
        """
        calls = row.split(b"\t")
        if len(calls) != len(self._donors):
            raise VcfError(
                f"{record} has {len(calls)} donor columns, the header {len(self._donors)}",
                where=self._where,
                remedy="correct or remove the record",
            )
        codes = []
        for at in chosen.tolist():
            call = calls[at]
            code = self._seen.get(call)
            if code is None:
                code = self._seen[call] = self._parse(call, self._donors[at], record)
            if code[0] > n_alternate or code[1] > n_alternate:
                raise VcfError(
                    f"donor {self._donors[at]} has allele {max(code[:2])} at {record}, which lists "
                    f"{n_alternate} alternate alleles",
                    where=self._where,
                    remedy="correct or remove the record",
                )
            codes.append(code)
        table = np.array(codes, dtype=np.int16).reshape(len(codes), 3)
        return table[:, :2], table[:, 2].astype(bool)


def split_allele(alleles: np.ndarray, alternate: int | np.ndarray) -> np.ndarray:
    """Alleles int8 of one alternate (from 1) of a record; other alternates count as reference."""
    return np.where(alleles > 0, alleles == alternate, alleles).astype(np.int8)
