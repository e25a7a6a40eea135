"""Variants beyond the panel put into genotypes: where they may lie, who carries them, and their truth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from genesim.config.new_variants import DeNovo, LossOfFunction, RareVariants
from genesim.data.coding import read_coding
from genesim.data.coordinates import to_one_based
from genesim.data.genotypes.record import ABSENT, ALT, MISSING, REF, Genotypes
from genesim.errors import ConfigError, JoinError
from genesim.simulate.bases import Reference
from genesim.simulate.de_novo import draw_de_novo
from genesim.simulate.loss_of_function import draw_loss_of_function
from genesim.simulate.rare_variants import draw_rare
from genesim.simulate.sites import NewVariant, Sites

TRUTH = [
    "variant",
    "contig",
    "position",
    "ref",
    "alt",
    "kind",
    "gene",
    "transcript",
    "reference",
    "n_carriers",
    "carriers",
    "gene_name",
    "expression",
]


def add_new_variants(
    geno: Genotypes,
    *,
    de_novo: DeNovo | None = None,
    rare: RareVariants | None = None,
    loss_of_function: LossOfFunction | None = None,
    panel: Genotypes | None = None,
    panel_ancestry: pd.Series | None = None,
    ancestry: pd.Series | None = None,
    pedigree: pd.DataFrame | None = None,
    ibd: pd.DataFrame | None = None,
    annotation: str | Path | None = None,
    fasta: str | Path | None = None,
    regions: pd.DataFrame | None = None,
    seed: int = 0,
) -> tuple[Genotypes, pd.DataFrame]:
    """Genotypes with variants that no panel holds, and the truth about them.

    Args:
        geno: Phased genotypes, of a haplotype model or of `simulate_pedigree`.
        de_novo: Point mutations of each child of `pedigree`, or of each donor without one; on chrX, chrY and the
            autosomes. A pedigree's descendants inherit them.
        rare: Variants absent from `panel`: see `genesim.simulate.rare_variants` for the formula.
        loss_of_function: Stop-gained, frameshift and splice alleles of named genes of `annotation`.
        panel: Genotypes whose site-frequency spectrum `rare` learns, of the same regions.
        panel_ancestry, ancestry: Labels of the panel's and of `geno`'s donors: rare variants then have carriers of
            one ancestry.
        pedigree, ibd: As given to and returned by `simulate_pedigree`.
        annotation: GTF with CDS lines.
        fasta: The reference genome. Without it REF bases are drawn, and the truth says so.
        regions: Columns `contig`, `start`, `end` (0-based half-open) that `de_novo` and `rare` keep to; from the
            first to the last variant of each contig where None.
        seed: Decides everything; the three kinds do not shift each other's draws.

    Returns:
        Genotypes, sorted by contig and position, at positions that no other variant has; and one row a new variant:
        `variant` (its id), `contig`, `position` (1-based), `ref`, `alt`, `kind` (`de_novo`, `rare`, or a Sequence
        Ontology consequence), `gene`, `transcript`, `reference` ("fasta" or "drawn"), `n_carriers` (copies),
        `carriers` ("donor:copy" joined by ";"), `gene_name`, `expression` (what the allele leaves of its copy's mRNA).

    Raises:
        ConfigError: A kind whose inputs are not given, or no room for the variants.
        InputError, JoinError: A FASTA, annotation, pedigree or regions that do not fit.
    """
    if loss_of_function is not None and annotation is None:
        raise ConfigError("no annotation is given", where="loss_of_function", remedy="pass annotation=, a GTF with CDS")
    if rare is not None and panel is None and (rare.theta is None or rare.panel_haplotypes is None):
        raise ConfigError(
            "no panel is given", where="rare", remedy="pass panel=, or theta and panel_haplotypes in RareVariants"
        )
    if (pedigree is None) != (ibd is None):
        raise ConfigError("only one of pedigree and ibd is given", where="new variants", remedy="give both or neither")
    contigs = [str(name) for name in dict.fromkeys(geno.variants["contig"])]
    reference = Reference(fasta, contigs, seed)
    sites = Sites.of(geno)
    spans = _spans(geno, regions)
    found: list[NewVariant] = []
    if loss_of_function is not None:  # first, for it has the least room
        coding = read_coding(annotation, loss_of_function.genes, contigs)  # type: ignore[arg-type]
        found += draw_loss_of_function(loss_of_function, coding, reference, sites, seed)
    if de_novo is not None:
        found += draw_de_novo(de_novo, reference, sites, spans, seed, pedigree, ibd)
    if rare is not None:
        found += draw_rare(rare, reference, sites, spans, seed, panel, panel_ancestry, ancestry)
    return _inserted(geno, found, sites, reference.source)


def _spans(geno: Genotypes, regions: pd.DataFrame | None) -> Mapping[str, list[tuple[int, int]]]:
    """Stretches of each contig that new variants may lie in."""
    names = geno.variants["contig"].to_numpy(object)
    start = geno.variants["start"].to_numpy()
    if regions is None:
        return {
            str(c): [(int(start[names == c].min()), int(start[names == c].max()) + 1)] for c in dict.fromkeys(names)
        }
    unknown = sorted(set(regions["contig"].astype(str)) - set(map(str, names)))
    if unknown or (regions["start"] >= regions["end"]).any() or (regions["start"] < 0).any():
        raise JoinError(
            f"contig '{unknown[0]}' has no variants" if unknown else "an interval is empty",
            where="regions",
            remedy="give contig, start and end (0-based half-open) on contigs of the genotypes",
        )
    return {
        str(contig): list(zip(part["start"].tolist(), part["end"].tolist(), strict=True))
        for contig, part in regions.groupby(regions["contig"].astype(str), sort=False)
    }


@dataclass(frozen=True)
class _Names:
    donors: Sequence[str]

    def carriers(self, haplotypes: Sequence[int]) -> str:
        return ";".join(f"{self.donors[h // 2]}:{h % 2}" for h in sorted(haplotypes))


def _inserted(
    geno: Genotypes, found: Sequence[NewVariant], sites: Sites, source: str
) -> tuple[Genotypes, pd.DataFrame]:
    ids = [f"{v.contig}_{to_one_based(v.start)}_{v.ref}_{v.alt}" for v in found]
    fresh = pd.DataFrame(
        {
            "contig": np.array([v.contig for v in found], object),
            "start": np.array([v.start for v in found], np.int64),
            "ref": np.array([v.ref for v in found], object),
            "alt": np.array([v.alt for v in found], object),
        },
        index=pd.Index(ids, dtype=object, name=geno.variants.index.name),
    )
    alleles = np.empty((len(found), geno.n_donors, 2), np.int8)
    for row, variant in enumerate(found):
        copies = sites.copies_near(variant.contig, variant.start)
        alleles[row, :, 0] = np.where(copies[:, 0], REF, MISSING)
        alleles[row, :, 1] = np.where(copies[:, 1], REF, ABSENT)
        haplotypes = np.array(variant.haplotypes)
        alleles[row, haplotypes // 2, haplotypes % 2] = ALT
    variants = pd.concat([geno.variants, fresh])
    together = np.concatenate([geno.alleles, alleles])
    phased = np.concatenate([geno.phased, alleles[:, :, 0] != MISSING])
    rank = {contig: i for i, contig in enumerate(dict.fromkeys([*geno.contig_lengths, *geno.variants["contig"]]))}
    order = np.lexsort((variants["start"].to_numpy(), variants["contig"].map(rank).to_numpy()))
    made = Genotypes(
        together[order], phased[order], variants.iloc[order], geno.donors, dict(geno.contig_lengths), dict(geno.report)
    )
    names = _Names(list(map(str, geno.donors)))
    truth = pd.DataFrame(
        {
            "variant": np.array(ids, object),
            "contig": fresh["contig"].to_numpy(),
            "position": to_one_based(fresh["start"].to_numpy()),
            "ref": fresh["ref"].to_numpy(),
            "alt": fresh["alt"].to_numpy(),
            "kind": np.array([v.kind for v in found], object),
            "gene": np.array([v.gene for v in found], object),
            "transcript": np.array([v.transcript for v in found], object),
            "reference": np.full(len(found), source, object),
            "n_carriers": np.array([len(v.haplotypes) for v in found], np.int64),
            "carriers": np.array([names.carriers(v.haplotypes) for v in found], object),
            "gene_name": np.array([v.gene_name for v in found], object),
            "expression": np.array([v.expression for v in found], np.float64),
        },
        columns=TRUTH,
    )
    at = made.variants.index.get_indexer(pd.Index(ids, dtype=object))
    return made, truth.iloc[np.argsort(at, kind="stable")].reset_index(drop=True)
