"""Figures of predicted perturbations: drawn the same every time, and what they say is in the numbers."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
import pytest

from genesim import pl
from genesim.errors import InputError

N = 40
random = np.random.default_rng(0)
OBSERVED = random.normal(size=N)
PREDICTED = OBSERVED + 0.3 * random.normal(size=N)
GENES = [f"gene{i}" for i in range(N)]


def table() -> pd.DataFrame:
    rows = {
        "ceiling": [0.9, 0.1, 0.0, 0.5],
        "no_change": [0.0, 0.5, 3.0, 0.5],
        "mean_effect": [0.4, 0.6, 1.0, 0.5],
        "genesim": [0.7, 0.2, 0.2, 0.5],
    }
    return pd.DataFrame(rows, index=["pearson_delta", "effect_mae", "energy_distance", "flat"]).T


def test_effects_name_the_largest_and_repeat() -> None:
    used = np.ones(N, bool)
    used[np.abs(OBSERVED).argmax()] = False
    low, high = PREDICTED - 0.5, PREDICTED + 0.5
    figure = pl.predicted_effects(PREDICTED, OBSERVED, GENES, low=low, high=high, used=used, n_labels=5, title="A$B")
    assert figure == pl.predicted_effects(
        PREDICTED, OBSERVED, GENES, low=low, high=high, used=used, n_labels=5, title="A$B"
    )
    assert f"{N - 1} genes; named are the 5" in figure.caption
    without = pl.predicted_effects(PREDICTED, OBSERVED, GENES, n_labels=0)
    assert "intervals" not in without.caption
    assert len(without.svg) < len(figure.svg)
    with pytest.raises(InputError, match="lengths are"):
        pl.predicted_effects(PREDICTED, OBSERVED[:-1], GENES)


def test_methods_lie_between_no_change_and_ceiling() -> None:
    figure = pl.method_strip(table(), names={"genesim": "ours"})
    assert figure.svg != pl.method_strip(table().drop(index="mean_effect")).svg
    # What does not separate the two ends is left out, so it changes nothing.
    assert figure == pl.method_strip(table().drop(columns="flat"), names={"genesim": "ours"})
    # Nor is a metric shown whose ceiling is worse than no change.
    wrong = {
        name: "lower" if high > low else "higher"
        for name, high, low in table().loc[["ceiling", "no_change"]].T.itertuples()
    }
    first = next(c for c in table().columns if c != "flat")
    assert pl.method_strip(table(), better={first: wrong[first]}) == pl.method_strip(
        table().drop(columns=["flat", first])
    )
    with pytest.raises(InputError, match="no row 'ceiling'"):
        pl.method_strip(table().drop(index="ceiling"))


def test_a_method_is_drawn_on_the_line_of_its_metric() -> None:
    """One method and two metrics: the marker of each lies on the rule whose label names it."""
    one = table().drop(columns="flat").loc[["no_change", "ceiling", "mean_effect"]].iloc[:, :2]
    svg = pl.method_strip(one).svg
    rules = set(re.findall(r'd="M [\d.]+ ([\d.]+) \nL [\d.]+ \1 \n" clip', svg))
    marks = re.findall(r'<use [^>]*y="([\d.]+)" style="fill', svg)
    assert len(rules) == 2
    assert set(marks[:2]) == rules  # the third mark is the legend's


def test_dose_curve_and_its_shapes() -> None:
    dose = np.linspace(0, 1, 5)
    delta = dose[:, None] * np.array([1.0, -0.5])
    figure = pl.dose_curve(dose, delta, delta - 0.1, delta + 0.1, ["A", "B"], measured=[1.0])
    assert "measured" in figure.caption
    assert "measured" not in pl.dose_curve(dose, delta, delta - 0.1, delta + 0.1, ["A", "B"]).caption
    with pytest.raises(InputError, match="5 doses and 3 genes"):
        pl.dose_curve(dose, delta, delta, delta, ["A", "B", "C"])


def test_cells_in_one_embedding() -> None:
    sets = [random.normal(size=(n, 12)) + shift for n, shift in ((20, 0), (30, 1), (25, 0.9))]
    figure = pl.perturbed_cells(*sets, method="pca")
    assert figure == pl.perturbed_cells(*sets, method="pca")
    assert figure.svg != pl.perturbed_cells(sets[0], sets[2], sets[1], method="pca").svg


def test_coverage_curve_counts_effects() -> None:
    z = random.normal(size=500)
    z[0] = np.nan
    figure = pl.coverage_curve(z)
    assert figure.caption.startswith("499 effects")
    assert figure.svg != pl.coverage_curve(3 * z).svg
    with pytest.raises(InputError, match="no intervals"):
        pl.coverage_curve(np.full(3, np.nan))
