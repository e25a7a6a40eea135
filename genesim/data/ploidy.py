"""Copies of the sex chromosomes and MT: who has how many, and where the pseudoautosomal regions (PAR) are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from jaxtyping import Bool, Int8

from genesim.console import log
from genesim.data.contigs import bare_name
from genesim.data.genotypes.record import ABSENT, MISSING, REF, Genotypes
from genesim.errors import ConditionError, ConfigError, InputError, JoinError

Intervals = Sequence[tuple[int, int]]
FEMALE, MALE = "female", "male"
_SPELLED = {"female": FEMALE, "f": FEMALE, "2": FEMALE, "male": MALE, "m": MALE, "1": MALE}

# Genome Reference Consortium, pseudoautosomal regions of each assembly; 0-based half-open. They are drawn out to
# the contig's ends, over the unsequenced telomeres (GRCh37 PAR1 begins at 60,000, PAR2 ends at 155,260,560).
_PAR: dict[int, Intervals] = {
    155_270_560: ((0, 2_699_520), (154_931_043, 155_270_560)),  # GRCh37 chrX
    156_040_895: ((0, 2_781_479), (155_701_382, 156_040_895)),  # GRCh38 chrX
}


def kind_of(contig: str) -> str:
    """`X`, `Y`, `MT` or `autosome`, by the name with or without `chr`."""
    name = bare_name(contig).upper()
    return "MT" if name in ("M", "MT") else name if name in ("X", "Y") else "autosome"


def par_intervals(contig: str, lengths: Mapping[str, int | None], par: Intervals | None = None) -> Intervals:
    """The PARs of chrX, 0-based half-open: `par` where given, else by the contig's declared length.

    Raises:
        ConfigError: The length is of neither GRCh37 nor GRCh38.
    """
    if par is not None:
        return par
    length = lengths.get(contig)
    if length not in _PAR:
        raise ConfigError(
            f"its length is {length}, of neither GRCh37 nor GRCh38, so its pseudoautosomal regions are not known",
            where=f"contig '{contig}'",
            remedy="declare the contig's length in the VCF header, or pass par=[(start, end), ...] (0-based half-open)",
        )
    return _PAR[length]


def inside(position: np.ndarray, intervals: Intervals) -> Bool[np.ndarray, " position"]:
    """Whether each 0-based position is in one of the intervals."""
    found = np.zeros(len(position), bool)
    for start, end in intervals:
        found |= (position >= start) & (position < end)
    return found


def sexes(sex: pd.Series | Mapping[str, str], donors: pd.Index) -> np.ndarray:
    """`female` or `male` of each donor (also spelled F/M, 2/1 or in capitals), other labels as they are.

    Raises:
        JoinError: A donor without sex.
    """
    given = pd.Series(sex)
    found = given[~given.index.duplicated()].reindex(donors)
    unknown = found.index[found.isna()]
    if len(unknown) or not given.index.is_unique:
        raise JoinError(
            f"{len(unknown)} donors have no sex, the first is '{unknown[0]}'"
            if len(unknown)
            else "a donor comes twice",
            where="sex",
            remedy="give one sex a donor",
        )
    return np.array([_SPELLED.get(str(value).lower(), str(value)) for value in found], object)


def expected_copies(
    contig: str,
    position: np.ndarray,
    sex: np.ndarray,
    lengths: Mapping[str, int | None],
    par: Intervals | None = None,
) -> Int8[np.ndarray, "variant donor"]:
    """Copies (2, 1 or 0) of each position that a donor of each sex has.

    Raises:
        ConditionError: A sex other than female or male on chrX or chrY.
        ConfigError: PARs that are not known (chrX).
    """
    kind = kind_of(contig)
    copies = np.full((len(position), len(sex)), 1 if kind == "MT" else 2, np.int8)
    if kind in ("autosome", "MT"):
        return copies
    odd = [str(value) for value in sex if value not in (FEMALE, MALE)]
    if odd:
        raise ConditionError(
            f"{len(odd)} donors are of sex {odd[0]!r}",
            where=f"contig '{contig}'",
            remedy="say female or male of every donor, or leave this contig out",
        )
    male = sex == MALE
    if kind == "X":
        copies[np.ix_(~inside(position, par_intervals(contig, lengths, par)), male)] = 1
    else:
        copies[:] = male
    return copies


def set_ploidy(geno: Genotypes, sex: pd.Series | Mapping[str, str], par: Intervals | None = None) -> Genotypes:
    """Genotypes with the copies that each donor has: one of chrX (outside PAR) and of chrY in males, one of MT.

    A homozygous call of a single copy is made haploid; a heterozygous one is set missing, and so are calls
    of females on chrY (the VCF's `.`); how many is logged. Other contigs stay as they are.

    Args:
        sex: `female` or `male`, indexed by donor.
        par: Pseudoautosomal regions of chrX, 0-based half-open; by the contig's length where None.

    Raises:
        JoinError: A donor without sex.
        ConditionError, ConfigError: See `expected_copies`.
    """
    names = geno.variants["contig"].to_numpy(object)
    special = [str(name) for name in dict.fromkeys(names) if kind_of(str(name)) != "autosome"]
    if not special:
        return geno
    labels = sexes(sex, geno.donors)
    alleles, phased = geno.alleles.copy(), geno.phased.copy()
    for contig in special:
        rows = np.flatnonzero(names == contig)
        position = geno.variants["start"].to_numpy()[rows]
        copies = expected_copies(contig, position, labels, geno.contig_lengths, par)
        here = alleles[rows]
        diploid_male = (copies == 2) & (here[:, :, 1] == ABSENT) & (here[:, :, 0] >= REF)
        if diploid_male.any():
            variant, donor = np.argwhere(diploid_male)[0]
            raise InputError(
                f"donor '{geno.donors[donor]}' is {labels[donor]} and has one copy where two are expected",
                where=f"variant {geno.variants.index[rows[variant]]}",
                remedy="check the sex of the donor and the pseudoautosomal regions",
            )
        single = copies < 2
        first, second = here[:, :, 0], here[:, :, 1]
        mixed = single & (second != ABSENT) & (first != second)
        lost = (mixed & (first >= REF) & (second >= REF)) | ((copies == 0) & (first >= REF))
        here[:, :, 0] = np.where(mixed | (copies == 0), MISSING, first)
        here[:, :, 1] = np.where(single, ABSENT, second)
        alleles[rows] = here
        phased[rows] = np.where(single, here[:, :, 0] != MISSING, phased[rows])
        if lost.any():
            log.warning("contig %s: %d calls do not fit the donor's sex and became missing", contig, int(lost.sum()))
    return Genotypes(alleles, phased, geno.variants, geno.donors, dict(geno.contig_lengths), dict(geno.report))
