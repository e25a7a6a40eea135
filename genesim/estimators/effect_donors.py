"""Genotypes brought to an effect model's variants: dosages of its alternate alleles, in its order."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int

from genesim.data.contigs import reconcile_contigs
from genesim.data.genotypes.record import Genotypes
from genesim.estimators.effect_inputs import dosages


@dataclass(frozen=True)
class SiteMatch:
    """Where a model's variants are among other variants.

    Attributes:
        row: Row there, -1 where it is lacking.
        turned: REF and ALT are swapped there.
        contig_known: The variant's contig is there.
        n_other_alleles: Variants whose position is there, with other alleles only.
    """

    row: Int[np.ndarray, " variant"]
    turned: Bool[np.ndarray, " variant"]
    contig_known: Bool[np.ndarray, " variant"]
    n_other_alleles: int

    @property
    def found(self) -> Bool[np.ndarray, " variant"]:
        return self.row >= 0


def match_sites(wanted: pd.DataFrame, there: pd.DataFrame) -> SiteMatch:
    """Match by contig (`22` is `chr22`), start, ref and alt; swapped alleles match too.

    Args:
        wanted, there: Columns contig, start (0-based), ref, alt.
    """
    contigs = wanted["contig"].astype(str)
    names = reconcile_contigs(there["contig"].astype(str).unique(), contigs.unique(), missing="skip")
    contig = [names.get(name, "") for name in contigs]
    start = wanted["start"].to_numpy(np.int64)
    # Only sites at a wanted position get a key: a genome has millions, a model some thousands.
    near = np.flatnonzero(np.isin(there["start"].to_numpy(np.int64), start))
    sites = there.iloc[near]
    columns = (sites["contig"].astype(str), sites["start"], sites["ref"], sites["alt"])
    position = {site: int(row) for site, row in zip(zip(*columns, strict=True), near, strict=True)}
    keys = list(zip(contig, start, wanted["ref"], wanted["alt"], strict=True))
    same = np.array([position.get(key, -1) for key in keys], np.int64)
    swapped = np.array([position.get((c, s, alt, ref), -1) for c, s, ref, alt in keys], np.int64)
    row = np.where(same >= 0, same, swapped)
    places = {(c, s) for c, s, _, _ in position}
    other = sum((c, s) in places for (c, s, _, _), r in zip(keys, row, strict=True) if r < 0)
    return SiteMatch(row, (same < 0) & (swapped >= 0), np.array([c != "" for c in contig], bool), other)


def matched_dosages(genotypes: Genotypes, match: SiteMatch) -> Float[np.ndarray, "variant donor"]:
    """Copies of the model's alternate allele; NaN where the variant or the call is lacking."""
    found = np.full((len(match.row), genotypes.n_donors), np.nan, np.float32)
    at = np.flatnonzero(match.found)
    copies = dosages(genotypes.alleles[match.row[at]])
    found[at] = np.where(match.turned[at, None], 2 - copies, copies)
    return found
