from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from genesim.data.split import split_donors
from genesim.errors import ConfigError, JoinError


def table(rows):
    frame = pd.DataFrame(rows, columns=["ancestry", "has_cells"])
    frame.index = pd.Index([f"d{i:03d}" for i in range(len(rows))], name="donor")
    frame["has_genotypes"] = True
    return frame


ROWS = st.lists(st.tuples(st.sampled_from(["A", "B", "C", "D"]), st.booleans()), min_size=2, max_size=30)


@settings(deadline=None, max_examples=60)
@given(ROWS, st.floats(0.01, 0.99), st.integers(0, 5))
def test_laws(rows, held_out, seed):
    donors = table(rows)
    assume(donors.has_cells.sum() >= 2)
    split = split_donors(donors, held_out, seed)
    assert split.index.equals(donors.index)
    assert set(split) <= {"train", "test"}
    assert set(split[donors.has_cells]) == {"train", "test"}
    for _, members in donors.groupby(["ancestry", "has_cells"]):
        if len(members) >= 2:
            n_test = (split[members.index] == "test").sum()
            assert 1 <= n_test < len(members)
            assert abs(n_test - held_out * len(members)) <= 1
    shuffled = donors.iloc[np.random.default_rng(seed).permutation(len(donors))]
    pd.testing.assert_series_equal(split, split_donors(shuffled, held_out, seed).reindex(split.index))


def test_another_stratum_does_not_shift_this_one():
    donors = table([("A", True)] * 20)
    more = pd.concat([donors, table([("B", True)] * 9).rename(lambda name: f"x{name}")])
    assert split_donors(donors, 0.5, 3).equals(split_donors(more, 0.5, 3)[donors.index])


def test_seed_decides_and_every_donor_may_be_held_out():
    donors = table([("A", True)] * 12)
    splits = pd.DataFrame({seed: split_donors(donors, 0.25, seed) == "test" for seed in range(400)})
    assert (splits.sum() == 3).all()
    # 400 draws with probability 1/4: 100 expected a donor, standard deviation 8.7.
    assert splits.sum(axis=1).between(100 - 40, 100 + 40).all()
    assert splits.T.drop_duplicates().shape[0] > 100


def test_too_few_donors_with_cells_and_bad_share():
    with pytest.raises(JoinError, match="1 donors have cells"):
        split_donors(table([("A", True), ("A", False), ("A", False)]), 0.5, 0)
    for share in (0.0, 1.0, float("nan")):
        with pytest.raises(ConfigError, match="held_out"):
            split_donors(table([("A", True)] * 4), share, 0)
