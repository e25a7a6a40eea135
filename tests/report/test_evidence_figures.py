"""Figures of evidence: single genes, power, groups, attacks, screens. They show what they say, and refuse the rest."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from genesim import pl
from genesim.errors import InputError
from genesim.metrics.interval import Interval
from genesim.report.figures import Figure
from genesim.report.gene_figures import spread_genes
from genesim.report.privacy_figures import area

RNG = np.random.default_rng(0)
NASTY = "G$1<b>&amp;"
COUNTS = sparse.csr_matrix(RNG.poisson(np.geomspace(0.01, 60, 12), (80, 12)))
NAMES = [f"{NASTY}{i}" for i in range(12)]
PLANTED = RNG.normal(size=40)


def roc_of(truth: np.ndarray, score: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    from sklearn.metrics import roc_curve

    return roc_curve(truth, score)[:2]


def curve(shift: float, n: int = 200) -> tuple[np.ndarray, np.ndarray]:
    truth = np.arange(n) < n // 2
    return roc_of(truth, np.random.default_rng(1).normal(size=n) + shift * truth)


def groups(**changes: object) -> pd.DataFrame:
    base = {
        "group": [f"{NASTY} long group name {i}, female" for i in range(3)] * 2,
        "label": ["Allele frequency error"] * 3 + ["Gene mean error"] * 3,
        "gap": [0.01, 0.2, -0.05, 0.1, 0.0, 0.3],
        "n_held_out": 20,
        "n_simulated": 1000,
    }
    table = pd.DataFrame(base | changes)
    return table.assign(gap_low=table["gap"] - 0.08, gap_high=table["gap"] + 0.08)


def effects(n_contexts: int = 1) -> pd.DataFrame:
    rows = [
        {"perturbation": f"p{i}", "context": f"c{c}", "gene": f"{NASTY}{j}", "delta": (i - 1) * (j - 3) / 4}
        for i in range(4)
        for c in range(n_contexts)
        for j in range(30)
    ]
    table = pd.DataFrame(rows)
    return table.assign(low=table["delta"] - 0.6, high=table["delta"] + 0.6)


MAKERS: dict[str, Callable[[], Figure]] = {
    "gene-distributions": lambda: pl.gene_distributions(COUNTS, COUNTS[::-1] * 2, NAMES),
    "effect-recovery": lambda: pl.effect_recovery(
        PLANTED, PLANTED * 0.9, np.abs(PLANTED) > 0.5, false_discovery=Interval(0.05, 0.01, 0.12)
    ),
    "subgroups": lambda: pl.subgroups(groups()),
    "attack-roc": lambda: pl.attack_roc(
        {f"likelihood {NASTY}": curve(0.4), "memoriser": curve(4)}, controls=["memoriser"]
    ),
    "perturbation-effects": lambda: pl.perturbation_effects(effects()),
}


@pytest.mark.parametrize("name", MAKERS)
def test_figures_parse_repeat_and_stay_small(name: str) -> None:
    figure = MAKERS[name]()
    assert figure.name == name
    assert figure == MAKERS[name]()
    root = ET.fromstring(figure.titled())
    words = {child.tag.split("}")[1]: child.text for child in root}
    assert (words["title"], words["desc"]) == (figure.title, figure.caption)
    assert len(figure.svg) < 300_000


def test_genes_are_taken_at_even_ranks_and_never_unexpressed_ones() -> None:
    mean = np.array([0.0, 5, 1, 3, 0, 2, 4])
    assert spread_genes(mean, 3).tolist() == [1, 3, 2]
    assert spread_genes(mean, 99).tolist() == [1, 6, 3, 5, 2]
    assert len(spread_genes(np.zeros(3), 2)) == 0


def test_single_genes_show_a_difference_and_must_be_there() -> None:
    same = pl.gene_distributions(COUNTS, COUNTS, NAMES, genes=[NAMES[9]])
    assert same.svg != pl.gene_distributions(COUNTS, COUNTS * 3, NAMES, genes=[NAMES[9]]).svg
    # Dense counts are drawn as sparse ones are.
    assert same == pl.gene_distributions(COUNTS.toarray(), COUNTS.toarray(), NAMES, genes=[NAMES[9]])
    with pytest.raises(InputError, match="'absent' is not there"):
        pl.gene_distributions(COUNTS, COUNTS, NAMES, genes=["absent"])
    with pytest.raises(InputError, match="no gene is expressed"):
        pl.gene_distributions(COUNTS * 0, COUNTS, NAMES)
    with pytest.raises(InputError, match="11 simulated ones"):
        pl.gene_distributions(COUNTS, COUNTS[:, :11], NAMES)


def test_recovery_says_power_and_false_discoveries() -> None:
    figure = MAKERS["effect-recovery"]()
    n = int((np.abs(PLANTED) > 0.5).sum())
    assert f"{n} of 40 found in all" in figure.caption
    assert "5% of the calls [1%, 12%]" in figure.caption
    plain = pl.effect_recovery(PLANTED, PLANTED)
    assert "power" not in plain.caption
    assert "False" not in plain.caption
    hit = np.abs(PLANTED) > 0.5
    assert pl.effect_recovery(PLANTED, PLANTED, hit).svg != pl.effect_recovery(PLANTED, PLANTED, ~hit).svg
    few = pl.effect_recovery(PLANTED[:1], PLANTED[:1], hit[:1])
    ET.fromstring(few.svg)


def test_groups_count_those_that_are_behind() -> None:
    # 0.2, 0.1 and 0.3 have intervals of +-0.08 above 0.
    assert "In 3 of 6 rows" in MAKERS["subgroups"]().caption
    assert "In 0 of 6 rows" in pl.subgroups(groups(gap=0.0)).caption
    assert pl.subgroups(groups().iloc[::-1]).svg != MAKERS["subgroups"]().svg
    many = pd.concat([groups(group=f"g{i}") for i in range(30)])
    ET.fromstring(pl.subgroups(many).svg)
    with pytest.raises(InputError, match="no column gap_low, gap_high"):
        pl.subgroups(groups().drop(columns=["gap_low", "gap_high"]))
    with pytest.raises(InputError, match="has no row"):
        pl.subgroups(groups().iloc[:0])


def test_the_area_is_scikit_learns() -> None:
    from sklearn.metrics import roc_auc_score

    truth = np.arange(300) < 120
    for shift in (0.0, 0.5, 3.0):
        score = RNG.normal(size=300) + shift * truth
        assert area(roc_of(truth, score)) == pytest.approx(roc_auc_score(truth, score), abs=1e-12)
    assert area((np.array([0.0, 1.0]), np.array([0.0, 1.0]))) == 0.5


def test_attacks_must_be_curves_and_controls_among_them() -> None:
    assert "planted controls" in MAKERS["attack-roc"]().caption
    assert "planted controls" not in pl.attack_roc({"a": curve(0)}).caption
    with pytest.raises(InputError, match=re.escape("controls ['b'] are not among the curves")):
        pl.attack_roc({"a": curve(0)}, controls=["b"])
    with pytest.raises(InputError, match="there is no curve"):
        pl.attack_roc({})
    fpr, tpr = curve(1)
    for wrong in ((fpr[::-1], tpr), (fpr, tpr[:-1]), (fpr[1:], tpr[1:]), (fpr * np.nan, tpr), (fpr[:1], tpr[:1])):
        with pytest.raises(InputError, match="does not rise"):
            pl.attack_roc({"a": wrong})


def test_screens_show_the_largest_and_name_contexts_where_there_are_several() -> None:
    assert "The 2 of 4 predictions" in pl.perturbation_effects(effects(), n_perturbations=2, n_genes=5).caption
    assert "the 5 genes" in pl.perturbation_effects(effects(), n_perturbations=2, n_genes=5).caption
    assert "The 8 of 8 predictions" in pl.perturbation_effects(effects(2)).caption
    unsure = effects().assign(low=effects()["delta"] - 99, high=effects()["delta"] + 99)
    assert pl.perturbation_effects(unsure).svg != pl.perturbation_effects(effects()).svg
    with pytest.raises(InputError, match="no column high"):
        pl.perturbation_effects(effects().drop(columns="high"))


def test_every_figure_of_the_notebooks_face_is_a_figure_function() -> None:
    assert sorted(pl.__all__) == pl.__all__
    for name in pl.__all__:
        assert getattr(pl, name).__annotations__["return"] == "Figure", name
