"""Donors of the built-in example: simulated with msprime, written with the flaws of real VCFs.

Demography: the out-of-Africa model of three populations, Gutenkunst et al. 2009, PLoS Genetics 5:e1000695,
Table 1 (maximum-likelihood values), with their mutation rate and generation time.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from genesim import rng
from genesim.data.coordinates import to_one_based
from genesim.errors import GenesimError

POPULATIONS = ("YRI", "CEU", "CHB")
MUTATION_RATE = 2.35e-8  # per base and generation
RECOMBINATION_RATE = 1e-8  # per base and generation
GENERATION_YEARS = 25

GRCH37_LENGTHS = {"20": 63_025_520, "21": 48_129_895, "22": 51_304_566, "X": 155_270_560}
"""Lengths in bp that the header declares; only the contigs of `SEGMENTS` have records."""
SEGMENTS = {"21": 30_000_000, "22": 25_000_000}
"""0-based start of the simulated segment of each contig."""
SEGMENT_LENGTH = 1_000_000
MIN_ALLELE_COUNT = 2

_N_MULTIALLELIC, _N_LOW_QUALITY, _N_INDELS, _N_GAPPY = 12, 40, 30, 60
_BASES = np.array(list("ACGT"))


def out_of_africa(msprime: Any) -> Any:
    """`msprime.Demography` of Gutenkunst et al. 2009, Table 1."""
    t_africa, t_bottleneck, t_eurasia = 220e3, 140e3, 21.2e3  # years ago
    t_eurasia_generations = t_eurasia / GENERATION_YEARS
    growth_ceu, growth_chb = 0.004, 0.0055  # per generation, since the split of CEU and CHB
    demography = msprime.Demography()
    demography.add_population(name="YRI", initial_size=12_300)
    demography.add_population(
        name="CEU", initial_size=1_000 * np.exp(growth_ceu * t_eurasia_generations), growth_rate=growth_ceu
    )
    demography.add_population(
        name="CHB", initial_size=510 * np.exp(growth_chb * t_eurasia_generations), growth_rate=growth_chb
    )
    demography.add_population(name="OOA", initial_size=2_100)
    demography.add_population(name="AMH", initial_size=12_300)
    demography.add_population(name="ANC", initial_size=7_300)
    demography.set_symmetric_migration_rate(["YRI", "CEU"], 3e-5)
    demography.set_symmetric_migration_rate(["YRI", "CHB"], 1.9e-5)
    demography.set_symmetric_migration_rate(["CEU", "CHB"], 9.6e-5)
    demography.add_population_split(time=t_eurasia_generations, derived=["CEU", "CHB"], ancestral="OOA")
    demography.add_symmetric_migration_rate_change(time=t_eurasia_generations, populations=["YRI", "OOA"], rate=25e-5)
    demography.add_population_split(time=t_bottleneck / GENERATION_YEARS, derived=["YRI", "OOA"], ancestral="AMH")
    demography.add_population_split(time=t_africa / GENERATION_YEARS, derived=["AMH"], ancestral="ANC")
    return demography


def donor_table(seed: int, n_donors: int) -> pd.DataFrame:
    """Columns `donor`, `genotype_id`, `ancestry`, `sex`; ancestries as even as they can be."""
    names = [f"D{i:04d}" for i in range(1, n_donors + 1)]
    sizes = [len(part) for part in np.array_split(np.arange(n_donors), len(POPULATIONS))]
    sex = rng.generator(seed, "example", "sex").choice(["female", "male"], n_donors)
    return pd.DataFrame({"donor": names, "genotype_id": names, "ancestry": np.repeat(POPULATIONS, sizes), "sex": sex})


@dataclass(frozen=True)
class _Segment:
    """One contig: alleles int8 [variant, 2 * donor] (0 ancestral, 1 derived) and 0-based positions in bp."""

    contig: str
    start: np.ndarray
    alleles: np.ndarray


def simulate_segment(
    seed: int, contig: str, ancestry: pd.Series, max_variants: int, length: int = SEGMENT_LENGTH
) -> _Segment:
    """Coalescent simulation of one contig, thinned at random to common enough biallelic sites.

    Raises:
        GenesimError: msprime is not installed.
    """
    try:
        import msprime
    except ImportError as error:
        raise GenesimError(
            "the built-in example needs msprime, which is not installed",
            where="example",
            remedy="pip install 'genesim[workflow]' (or pip install msprime)",
        ) from error
    stream = rng.generator(seed, "example", "genotypes", contig)
    ancestry_seed, mutation_seed = (int(x) for x in stream.integers(1, 2**31, 2))
    trees = msprime.sim_ancestry(
        samples={name: int((ancestry == name).sum()) for name in POPULATIONS},
        demography=out_of_africa(msprime),
        sequence_length=length,
        recombination_rate=RECOMBINATION_RATE,
        random_seed=ancestry_seed,
    )
    trees = msprime.sim_mutations(
        trees, rate=MUTATION_RATE, model=msprime.BinaryMutationModel(), random_seed=mutation_seed
    )
    alleles = trees.genotype_matrix().astype(np.int8)
    # Populations come in the order of `samples`, which is the order of the donor table.
    counts = alleles.sum(axis=1)
    usable = np.flatnonzero(np.minimum(counts, alleles.shape[1] - counts) >= MIN_ALLELE_COUNT)
    if len(usable) > max_variants:
        usable = np.sort(stream.choice(usable, max_variants, replace=False))
    positions = trees.sites_position[usable].astype(np.int64) + SEGMENTS[contig]
    return _Segment(contig, positions, alleles[usable])


def _lines(seed: int, segment: _Segment) -> list[str]:
    """VCF records with a duplicate, indels, low quality, gaps, several alternates and a symbolic allele."""
    stream = rng.generator(seed, "example", "flaws", segment.contig)
    n = len(segment.start)
    n_donors = segment.alleles.shape[1] // 2
    ref = stream.integers(0, 4, n)
    alt = (ref + stream.integers(1, 4, n)) % 4
    refs, alts = [str(b) for b in _BASES[ref]], [str(b) for b in _BASES[alt]]
    filters = ["PASS"] * n
    codes = segment.alleles.astype(np.int8).copy()

    # Disjoint sets of records, so that every flaw can be told from the others.
    order = stream.permutation(n)
    sizes = np.cumsum([min(size, n // 8) for size in (_N_MULTIALLELIC, _N_LOW_QUALITY, _N_INDELS, _N_GAPPY)])
    several, low_quality, indels, gappy, clean = np.split(order, sizes)
    for i in several:
        third = (int(alt[i]) + 1) % 4 if (int(alt[i]) + 1) % 4 != ref[i] else (int(alt[i]) + 2) % 4
        alts[i] += f",{_BASES[third]}"
        carriers = np.flatnonzero(codes[i])
        codes[i, stream.choice(carriers, max(1, len(carriers) // 3), replace=False)] = 2
    for i in low_quality:
        filters[i] = "LowQual"
    for j, i in enumerate(indels):
        inserted = "".join(_BASES[stream.integers(0, 4, int(stream.integers(1, 5)))])
        refs[i], alts[i] = (refs[i], refs[i] + inserted) if j % 2 else (refs[i] + inserted, refs[i])
    missing = np.zeros((n, n_donors), dtype=bool)
    for j, i in enumerate(gappy):
        missing[i] = stream.random(n_donors) < (0.25 if j < 5 else 0.03)

    text = codes.astype("U1").reshape(n, n_donors, 2)
    calls = np.char.add(np.char.add(text[:, :, 0], "|"), text[:, :, 1])
    calls[missing] = "./."
    lines = []
    for i, start in enumerate(segment.start):
        place = (segment.contig, str(to_one_based(int(start))))
        lines.append("\t".join([*place, ".", refs[i], alts[i], ".", filters[i], ".", "GT", *calls[i]]))
    if len(clean) > 1:
        repeated, deleted = sorted(int(i) for i in clean[:2])
        fields = lines[deleted].split("\t")
        end = min(int(fields[1]) + 500, GRCH37_LENGTHS[segment.contig])
        fields[4], fields[7] = "<DEL>", f"SVTYPE=DEL;END={end}"
        lines.insert(deleted + 1, "\t".join(fields))
        lines.insert(repeated + 1, lines[repeated])
    return lines


def write_donors_vcf(
    path: Path, seed: int, donors: pd.DataFrame, max_variants: int, length: int = SEGMENT_LENGTH
) -> None:
    """Write the bgzipped VCF of all donors to `path` (the caller makes it atomic).

    Args:
        donors: As `donor_table` gives it.
        max_variants: Most sites of a contig.
        length: Of each simulated segment, in bp.
    """
    import pysam

    header = ["##fileformat=VCFv4.2", "##source=msprime, written by the example of genesim"]
    header += ["##genesim_synthetic=true"]
    header += [f"##contig=<ID={name},length={size}>" for name, size in GRCH37_LENGTHS.items()]
    header += [
        '##FILTER=<ID=PASS,Description="All filters passed">',
        '##FILTER=<ID=LowQual,Description="Low quality (marked at random)">',
        '##ALT=<ID=DEL,Description="Deletion">',
        '##INFO=<ID=SVTYPE,Number=1,Type=String,Description="Type of structural variant">',
        '##INFO=<ID=END,Number=1,Type=Integer,Description="End of the variant">',
        '##FORMAT=<ID=GT,Number=1,Type=String,Description="Genotype">',
    ]
    columns = ["#CHROM", "POS", "ID", "REF", "ALT", "QUAL", "FILTER", "INFO", "FORMAT"]
    header.append("\t".join([*columns, *donors["genotype_id"]]))
    with pysam.BGZFile(str(path), "wb", None) as handle:
        handle.write(("\n".join(header) + "\n").encode())
        for contig in SEGMENTS:
            segment = simulate_segment(seed, contig, donors["ancestry"], max_variants, length)
            handle.write(("\n".join(_lines(seed, segment)) + "\n").encode())
