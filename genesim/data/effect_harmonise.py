"""An external table brought to the variants and genes of a study, every decision counted.

Matching is by contig (`22` is `chr22`), position and alleles. Swapped alleles turn the sign. Alleles that fit on the
other strand only are taken where they fit one variant alone. Palindromic SNPs (A/T, C/G), which fit on both strands,
are dropped unless `HarmonisePolicy.palindromes` says otherwise. Indels match as they are written only: an insertion
and a deletion of the same bases at a position are two variants, not one swapped.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from genesim.config.effect_prior import HarmonisePolicy
from genesim.console import log
from genesim.data.allele_match import AlleleMatch, match_alleles
from genesim.data.annotation import strip_version
from genesim.data.contigs import reconcile_contigs
from genesim.data.effect_table import EffectTable
from genesim.data.names import some
from genesim.errors import JoinError

_FEW = 20
_MANY = 100


@dataclass(frozen=True)
class HarmoniseReport:
    """What became of a table: counts of distinct variants, and of rows where it says so.

    Attributes:
        source, n_rows, n_variants: The table, its rows and distinct variants.
        matched: Variants found, of which `flipped` have their alleles swapped there, `strand_flipped` are on the other
            strand, `palindromes_kept` are palindromic and `by_id` were found by their name.
        palindromes_dropped, allele_mismatch, strand_ambiguous, indels_swapped, not_plain, not_in_genotypes: Why the
            others were not: strand unknown; other alleles at the position; several variants fit; an indel written the
            other way round; symbolic or missing alleles; no variant at the position (or contig).
        match_rate: Matched share of the variants that lie within the study's variants' span.
        mismatch_rate: Share of SNPs at the position of a SNP whose alleles do not fit it.
        reference_mismatch_rate: Share of SNPs of whose alleles neither is the reference genome's; NaN without FASTA.
        genes_unknown: Distinct genes of the table that the study lacks.
        rows_of_unknown_genes, rows_of_unknown_types, rows_incomplete: Rows that were dropped.
        duplicates_merged, duplicates_conflicting: Rows that repeat another one, or contradict it (all dropped).
        rows_kept: Rows about a matched variant that are used.
    """

    source: str
    n_rows: int = 0
    n_variants: int = 0
    matched: int = 0
    flipped: int = 0
    strand_flipped: int = 0
    palindromes_kept: int = 0
    by_id: int = 0
    palindromes_dropped: int = 0
    allele_mismatch: int = 0
    strand_ambiguous: int = 0
    indels_swapped: int = 0
    not_plain: int = 0
    not_in_genotypes: int = 0
    match_rate: float = float("nan")
    mismatch_rate: float = 0.0
    reference_mismatch_rate: float = float("nan")
    genes_unknown: int = 0
    rows_of_unknown_genes: int = 0
    rows_of_unknown_types: int = 0
    rows_incomplete: int = 0
    duplicates_merged: int = 0
    duplicates_conflicting: int = 0
    rows_kept: int = 0

    def line(self) -> str:
        """All of it in one line; zeros are left out."""
        numbers = {k: v for k, v in asdict(self).items() if isinstance(v, int) and v and k not in ("n_rows",)}
        counts = ", ".join(f"{name.removeprefix('n_')} {value}" for name, value in numbers.items())
        return f"{self.source}: {self.n_rows} rows, {counts}, match rate {self.match_rate:.3f}"

    def to_dict(self) -> dict[str, str | int | float | None]:
        """JSON-ready: numbers that are not known are None."""
        return {k: None if isinstance(v, float) and np.isnan(v) else v for k, v in asdict(self).items()}


@dataclass(frozen=True)
class Harmonised:
    """A table on the study's variants.

    Attributes:
        rows: Columns variant (row of the study's variants, -1 where it has none), gene (the study's name, "" for any),
            cell_type ("" for any), credible_set, and the numbers of `EffectTable`; `beta` and `score` are of the
            study's ALT allele. Rows without a match stay: they hold mass that no other variant may claim.
        report: What was done.
    """

    rows: pd.DataFrame
    report: HarmoniseReport
    kind: str = "effects"
    sha256: str = field(default="", compare=False)

    @property
    def matched(self) -> pd.DataFrame:
        """The rows with a variant."""
        return self.rows[self.rows["variant"] >= 0]


def harmonise(
    table: EffectTable,
    variants: pd.DataFrame,
    genes: pd.DataFrame | pd.Index | None = None,
    *,
    policy: HarmonisePolicy | None = None,
    contig_lengths: Mapping[str, int | None] | None = None,
    cell_types: Iterable[str] | None = None,
    fasta: str | Path | None = None,
) -> Harmonised:
    """Bring `table` to `variants` and `genes`, and log what was done in one line.

    Args:
        table: As `read_effect_table` gives it.
        variants: The study's: index id; contig, start (0-based), ref, alt, optional `frequency` of ALT.
        genes: The study's, by name; a column `gene_id` gives further names. Versions of identifiers are ignored. None
            takes every gene as it is.
        policy: What happens to palindromes, and when builds are taken to differ.
        contig_lengths: In bp, where known.
        cell_types: The study's; rows of others are dropped and counted. None keeps all.
        fasta: Reference genome, to check REF alleles against.

    Raises:
        JoinError: Another genome build: positions beyond a contig's end, alleles that do not fit at shared positions
            (or in the FASTA), hardly any shared position; or nothing matches at all; or contig names are ambiguous.
    """
    policy = policy or HarmonisePolicy()
    rows = table.rows
    key = ["contig", "start", "ref", "alt"]
    first = rows.loc[rows["start"] >= 0].drop_duplicates(key)
    frequency = rows.loc[rows["start"] >= 0].groupby(key, sort=False)["frequency"].first()
    sites = first[key].assign(frequency=frequency.reindex(pd.MultiIndex.from_frame(first[key])).to_numpy())
    names = reconcile_contigs(
        variants["contig"].astype(str).unique(), sites["contig"].unique(), missing="skip", where=table.source
    )
    sites = sites.assign(contig=sites["contig"].map(names).fillna("").astype(object))
    _within_contigs(table, sites, contig_lengths or {})
    found = match_alleles(sites, variants, policy)
    wrong_reference = _reference_mismatches(table, sites, fasta, policy)
    span = _check_build(table, sites, variants, found, policy)

    at = pd.MultiIndex.from_frame(first[key]).get_indexer(pd.MultiIndex.from_frame(rows[key]))
    variant = np.where(at >= 0, np.append(found.row, -1)[at], -1)
    sign = np.where(at >= 0, np.append(found.sign, 1)[at], 1)
    by_id = (rows["start"] < 0).to_numpy()
    variant = np.where(by_id, variants.index.get_indexer(pd.Index(rows["id"], dtype=object)), variant)
    n_by_id = len(set(variant[by_id & (variant >= 0)]))
    n_variants = len(sites) + rows.loc[by_id, "id"].nunique()
    matched = int((found.row >= 0).sum()) + n_by_id

    moved = rows.drop(columns=[*key, "id"]).assign(variant=variant.astype(np.int64))
    moved["beta"] = rows["beta"] * sign
    moved["score"] = rows["score"] * sign
    moved["frequency"] = np.where(sign < 0, 1 - rows["frequency"], rows["frequency"])
    moved["gene"], unknown = _genes(rows["gene"], genes)
    known = (moved["gene"] != "") | ((rows["gene"] == "") & (table.kind != "effects"))
    types = moved["cell_type"].where(moved["cell_type"] != "all", "")
    moved["cell_type"] = types
    typed = pd.Series(True, moved.index) if cell_types is None else types.isin(["", *cell_types])
    complete = _complete(moved, table.kind)
    kept, merged, conflicting = _without_duplicates(moved[known & typed & complete], table.kind)
    report = HarmoniseReport(
        source=Path(table.source).name,
        n_rows=len(rows),
        n_variants=n_variants,
        matched=matched,
        flipped=int((found.sign < 0).sum()),
        strand_flipped=found.strand_flipped,
        palindromes_kept=found.palindromes_kept,
        by_id=n_by_id,
        palindromes_dropped=found.palindromes_dropped,
        allele_mismatch=found.allele_mismatch,
        strand_ambiguous=found.strand_ambiguous,
        indels_swapped=found.indels_swapped,
        not_plain=found.not_plain,
        not_in_genotypes=n_variants - matched - found.n_refused,
        match_rate=matched / span if span else float("nan"),
        mismatch_rate=found.mismatch_rate,
        reference_mismatch_rate=wrong_reference,
        genes_unknown=unknown,
        rows_of_unknown_genes=int((~known).sum()),
        rows_of_unknown_types=int((known & ~typed).sum()),
        rows_incomplete=int((known & typed & ~complete).sum()),
        duplicates_merged=merged,
        duplicates_conflicting=conflicting,
        rows_kept=int((kept["variant"] >= 0).sum()),
    )
    log.info("%s", report.line())
    if not report.rows_kept:
        raise JoinError(
            f"none of its {len(rows)} rows can be used ({report.line()})",
            where=table.source,
            remedy="check that variants, genes and cell types are named as in the study, on one genome build",
        )
    return Harmonised(kept.reset_index(drop=True), report, table.kind, table.sha256)


def _within_contigs(table: EffectTable, sites: pd.DataFrame, lengths: Mapping[str, int | None]) -> None:
    length = sites["contig"].map({name: size for name, size in lengths.items() if size is not None})
    beyond = sites["start"] >= length  # NaN, a length that is not known, is never passed
    if beyond.any():
        at = sites[beyond].iloc[0]
        raise JoinError(
            f"{int(beyond.sum())} of {len(sites)} variants lie beyond the end of their contig "
            f"({at['contig']}:{at['start'] + 1}, length {int(length[beyond].iloc[0])}): another genome build",
            where=table.source,
            remedy="lift the table over to the genotypes' build (CrossMap, liftOver, `bcftools +liftover`)",
        )


def _check_build(
    table: EffectTable, sites: pd.DataFrame, variants: pd.DataFrame, found: AlleleMatch, policy: HarmonisePolicy
) -> int:
    """Number of the table's variants within the span of the study's; raises where the builds cannot be one."""
    where, remedy = table.source, "lift the table over to the genotypes' build (CrossMap, `bcftools +liftover`)"
    if found.n_shared >= _FEW and found.mismatch_rate > policy.max_mismatch_rate:
        raise JoinError(
            f"REF/ALT mismatch rate {found.mismatch_rate:.0%}: of {found.n_shared} SNPs at the position of a SNP of "
            f"the genotypes, {found.n_misfit} have other alleles",
            where=where,
            remedy=remedy,
        )
    inside, theirs, hit = 0, 0, 0
    for contig, here in sites.groupby("contig"):
        start = variants.loc[variants["contig"].astype(str) == contig, "start"].to_numpy()
        if not len(start):
            continue
        within = here["start"].between(start.min(), start.max())
        inside += int(within.sum())
        both = (start >= here["start"].min()) & (start <= here["start"].max())
        theirs += int(both.sum())
        hit += int(np.isin(start[both], here["start"]).sum())
    share = max(found.n_hits / inside if inside else 0, hit / theirs if theirs else 0)
    if min(inside, theirs) >= _MANY and share < policy.min_match_rate:
        raise JoinError(
            f"only {found.n_hits} of {inside} variants are at a position of the genotypes' {theirs} variants there, "
            f"and {found.n_misfit} of {found.n_shared} of their SNPs have other alleles "
            f"(REF/ALT mismatch rate {found.mismatch_rate:.0%})",
            where=where,
            remedy=f"{remedy}; where they do share few variants, lower prior.harmonise.min_match_rate",
        )
    return inside


def _reference_mismatches(
    table: EffectTable, sites: pd.DataFrame, fasta: str | Path | None, policy: HarmonisePolicy
) -> float:
    """Share of SNPs of whose alleles neither is the FASTA's base; NaN without FASTA."""
    if fasta is None:
        return float("nan")
    import pysam

    snps = sites[(sites["ref"].str.len() == 1) & (sites["alt"].str.len() == 1) & (sites["contig"] != "")]
    try:
        with pysam.FastaFile(str(fasta)) as genome:
            names = reconcile_contigs(genome.references, snps["contig"].unique(), missing="skip", where=str(fasta))
            bases = [
                genome.fetch(names[c], s, s + 1).upper() if c in names else ""
                for c, s in zip(snps["contig"], snps["start"].tolist(), strict=True)
            ]
    except (OSError, ValueError, KeyError) as error:
        raise JoinError(
            f"cannot be read ({error})",
            where=str(fasta),
            remedy="give an indexed FASTA (`samtools faidx`)",
        ) from error
    there = np.array([b in set("ACGT") for b in bases], bool)
    base = np.array(bases, object)
    wrong = there & (snps["ref"].to_numpy() != base) & (snps["alt"].to_numpy() != base)
    rate = float(wrong.sum() / there.sum()) if there.any() else float("nan")
    if there.sum() >= _FEW and rate > policy.max_mismatch_rate:
        raise JoinError(
            f"REF/ALT mismatch rate {rate:.0%}: {int(wrong.sum())} of {int(there.sum())} SNPs have neither allele in "
            f"{Path(fasta).name}",
            where=table.source,
            remedy="use the reference of the table's build, or lift the table over; put alleles on the forward strand",
        )
    return rate


def _genes(given: pd.Series, genes: pd.DataFrame | pd.Index | None) -> tuple[np.ndarray, int]:
    """The study's name of each row's gene ("" where it has none), and how many distinct genes it lacks."""
    if genes is None:
        return given.to_numpy(object), 0
    index = genes.index if isinstance(genes, pd.DataFrame) else genes
    name_of: dict[str, str] = {}
    twice: set[str] = set()
    columns = [index.astype(str)]
    if isinstance(genes, pd.DataFrame) and "gene_id" in genes:
        columns.append(pd.Index(genes["gene_id"].fillna("").astype(str)))
    for names in columns:
        for other, gene in zip(names, index.astype(str), strict=True):
            for each in {other, strip_version(other)} - {""}:
                if name_of.setdefault(each, gene) != gene:
                    twice.add(each)
    exact = set(index.astype(str))
    lookup = {name: gene for name, gene in name_of.items() if name in exact or name not in twice}
    distinct = {g: g if g in exact else lookup.get(g, lookup.get(strip_version(g), "")) for g in given.unique()}
    lacking = [g for g, gene in distinct.items() if g and not gene]
    if lacking:
        log.debug("genes that the study lacks: %s", some(lacking))
    return given.map(distinct).to_numpy(object), len(lacking)


def _complete(rows: pd.DataFrame, kind: str) -> pd.Series:
    if kind == "effects":
        return (rows["beta"].notna() & rows["se"].notna()) | rows["pip"].notna()
    return rows["score" if kind == "scores" else "weight"].notna()


def _without_duplicates(rows: pd.DataFrame, kind: str) -> tuple[pd.DataFrame, int, int]:
    """Rows that repeat a (variant, gene, cell type, credible set): merged where equal, dropped where they differ.

    Of scores the largest magnitude stays: tables of sequence models have one row a track or transcript.
    """
    found, rest = rows[rows["variant"] >= 0], rows[rows["variant"] < 0]
    key = ["variant", "gene", "cell_type", "credible_set"]
    n = len(found)
    if kind == "scores":
        order = found["score"].abs().sort_values(ascending=False, kind="stable").index
        kept = found.loc[order].drop_duplicates(key).sort_index()
        return pd.concat([kept, rest]).sort_index(), n - len(kept), 0
    values = ["beta", "se", "pip", "weight"]
    distinct = found.assign(**found[values].round(9)).drop_duplicates([*key, *values])
    conflict = distinct.duplicated(key, keep=False)
    bad = pd.MultiIndex.from_frame(found[key]).isin(pd.MultiIndex.from_frame(distinct.loc[conflict, key]))
    kept = found.loc[distinct.index[~conflict]]
    n_bad = int(bad.sum())
    return pd.concat([kept, rest]).sort_index(), n - n_bad - len(kept), n_bad
