"""From genotypes, ancestry labels and a genetic map to the arrays of a haplotype model, with every check."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from jaxtyping import Float, Int, Int8

from genesim.data.genetic_map import contig_map
from genesim.data.genotypes.record import ABSENT, MISSING, Genotypes
from genesim.errors import ConditionError, ConfigError, JoinError, VcfError

_BLOCK_CALLS = 2**24
ALL = "all"  # the one ancestry of a model that was given none


def phased_haplotypes(geno: Genotypes) -> Int8[np.ndarray, "haplotype variant"]:
    """Haplotypes, a donor's copies in neighbouring rows.

    An unphased call with one missing allele becomes missing in both, for the copy is not known.

    Raises:
        VcfError: An unphased heterozygote.
    """
    haplotypes = np.empty((2 * geno.n_donors, geno.n_variants), np.int8)
    at_once = max(1, _BLOCK_CALLS // max(1, geno.n_donors))
    n_unphased, example = 0, ""
    for at in range(0, geno.n_variants, at_once):
        block = slice(at, at + at_once)
        alleles = geno.alleles[block]
        first, second = alleles[:, :, 0], alleles[:, :, 1]
        differs = ~geno.phased[block] & (first != second) & (second >= MISSING)
        heterozygous = differs & (first >= 0) & (second >= 0)
        if heterozygous.any():
            variant, donor = np.argwhere(heterozygous)[0]
            example = example or f"variant {geno.variants.index[at + variant]}, donor {geno.donors[donor]}"
            n_unphased += int(heterozygous.sum())
        here = haplotypes[:, block]
        here[:] = alleles.transpose(1, 2, 0).reshape(len(haplotypes), -1)
        if differs.any():
            here[np.repeat(differs.T, 2, axis=0)] = MISSING
    if n_unphased:
        raise VcfError(
            f"{n_unphased} heterozygous calls are not phased",
            where=example,
            remedy="phase the genotypes first: gs.phase(geno), by Beagle or SHAPEIT4",
        )
    return haplotypes


def training_copies(
    alleles: Int8[np.ndarray, "haplotype variant"],
    codes: Int[np.ndarray, " haplotype"],
    fill: np.random.Generator | None = None,
) -> Int8[np.ndarray, "haplotype variant"]:
    """Haplotypes of a sex chromosome such that each copy that a donor has counts once.

    A haplotype without any call (chrY of females) becomes wholly absent, which takes no part in training. A
    chain sums the rest out where a copy is absent in part (chrX of males outside PAR); a method that copies
    its training haplotypes needs alleles there and takes them, with `fill`, from another haplotype of the
    same ancestry drawn at random, so that frequencies keep their expectation.
    """
    alleles = np.where((alleles < 0).all(axis=1, keepdims=True), np.int8(ABSENT), alleles)
    if fill is None:
        return alleles
    whole = (alleles != ABSENT).all(axis=1)
    for row in np.flatnonzero(~whole & (alleles != ABSENT).any(axis=1)):
        donors = np.flatnonzero(whole & (codes == codes[row]))
        if len(donors):
            gaps = alleles[row] == ABSENT
            alleles[row, gaps] = alleles[fill.choice(donors), gaps]
    return alleles


def stacked_copies(haplotypes: Int8[np.ndarray, "haplotype variant"]) -> Int8[np.ndarray, "variant donor 2"]:
    """Haplotypes, a donor's copies in neighbouring rows, as alleles."""
    return np.ascontiguousarray(haplotypes.reshape(-1, 2, haplotypes.shape[1]).transpose(2, 0, 1))


def ancestry_labels(geno: Genotypes, ancestry: pd.Series | None) -> np.ndarray:
    """The label of each donor of `geno`, as strings; `ALL` for everyone where None.

    Raises:
        JoinError: A donor without a label, or with two.
    """
    if ancestry is None:
        return np.full(geno.n_donors, ALL, object)
    if not ancestry.index.is_unique:
        twice = ancestry.index[ancestry.index.duplicated()][0]
        raise JoinError(
            f"donor '{twice}' has more than one ancestry", where="ancestry", remedy="give one label a donor"
        )
    found = ancestry.reindex(geno.donors)
    unlabelled = found.index[found.isna()]
    if len(unlabelled):
        raise JoinError(
            f"{len(unlabelled)} donors have no ancestry, the first is '{unlabelled[0]}'",
            where="ancestry",
            remedy="label every donor, or leave the others out with Genotypes.subset(donors=...)",
        )
    return found.astype(str).to_numpy(object)


def ancestry_codes(labels: Sequence[str] | np.ndarray, known: Sequence[str]) -> Int[np.ndarray, " donor"]:
    """Code of each label among `known`.

    Raises:
        ConditionError: A label that the model was not trained on.
    """
    codes = pd.Index(list(known), dtype=object).get_indexer(pd.Index(list(labels), dtype=object))
    if (codes < 0).any():
        unknown = sorted({str(label) for label in np.asarray(labels, object)[codes < 0]})
        raise ConditionError(
            f"unknown ancestry {', '.join(map(repr, unknown))}",
            where="ancestry",
            remedy=f"choose among {', '.join(known)}",
        )
    return codes


def apportioned(ancestry: Mapping[str, int | float], n_donors: int) -> dict[str, int]:
    """Donors of each ancestry: whole numbers as they are, other numbers as shares (largest remainder).

    Raises:
        ConfigError: Negative or non-finite values, none above 0, or whole numbers that do not add up.
    """
    values = np.array(list(ancestry.values()), float)
    if not len(values) or not np.isfinite(values).all() or (values < 0).any() or values.sum() <= 0:
        raise ConfigError(
            f"ancestry is {dict(ancestry)}",
            where="ancestry",
            remedy="give counts or shares that are not negative, one at least above 0",
        )
    if all(isinstance(value, int | np.integer) for value in ancestry.values()):
        if values.sum() != n_donors:
            raise ConfigError(
                f"ancestry counts add up to {int(values.sum())} and n_donors is {n_donors}",
                where="ancestry",
                remedy="make them equal, or give shares (numbers with a decimal point)",
            )
        return {name: int(value) for name, value in ancestry.items()}
    exact = n_donors * values / values.sum()
    counts = np.floor(exact).astype(int)
    counts[np.argsort(counts - exact, kind="stable")[: n_donors - counts.sum()]] += 1
    return dict(zip(ancestry, counts.tolist(), strict=True))


def genetic_positions(
    contig: str, start: Int[np.ndarray, " variant"], genetic_map: pd.DataFrame | None
) -> Float[np.ndarray, " variant"]:
    """Genetic position (cM) of 0-based `start`, interpolated; 1.2 cM/Mb without a map and beyond its ends.

    Args:
        genetic_map: Columns `contig` (or `chr`), `pos` (1-based) and `cM`.

    Raises:
        InputError: A map without those columns, or whose cM decrease.
        JoinError: A map without the contig.
    """
    return contig_map(contig, genetic_map).at(start)


def aligned_alleles(
    geno: Genotypes, haplotypes: Int8[np.ndarray, "haplotype variant"], variants: pd.DataFrame
) -> tuple[Int8[np.ndarray, "haplotype model_variant"], Int[np.ndarray, " model_variant"]]:
    """`haplotypes` of `geno` in the order of a model's `variants`, missing where `geno` has none.

    Returns:
        The alleles, and the row of `geno` of each model variant (-1 where there is none).

    Raises:
        JoinError: A variant whose alleles differ from the model's.
    """
    rows = geno.variants.index.get_indexer(variants.index)
    present = rows >= 0
    theirs = geno.variants.iloc[rows[present]][["ref", "alt"]].to_numpy(object)
    ours = variants[present][["ref", "alt"]].to_numpy(object)
    differs = (theirs != ours).any(axis=1)
    if differs.any():
        first = int(np.flatnonzero(differs)[0])
        raise JoinError(
            f"variant '{variants.index[present][first]}' is {'>'.join(theirs[first])} here"
            f" and {'>'.join(ours[first])} in the model",
            where="genotypes",
            remedy="normalise both against the same reference genome",
        )
    alleles = np.full((len(haplotypes), len(variants)), MISSING, np.int8)
    alleles[:, present] = haplotypes[:, rows[present]]
    return alleles, rows
