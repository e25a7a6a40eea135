"""chrX from cohort to scores: training counts the copies that donors have, and scores compare those."""

from __future__ import annotations

from types import SimpleNamespace
from typing import cast

import numpy as np
import pandas as pd

from genesim.config.evaluate import EvaluateConfig
from genesim.config.model import HaplotypeConfig, ModelsConfig
from genesim.config.scenario import Population
from genesim.data.cohort import Cohort
from genesim.data.genotypes import Genotypes
from genesim.pipeline.evaluate import _haplotype_scores
from genesim.pipeline.simulate import _draw_genotypes
from genesim.pipeline.train import train_haplotypes
from genesim.simulate.population import draw_donors

X = 155_270_560
MODELS = ModelsConfig(haplotypes=HaplotypeConfig(method="markov"))


def cohort(sexes: tuple[str, str] = ("female", "male")) -> Cohort:
    """Sixty donors at chrX, males called homozygous outside PAR; half of them are held out."""
    stream = np.random.default_rng(0)
    n = 60
    start = np.linspace(3_000_000, 150_000_000, 40).astype(int)
    variants = pd.DataFrame({"contig": "X", "start": start, "ref": "A", "alt": "C"})
    variants.index = pd.Index([f"v{i}" for i in range(len(start))], dtype=object)
    sex = np.array(sexes, object)[np.arange(n) % 2]
    # ALT is much commoner in males here, so that counting them twice would show.
    p = np.where(np.arange(n) % 2, 0.8, 0.2)
    alleles = (stream.random((len(start), n, 2)) < p[:, None]).astype(np.int8)
    alleles[:, 1::2, 1] = alleles[:, 1::2, 0]
    donors = pd.Index([f"d{i}" for i in range(n)], dtype=object)
    table = pd.DataFrame({"ancestry": "A", "sex": sex}, index=donors)
    whole = Genotypes(alleles, np.ones(alleles.shape[:2], bool), variants, donors, {"X": X})
    sides = {"train": whole.subset(donors=np.arange(30)), "test": whole.subset(donors=np.arange(30, 60))}

    def genotypes_of(side: str, variants: pd.Index | np.ndarray | None = None) -> Genotypes:
        return sides[side].subset(variants=variants)

    return cast(Cohort, SimpleNamespace(donors=table, genotypes=whole, genotypes_of=genotypes_of))


def test_males_count_once_and_have_one_copy_from_training_to_scores() -> None:
    real = cohort()
    model = train_haplotypes(real, MODELS, 0, None, "X")
    alleles = real.genotypes_of("train").alleles
    once = (alleles[:, ::2].sum((1, 2)) + alleles[:, 1::2, 0].sum(1)) / (30 + 15)
    np.testing.assert_allclose(model.variants["frequency"], once)
    as_called = train_haplotypes(cohort(("female", "unknown")), MODELS, 0, None, "X")
    assert (as_called.variants["frequency"] - once).mean() > 0.05
    donors = draw_donors(Population(n_donors=40), model.ancestry_mix, 1, seed=0)
    made, truth = _draw_genotypes(donors, model, Population(n_donors=40), 0)
    assert truth == {}
    male = (donors["sex"] == "male").to_numpy()
    assert (made.alleles[:, male, 1] == -2).all()
    assert (made.alleles[:, ~male] >= 0).all()
    config = EvaluateConfig(max_haplotypes=40, max_variants=50, n_bootstrap=5)
    scores = _haplotype_scores(real, made, donors["ancestry"], "X", pd.Index([]), config, 0)
    found = {score.metric: score for score in scores}
    assert found["allele_frequency_rmse"].n <= 20 * 2 + 20
