"""AncHMM on real 1000 Genomes haplotypes: nearer to them than the null, and no copies."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from genesim.config.inputs import GenotypePolicy
from genesim.config.model import HaplotypeConfig
from genesim.data.genotypes import read_genotypes
from genesim.estimators.haplotypes import HaplotypeModel
from genesim.metrics import haplotype_privacy as privacy
from genesim.metrics import haplotypes as fidelity


@pytest.mark.slow
def test_real_haplotypes_are_modelled_better_than_by_the_null_and_not_copied(shared_data: Path) -> None:
    folder, policy = shared_data / "genotypes", GenotypePolicy(min_allele_count=0)
    panel = pd.read_csv(folder / "1000g_chr15_10k.panel.tsv", sep="\t").set_index("donor")
    train, held_out = (
        read_genotypes(folder / f"1000g_chr15_10k_{half}.vcf.gz", policy=policy) for half in ("train", "test")
    )
    frequency = train.allele_frequency()
    rows = np.flatnonzero(np.minimum(frequency, 1 - frequency) > 0.01)[:600]
    train, held_out = train.subset(variants=rows), held_out.subset(variants=rows)
    positions, x = train.variants["start"].to_numpy(), train.haplotypes()
    found = {}
    for method in ("anchmm", "independent"):
        config = HaplotypeConfig(method=method, n_states=16, n_passes=10)
        model = HaplotypeModel.fit(train, panel["ancestry"], config=config)
        drawn = model.sample(train.n_donors, seed=1).haplotypes()
        found[method] = {
            "likelihood": model.log_likelihood(held_out, panel["ancestry"]).mean(),
            "ld": fidelity.ld_rmse(x, drawn, positions),
            "accuracy": privacy.adversarial_accuracy(x, drawn),
            "loss": privacy.privacy_loss(x, held_out.haplotypes(), drawn),
            "tract": privacy.longest_shared_tract(drawn, x, positions),
        }
    ours, null = found["anchmm"], found["independent"]
    floor = fidelity.ld_rmse(x, held_out.haplotypes(), positions)
    assert ours["likelihood"] > null["likelihood"] + 50
    assert floor < ours["ld"] < 0.5 * null["ld"]
    assert null["accuracy"].real > 0.99
    assert ours["accuracy"].real < 0.85
    assert ours["accuracy"].synthetic > 0.35
    assert ours["loss"] < 0.05
    assert ours["tract"] < 1.3 * privacy.longest_shared_tract(held_out.haplotypes(), x, positions)
