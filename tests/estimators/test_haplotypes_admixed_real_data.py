"""Admixed donors of 1000 Genomes populations: local frequencies against held-out people, with floor and null."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from genesim.config.model import HaplotypeConfig
from genesim.data.genetic_map import read_genetic_map
from genesim.data.genotypes import read_genotypes
from genesim.estimators.haplotypes import HaplotypeModel
from genesim.simulate.admixture import codes_at, global_shares

pytestmark = pytest.mark.slow


def test_local_frequencies_are_those_of_held_out_people_of_the_ancestry(shared_data: Path) -> None:
    folder = shared_data / "genotypes"
    panel = pd.read_csv(folder / "1000g_samples.panel", sep="\t", index_col=0).iloc[:, 0]
    geno = read_genotypes(folder / "1000g_chr2_edar_yri_chb_fin.vcf.gz", region="2:109,000,000-109,400,000")
    common = np.minimum(geno.allele_frequency(), 1 - geno.allele_frequency()) > 0.05
    geno = geno.subset(variants=np.flatnonzero(common)[::2])
    labels = panel.reindex(geno.donors)
    side = np.arange(geno.n_donors) % 2 == 0
    train, test = geno.subset(donors=side), geno.subset(donors=~side)
    model = HaplotypeModel.fit(train, labels, config=HaplotypeConfig(n_states=16, n_passes=8))
    scale = read_genetic_map(folder / "chr2.b37.gmap.gz")
    pulses = [(10, {"YRI": 0.5, "FIN": 0.3, "CHB": 0.2})]
    made, tracts = model.sample_admixed(400, pulses, genetic_map=scale, seed=1)
    shares = global_shares(tracts)
    for name, share in pulses[0][1].items():
        error = shares[name].std() / np.sqrt(len(shares))
        assert abs(shares[name].mean() - share) < 4 * error
    local = codes_at(tracts, made.variants["start"].to_numpy(), list(made.donors), model.ancestries)
    haplotypes = made.haplotypes()
    held = {name: test.subset(donors=(labels[test.donors] == name).to_numpy()) for name in model.ancestries}
    for code, name in enumerate(model.ancestries):
        mine = local == code
        found = (haplotypes * mine).sum(0) / mine.sum(0)

        def rmse(other: np.ndarray, name: str = name) -> float:
            return float(np.sqrt(np.mean((other - held[name].allele_frequency()) ** 2)))

        floor = rmse(train.subset(donors=(labels[train.donors] == name).to_numpy()).allele_frequency())
        null = min(rmse(held[other].allele_frequency()) for other in model.ancestries if other != name)
        print(name, "made", rmse(found), "floor", floor, "nearest other ancestry", null)
        assert rmse(found) < floor + 0.03
        assert rmse(found) < null / 2
