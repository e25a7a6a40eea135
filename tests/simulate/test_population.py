"""New donors and cells follow the declared shares."""

import numpy as np
import pytest
from scipy import stats

from genesim.config.scenario import CellsScenario, Population
from genesim.errors import ConditionError
from genesim.simulate.population import apportion, draw_cell_table, draw_donors

MIX = {"YRI": 0.5, "CEU": 0.5}
TYPES = {"B": 0.7, "T": 0.3}


def test_apportion_adds_up_and_is_nearest():
    assert apportion({"a": 1, "b": 1, "c": 1}, 10) == {"a": 4, "b": 3, "c": 3}
    for n in range(1, 50):
        counts = apportion({"a": 0.61, "b": 0.29, "c": 0.1}, n)
        assert sum(counts.values()) == n
        assert all(abs(counts[k] - n * w) < 1 for k, w in {"a": 0.61, "b": 0.29, "c": 0.1}.items())


def test_donors_have_the_declared_ancestry_exactly():
    donors = draw_donors(Population(n_donors=40, ancestry={"YRI": 3, "CEU": 1}), MIX, 2, seed=1)
    assert donors["ancestry"].value_counts().to_dict() == {"YRI": 30, "CEU": 10}
    assert donors["batch"].value_counts().to_dict() == {"batch1": 20, "batch2": 20}
    assert donors.equals(draw_donors(Population(n_donors=40, ancestry={"YRI": 3, "CEU": 1}), MIX, 2, seed=1))


def test_unknown_levels_are_refused_with_the_known_ones():
    with pytest.raises(ConditionError, match="YRI, CEU"):
        draw_donors(Population(ancestry={"FIN": 1}), MIX, 1, seed=0)
    donors = draw_donors(Population(n_donors=5), MIX, 1, seed=0)
    with pytest.raises(ConditionError, match="cell type 'NK'"):
        draw_cell_table(donors, CellsScenario(n_cells=50, composition={"NK": 1}), TYPES, seed=0)


def test_composition_is_the_declared_one_and_not_another():
    donors = draw_donors(Population(n_donors=50), MIX, 1, seed=0)
    cells = CellsScenario(n_cells=4000, composition={"B": 1, "T": 3}, composition_concentration=None)
    table = draw_cell_table(donors, cells, TYPES, seed=0)
    assert len(table) == 4000
    assert table["donor"].nunique() == 50
    hits = int((table["cell_type"] == "B").sum())
    assert stats.binomtest(hits, 4000, 0.25).pvalue > 1e-3
    assert stats.binomtest(hits, 4000, 0.30).pvalue < 1e-6


def test_cells_per_donor_vary_as_declared():
    donors = draw_donors(Population(n_donors=400), MIX, 1, seed=0)
    spread = {}
    for cv in (0.0, 0.8):
        table = draw_cell_table(donors, CellsScenario(n_cells=40_000, cells_per_donor_cv=cv), TYPES, seed=0)
        counts = table["donor"].value_counts()
        spread[cv] = np.std(counts) / np.mean(counts)
    assert spread[0.0] < 0.15
    assert 0.65 < spread[0.8] < 0.95
