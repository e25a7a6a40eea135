"""Dynamic effects against a slow oracle; states by their law."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from genesim.config.cells import StateScenario
from genesim.config.effects import DeclaredEffect, EffectsScenario
from genesim.data.genotypes import Genotypes
from genesim.simulate.dynamic import DynamicEffects
from genesim.simulate.effects import log2_fold_changes, plant_effects
from genesim.simulate.state import draw_state, shape_at

TYPES = ["B", "T"]


@pytest.fixture
def genotypes() -> Genotypes:
    stream = np.random.default_rng(0)
    alleles = (stream.random((3, 40, 2)) < 0.4).astype(np.int8)
    alleles[0, 0] = -1
    alleles[0, 1, 1] = -2
    variants = pd.DataFrame({"contig": "1", "start": [1, 2, 3], "ref": "A", "alt": "C", "frequency": [0.4, 0.3, 0.5]})
    variants.index = pd.Index(["v0", "v1", "v2"], dtype=object)
    donors = pd.Index([f"d{i}" for i in range(40)], dtype=object)
    return Genotypes(alleles, np.ones((3, 40), bool), variants, donors, {})


@pytest.mark.parametrize("shape", ["linear", "sigmoid", "peak"])
def test_a_cell_s_fold_change_equals_the_slow_oracle(shape: str, genotypes: Genotypes) -> None:
    declared = (
        DeclaredEffect(gene="g", variant="v0", log2_afc=0.5, log2_afc_slope=-2.0, shape=shape),  # type: ignore[arg-type]
        DeclaredEffect(gene="g", variant="v1", log2_afc=-0.7, cell_type="T"),
        DeclaredEffect(gene="h", variant="v2", log2_afc=1.0),
    )
    genes = pd.DataFrame({"contig": "1", "tss": 1}, index=pd.Index(["g", "h"], name="gene"))
    truth = plant_effects(EffectsScenario(declared=declared), genes, genotypes.variants, TYPES, 0)
    dynamic = DynamicEffects.of(truth, genotypes, TYPES)
    assert dynamic.genes == ["g"]
    stream = np.random.default_rng(1)
    donor, kind, state = stream.integers(0, 40, 300), stream.integers(0, 2, 300), stream.random(300)
    donor[:20] = 0
    donor[20:40] = 1
    fold = dynamic.fold(donor, kind, state)[:, 0]
    for i in range(300):
        t = state[i]
        along = {"linear": t, "peak": 4 * t * (1 - t)}.get(shape, float(shape_at("sigmoid", t)))
        sizes = {0: (0.5 - 2 * along, 0.4)} | ({1: (-0.7, 0.3)} if kind[i] == 1 else {})
        copies = genotypes.alleles[:, donor[i]].copy()
        copies[:, 1] = np.where(copies[:, 1] == -2, copies[:, 0], copies[:, 1])
        mean = {j: 1 + p * (2**d - 1) for j, (d, p) in sizes.items()}
        factor = [
            np.prod([mean[j] if copies[j, h] < 0 else 2.0 ** (d * copies[j, h]) for j, (d, _) in sizes.items()])
            for h in (0, 1)
        ]
        assert fold[i] == pytest.approx(np.log2(np.mean(factor) / np.prod(list(mean.values()))), abs=1e-9)
    # What the table of donors holds is the fold change in the middle; the shift adds the rest.
    table, affected = log2_fold_changes(truth, genotypes, TYPES)
    there = table[donor, kind, affected.index("g")]
    np.testing.assert_allclose(there + dynamic.shift(donor, kind, state)[:, 0], fold, atol=1e-6)
    assert abs(dynamic.shift(donor, kind, state)).max() > 0.1


def test_shapes_begin_at_nothing_and_end_where_they_should() -> None:
    t = np.linspace(0, 1, 101)
    for shape, end in (("linear", 1), ("sigmoid", 1), ("peak", 0)):
        values = shape_at(shape, t)
        assert values[0] == pytest.approx(0)
        assert values[-1] == pytest.approx(end)
        assert values.max() == pytest.approx(1)
    assert shape_at("sigmoid", 0.5) == pytest.approx(0.5)
    assert float(shape_at("sigmoid", 0.3)) < 0.15
    with pytest.raises(ValueError, match="no shape"):
        shape_at("square", t)


def test_states_follow_their_law() -> None:
    cells = pd.RangeIndex(5000)
    for law, right, wrong in (
        (StateScenario(), stats.uniform(), stats.beta(2, 5)),
        (StateScenario(law="beta", a=2, b=5), stats.beta(2, 5), stats.uniform()),
    ):
        drawn = draw_state(law, cells, 0)
        assert stats.kstest(drawn, right.cdf).pvalue > 1e-3
        assert stats.kstest(drawn, wrong.cdf).pvalue < 1e-6
