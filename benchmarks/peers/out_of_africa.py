"""msprime under the out-of-Africa model of three populations (Gutenkunst et al. 2009), with the region's map.

Learns nothing from the data: its sites are its own, so only what needs no common variants can be compared (LD decay,
frequency spectrum, diversity). FIN is simulated as the model's CEU, whose bottleneck was less severe.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from jaxtyping import Int, Int8

from genesim import rng
from genesim.data.example_donors import MUTATION_RATE, out_of_africa

MODEL = {"YRI": "YRI", "CHB": "CHB", "FIN": "CEU"}
"""Population of the model that stands for a label."""


def draw(
    asked: Int[np.ndarray, " drawn"], labels: list[str], first: int, last: int, genetic_map: pd.DataFrame, seed: int
) -> tuple[Int8[np.ndarray, "drawn variant"], Int[np.ndarray, " variant"]]:
    """Haplotypes of base pairs `first` to `last` (0-based, both included), a pair a donor, and their positions."""
    import msprime

    length = last - first + 1
    inside = genetic_map[(genetic_map["pos"] - 1 > first) & (genetic_map["pos"] - 1 < last)]
    inside = inside.drop_duplicates("pos")
    edges = np.concatenate([[first], inside["pos"] - 1, [last + 1]]).astype(float)
    morgans = np.interp(edges, genetic_map["pos"] - 1, genetic_map["cM"]) / 100
    rates = np.maximum(np.diff(morgans) / np.diff(edges), 1e-12)
    stream = rng.generator(seed, "benchmark", "out_of_africa")
    ancestry_seed, mutation_seed = (int(x) for x in stream.integers(1, 2**31, 2))
    counts = np.bincount(asked, minlength=len(labels)) // 2
    trees = msprime.sim_ancestry(
        samples=[msprime.SampleSet(int(n), MODEL[label]) for label, n in zip(labels, counts)],
        demography=out_of_africa(msprime),
        recombination_rate=msprime.RateMap(position=edges - first, rate=rates),
        random_seed=ancestry_seed,
    )
    trees = msprime.sim_mutations(
        trees, rate=MUTATION_RATE, model=msprime.BinaryMutationModel(), random_seed=mutation_seed
    )
    assert trees.sequence_length == length
    # Rows come in the order of `samples`; those of `asked` may be in another.
    by_label = np.argsort(asked, kind="stable")
    out = np.empty((len(asked), trees.num_sites), np.int8)
    out[by_label] = trees.genotype_matrix().T.astype(np.int8)
    return out, trees.sites_position.astype(int) + first
