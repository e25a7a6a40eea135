"""A population with few donors borrows from the others: held-out likelihood and LD, against a fit of its own donors."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from genesim.config.model import HaplotypeConfig
from genesim.data.genotypes import Genotypes
from genesim.estimators.haplotypes import HaplotypeModel

FEW, MANY, HELD = 20, 150, 60


def _split_populations(seed: int) -> tuple[Genotypes, pd.Series, Genotypes]:
    """Populations that parted 600 generations ago: 20 and 150 training donors, and held-out ones of the first."""
    msprime = pytest.importorskip("msprime", reason="the workflow extra is not installed")
    demography = msprime.Demography()
    for name in ("small", "large", "old"):
        demography.add_population(name=name, initial_size=8_000)
    demography.add_population_split(time=600, derived=["small", "large"], ancestral="old")
    trees = msprime.sim_ancestry(
        {"small": FEW + HELD, "large": MANY},
        demography=demography,
        sequence_length=2e6,
        recombination_rate=1e-8,
        random_seed=seed,
    )
    trees = msprime.sim_mutations(trees, rate=1.5e-8, model=msprime.BinaryMutationModel(), random_seed=seed)
    alleles = trees.genotype_matrix().astype(np.int8)
    frequency = alleles.mean(axis=1)
    rows = np.flatnonzero(np.minimum(frequency, 1 - frequency) > 0.05)
    rows = rows[np.linspace(0, len(rows) - 1, 200).astype(int)]
    alleles = np.ascontiguousarray(alleles[rows].reshape(len(rows), -1, 2))
    start = 2 * trees.tables.sites.position[rows].astype(int) + np.arange(len(rows)) % 2
    variants = pd.DataFrame({"contig": "1", "start": start, "ref": "A", "alt": "C"})
    variants.index = pd.Index([f"s{row}" for row in rows], dtype=object)
    donors = pd.Index([f"d{i}" for i in range(alleles.shape[1])], dtype=object)
    whole = Genotypes(alleles, np.ones(alleles.shape[:2], bool), variants, donors, {"1": 5_000_000})
    train = np.r_[:FEW, FEW + HELD : FEW + HELD + MANY]
    labels = pd.Series(np.where(train < FEW, "small", "large"), index=donors[train])
    return whole.subset(donors=train), labels, whole.subset(donors=np.arange(FEW, FEW + HELD))


def _correlations(geno: Genotypes) -> np.ndarray:
    """Signed LD (r) of every pair of variants; NaN where one does not vary."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.corrcoef(geno.haplotypes().T.astype(float))


@pytest.mark.slow
def test_twenty_donors_borrow_from_the_pool() -> None:
    """Over two histories; measured gains in likelihood are 1 to 20 nats a donor, in the RMSE of LD .01 to .03.

    LD is that of a fit of its own donors with as many learned haplotypes. One held to the usual number (5 of 40) has an
    LD as good as the pool's (over 12 histories .144 and .145 of RMSE, the donors themselves .178), and is less likely.
    """
    config = HaplotypeConfig(n_states=24, n_passes=8)
    by_heart = config.model_copy(update={"haplotypes_per_state": 1})
    gains, strangers, errors = [], [], []
    for seed in (11, 12):
        train, labels, held = _split_populations(seed)
        together = HaplotypeModel.fit(train, labels, config=config)
        few = train.subset(donors=labels.index[labels == "small"])
        alone, copied = (HaplotypeModel.fit(few, config=each) for each in (config, by_heart))
        own = pd.Series("small", index=held.donors)
        right = together.log_likelihood(held, own)
        gains.append(right - alone.log_likelihood(held))
        strangers.append(right - together.log_likelihood(held, own.replace("small", "large")))
        common = np.abs(held.allele_frequency() - 0.5) < 0.45
        real = _correlations(held.subset(variants=common))
        drawn = (
            together.sample(200, {"small": 200}, seed=1),
            alone.sample(200, seed=1),
            copied.sample(200, seed=1),
            together.sample(200, {"large": 200}, seed=1),
        )
        differences = [_correlations(made.subset(variants=common)) - real for made in drawn]
        pairs = np.triu_indices(len(real), 1)
        errors.append([float(np.sqrt(np.nanmean(d[pairs] ** 2))) for d in differences])
    gain, stranger = pd.concat(gains), pd.concat(strangers)
    assert gain.mean() > 3 * gain.std() / np.sqrt(len(gain))
    assert stranger.mean() > 3 * stranger.std() / np.sqrt(len(stranger))  # the label matters: it is no mere pooling
    own_error, alone_error, copied_error, pooled_error = np.mean(errors, axis=0)
    assert own_error < copied_error - 0.005
    assert own_error < alone_error + 0.005
    assert own_error < pooled_error - 0.005
