"""Local ancestry of admixed donors: who of the source populations each stretch of each copy comes from.

Pulses, as in haptools' and admix-simu's models: the first admixed people were born T generations ago, and
their copies were drawn from the sources by the oldest pulse's shares; at each later pulse that share of the
copies is replaced. A donor's copy is followed backwards through its own pedigree: generation g's meiosis
switches between the ancestor's two copies with rate 1 a morgan (Haldane 1919, no interference), so tracts of
an ancestry of share p have nearly exponential lengths of rate T (1 - p) a morgan for one pulse (Gravel 2012,
Genetics 191:607; a return to the same ancestor, one switch in T, makes tracts of few generations somewhat
shorter, Liang and Nielsen 2014, Genetics 197:953). An ancestor has one origin on all contigs and ancestors
number 2^g, so that donors vary as much as pedigrees make them; two donors have no ancestor in common (an
infinite population).

Without pulses, shares a donor: switches with rate T a morgan, each stretch's ancestry drawn from the donor's
shares (the linkage model of Falush et al. 2003, Genetics 164:1567).
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from genesim import rng
from genesim.config.scenario import Pulse
from genesim.data.genetic_map import ContigMap, contig_map
from genesim.data.write import write_parquet
from genesim.errors import ConfigError
from genesim.provenance.atomic import atomic_file
from genesim.provenance.record import Provenance

COLUMNS = ["donor", "copy", "contig", "start", "end", "ancestry"]
Walk = list[tuple[float, int]]  # where a stretch begins, in morgans, and its ancestry code


def check_pulses(pulses: Sequence[Pulse]) -> tuple[Pulse, ...]:
    """The pulses, the most recent first.

    Raises:
        ConfigError: None, two of one generation, an oldest one whose shares are not 1, or a later one above 1.
    """
    ordered = tuple(sorted(pulses, key=lambda pulse: pulse.generations))
    times = [pulse.generations for pulse in ordered]
    if not ordered or len(set(times)) < len(times):
        raise ConfigError(
            f"pulses are of generations {times}", where="pulses", remedy="give one pulse a generation, one at least"
        )
    for pulse in ordered:
        total = sum(pulse.ancestry.values())
        oldest = pulse is ordered[-1]
        if total > 1 + 1e-9 or (oldest and abs(total - 1) > 1e-9):
            raise ConfigError(
                f"shares of the pulse {pulse.generations} generations ago add up to {total:g}",
                where="pulses",
                remedy="the oldest pulse's must add up to 1, a later one's to 1 at most (the rest stays admixed)",
            )
    return ordered


def expected_shares(pulses: Sequence[Pulse]) -> dict[str, float]:
    """Mean share of each ancestry today."""
    shares: dict[str, float] = {}
    for pulse in reversed(check_pulses(pulses)):
        kept = 1 - sum(pulse.ancestry.values())
        shares = {name: kept * share for name, share in shares.items()}
        for name, share in pulse.ancestry.items():
            shares[name] = shares.get(name, 0.0) + share
    return shares


@dataclass
class _Pedigree:
    """The ancestors of one copy of one donor, met as the contig is walked along.

    A path is its bits behind a leading 1: bit i says by which copy of generation i + 1's ancestor it goes. A
    part of the pedigree that the path leaves is remembered as it was, so that each meiosis of each ancestor
    is one process along the contig, looked at where the path comes by.
    """

    pulses: tuple[Pulse, ...]
    names: Sequence[str]
    seed: int  # of the ancestors' origins: the same on all contigs
    stream: random.Random  # of the meioses on this contig
    left: dict[int, tuple[float, int, int]] = field(default_factory=dict)  # where, path, code; by the path's beginning
    origins: dict[int, int] = field(default_factory=dict)

    def _origin(self, pulse: Pulse, path: int) -> int:
        """Ancestry code of an ancestor's copy at a pulse; -1 where it is admixed itself."""
        if path not in self.origins:
            uniform = rng.seed(self.seed, path) / 2**31
            shares = np.cumsum(list(pulse.ancestry.values()))
            if pulse is self.pulses[-1]:
                shares[-1] = 1.0
            at = int(np.searchsorted(shares, uniform, side="right"))
            self.origins[path] = self.names.index(list(pulse.ancestry)[at]) if at < len(shares) else -1
        return self.origins[path]

    def _descend(self, path: int, here: float) -> tuple[int, int]:
        """Go on from a path's beginning to a source, at position `here` (morgans): the whole path and its code."""
        depth = path.bit_length() - 1
        if path in self.left:
            last, before, code = self.left.pop(path)
            flips = -np.expm1(-2 * (here - last)) / 2  # Haldane: an odd number of crossovers since
            if flips <= 0:
                return before, code
            kept = depth + int(np.log(1 - self.stream.random()) / np.log1p(-flips))  # bits that did not flip
            below = before.bit_length() - 1 - kept - 1
            if below < 0:
                return before, code
            self.left[before >> below] = (last, before, code)
            return self._descend((before >> below) ^ 1, here)
        for pulse in self.pulses:
            if pulse.generations >= depth:
                more = pulse.generations - depth
                path, depth = path << more | (self.stream.getrandbits(more) if more else 0), pulse.generations
                code = self._origin(pulse, path)
                if code >= 0:
                    break
        return path, code

    def walk(self, morgans: float) -> Walk:
        here = 0.0
        path, code = self._descend(1, here)
        found = [(here, code)]
        while True:
            depth = path.bit_length() - 1
            here += self.stream.expovariate(depth)
            if here >= morgans:
                return found
            below = self.stream.randrange(depth)
            self.left[path >> below] = (here, path, code)
            path, code = self._descend((path >> below) ^ 1, here)
            found.append((here, code))


def _shared_walk(
    shares: Float[np.ndarray, " ancestry"], generations: float, morgans: float, stream: np.random.Generator
) -> Walk:
    breaks = np.sort(stream.uniform(0, morgans, stream.poisson(generations * morgans)))
    codes = stream.choice(len(shares), len(breaks) + 1, p=shares / shares.sum())
    return list(zip([0.0, *breaks.tolist()], codes.tolist(), strict=True))


@dataclass(frozen=True)
class Admixture:
    """How local ancestry is drawn: `pulses`, or `shares` [donor, ancestry] and `generations`.

    Attributes:
        names: The ancestries that codes refer to.
    """

    names: tuple[str, ...]
    pulses: tuple[Pulse, ...] = ()
    shares: pd.DataFrame | None = None
    generations: float = 10.0

    def __post_init__(self) -> None:
        if self.shares is None:
            object.__setattr__(self, "pulses", check_pulses(self.pulses))

    def walk(self, donor: str, copy: int, contig: str, morgans: float, seed: int) -> Walk:
        """Stretches of one copy, neighbours of one ancestry not yet joined."""
        stream = rng.generator(seed, "admixture", contig, donor, copy)
        if self.shares is not None:
            return _shared_walk(self.shares.loc[donor].to_numpy(float), self.generations, morgans, stream)
        # Python's generator draws one number at a time some ten times as fast as NumPy's.
        meioses = random.Random(int.from_bytes(stream.bytes(16), "little"))
        return _Pedigree(self.pulses, self.names, rng.seed(seed, "admixture", donor, copy), meioses).walk(morgans)

    def tracts(self, donors: Sequence[str], contig: str, end: int, scale: ContigMap, seed: int) -> pd.DataFrame:
        """Local ancestry of both copies of every donor on [0, `end`) of a contig: columns `COLUMNS`."""
        origin = float(scale.at(np.array([0]))[0])
        morgans = scale.morgans(0, end)
        rows = [
            (donor, copy, contig, *tract)
            for donor in donors
            for copy in (0, 1)
            for tract in self._joined(self.walk(donor, copy, contig, morgans, seed), origin, end, scale)
        ]
        return pd.DataFrame(rows, columns=COLUMNS)

    def _joined(self, walk: Walk, origin: float, end: int, scale: ContigMap) -> Iterator[tuple[int, int, str]]:
        begins = np.clip(scale.base(origin + 100 * np.array([place for place, _ in walk])), 0, end)
        begins[0] = 0
        ends = np.append(begins[1:], end)
        start, code = 0, walk[0][1]
        for begin, stop, (_, following) in zip(begins.tolist(), ends.tolist(), walk, strict=True):
            if stop > begin and following != code:
                if begin > start:
                    yield start, begin, self.names[code]
                start, code = begin, following
        yield start, end, self.names[code]


def codes_at(
    tracts: pd.DataFrame, position: Int[np.ndarray, " variant"], donors: Sequence[str], names: Sequence[str]
) -> Int[np.ndarray, "haplotype variant"]:
    """Ancestry code at each 0-based position of each copy, a donor's copies in neighbouring rows.

    Args:
        tracts: Of one contig, every copy covered, as `Admixture.tracts` orders them.
    """
    code = pd.Index(names).get_indexer(pd.Index(tracts["ancestry"]))
    row = 2 * pd.Index(donors).get_indexer(pd.Index(tracts["donor"])) + tracts["copy"].to_numpy()
    first = np.searchsorted(row, np.arange(2 * len(donors) + 1))
    start = tracts["start"].to_numpy()
    local = np.empty((2 * len(donors), len(position)), np.int16)
    for haplotype, (low, high) in enumerate(pairwise(first.tolist())):
        local[haplotype] = code[low:high][np.searchsorted(start[low:high], position, side="right") - 1]
    return local


def global_shares(tracts: pd.DataFrame) -> pd.DataFrame:
    """Share of each ancestry in each donor's tracts, by base pairs: [donor, ancestry]."""
    length = tracts.assign(length=tracts["end"] - tracts["start"])
    table = length.pivot_table("length", "donor", "ancestry", aggfunc="sum", fill_value=0, sort=False)
    return table.div(table.sum(axis=1), axis=0).rename_axis(columns=None)[sorted(table.columns)]


def write_local_ancestry(
    tracts: pd.DataFrame,
    path: str | Path,
    provenance: Provenance | None = None,
    genetic_map: pd.DataFrame | None = None,
) -> Path:
    """Write tracts as `.parquet`, or as haptools' `.bp` (`ancestry contig end_bp end_cM` below each `donor_copy`).

    Args:
        genetic_map: For the cM of a `.bp`: the map that the donors were drawn with.

    Raises:
        ConfigError: Another suffix.
        ResourceError: It cannot be written.
    """
    path = Path(path)
    if path.suffix == ".parquet":
        return write_parquet(tracts, path, provenance)
    if path.suffix != ".bp":
        raise ConfigError("the suffix tells no format", where=str(path), remedy="use .parquet or .bp")
    scales = {contig: contig_map(contig, genetic_map) for contig in tracts["contig"].unique()}
    with atomic_file(path) as temporary, open(temporary, "w", encoding="utf-8") as handle:
        for copy, rows in tracts.groupby(tracts["donor"] + "_" + (tracts["copy"] + 1).astype(str), sort=False):
            handle.write(f"{copy}\n")
            for contig, end, ancestry in zip(rows["contig"], rows["end"], rows["ancestry"], strict=True):
                centimorgans = scales[contig].at(np.array([end]))[0]
                handle.write(f"{ancestry}\t{contig}\t{end}\t{centimorgans:.6f}\n")
    return path
