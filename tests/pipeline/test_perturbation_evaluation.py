"""Cross-validation of perturbation predictions on small cells with planted effects."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

import genesim as gs
from genesim.data.perturbation_split import Labels
from genesim.errors import ConditionError, ConfigError
from genesim.pipeline.perturbation import (
    Prepared,
    Setting,
    baseline_predictions,
    cross_validate,
    evaluate_perturbations,
)

N_GENES = 40


def world(n: int = 60) -> ad.AnnData:
    """Two additive perturbations and their pair in two lines; effects differ by line a little."""
    random = np.random.default_rng(0)
    effects = {name: np.random.default_rng(i).normal(0, 0.6, N_GENES) for i, name in enumerate(("g1", "g2", "g3"))}
    base = np.random.default_rng(9).uniform(0.5, 20, N_GENES)
    counts, label, line = [], [], []
    for c in ("X", "Y"):
        for name in ("control", "control", "g1", "g2", "g3", "g1+g2"):
            shift = sum((effects[p] for p in name.split("+") if p in effects), np.zeros(N_GENES))
            rate = base * np.exp(shift) * (1.2 if c == "Y" else 1.0)
            counts.append(random.poisson(rate * random.gamma(8, 1 / 8, (n, 1))))
            label += [name] * n
            line += [c] * n
    obs = pd.DataFrame({"condition": label, "line": line}, index=[f"c{i}" for i in range(len(label))])
    obs["library"] = 1000.0
    obs["batch"] = np.where(random.random(len(obs)) < 0.5, "b1", "b2")
    var = pd.DataFrame(index=[f"g{i}" for i in range(N_GENES)])
    return ad.AnnData(sparse.csr_matrix(np.vstack(counts).astype(np.float32)), obs=obs, var=var)


@pytest.fixture(scope="module")
def cells() -> ad.AnnData:
    return world()


def setting(task: str, **changes: object) -> Setting:
    given = {"covariate_keys": ("line",), "library_key": "library", **changes}
    return Setting(task, Labels("condition"), **given)  # type: ignore[arg-type]


def test_a_pair_is_predicted_by_its_parts(cells: ad.AnnData) -> None:
    table = cross_validate(cells, setting("combination"), log_shift=["additive"])
    means = table.groupby("method")[["pearson_delta", "effect_mae", "energy_distance"]].mean()
    assert set(table["condition"]) == {"g1+g2"}
    assert len(table) == 2 * len(means)
    assert {"ceiling", "no_change", "mean_effect", "additive", "additive_log_shift", "genesim"} <= set(means.index)
    assert means.loc["additive", "pearson_delta"] > 0.95
    assert means.loc["genesim", "pearson_delta"] > 0.95
    assert means.loc["genesim", "effect_mae"] < 0.5 * means.loc["no_change", "effect_mae"]
    assert means.loc["genesim", "energy_distance"] < 0.2 * means.loc["no_change", "energy_distance"]
    effects = ["pearson_delta", "effect_mae"]
    np.testing.assert_allclose(means.loc["additive", effects], means.loc["additive_log_shift", effects])


def test_a_line_is_predicted_from_the_other(cells: ad.AnnData) -> None:
    table = cross_validate(cells, setting("context", key="line"))
    means = table.groupby("method")[["pearson_delta", "pds_l1"]].mean()
    assert set(table["left_out"]) == {"X", "Y"}
    assert means.loc["genesim"].min() > 0.9
    assert means.loc["other_cells", "pearson_delta"] > 0.5
    assert means.loc["mean_effect", "pds_l1"] == pytest.approx(0.5, abs=0.17)


def test_no_fold_trains_on_what_it_is_scored_on(cells: ad.AnnData) -> None:
    for task, key in (("perturbation", None), ("replicate", "batch"), ("context", "line")):
        for fold in Prepared(cells, setting(task, key=key)).folds():
            trained = set(fold.train.obs_names)
            assert not trained & set(cells.obs_names[fold.split.test | fold.split.truth])
            assert set(fold.given.obs_names) <= trained
            for held, parts in zip(fold.held, fold.parts):
                assert [cells.var_names[g] for g in np.flatnonzero(~held.used)] == sorted(parts)
            said = baseline_predictions(fold, seed=0)
            assert ("measured" in said) == (task == "replicate")


def test_scores_stand_between_ceiling_and_no_change(cells: ad.AnnData) -> None:
    lines = cells[cells.obs["line"] == "X"].copy()
    scores, means = evaluate_perturbations(lines, "condition", leave_out="combination", library_key="library")
    assert scores["pearson_delta"].level == "good"
    assert scores["pearson_delta"].null == 0.0
    assert means.index[0] == "ceiling"
    assert gs.evaluate_perturbations is evaluate_perturbations


def test_a_setting_that_cannot_be(cells: ad.AnnData) -> None:
    with pytest.raises(ConfigError, match="needs a column"):
        cross_validate(cells, setting("context"))
    singles = cells[~cells.obs["condition"].str.contains("+", regex=False)].copy()
    with pytest.raises(ConditionError, match="nothing to leave out"):
        cross_validate(singles, setting("combination"))
