"""Which variant of a study a variant of a table is, and whether its alleles are turned round there."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Bool, Int

from genesim.config.effect_prior import HarmonisePolicy

_COMPLEMENT = str.maketrans("ACGT", "TGCA")


@dataclass(frozen=True)
class AlleleMatch:
    """The matches of distinct variants, and why others have none.

    Attributes:
        row: Row of the study's variants, -1 without a match.
        sign: -1 where the table's ALT is the study's REF.
        strand_flipped, palindromes_kept: Matches on the other strand; of palindromic SNPs.
        palindromes_dropped, allele_mismatch, strand_ambiguous, indels_swapped, not_plain: Variants without a match
            although they are at a shared position (`not_plain` wherever they are), by reason.
        n_hits: Variants at a shared position.
        n_shared, n_misfit: SNPs at the position of a SNP; of them, those whose alleles do not fit it.
    """

    row: Int[np.ndarray, " variant"]
    sign: Int[np.ndarray, " variant"]
    strand_flipped: int
    palindromes_kept: int
    palindromes_dropped: int
    allele_mismatch: int
    strand_ambiguous: int
    indels_swapped: int
    not_plain: int
    n_hits: int
    n_shared: int
    n_misfit: int

    @property
    def n_refused(self) -> int:
        """Variants that have no match although their position is shared, or that are not plain."""
        dropped = self.palindromes_dropped + self.allele_mismatch + self.strand_ambiguous
        return dropped + self.indels_swapped + self.not_plain

    @property
    def mismatch_rate(self) -> float:
        return self.n_misfit / self.n_shared if self.n_shared else 0.0


def complement(bases: pd.Series) -> pd.Series:
    """The bases of the other strand, for single bases."""
    return bases.map(lambda b: b.translate(_COMPLEMENT))


def _frequency_sign(
    table: np.ndarray, study: np.ndarray, policy: HarmonisePolicy
) -> tuple[Bool[np.ndarray, " pair"], Bool[np.ndarray, " pair"]]:
    """Whether the frequencies of ALT say that it is the same allele, or the other one."""
    minor = np.fmax(np.minimum(table, 1 - table), np.minimum(study, 1 - study))
    told = np.isfinite(table) & np.isfinite(study) & (minor < policy.max_palindrome_maf)
    same = told & (np.abs(table - study) <= policy.frequency_tolerance)
    other = told & (np.abs(1 - table - study) <= policy.frequency_tolerance)
    return same & ~other, other & ~same


def match_alleles(sites: pd.DataFrame, variants: pd.DataFrame, policy: HarmonisePolicy) -> AlleleMatch:
    """Match distinct variants by contig, start and alleles.

    Args:
        sites: contig (as the study names it, "" where it has none), start, ref, alt, frequency (NaN where unknown).
        variants: The study's; `frequency` is optional.
        policy: See `HarmonisePolicy`.
    """
    n = len(sites)
    row, sign = np.full(n, -1, np.int64), np.ones(n, np.int64)
    bases = sites["ref"].str.fullmatch("[ACGT]+") & sites["alt"].str.fullmatch("[ACGT]+")
    plain = (bases & (sites["ref"] != sites["alt"])).to_numpy(bool)
    left = sites.reset_index(drop=True).assign(site=np.arange(n))[plain]
    start = variants["start"].to_numpy(np.int64)
    near = np.flatnonzero(np.isin(start, left["start"].to_numpy(np.int64)))  # a genome has millions, most elsewhere
    at = variants.iloc[near]
    frequency = at["frequency"].to_numpy(float) if "frequency" in at else np.full(len(at), np.nan)
    right = pd.DataFrame(
        {
            "contig": at["contig"].astype(str).to_numpy(object),
            "start": start[near],
            "s_ref": at["ref"].to_numpy(object),
            "s_alt": at["alt"].to_numpy(object),
            "s_frequency": frequency,
            "s_row": near,
        }
    )
    pairs = left.merge(right, on=["contig", "start"], how="inner")
    snp = (pairs["ref"].str.len() == 1) & (pairs["alt"].str.len() == 1)
    snp_pair = snp & (pairs["s_ref"].str.len() == 1) & (pairs["s_alt"].str.len() == 1)
    other_ref, other_alt = complement(pairs["ref"]), complement(pairs["alt"])
    same = (pairs["ref"] == pairs["s_ref"]) & (pairs["alt"] == pairs["s_alt"])
    swapped = (pairs["ref"] == pairs["s_alt"]) & (pairs["alt"] == pairs["s_ref"])
    palindrome = snp & (other_ref == pairs["alt"])
    strand_same = snp_pair & ~palindrome & (other_ref == pairs["s_ref"]) & (other_alt == pairs["s_alt"])
    strand_swapped = snp_pair & ~palindrome & (other_ref == pairs["s_alt"]) & (other_alt == pairs["s_ref"])

    by_letters = (same | swapped) & palindrome
    if policy.palindromes == "frequency":
        agree, turned = _frequency_sign(
            pairs["frequency"].to_numpy(float), pairs["s_frequency"].to_numpy(float), policy
        )
        palindrome_same, palindrome_turned = by_letters & agree, by_letters & turned
    elif policy.palindromes == "keep":
        palindrome_same, palindrome_turned = by_letters & same, by_letters & swapped
    else:
        palindrome_same = palindrome_turned = pd.Series(False, pairs.index)

    def take(chosen: pd.Series, direction: int, once: bool = False) -> int:
        """Match the open variants of these pairs; with `once`, only those that fit one variant alone."""
        picked = pairs[chosen & (row[pairs["site"].to_numpy()] < 0)]
        if once:
            picked = picked[~picked["site"].duplicated(keep=False)]
        picked = picked.drop_duplicates("site")
        row[picked["site"]], sign[picked["site"]] = picked["s_row"], direction
        return len(picked)

    take(same & ~palindrome, 1)
    take(swapped & ~palindrome & snp_pair, -1)
    kept = take(palindrome_same, 1) + take(palindrome_turned, -1)
    on_other_strand = strand_same | strand_swapped
    several = pairs.loc[on_other_strand, "site"]
    ambiguous = set(several[several.duplicated(keep=False)]) - set(np.flatnonzero(row >= 0))
    flipped = take(strand_same & ~pairs["site"].isin(ambiguous), 1, once=True)
    flipped += take(strand_swapped & ~pairs["site"].isin(ambiguous), -1, once=True)

    hits = set(pairs["site"])
    open_ = {s for s in hits if row[s] < 0} - ambiguous
    dropped = open_ & set(pairs.loc[by_letters, "site"])
    turned_indels = (open_ - dropped) & set(pairs.loc[swapped & ~snp_pair, "site"])
    misfit = open_ - dropped - turned_indels
    shared = set(pairs.loc[snp_pair, "site"])
    return AlleleMatch(
        row=row,
        sign=sign,
        strand_flipped=flipped,
        palindromes_kept=kept,
        palindromes_dropped=len(dropped),
        allele_mismatch=len(misfit),
        strand_ambiguous=len(ambiguous),
        indels_swapped=len(turned_indels),
        not_plain=int((~plain).sum()),
        n_hits=len(hits),
        n_shared=len(shared),
        n_misfit=len(misfit & shared),
    )
