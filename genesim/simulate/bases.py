"""Reference bases under new variants, and which base a mutation makes of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Int, UInt8

from genesim import rng
from genesim.config.new_variants import Spectrum
from genesim.data.contigs import reconcile_contigs
from genesim.errors import ConfigError, InputError

BASES = np.frombuffer(b"ACGT", np.uint8)
GC = 0.41  # of the human genome (Lander et al. 2001, Nature 409:860)
_CODE = np.full(256, -1, np.int8)
for _letters in (b"ACGT", b"acgt"):
    _CODE[np.frombuffer(_letters, np.uint8)] = np.arange(4)
COMPLEMENT = {"A": "T", "C": "G", "G": "C", "T": "A"}


class Reference:
    """Bases of the reference: of a FASTA, or drawn (a base is the same whenever it is asked for).

    Args:
        fasta: An indexed FASTA (or one that can be indexed where it is); None draws bases, of human GC content.
        contigs: Contig names of the genotypes.
        seed: Decides drawn bases.

    Raises:
        InputError: A FASTA that cannot be read.
        JoinError: A FASTA without one of the contigs.
    """

    def __init__(self, fasta: str | Path | None, contigs: Sequence[str], seed: int) -> None:
        self.drawn = fasta is None
        self.source = "drawn" if fasta is None else "fasta"
        self._seed = rng.seed(seed, "reference")
        self._file = None
        self._path = fasta
        if fasta is not None:
            import pysam

            try:
                self._file = pysam.FastaFile(str(fasta))
            except (OSError, ValueError) as error:
                raise InputError(
                    f"cannot be read as FASTA ({error})",
                    where=str(fasta),
                    remedy="give a FASTA with its .fai (samtools faidx), bgzipped or plain",
                ) from error
            self._names = reconcile_contigs(self._file.references, contigs, where=str(fasta))

    def sequence(self, contig: str, start: int, end: int) -> UInt8[np.ndarray, " base"]:
        """Letters ACGT or N of [start, end), as bytes."""
        if self._file is None:
            return self._invent(contig, np.arange(start, end))
        try:
            text = self._file.fetch(self._names[contig], start, end).upper()
        except (OSError, ValueError, KeyError) as error:
            raise InputError(
                f"bases {start + 1} to {end} of contig '{contig}' cannot be read ({error})",
                where=str(self._path),
                remedy="index it again (samtools faidx); if that does not help, copy it again",
            ) from error
        letters = np.frombuffer(text.encode(), np.uint8)
        if len(letters) != end - start:
            raise InputError(
                f"contig '{contig}' ends at {start + len(letters)}, before {end}",
                where=str(self._path),
                remedy="give the reference genome that the genotypes were called on",
            )
        return letters

    def at(self, contig: str, position: Int[np.ndarray, " site"]) -> UInt8[np.ndarray, " site"]:
        """Letter at each 0-based position."""
        if self._file is None:
            return self._invent(contig, position)
        if len(position) > 1000:  # one read of it all beats many
            low = int(position.min())
            return self.sequence(contig, low, int(position.max()) + 1)[position - low]
        return np.array([self.sequence(contig, p, p + 1)[0] for p in position.tolist()], np.uint8)

    def n_known(self, contig: str, start: int, end: int) -> int:
        """Bases of [start, end) that are not N."""
        return end - start if self._file is None else int((_CODE[self.sequence(contig, start, end)] >= 0).sum())

    def text(self, contig: str, start: int, end: int) -> str:
        """`sequence` as a string."""
        return self.sequence(contig, start, end).tobytes().decode()

    def _invent(self, contig: str, position: np.ndarray) -> np.ndarray:
        # SplitMix64's finaliser (Steele et al. 2014) makes a uniform number of a position.
        z = np.asarray(position).astype(np.uint64) + np.uint64(rng.seed(self._seed, contig)) * np.uint64(2**31 + 11)
        z = (z + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        uniform = (z ^ (z >> np.uint64(31))) / 2.0**64
        return BASES[np.searchsorted(np.cumsum([(1 - GC) / 2, GC / 2, GC / 2]), uniform, side="right")]


def is_cpg(sequence: UInt8[np.ndarray, " base"]) -> np.ndarray:
    """Whether each base of a sequence is the C or the G of a CpG."""
    pair = (sequence[:-1] == ord("C")) & (sequence[1:] == ord("G"))
    found = np.zeros(len(sequence), bool)
    found[:-1] |= pair
    found[1:] |= pair
    return found


def mutate(
    ref: UInt8[np.ndarray, " site"], transition_share: float | np.ndarray, stream: np.random.Generator
) -> UInt8[np.ndarray, " site"]:
    """The base that a point mutation makes of each base of ACGT: the transition, or either transversion alike."""
    code = _CODE[ref].astype(int)
    if (code < 0).any():
        raise ConfigError("a base other than A, C, G and T cannot mutate", where="mutation", remedy="leave N out")
    transition = stream.random(len(code)) < transition_share
    other = 1 + 2 * stream.integers(0, 2, len(code))  # A<->G and C<->T are two apart in ACGT
    return BASES[(code + np.where(transition, 2, other)) % 4]


def point_mutations(
    reference: Reference,
    contig: str,
    span: tuple[int, int],
    n: int,
    spectrum: Spectrum,
    taken: set[int],
    stream: np.random.Generator,
) -> list[tuple[int, str, str]]:
    """`n` new sites (start, ref, alt) in [span), each added to `taken`: free positions, no N, weighted by CpG.

    Raises:
        ConfigError: CpG without a FASTA, or a span without that many free positions.
    """
    low, high = span
    share = spectrum.transition_share
    cpg = np.zeros(0, bool)
    ceiling = 1.0
    if spectrum.cpg_factor > 1:
        if reference.drawn:
            raise ConfigError(
                "CpG sites are not known without a reference", where="cpg_factor", remedy="give a FASTA, or leave it 1"
            )
        ceiling = spectrum.cpg_factor * share + 1 - share
        cpg = is_cpg(reference.sequence(contig, low, high))
    found: list[tuple[int, str, str]] = []
    empty = 0
    while len(found) < n:
        places = stream.integers(low, high, max(64, 2 * (n - len(found))))
        raised = cpg[places - low] if len(cpg) else np.zeros(len(places), bool)
        kept = stream.random(len(places)) * ceiling < np.where(raised, ceiling, 1.0)
        places, raised = places[kept], raised[kept]
        letters = reference.at(contig, places)
        usable = _CODE[letters] >= 0
        places, raised, letters = places[usable], raised[usable], letters[usable]
        shares = np.where(raised, spectrum.cpg_factor * share / ceiling, share)
        alternate = mutate(letters, shares, stream)
        before = len(found)
        for place, ref, alt in zip(places.tolist(), letters.tolist(), alternate.tolist(), strict=True):
            if place not in taken and len(found) < n:
                taken.add(place)
                found.append((place, chr(ref), chr(alt)))
        empty = empty + 1 if len(found) == before else 0
        if empty > 200:
            raise ConfigError(
                f"has no {n} free positions for new variants",
                where=f"contig '{contig}', {low + 1}-{high}",
                remedy="widen the region or lower the rate",
            )
    return found
