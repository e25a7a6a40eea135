"""Covariates: codes and back, unknown levels, and completion from the training mix."""

import json

import numpy as np
import pandas as pd
import pytest

from genesim.errors import ConditionError, H5adError
from genesim.estimators.covariates import Covariates


def _obs(n: int = 400) -> pd.DataFrame:
    random = np.random.default_rng(0)
    donor = random.integers(0, 4, n)
    return pd.DataFrame(
        {
            "cell_type": np.array(["B", "T"])[(random.random(n) < 0.5 + 0.1 * donor).astype(int)],
            "donor": [f"D{d}" for d in donor],
            "age": 20.0 + 10 * donor,
        },
        index=[f"c{i}" for i in range(n)],
    )


def _fit() -> Covariates:
    return Covariates.fit(_obs(), ["cell_type", "donor"], ["age"])


def test_codes_follow_sorted_levels_and_numbers_are_standardised() -> None:
    obs, covariates = _obs(), _fit()
    condition = covariates.condition(obs, np.zeros(len(obs)))
    assert covariates.levels == {"cell_type": ("B", "T"), "donor": ("D0", "D1", "D2", "D3")}
    np.testing.assert_array_equal(condition.categories[:, 0], (obs["cell_type"] == "T").astype(int))
    assert abs(condition.continuous.mean()) < 1e-5
    assert condition.continuous.std() == pytest.approx(1.0, abs=1e-4)


def test_absent_columns_and_missing_values_are_unknown_levels() -> None:
    condition = _fit().condition(pd.DataFrame({"cell_type": ["T", None]}), np.zeros(2))
    np.testing.assert_array_equal(condition.categories, [[1, -1], [-1, -1]])


def test_an_unknown_level_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ConditionError, match=r"'NK' of 'cell_type'.*B, T"):
        _fit().condition(pd.DataFrame({"cell_type": ["T", "NK"]}), np.zeros(2))


def test_integer_like_levels_match_numbers() -> None:
    covariates = Covariates.fit(pd.DataFrame({"sex": [1.0, 2.0, 2.0]}), ["sex"], [])
    assert covariates.levels == {"sex": ("1", "2")}
    np.testing.assert_array_equal(covariates.condition(pd.DataFrame({"sex": [2]}), np.zeros(1)).categories, [[1]])


def test_completion_keeps_the_joint_distribution() -> None:
    obs, covariates = _obs(), _fit()
    given = pd.DataFrame({"cell_type": ["B"] * 4000})
    drawn = covariates.complete(given, seed=1)
    expected = obs.loc[obs["cell_type"] == "B", "donor"].value_counts(normalize=True).sort_index()
    found = drawn["donor"].value_counts(normalize=True).sort_index()
    marginal = obs["donor"].value_counts(normalize=True).sort_index()
    assert np.abs(found - expected).max() < 0.03
    assert np.abs(found - marginal).max() > 0.05
    # Age is a property of the donor: it must come from the same training row.
    np.testing.assert_allclose(drawn["age"], 20 + 10 * drawn["donor"].str[1:].astype(int), rtol=1e-5)


def test_completion_is_keyed_by_row() -> None:
    covariates = _fit()
    given = pd.DataFrame({"cell_type": ["B", "T"] * 20})
    whole = covariates.complete(given, seed=1)
    tail = covariates.complete(given.iloc[30:], seed=1, first=30)
    pd.testing.assert_frame_equal(whole.iloc[30:], tail)
    assert not whole.equals(covariates.complete(given, seed=2))


def test_completion_of_an_unseen_combination_takes_the_whole_mix() -> None:
    obs = pd.DataFrame({"a": ["x", "y"], "b": ["p", "q"], "c": ["1", "2"]})
    covariates = Covariates.fit(obs, ["a", "b", "c"], [])
    drawn = covariates.complete(pd.DataFrame({"a": ["x"] * 60, "b": ["q"] * 60}), seed=0)
    assert set(drawn["c"]) == {"1", "2"}


def test_what_sample_was_asked_for_is_checked() -> None:
    covariates = _fit()
    assert len(covariates.table(3, None)) == 3
    assert list(covariates.table(2, {"donor": "D1"})["donor"]) == ["D1", "D1"]
    with pytest.raises(ConditionError, match="celltype"):
        covariates.table(2, {"celltype": "B"})
    with pytest.raises(ConditionError, match="several values"):
        covariates.table(2, {"donor": ["D1", "D2"]})
    with pytest.raises(ConditionError, match="3 rows of obs for 2 cells"):
        covariates.table(2, pd.DataFrame({"donor": ["D1"] * 3}))


def test_bad_columns_are_refused() -> None:
    with pytest.raises(H5adError, match="'age' is not a finite number in 1 cells"):
        Covariates.fit(pd.DataFrame({"age": [1.0, np.nan]}), [], ["age"])
    with pytest.raises(H5adError, match="stands for two"):
        Covariates.fit(_obs(), ["donor"], ["donor"])


def test_the_record_survives_json() -> None:
    covariates = _fit()
    described, arrays = covariates.to_dict()
    again = Covariates.from_dict(json.loads(json.dumps(described, sort_keys=True)), arrays)
    assert again.levels == covariates.levels
    assert list(again.levels) == list(covariates.levels)
    pd.testing.assert_frame_equal(again.complete(_obs()[["donor"]], 0), covariates.complete(_obs()[["donor"]], 0))
