"""Figures: deterministic bytes, no fetches, no numbers or names that break them."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from genesim.errors import InputError
from genesim.report import expression_figures, genetic_figures, program_figures, recovery_figures, score_figures
from genesim.report.figures import OTHER, Figure, group_colours, shorten

NASTY = np.array(["B <script>alert(1)</script>", "T $_{x}$ cell", "a" * 60])


def counts(seed: int, n: int = 60, genes: int = 40) -> sparse.csr_matrix:
    rng = np.random.default_rng(seed)
    return sparse.csr_matrix(rng.poisson(rng.gamma(1, 3, (n, 1)) * rng.gamma(0.5, 1, genes)))


def scores() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "subject": ["cells", "cells", "haplotypes"],
            "label": ["Gene means", "Classifier $5", "LD"],
            "normalised": [0.2, 7.0, np.nan],
            "level": ["near", "bad", "unknown"],
        }
    )


def program_tables() -> tuple[pd.DataFrame, pd.Series]:
    names = ["program1", "program$2"]
    values = np.random.default_rng(0).normal(size=(12, 2))
    return pd.DataFrame(values, [f"G{i}$<" for i in range(12)], names), pd.Series([0.6, 0.1], names)


def term_table(n_terms: int = 9) -> pd.DataFrame:
    terms = pd.DataFrame(np.random.default_rng(1).normal(size=(20, n_terms)), [f"G{i}$<" for i in range(20)])
    terms.columns = pd.Index([f"covariate{i}: direct" for i in range(n_terms)])
    return terms.assign(log2_fold_change=terms.sum(axis=1), per_10k_reference=1.0, per_10k=2.0)


LABELS = NASTY[np.arange(60) % 3]
RNG = np.random.default_rng(0)
DOSAGE = RNG.binomial(2, 0.3, (50, 30))
MAKERS = {
    "embedding": lambda: expression_figures.embedding(counts(0), counts(1), LABELS, LABELS, method="pca"),
    "genes": lambda: expression_figures.genes(counts(0), counts(1)),
    "cells": lambda: expression_figures.cells(counts(0), counts(1)),
    "correlations": lambda: expression_figures.correlations(
        counts(0), counts(1), LABELS, LABELS, gene_names=[f"G{i}$" for i in range(40)], n_genes=20
    ),
    "ld-decay": lambda: genetic_figures.ld_decay(
        np.array([1e3, 1e4, 1e5]),
        {"real": np.array([0.4, 0.2, 0.1]), "simulated": np.array([0.3, np.nan, 0.1]), "null": np.zeros(3)},
    ),
    "ld-decay-of": lambda: genetic_figures.ld_decay_of(
        {"real": DOSAGE > 0, "simulated": DOSAGE > 1}, np.arange(30) * 900
    ),
    "allele-frequencies": lambda: genetic_figures.allele_frequencies(
        np.linspace(0, 1, 50), np.linspace(0, 1, 50) ** 1.1
    ),
    "genotype-pca": lambda: genetic_figures.genotype_pca(
        DOSAGE, DOSAGE[:20], NASTY[np.arange(50) % 3], NASTY[np.arange(20) % 2]
    ),
    "effect-recovery": lambda: recovery_figures.effect_recovery(
        np.array([0.5, -0.4, 0.1]), np.array([0.4, -0.4, 0.0]), np.array([True, True, False])
    ),
    "expression-by-genotype": lambda: genetic_figures.expression_by_genotype(
        np.arange(9.0),
        np.array([0, 0, 0, 0, 1, 1, 1, 1, 1]),
        gene="G$1",
        variant="1_5_A_<DEL>",
        alleles=("A", "<DEL>"),
    ),
    "programs": lambda: program_figures.programs(*program_tables()),
    "fold-change-terms": lambda: program_figures.fold_change_terms(term_table()),
    "score-strip": lambda: score_figures.score_strip(scores()),
}


@pytest.mark.parametrize("name", MAKERS)
def test_figures_parse_repeat_byte_for_byte_and_fetch_nothing(name: str) -> None:
    figure, again = MAKERS[name](), MAKERS[name]()
    assert isinstance(figure, Figure)
    assert figure.name == name.removesuffix("-of")
    assert figure == again
    root = ET.fromstring(figure.svg)
    assert root.tag.endswith("svg")
    assert not list(root.iter("{http://www.w3.org/2000/svg}script"))
    for element in root.iter():
        for key, value in element.attrib.items():
            if key.endswith("href"):
                assert value.startswith(("#", "data:image/png")), value
    assert not re.search(r"\d{4}-\d\d-\d\dT", figure.svg)
    assert len(figure.svg) < 400_000


def test_points_of_many_donors_are_an_image_and_stay_small() -> None:
    dosage = np.random.default_rng(0).binomial(2, 0.3, 20_000).astype(float)
    expression = dosage + np.random.default_rng(1).normal(size=20_000)
    figure = genetic_figures.expression_by_genotype(expression, dosage, gene="G", variant="1_1_A_T")
    assert len(figure.svg) < 300_000


def test_a_users_matplotlib_settings_do_not_change_the_figure() -> None:
    import matplotlib

    before = MAKERS["cells"]()
    with matplotlib.rc_context({"font.size": 30, "axes.facecolor": "red", "lines.linewidth": 9}):
        assert MAKERS["cells"]() == before
    assert matplotlib.rcParams["svg.hashsalt"] != "genesim"


def test_figures_show_the_difference_they_are_for() -> None:
    same = expression_figures.cells(counts(0), counts(0)).svg
    assert expression_figures.cells(counts(0), counts(0) * 3).svg != same


def test_stacked_terms_end_at_the_fold_change() -> None:
    few, many = (program_figures.fold_change_terms(term_table(n)).svg for n in (3, 9))
    assert few != many
    table = term_table(3).iloc[:1] * 0.0
    ET.fromstring(program_figures.fold_change_terms(table).svg)


def test_the_strip_counts_the_metrics_it_cannot_place() -> None:
    assert "1 metric cannot be placed and is only" in score_figures.score_strip(scores()).caption
    empty = score_figures.score_strip(scores().iloc[2:])
    ET.fromstring(empty.svg)


def test_more_groups_than_colours_share_one_grey() -> None:
    colours = group_colours([f"type {i:02d}" for i in range(15)] + ["type 14"])
    assert colours["type 14"] != OTHER
    assert sum(c == OTHER for c in colours.values()) == 3


def test_text_is_kept_from_mathematics_mode() -> None:
    assert shorten("a$b") == r"a\$b"
    assert shorten("abcdefgh", 5) == "abcd…"


def test_genotype_pca_refuses_other_variants_and_ignores_missing() -> None:
    with pytest.raises(InputError, match="same three or more variants"):
        genetic_figures.genotype_pca(DOSAGE, DOSAGE[:, :10])
    holes = DOSAGE.astype(float)
    holes[3, 4] = np.nan
    ET.fromstring(genetic_figures.genotype_pca(holes, DOSAGE).svg)


@pytest.mark.slow
def test_umap_embedding_repeats() -> None:
    make = lambda: expression_figures.embedding(counts(0), counts(1), method="umap")  # noqa: E731
    assert make() == make()
