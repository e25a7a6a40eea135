"""Relatives and population structure among the donors of an effect model: found, checked and reported."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import pandas as pd
from scipy.special import ndtri

from genesim.config.model import EffectConfig
from genesim.console import log
from genesim.data.genotypes.record import Genotypes
from genesim.data.genotypes.store import StoredGenotypes
from genesim.data.thin import ThinnedVariants, thinned_variants
from genesim.errors import ConfigError, InputError, JoinError
from genesim.metrics.kinship import DUPLICATE, THIRD_DEGREE, KingEstimate, king_robust
from genesim.metrics.structure import genotype_components, n_structured
from genesim.models.effects.kinship import Families, families_of

Kinship = pd.DataFrame | Literal["auto", "none"] | None

# Chance that any pair of unrelated donors is taken for relatives.
_FALSE_FAMILY = 0.05
# Where even parents and children (kinship 0.25) drown in noise, nothing is estimated.
_FIRST_DEGREE = 2**-2.5
# First cousins; where they are missed, it is said.
_COUSINS = 0.0625
# "auto" looks for structure where at least so many independent variants lie in so many megabases: components of
# fewer are the haplotypes of single regions, and would remove the cis effects there.
_MIN_VARIANTS, _MIN_MEGABASES = 1000, 30
_MAX_COMPONENTS = 10
_ROUNDING = 1e-4


@dataclass(frozen=True)
class DonorStructure:
    """What the donors share.

    Attributes:
        families: Relatives; None without any.
        components: Principal components of the genotypes [donor, component].
        report: For the provenance: where kinship came from, variants and noise of the estimate, the kinship above
            which pairs count, pairs and families found, twins or duplicates, number of components.
    """

    families: Families | None
    components: np.ndarray
    report: dict[str, Any] = field(default_factory=dict)


def checked_kinship(table: pd.DataFrame, donors: Sequence[str]) -> np.ndarray:
    """Kinship of `donors` from a donor x donor table.

    Raises:
        JoinError: A donor is lacking.
        InputError: Names repeated, rows unlike columns, text, missing or infinite values, not symmetric, or not on
            the scale of kinship (0.5 with oneself, 0.25 parent and child).
    """

    def refuse(found: str, remedy: str) -> InputError:
        return InputError(found, where="kinship", remedy=remedy)

    table = table.set_axis(table.index.astype(str), axis=0).set_axis(table.columns.astype(str), axis=1)
    for names in (table.index, table.columns):
        if not names.is_unique:
            raise refuse(f"donor '{names[names.duplicated()][0]}' stands twice", "give one row and column a donor")
        absent = [donor for donor in donors if donor not in names]
        if absent:
            raise JoinError(
                f"{len(absent)} donors have no kinship: {', '.join(absent[:5])}",
                where="kinship",
                remedy="give a row and a column for every donor, or leave these donors out",
            )
    try:
        values = table.loc[list(donors), list(donors)].to_numpy(np.float64, copy=True)
    except (TypeError, ValueError) as error:
        raise refuse("values are not numbers", "give a donor x donor table of kinship coefficients") from error
    pair = np.argwhere(~np.isfinite(values))
    if len(pair):
        i, j = pair[0]
        raise refuse(
            f"{len(pair)} values are missing or infinite, the first of {donors[i]} with {donors[j]}",
            "write 0 for unrelated donors and 0.5 for a donor with itself",
        )
    pair = np.argwhere(np.abs(values - values.T) > _ROUNDING)
    if len(pair):
        i, j = pair[0]
        raise refuse(
            f"not symmetric: {donors[i]} with {donors[j]} is {values[i, j]:g}, the other way {values[j, i]:g}",
            "give both the same value",
        )
    own = np.diag(values)
    if values.max() > 1 or np.median(own) > 0.75:
        raise refuse(
            f"values reach {values.max():g}, and donors have {np.median(own):g} with themselves (median)",
            "kinship is 0.5 with oneself: halve a relationship matrix (GRM, twice the kinship)",
        )
    if own.min() < 0.25:
        raise refuse(
            f"donor {donors[int(own.argmin())]} has {own.min():g} with itself", "write 0.5 (more if inbred) there"
        )
    return (values + values.T) / 2


def _king(thinned: ThinnedVariants) -> tuple[KingEstimate, float]:
    """KING-robust kinship and the value above which no pair of strangers is expected."""
    n_donors = thinned.dosage.shape[1]
    n_pairs = max(n_donors * (n_donors - 1) / 2, 1)
    estimate = king_robust(thinned.dosage)
    return estimate, max(THIRD_DEGREE, float(-ndtri(_FALSE_FAMILY / n_pairs)) * estimate.noise)


def _estimated(thinned: ThinnedVariants, report: dict[str, Any]) -> tuple[np.ndarray | None, float]:
    """KING-robust kinship and the value above which it is not noise; None where it cannot tell."""
    if thinned.n_variants < 2:
        log.info("cis effects: %d common variants say nothing about relatives", thinned.n_variants)
        return None, THIRD_DEGREE
    estimate, threshold = _king(thinned)
    report |= {"n_variants": thinned.n_variants, "noise": round(estimate.noise, 5)}
    if threshold > _FIRST_DEGREE:
        log.info(
            "cis effects: %d nearly independent variants are too few to find relatives (standard error of a kinship "
            "%.3f): kinship is not used; give a table if donors are related",
            thinned.n_variants,
            estimate.noise,
        )
        return None, threshold
    if threshold > _COUSINS:
        log.warning(
            "cis effects: from %d nearly independent variants kinship is known to +-%.3f only: relatives below %.3f "
            "(parent and child 0.25, half siblings 0.125) are not seen; give a table from the whole genome",
            thinned.n_variants,
            estimate.noise,
            threshold,
        )
    return estimate.kinship, threshold


def _report_duplicates(pairs: np.ndarray, donors: Sequence[str], config: EffectConfig) -> None:
    if not len(pairs):
        return
    named = ", ".join(f"{donors[i]} and {donors[j]}" for i, j in pairs[:5])
    found = f"{len(pairs)} pairs of donors have the kinship of twins, or of one person under two ids: {named}"
    if config.duplicates == "error":
        raise InputError(found, where="kinship", remedy="give one person one id, or set effects.duplicates: keep")
    log.warning("cis effects: %s; one person twice must have one id, lest training and test share them", found)


def _unrelated(kinship: np.ndarray, threshold: float) -> np.ndarray:
    """Donors left when whoever has most relatives is taken out, until none has any."""
    related = kinship > threshold
    np.fill_diagonal(related, False)
    left = np.ones(len(kinship), bool)
    while (count := (related & left).sum(1) * left).any():
        left[int(count.argmax())] = False
    return left


def twins_across(genotypes: Genotypes | StoredGenotypes, side: pd.Series) -> list[tuple[str, str]]:
    """Pairs of donors on different sides of a split who have the kinship of twins: maybe one person under two ids.

    Args:
        genotypes: Where too few variants are given to tell relatives, no pair is found.
        side: Index donor.
    """
    thinned = thinned_variants(genotypes)
    if thinned.n_variants < 2 or genotypes.n_donors < 2:
        return []
    estimate, threshold = _king(thinned)
    if threshold > _FIRST_DEGREE:
        return []
    names, sides = genotypes.donors.astype(str), side.reindex(genotypes.donors).to_numpy()
    pairs = np.argwhere(np.triu(estimate.kinship > DUPLICATE, 1))
    return [(names[i], names[j]) for i, j in pairs if sides[i] != sides[j]]


def donor_structure(
    genotypes: Genotypes, columns: np.ndarray, donors: Sequence[str], kinship: Kinship, config: EffectConfig
) -> DonorStructure:
    """Families and genotype components of the donors at `columns`.

    Args:
        genotypes: Of these donors and maybe others.
        columns: Positions of `donors` in the genotypes.
        kinship: A table, "auto" (estimate), "none", or None for what `config` says.

    Raises:
        ConfigError: `kinship` is none of these.
        InputError, JoinError: A table that cannot be used, see `checked_kinship`; twins, where they are refused.
    """
    asked: Any = config.kinship if kinship is None else kinship
    if not isinstance(asked, pd.DataFrame) and asked not in ("auto", "none"):
        raise ConfigError(f"kinship is {asked!r}", where="EffectModel.fit", remedy="give 'auto', 'none' or a table")
    report: dict[str, Any] = {"kinship": asked if isinstance(asked, str) else "table"}
    values, threshold = None, THIRD_DEGREE
    thinned: ThinnedVariants | None = None
    if isinstance(asked, pd.DataFrame):
        values = checked_kinship(asked, donors)
    if config.n_genotype_factors != 0 or (isinstance(asked, str) and asked == "auto"):
        thinned = thinned_variants(genotypes, columns)
    if values is None and asked == "auto" and thinned is not None:
        values, threshold = _estimated(thinned, report)
    families, unrelated = None, np.ones(len(donors), bool)
    if values is not None:
        upper = np.triu(values, 1)
        _report_duplicates(np.argwhere(upper > DUPLICATE), donors, config)
        families = families_of(values, threshold)
        unrelated = _unrelated(values, threshold)
        report |= {
            "threshold": round(threshold, 5),
            "n_pairs": int((upper > threshold).sum()),
            "n_duplicates": int((upper > DUPLICATE).sum()),
            "n_families": 0 if families is None else int(families.member.shape[0]),
            "largest_family": 1 if families is None else int(families.member.shape[1]),
        }
        if families is not None:
            log.info(
                "cis effects: %d pairs of relatives in %d families (largest: %d donors): mixed model",
                report["n_pairs"],
                report["n_families"],
                report["largest_family"],
            )
    components = np.zeros((len(donors), 0))
    if thinned is not None and config.n_genotype_factors != 0:
        if isinstance(asked, str) and asked == "none" and thinned.n_variants >= 2:
            estimate, above = _king(thinned)  # families are no axis of structure, even where they are not modelled
            unrelated = _unrelated(estimate.kinship, above)
        components = genotype_components(thinned.dosage, _n_components(thinned, unrelated, config), unrelated)
    report["n_genotype_factors"] = components.shape[1]
    return DonorStructure(families, components, report)


def _n_components(thinned: ThinnedVariants, unrelated: np.ndarray, config: EffectConfig) -> int:
    if config.n_genotype_factors != "auto":
        return config.n_genotype_factors
    if thinned.n_variants < _MIN_VARIANTS or thinned.n_megabases < _MIN_MEGABASES:
        return 0
    found = n_structured(thinned.dosage[:, unrelated], min(_MAX_COMPONENTS, int(unrelated.sum()) // 20))
    if found:
        log.info("cis effects: %d genotype components show in both halves of the genome: covariates", found)
    return found
