"""Figures of cis effects: they show what they are for, and refuse what does not fit."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import numpy as np
import pytest

from genesim import pl
from genesim.errors import InputError
from genesim.metrics.effects import pip_calibration
from genesim.report.figures import Figure

RNG = np.random.default_rng(0)
POSITION = np.sort(RNG.integers(1_000_000, 2_000_000, 50))
P_VALUE = RNG.random(50) ** 8
PIP = np.where(np.arange(50) == 20, 0.9, 0.01)
SETS = np.where(np.isin(np.arange(50), [20, 21]), 1, 0)
PLANTED = np.array([0.8, -0.6, 0.2])
FOUND = np.array([True, True, False])
NAN_LAST = np.array([0.0, 0.0, np.nan])


def intervals(width: float) -> Figure:
    estimate = PLANTED + np.array([0.1, -0.1, 0.0]) + NAN_LAST
    return pl.effect_intervals(PLANTED, estimate, estimate - width, estimate + width, FOUND)


def power(found: tuple[int, ...] = (1, 20)) -> Figure:
    return pl.power_curve(
        [0.05, 0.2], {100: np.array([0, 9]), 300: np.array(found)}, {100: np.full(2, 20), 300: np.full(2, 20)}
    )


MAKERS = {
    "locus": lambda: pl.locus(POSITION, P_VALUE, PIP, SETS, gene="G$1<b>", tss=1_500_000, contig="22"),
    "effect-intervals": lambda: intervals(0.2),
    "pip-calibration": lambda: pl.pip_calibration(pip_calibration(PIP, np.arange(50) == 20)),
    "power-curve": power,
}


@pytest.mark.parametrize("name", MAKERS)
def test_figures_parse_and_repeat_byte_for_byte(name: str) -> None:
    figure = MAKERS[name]()
    assert figure.name == name
    assert figure == MAKERS[name]()
    assert ET.fromstring(figure.svg).tag.endswith("svg")
    assert len(figure.svg) < 400_000


def test_a_locus_counts_its_credible_sets_and_draws_p_values_of_zero() -> None:
    assert "50 variants, 1 credible set." in MAKERS["locus"]().caption
    none = pl.locus(POSITION, np.where(SETS > 0, 0.0, P_VALUE), PIP, SETS * 0, gene="G", tss=1_500_000)
    assert "0 credible sets." in none.caption
    ET.fromstring(none.svg)
    with pytest.raises(InputError, match=r"lengths \[50, 49, 50, 50\]"):
        pl.locus(POSITION, P_VALUE[1:], PIP, SETS, gene="G", tss=1_500_000)


def test_the_caption_tells_how_many_intervals_hold_the_truth() -> None:
    assert intervals(0.2).caption.startswith("100% of the 2 intervals")
    assert intervals(0.05).caption.startswith("0% of the 2 intervals")


def test_without_any_effect_found_there_is_still_a_figure() -> None:
    nothing = np.full(3, np.nan)
    figure = pl.effect_intervals(PLANTED, nothing, nothing, nothing, np.zeros(3, bool))
    assert "intervals hold" not in figure.caption
    ET.fromstring(figure.svg)


def test_power_differs_with_what_was_found_and_needs_matching_tables() -> None:
    assert power().svg != power((1, 10)).svg
    with pytest.raises(InputError, match="donors"):
        pl.power_curve([0.1], {100: np.array([1])}, {200: np.array([2])})
    with pytest.raises(InputError, match="2 heritabilities"):
        pl.power_curve([0.1, 0.2], {100: np.array([1])}, {100: np.array([2])})


def test_calibration_needs_a_bin() -> None:
    with pytest.raises(InputError, match="no bins"):
        pl.pip_calibration([])
