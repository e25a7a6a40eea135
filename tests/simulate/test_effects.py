"""Planted effects: laws of the draw, and fold changes against a slow oracle."""

import numpy as np
import pandas as pd
import pytest

from genesim.config.scenario import DeclaredEffect, EffectsScenario, RandomEffects
from genesim.data.genotypes import Genotypes
from genesim.errors import ConditionError, ConfigError
from genesim.simulate.effects import log2_fold_changes, plant_effects

TYPES = ["B", "T"]


@pytest.fixture
def genotypes():
    stream = np.random.default_rng(0)
    n = 30
    variants = pd.DataFrame(
        {"contig": "1", "start": np.arange(n) * 1000, "ref": "A", "alt": "G"},
        index=pd.Index([f"rs{i}" for i in range(n)], dtype=object),
    )
    alleles = (stream.random((n, 200, 2)) < 0.3).astype(np.int8)
    donors = pd.Index([f"d{i}" for i in range(200)], dtype=object)
    return Genotypes(alleles, np.ones((n, 200), bool), variants, donors, {"1": 100_000}, {})


@pytest.fixture
def genes():
    return pd.DataFrame(
        {"contig": ["1", "1", "1", ""], "tss": [5000, 15_000, 25_000, -1]}, index=["g1", "g2", "g3", "unplaced"]
    ).rename_axis("gene")


def _variants(genotypes):
    return genotypes.variants.assign(frequency=0.3)


def test_fold_changes_equal_the_slow_oracle(genotypes, genes):
    declared = (
        DeclaredEffect(gene="g1", variant="rs5", log2_afc=1.0),
        DeclaredEffect(gene="g1", variant="rs6", log2_afc=-0.5, cell_type="T"),
    )
    truth = plant_effects(EffectsScenario(declared=declared), genes, _variants(genotypes), TYPES, seed=0)
    fold, affected = log2_fold_changes(truth, genotypes, TYPES)
    assert affected == ["g1"]
    for d in range(200):
        for c, sizes in enumerate(({"rs5": 1.0}, {"rs5": 1.0, "rs6": -0.5})):
            copies = [
                np.prod([2 ** (delta * genotypes.alleles[int(v[2:]), d, h]) for v, delta in sizes.items()])
                for h in (0, 1)
            ]
            expected = np.prod([1 + 0.3 * (2**delta - 1) for delta in sizes.values()])
            assert fold[d, c, 0] == pytest.approx(np.log2(np.mean(copies) / expected), abs=1e-5)


def test_fold_changes_average_to_one_at_the_training_frequency_and_not_at_another(genotypes, genes):
    declared = (DeclaredEffect(gene="g1", variant="rs5", log2_afc=1.0),)
    right = plant_effects(EffectsScenario(declared=declared), genes, _variants(genotypes), TYPES, seed=0)
    wrong = right.assign(training_frequency=0.8)
    mean = [float(np.mean(2.0 ** log2_fold_changes(t, genotypes, TYPES)[0])) for t in (right, wrong)]
    assert mean[0] == pytest.approx(1, abs=0.06)
    assert mean[1] < 0.8


def test_random_effects_follow_their_law(genotypes, genes):
    law = RandomEffects(share_of_genes=1, window=6000, law="constant", sd_log2_afc=0.4, shared=1)
    truth = plant_effects(EffectsScenario(random=law), genes, _variants(genotypes), TYPES, seed=3)
    assert list(truth["gene"]) == ["g1", "g2", "g3"]
    assert set(truth["cell_type"]) == {"*"}
    assert np.allclose(truth["log2_afc"].abs(), 0.4)
    distance = (truth["position"] - 1) - genes.loc[truth["gene"], "tss"].to_numpy()
    assert (distance.abs() <= 6000).all()
    again = plant_effects(EffectsScenario(random=law), genes.iloc[:2], _variants(genotypes), TYPES, seed=3)
    pd.testing.assert_frame_equal(truth.iloc[:2], again)


def test_a_gene_has_one_source(genotypes, genes):
    law = RandomEffects(share_of_genes=1, window=6000)
    scenario = EffectsScenario(
        declared=(DeclaredEffect(gene="g1", variant="rs5", log2_afc=1.0),), learned=True, random=law
    )
    learned = pd.DataFrame({"gene": ["g1", "g2"], "variant": ["rs5", "rs15"], "cell_type": "*", "log2_afc": 0.3})
    truth = plant_effects(scenario, genes, _variants(genotypes), TYPES, 0, learned).set_index("gene")
    assert truth["source"].to_dict() == {"g1": "declared", "g2": "learned", "g3": "random"}


def test_what_cannot_be_planted_is_refused(genotypes, genes):
    unknown = EffectsScenario(declared=(DeclaredEffect(gene="nope", variant="rs5", log2_afc=1.0),))
    with pytest.raises(ConditionError, match="unknown gene 'nope'"):
        plant_effects(unknown, genes, _variants(genotypes), TYPES, 0)
    between = genes.assign(tss=genes["tss"] + 500)
    with pytest.raises(ConfigError, match="no gene has a common variant"):
        plant_effects(EffectsScenario(random=RandomEffects(window=1)), between, _variants(genotypes), TYPES, 0)
    with pytest.raises(ConfigError, match="no effect model"):
        plant_effects(EffectsScenario(learned=True), genes, _variants(genotypes), TYPES, 0)
