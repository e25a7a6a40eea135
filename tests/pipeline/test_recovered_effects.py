"""What is scored of planted effects: also the ones that a refit misses."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd

from genesim.config.model import EffectConfig
from genesim.data.genotypes.record import Genotypes
from genesim.estimators.effects import EffectModel
from genesim.evaluate.effects import planted_and_estimated
from genesim.pipeline.evaluate import _recovered

N_DONORS, N_VARIANTS = 80, 30


def test_a_planted_effect_that_the_refit_misses_counts_against_power() -> None:
    draw = np.random.default_rng(0)
    alleles = (draw.random((N_VARIANTS, N_DONORS, 2)) < 0.3).astype(np.int8)
    alleles[29] = 0  # nobody carries v29
    names = pd.Index([f"v{i}" for i in range(N_VARIANTS)], dtype=object)
    text = {"contig": "1", "start": 100 * np.arange(N_VARIANTS), "ref": "A", "alt": "G"}
    variants = pd.DataFrame(text, index=names).astype({"contig": object, "ref": object, "alt": object})
    donors = pd.Index([f"D{i}" for i in range(N_DONORS)], dtype=object)
    geno = Genotypes(alleles, np.ones(alleles.shape[:2], bool), variants, donors)
    dosage = alleles.sum(2)
    ids = [f"g{i}" for i in range(22)]
    expression = draw.normal(size=(N_DONORS, len(ids)))
    expression[:, 0] += 2.0 * dosage[3]  # g0 follows v3, the others follow nothing
    bulk = ad.AnnData(expression, obs=pd.DataFrame(index=donors), var=pd.DataFrame(index=ids))
    genes = pd.DataFrame({"contig": "1", "tss": 1_000}, index=bulk.var_names)
    genes.loc["g21", "tss"] = 10**6  # no variant near: the fit has nothing on it
    config = EffectConfig(window=10_000, n_factors=0)
    model = EffectModel.fit(bulk, geno, genes, bulk=True, scale="log2", config=config)
    planted_at = ["v3", *(f"v{4 + i}" for i in range(19)), "v3", "v29"]  # v3 serves two genes
    truth = pd.DataFrame({"gene": ids, "variant": planted_at, "log2_afc": 4.0})
    assert set(ids) - set(model.table(min_pip=0.0)["gene"])  # some genes have no effect at all in the fit
    planted, estimated, found = planted_and_estimated(_recovered(model, geno, truth, ids))
    assert len(planted) == 21  # all but the one that nobody carries
    assert np.all(planted > 0)
    assert found[0]
    assert found[1:].mean() < 0.2
    assert abs(estimated[0] - 2.0) < 0.5
    assert np.abs(estimated[1:]).max() < 1.0
