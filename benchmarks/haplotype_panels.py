"""Real haplotypes divided into training and held-out donors: what every haplotype generator learns from and is
compared with.

`chr15_10k` has the field's published split of haplotypes, the same for every seed. The panels of chromosome 2 are
divided anew for each seed: half of the donors of each population, one donor left out where their number is odd, so
that both halves have the same size and mix.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Float, Int, Int8

from genesim import rng
from genesim.config.inputs import GenotypePolicy
from genesim.data.genotypes import read_genotypes
from genesim.data.genotypes.record import Genotypes
from genesim.estimators.haplotype_inputs import genetic_positions

POLICY = GenotypePolicy(min_allele_count=0)  # a variant may vary in one half only


@dataclass(frozen=True)
class Panel:
    """Training and held-out donors of one region.

    Attributes:
        name: Key of `MAKERS`, with a suffix where `for_tuning` made it.
        train: Phased genotypes to learn from.
        test: Of the held-out donors, the same variants.
        ancestry: Label of each donor of both.
        centimorgans: Genetic position of each variant.
        genetic_map: Columns chr, pos (1-based), cM; None where the positions are 1.2 cM/Mb.
        seed: Of the division.
    """

    name: str
    train: Genotypes
    test: Genotypes
    ancestry: pd.Series
    centimorgans: Float[np.ndarray, " variant"]
    genetic_map: pd.DataFrame | None
    seed: int

    @property
    def positions(self) -> Int[np.ndarray, " variant"]:
        """0-based base pairs."""
        return self.train.variants["start"].to_numpy()

    @property
    def labels(self) -> list[str]:
        """Populations, in the order of their codes."""
        return sorted(set(self.ancestry))

    def haplotypes(self, part: str) -> Int8[np.ndarray, "haplotype variant"]:
        """Of "train" or "test"."""
        return getattr(self, part).haplotypes()

    def codes(self, part: str) -> Int[np.ndarray, " haplotype"]:
        """Population code of each haplotype of "train" or "test"."""
        found = self.ancestry.reindex(getattr(self, part).donors)
        return np.repeat(pd.Index(self.labels).get_indexer(pd.Index(found)), 2)


def halves(geno: Genotypes, ancestry: pd.Series, seed: int) -> tuple[Genotypes, Genotypes]:
    """Two sets of donors with equal numbers of each population, in file order."""
    parts: tuple[list[np.ndarray], list[np.ndarray]] = ([], [])
    found = ancestry.reindex(geno.donors).to_numpy(object)
    for label in sorted(set(found)):
        order = rng.generator(seed, "benchmark", "donors", label).permutation(np.flatnonzero(found == label))
        half = len(order) // 2
        parts[0].append(order[:half])
        parts[1].append(order[half : 2 * half])
    first, second = (geno.subset(donors=np.sort(np.concatenate(rows))) for rows in parts)
    return first, second


def chr15_10k(data: Path, seed: int) -> Panel:
    """10,000 SNPs, 2 x 2,504 haplotypes of AFR, EUR and OTH; two haplotypes of one label make a donor."""
    folder = data / "genotypes"
    table = pd.read_csv(folder / "1000g_chr15_10k.panel.tsv", sep="\t").set_index("donor")
    train, test = (
        read_genotypes(folder / f"1000g_chr15_10k_{part}.vcf.gz", policy=POLICY) for part in ("train", "test")
    )
    centimorgans = genetic_positions("15", train.variants["start"].to_numpy(), None)
    return Panel("chr15_10k", train, test, table["ancestry"], centimorgans, None, seed)


def _chromosome_2(name: str, path: Path, data: Path, seed: int) -> Panel:
    geno = read_genotypes(path, policy=POLICY)
    table = pd.read_csv(data / "genotypes" / "1000g_samples.panel", sep="\t", index_col=0)
    ancestry = table["pop"].reindex(geno.donors)
    genetic_map = pd.read_csv(data / "genotypes" / "chr2.b37.gmap.gz", sep="\t")
    centimorgans = genetic_positions("2", geno.variants["start"].to_numpy(), genetic_map)
    train, test = halves(geno, ancestry, seed)
    return Panel(name, train, test, ancestry, centimorgans, genetic_map, seed)


def chr2_edar(data: Path, seed: int) -> Panel:
    """70,772 SNPs of 3 Mb; YRI, CHB and FIN; a hard sweep in CHB."""
    return _chromosome_2("chr2_edar", data / "genotypes" / "1000g_chr2_edar_yri_chb_fin.vcf.gz", data, seed)


def chr2_lct(data: Path, seed: int) -> Panel:
    """69,320 SNPs of 2.5 Mb; five European populations; a sweep strongest in the north."""
    return _chromosome_2("chr2_lct", data / "genotypes" / "1000g_chr2_lct_eur.vcf.gz", data, seed)


MAKERS: dict[str, Callable[[Path, int], Panel]] = {
    "chr15_10k": chr15_10k,
    "chr2_edar": chr2_edar,
    "chr2_lct": chr2_lct,
}


def for_tuning(panel: Panel) -> Panel:
    """The training donors divided in two by the seed; the held-out donors are left unread."""
    train, test = halves(panel.train, panel.ancestry, panel.seed)
    return replace(panel, name=f"{panel.name}_tune", train=train, test=test)


def cut(panel: Panel, max_variants: int | None = None, region: str | None = None) -> Panel:
    """The variants of `region` ("start-end", 1-based base pairs), then a contiguous run from the middle.

    Raises:
        ValueError: No variant is left.
    """
    rows = np.arange(panel.train.n_variants)
    if region is not None:
        first, last = (int(word.replace(",", "")) for word in region.split(":")[-1].split("-"))
        rows = rows[(panel.positions[rows] >= first - 1) & (panel.positions[rows] < last)]
    if max_variants is not None and len(rows) > max_variants:
        start = (len(rows) - max_variants) // 2
        rows = rows[start : start + max_variants]
    if not len(rows):
        raise ValueError(f"{panel.name} has no variant in {region}")
    train, test = panel.train.subset(variants=rows), panel.test.subset(variants=rows)
    return replace(panel, train=train, test=test, centimorgans=panel.centimorgans[rows])


def panels(
    data: Path,
    names: Sequence[str],
    seed: int,
    *,
    tune: bool = False,
    max_variants: int | None = None,
    region: str | None = None,
) -> list[Panel]:
    """The panels of one seed, cut and, with `tune`, divided within the training donors."""
    found = [cut(MAKERS[name](data, seed), max_variants, region) for name in names]
    return [for_tuning(panel) for panel in found] if tune else found
