"""Haplotypes: the exact likelihood, frequencies, and linkage disequilibrium against population genetics."""

from __future__ import annotations

import itertools

import numpy as np
from check import DRAWN, KNOWN, Outcome, axes, check, diagonal

from genesim import rng

SEED = 21
N_POPULATION = 10_000
RECOMBINATION = 1e-8


@check("the hidden chain's likelihood equals the sum over all paths", "largest |difference| in nats", 1.01)
def hmm_likelihood(factor: float) -> Outcome:
    from genesim.models.haplotypes.chain import HiddenChain

    n_variants, n_states, n_groups = 6, 3, 2
    random = rng.generator(SEED, "verification", "chain")
    transitions = random.dirichlet(np.ones(n_states), (n_groups, n_variants, n_states))
    transitions[:, 0] = transitions[:, 0, :1]
    emission = random.uniform(0.05, 0.9, (n_variants, n_states))
    chain = HiddenChain(transitions, emission * factor, window=10_000, chunk=16)
    rows = random.integers(-1, 2, (60, n_variants)).astype(np.int8)  # -1: not observed
    codes = random.integers(0, n_groups, 60)
    found = np.asarray(chain.log_likelihood(rows, codes))
    expected = np.array([_by_paths(transitions[c], emission, row) for row, c in zip(rows, codes, strict=True)])
    figure, ax = axes("HMM: 60 haplotypes of 6 variants, 3^6 paths each", "ln p, summed over paths", "ln p, genesim")
    diagonal(ax, expected.min(), 0)
    ax.plot(expected, found, ".", ms=5, color=DRAWN)
    return Outcome(float(np.abs(found - expected).max()), 0.0, 1e-4, figure)


def _by_paths(transitions: np.ndarray, emission: np.ndarray, row: np.ndarray) -> float:
    total = 0.0
    n_variants, n_states = emission.shape
    for path in itertools.product(range(n_states), repeat=n_variants):
        p = transitions[0, 0, path[0]]
        for m in range(1, n_variants):
            p *= transitions[m, path[m - 1], path[m]]
        for m, state in enumerate(path):
            if row[m] >= 0:
                p *= emission[m, state] if row[m] else 1 - emission[m, state]
        total += p
    return float(np.log(total))


def _panel(seed: int, n_donors: int, length: int, recombination: float = RECOMBINATION):
    """Phased genotypes of one population of constant size, with every variant that segregates."""
    import msprime
    import pandas as pd

    from genesim.data.genotypes.record import Genotypes

    trees = msprime.sim_ancestry(
        n_donors,
        population_size=N_POPULATION,
        recombination_rate=recombination,
        sequence_length=length,
        random_seed=seed,
    )
    trees = msprime.sim_mutations(trees, 1.5e-8, random_seed=seed, model=msprime.BinaryMutationModel())
    alleles = trees.genotype_matrix().astype(np.int8)
    start = trees.tables.sites.position.astype(int)
    _, rows = np.unique(start, return_index=True)
    alleles, start = alleles[rows], start[rows]
    variants = pd.DataFrame(
        {
            "contig": "1",
            "start": start,
            "ref": np.full(len(start), "A", object),
            "alt": np.full(len(start), "G", object),
        },
        index=pd.Index([f"v{i}" for i in range(len(start))], dtype=object),
    )
    calls = alleles.reshape(len(start), n_donors, 2)
    donors = pd.Index([f"d{i}" for i in range(n_donors)], dtype=object)
    return Genotypes(calls, np.ones(calls.shape[:2], bool), variants, donors)


def _drawn(panel, seed: int) -> np.ndarray:
    """Alleles [variant, haplotype] of as many new donors as the panel has, from a model learned from it."""
    from genesim.estimators.haplotypes import HaplotypeModel

    drawn = HaplotypeModel.fit(panel, seed=seed).sample(panel.n_donors, seed=seed)
    return drawn.alleles.reshape(drawn.n_variants, -1)


@check("new donors have the allele frequencies of the training donors", "mean z^2 of the frequencies", 1.3)
def allele_frequency(factor: float) -> Outcome:
    panel = _panel(31, 300, 200_000)
    known = panel.alleles.reshape(panel.n_variants, -1).mean(axis=1)
    common = (known > 0.02) & (known < 0.98)
    found = _drawn(panel, SEED).mean(axis=1)
    known, found = np.clip(known[common] * factor, 0, 0.99), found[common]
    # Given the model's frequency p, a draw of n haplotypes has variance p (1 - p) / n.
    z = (found - known) / np.sqrt(known * (1 - known) / (2 * panel.n_donors))
    figure, ax = axes(f"Allele frequencies: {common.sum()} variants", "training donors", "new donors")
    diagonal(ax, 0, 1)
    ax.plot(known, found, ".", ms=4, color=DRAWN)
    # Neighbours are linked, so z^2 averages over far fewer independent variants than there are.
    return Outcome(float((z**2).mean()), 0.0, 2.0, figure)


def _decay(panels: list[tuple[np.ndarray, np.ndarray]], edges: np.ndarray) -> np.ndarray:
    """sigma_d^2 = sum D^2 / sum p(1-p) q(1-q) in bins of distance, each bias of sampling taken away.

    With n haplotypes E[D^2] is larger by about p(1-p) q(1-q) / n, and each heterozygosity smaller by (1 - 1/n).
    """
    above, below = np.zeros(len(edges) - 1), np.zeros(len(edges) - 1)
    n = 1
    for alleles, start in panels:
        n = alleles.shape[1]
        p = alleles.mean(axis=1)
        keep = (p > 0) & (p < 1)
        x, p, at = alleles[keep] - p[keep, None], p[keep], start[keep]
        covariance = (x @ x.T) / n
        variance = np.outer(p * (1 - p), p * (1 - p))
        i, j = np.triu_indices(len(p), 1)
        which = np.digitize(np.abs(at[j] - at[i]), edges) - 1
        inside = (which >= 0) & (which < len(above))
        above += np.bincount(which[inside], covariance[i, j][inside] ** 2, len(above))
        below += np.bincount(which[inside], variance[i, j][inside], len(below))
    return above / below - 1 / n


@check("linkage disequilibrium of new donors decays with distance as theory says", "mean log ratio to theory", 5.0)
def ld_decay(factor: float) -> Outcome:
    length, n_donors, n_panels = 100_000, 200, 8
    panels = [_panel(100 + i, n_donors, length, RECOMBINATION * factor) for i in range(n_panels)]
    fewest = min(panel.n_variants for panel in panels)  # equal shapes compile once
    panels = [panel.subset(variants=np.arange(fewest)) for panel in panels]
    edges = np.geomspace(500, 50_000, 9)
    real = [(panel.alleles.reshape(panel.n_variants, -1), panel.variants["start"].to_numpy()) for panel in panels]
    drawn = [(_drawn(panel, SEED + i), panel.variants["start"].to_numpy()) for i, panel in enumerate(panels)]
    middle = np.sqrt(edges[1:] * edges[:-1])
    rho = 4 * N_POPULATION * RECOMBINATION * middle
    theory = (10 + rho) / (22 + 13 * rho + rho**2)  # Ohta & Kimura 1971, Genetics 68:571
    found = _decay(drawn, edges)
    figure, ax = axes("LD decay: 8 regions, N = 10,000, r = 1e-8", "distance (bp)", "sigma_d^2")
    ax.loglog(middle, theory, color=KNOWN, lw=3, alpha=0.5, label="theory")
    ax.loglog(middle, np.maximum(_decay(real, edges), 1e-4), "x", ms=5, color="0.4", label="training donors")
    ax.loglog(middle, np.maximum(found, 1e-4), "o-", ms=4, lw=1, color=DRAWN, label="new donors")
    ax.legend(frameon=False)
    return Outcome(float(np.mean(np.log(np.maximum(found, 1e-4) / theory))), -0.35, 0.35, figure)
