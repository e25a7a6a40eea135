"""Differential expression of predicted cells: against scipy and scanpy, false discoveries, what the scores punish."""

from __future__ import annotations

import numpy as np
import pytest

from genesim.errors import InputError
from genesim.metrics.perturbation_genes import (
    DifferentialExpression,
    differential_expression,
    overlap_at_n,
    precision_at_n,
    welch_t,
)

N_GENES = 60


def cells(seed: int, n: int, moved: int = 0, fold: float = 3.0) -> np.ndarray:
    """log1p counts; the first `moved` genes are multiplied by `fold`."""
    random = np.random.default_rng(seed)
    rate = np.random.default_rng(99).uniform(0.2, 3, N_GENES)
    rate[:moved] *= fold
    return np.log1p(random.poisson(rate * random.gamma(4, 0.25, (n, 1))))


def test_p_values_and_t_match_scipy() -> None:
    from scipy.stats import mannwhitneyu, ttest_ind

    a, b = cells(0, 40, 10), cells(1, 50)
    a[:, 5] = b[:, 5] = 0.0
    found = differential_expression(a, b)
    assert found.p[5] == 1.0
    assert found.log2_fold[5] == 0.0
    for gene in (0, 20, 40):
        assert found.p[gene] == pytest.approx(mannwhitneyu(a[:, gene], b[:, gene], method="asymptotic").pvalue)
    np.testing.assert_allclose(welch_t(a, b), np.nan_to_num(ttest_ind(a, b, equal_var=False).statistic))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:invalid value")
def test_p_values_and_t_match_scanpy() -> None:
    import anndata as ad
    import scanpy as sc

    a, b = cells(0, 40, 10), cells(1, 50)
    a[:, 5] = b[:, 5] = 0.0
    found = differential_expression(a, b)
    data = ad.AnnData(np.vstack([a, b]), obs={"g": ["a"] * 40 + ["b"] * 50})
    sc.tl.rank_genes_groups(data, "g", groups=["a"], reference="b", method="wilcoxon", tie_correct=True)
    table = sc.get.rank_genes_groups_df(data, "a").set_index("names").loc[data.var_names]
    # scanpy makes no correction for continuity, scipy does.
    np.testing.assert_allclose(np.log10(found.p), np.log10(table["pvals"].fillna(1)), atol=0.05)
    sc.tl.rank_genes_groups(data, "g", groups=["a"], reference="b", method="t-test")
    table = sc.get.rank_genes_groups_df(data, "a").set_index("names").loc[data.var_names]
    np.testing.assert_allclose(welch_t(a, b), table["scores"].fillna(0), rtol=1e-4)


def test_false_discoveries_stay_below_the_rate_and_true_ones_are_found() -> None:
    used = np.ones(N_GENES, bool)
    null = [differential_expression(cells(10 + i, 60), cells(500 + i, 60)).significant(used).any() for i in range(100)]
    assert np.mean(null) < 0.05 + 3 * np.sqrt(0.05 * 0.95 / 100)
    assert differential_expression(cells(0, 150, 10), cells(1, 150)).significant(used)[:10].all()


def test_a_gene_left_out_is_never_significant_nor_counted() -> None:
    used = np.ones(N_GENES, bool)
    used[:5] = False
    true = differential_expression(cells(0, 150, 10), cells(1, 150))
    assert not true.significant(used)[:5].any()
    other = DifferentialExpression(np.where(used, true.log2_fold, 1e3), np.where(used, true.p, 0.0))
    assert overlap_at_n(other, true, used) == 1.0


def test_scores_are_one_for_the_truth_and_low_for_log_shifted_controls() -> None:
    used = np.ones(N_GENES, bool)
    control, treated, again = cells(1, 150), cells(0, 150, 15), cells(2, 150, 15)
    true, replicate = (differential_expression(x, control) for x in (treated, again))
    shifted = differential_expression(control + (treated.mean(0) - control.mean(0)), control)
    assert overlap_at_n(true, true, used) == precision_at_n(true, true, used) == 1.0
    assert overlap_at_n(replicate, true, used) > 0.9
    # Every gene moves a little in every cell, which no rank test forgives.
    assert precision_at_n(shifted, true, used) < 0.5
    nothing = differential_expression(control, control)
    assert overlap_at_n(nothing, true, used) == precision_at_n(nothing, true, used) == 0.0
    assert np.isnan(overlap_at_n(true, nothing, used))


def test_overlap_takes_the_strongest_of_the_significant() -> None:
    used = np.ones(6, bool)
    true = DifferentialExpression(np.array([5.0, 4, 0, 0, 0, 0]), np.array([1e-9, 1e-9, 1, 1, 1, 1]))
    many = DifferentialExpression(np.array([1.0, 2, 9, 8, 0, 0]), np.array([1e-9, 1e-9, 1e-9, 1e-9, 1, 1]))
    assert overlap_at_n(many, true, used) == 0.0
    assert precision_at_n(many, true, used) == 0.5
    unsure = DifferentialExpression(many.log2_fold, np.array([1e-9, 1e-9, 0.9, 0.9, 1, 1]))
    assert overlap_at_n(unsure, true, used) == 1.0


def test_too_few_cells_is_an_error() -> None:
    with pytest.raises(InputError):
        differential_expression(cells(0, 1), cells(1, 10))
