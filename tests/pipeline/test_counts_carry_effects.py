"""The simulated counts carry the planted effects: a test that accepts the truth and rejects shuffled donors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from genesim.config.base import parse
from genesim.config.scenario import Scenario
from genesim.pipeline.simulate import Models, simulate
from genesim.simulate.dataset import SimulatedDataset

PLAIN = {
    "population": {"n_donors": 80},
    "cells": {"n_cells": 4000, "composition_concentration": None, "cells_per_donor_cv": 0},
    "effects": {"random": {"share_of_genes": 0.5, "sd_log2_afc": 0.8, "shared": 1, "min_maf": 0.1}},
}


@pytest.fixture(scope="module")
def models(tiny_run: Path) -> Models:
    return Models.load(tiny_run / "results" / "models")


@pytest.fixture(scope="module")
def data(models: Models) -> SimulatedDataset:
    return simulate(parse(Scenario, PLAIN), models, seed=5)


def donor_table(data: SimulatedDataset) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of donors: true log2 fold changes, and log2 of observed over expected counts of genes with and without an effect.

    [donor, gene], centred by gene. What is expected of a donor follows from its counts of genes without an effect.
    """
    donors = data.donors.index
    fold = data.expression.query("cell_type == @data.expression.cell_type[0]")
    fold = fold.pivot(index="donor", columns="gene", values="log2_fold").reindex(donors)
    code = donors.get_indexer(data.cells.obs["donor"].astype(str))
    sums = pd.DataFrame(data.cells.X.toarray(), columns=data.cells.var_names).groupby(code).sum().set_axis(donors)
    sums = sums.loc[:, sums.mean() >= 20]
    depth = sums.drop(columns=fold.columns, errors="ignore").sum(axis=1)
    response = np.log2((sums + 0.5) / (np.outer(depth / depth.mean(), sums.mean()) + 0.5))
    affected = sums.columns[sums.columns.isin(fold.columns)]
    tables = fold[affected], response[affected], response.drop(columns=affected)
    with_fold, with_effect, without = ((t - t.mean()).to_numpy(float) for t in tables)
    return with_fold, with_effect, without


def slope(x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """Pooled slope of `y` on `x`, and its standard error with donors as clusters (sandwich)."""
    power = float((x**2).sum())
    value = float((x * y).sum()) / power
    scores = (x * (y - value * x)).sum(axis=1)
    return value, float(np.sqrt((scores**2).sum())) / power


def test_the_planted_effects_are_accepted_and_shuffled_donors_rejected(data: SimulatedDataset) -> None:
    x, y, _ = donor_table(data)
    assert x.shape[1] >= 5
    value, error = slope(x, y)
    assert error < 0.1
    assert abs(value - 1) < 4 * error
    stream = np.random.default_rng(0)
    for _ in range(100):
        shuffled, spread = slope(x[stream.permutation(len(x))], y)
        assert abs(shuffled - 1) > 4 * spread


def test_a_doubled_or_reversed_truth_is_rejected(data: SimulatedDataset) -> None:
    x, y, _ = donor_table(data)
    for wrong in (2 * x, -x):
        value, error = slope(wrong, y)
        assert abs(value - 1) > 4 * error


def test_genes_without_an_effect_are_untouched(data: SimulatedDataset) -> None:
    x, _, other = donor_table(data)
    n = min(x.shape[1], other.shape[1])
    assert n >= 5
    for shift in range(n):  # each affected gene's effects against another, unaffected gene
        value, error = slope(np.roll(x, shift, axis=1)[:, :n], other[:, :n])
        assert abs(value) < 4 * error
        assert abs(value - 1) > 4 * error
