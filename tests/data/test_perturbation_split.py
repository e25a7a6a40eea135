"""Splits of perturbation data: what is left out is nowhere in training, under any name."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genesim.data.perturbation_split import (
    Labels,
    PerturbationSplit,
    folds,
    leave_out_combinations,
    leave_out_contexts,
    leave_out_donors,
    leave_out_doses,
    leave_out_perturbations,
    leave_out_replicates,
)
from genesim.errors import ConditionError, ConfigError, H5adError, TrainingError

LABELS = Labels("condition")
TARGETS = ("A", "B", "C", "D")


def table(seed: int = 0, n: int = 200) -> pd.DataFrame:
    """Cells whose labels come in every spelling ("B+A", "B + C", "A+control"), in two lines and three donors."""
    random = np.random.default_rng(seed)
    conditions = ["control", "A", "A+control", "B", "C", "D", "A+B", "B+A", "B + C", "A+B+C", "C+D"]
    obs = pd.DataFrame(
        {
            "condition": random.choice(conditions, n, p=[0.3, *[0.07] * 10]),
            "line": random.choice(["X", "Y"], n),
            "donor": random.choice(["d1", "d2", "d3"], n),
            "replicate": random.choice(["r1", "r2", "r3"], n),
        },
        index=[f"c{i}" for i in range(n)],
    )
    obs["dose"] = [
        random.choice(["1", "2", "5"]) if "+" not in c else random.choice(["1", "1+5", "2"]) for c in obs.condition
    ]
    obs.loc[obs.condition.str.contains("A\\+B\\+C"), "dose"] = "1"
    obs.loc[obs.condition == "control", "dose"] = "none"
    return obs


def carried(obs: pd.DataFrame, mask: np.ndarray) -> set[frozenset[str]]:
    """Sets of targets, read anew and not by the code under test."""
    return {frozenset(p.strip() for p in c.split("+")) - {"control"} for c in obs.loc[mask, "condition"]}


def check(obs: pd.DataFrame, split: PerturbationSplit) -> None:
    """What holds for every split."""
    is_control = (obs["condition"] == "control").to_numpy()
    assert not (split.train & split.test).any()
    assert not (split.train & split.truth).any()
    assert not (split.input & split.truth).any()
    assert not is_control[split.test].any()
    assert is_control[split.input].all()
    assert is_control[split.truth].all()
    assert not (split.input & ~split.train).any()
    assert split.input.any()
    assert split.truth.any()


@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 10_000), targets=st.sets(st.sampled_from(TARGETS), min_size=1, max_size=3))
def test_no_cell_with_a_left_out_target_is_trained_on(seed: int, targets: set[str]) -> None:
    obs = table(seed)
    split = leave_out_perturbations(obs, LABELS, targets, covariate_keys=["line"], seed=seed)
    check(obs, split)
    assert not any(parts & targets for parts in carried(obs, split.train))
    assert all(parts & targets for parts in carried(obs, split.test))
    rest = ~split.train & ~split.test
    assert (obs.loc[rest, "condition"] == "control").all()  # nothing but controls of the truth is in neither part


@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 10_000), names=st.sets(st.sampled_from(["A+B", "C+B", "D+C"]), min_size=1))
def test_left_out_combinations_are_in_no_spelling_nor_in_a_larger_one(seed: int, names: set[str]) -> None:
    obs = table(seed)
    split = leave_out_combinations(obs, LABELS, names, seed=seed)
    check(obs, split)
    wanted = {frozenset(n.split("+")) for n in names}
    assert carried(obs, split.test) == wanted
    assert not any(one <= parts for one in wanted for parts in carried(obs, split.train))
    assert {frozenset({p}) for one in wanted for p in one} <= carried(obs, split.train)


@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 10_000), donors=st.sets(st.sampled_from(["d1", "d2", "d3"]), min_size=1, max_size=2))
def test_a_left_out_donor_has_no_perturbed_cell_in_training_in_any_cell_type(seed: int, donors: set[str]) -> None:
    obs = table(seed)
    split = leave_out_donors(obs, LABELS, "donor", donors, covariate_keys=["line"], seed=seed)
    check(obs, split)
    assert split.left_out == "donor"
    trained = obs[split.train]
    assert (trained.loc[trained["donor"].isin(donors), "condition"] == "control").all()
    assert set(obs.loc[split.input | split.truth | split.test, "donor"]) == donors
    # What is given and what is compared with are of the same contexts; a lone control cannot be both, and is given.
    given, compared = (obs.loc[m, ["line", "donor"]].value_counts() for m in (split.input, split.truth))
    assert set(compared.index) <= set(given.index)
    assert (given.drop(compared.index) == 1).all()


@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 10_000), name=st.sampled_from(["r1", "r2", "r3"]))
def test_a_left_out_replicate_gives_nothing_to_training_not_even_controls(seed: int, name: str) -> None:
    obs = table(seed)
    split = leave_out_replicates(obs, LABELS, "replicate", [name])
    check(obs, split)
    assert name not in set(obs.loc[split.train | split.input, "replicate"])
    assert set(obs.loc[split.test | split.truth, "replicate"]) == {name}


@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 10_000), dose=st.sampled_from([1.0, 2.0, 5.0]))
def test_a_left_out_dose_is_in_no_part_of_a_combination_in_training(seed: int, dose: float) -> None:
    obs = table(seed)
    split = leave_out_doses(obs, LABELS, "dose", [dose], seed=seed)
    check(obs, split)
    trained = obs.loc[split.train & (obs["condition"] != "control"), "dose"]
    assert not any(dose in map(float, d.split("+")) for d in trained)
    assert all(dose in map(float, d.split("+")) for d in obs.loc[split.test, "dose"])


def test_guides_of_a_target_go_together() -> None:
    obs = table()
    number = np.random.default_rng(1).integers(1, 4, len(obs)).astype(str)
    guide = obs["condition"].str.replace("+", "_", regex=False) + "g" + number
    obs["guide"] = np.where(obs["condition"] == "control", "control", guide)
    labels = Labels("guide", target="condition")
    split = leave_out_perturbations(obs, labels, ["A"])
    check(obs, split)
    assert not any("A" in parts for parts in carried(obs, split.train))
    assert obs.loc[split.test, "guide"].nunique() > 3
    obs.iloc[0, obs.columns.get_loc("guide")] = obs.loc[obs["condition"] == "B", "guide"].iloc[0]
    obs.iloc[0, obs.columns.get_loc("condition")] = "C"
    with pytest.raises(H5adError, match="stands for several targets"):
        leave_out_perturbations(obs, labels, ["A"])


def test_a_seed_and_not_the_order_of_rows_decides() -> None:
    obs = table()
    split = leave_out_perturbations(obs, LABELS, ["A"], covariate_keys=["line"], seed=3)
    shuffled = obs.sample(frac=1, random_state=1)
    again = leave_out_perturbations(shuffled, LABELS, ["A"], covariate_keys=["line"], seed=3)
    other = leave_out_perturbations(obs, LABELS, ["A"], covariate_keys=["line"], seed=4)
    for field in ("train", "test", "input", "truth"):
        assert set(obs.index[getattr(split, field)]) == set(shuffled.index[getattr(again, field)])
    assert (split.truth != other.truth).any()
    for line in ("X", "Y"):
        here = (obs["line"] == line).to_numpy()
        n = [int((getattr(split, field) & here).sum()) for field in ("input", "truth")]
        assert abs(n[0] - n[1]) <= 1


def test_folds_leave_each_name_out_once() -> None:
    names = [f"p{i}" for i in range(11)]
    dealt = folds(names, 3, seed=0)
    assert sorted(itertools.chain(*dealt)) == sorted(names)
    assert {len(f) for f in dealt} == {3, 4}
    assert dealt == folds(names[::-1], 3, seed=0)
    assert dealt != folds(names, 3, seed=1)
    for bad in (1, 12):
        with pytest.raises(ConfigError):
            folds(names, bad, seed=0)


def test_errors_say_what_to_do() -> None:
    obs = table()
    with pytest.raises(ConditionError, match="'E' is not in the data"):
        leave_out_perturbations(obs, LABELS, ["E"])
    with pytest.raises(ConditionError, match="nothing is named"):
        leave_out_perturbations(obs, LABELS, [])
    with pytest.raises(H5adError, match="did you mean 'condition'"):
        leave_out_perturbations(obs, Labels("conditon"), ["A"])
    with pytest.raises(TrainingError, match="no perturbed cells"):
        leave_out_perturbations(obs, LABELS, TARGETS)
    with pytest.raises(ConditionError, match="one part only"):
        leave_out_combinations(obs, LABELS, ["A"])
    with pytest.raises(ConditionError, match="'D' of 'C\\+D' was not measured alone"):
        leave_out_combinations(obs[obs["condition"] != "D"], LABELS, ["C+D"])
    with pytest.raises(ConditionError, match="did you mean 'r1'"):
        leave_out_replicates(obs, LABELS, "replicate", ["r11"])
    with pytest.raises(TrainingError, match="controls"):
        leave_out_contexts(obs[(obs["line"] == "X") | (obs["condition"] != "control")], LABELS, "line", ["Y"])
    with pytest.raises(ConfigError, match="truth_share"):
        leave_out_perturbations(obs, LABELS, ["A"], truth_share=1.0)
    obs.loc[obs["condition"] == "A", "dose"] = "high"
    with pytest.raises(H5adError, match="'high'"):
        leave_out_doses(obs, LABELS, "dose", [5])
