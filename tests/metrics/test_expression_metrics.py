"""Expression metrics: against scipy, scanpy and slow loops; equal data pass, planted differences do not."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse, stats

from genesim.metrics import expression
from genesim.metrics.copies import exact_copies


def cells(
    seed: int, n: int = 240, genes: int = 60, *, dependent: bool = True, spread: float = 1.0
) -> tuple[sparse.csr_matrix, np.ndarray]:
    """Counts of three cell types with a shared factor inside types; `spread` scales the type differences."""
    fixed = np.random.default_rng(99)
    base = fixed.normal(0, 1, genes)
    contrast = fixed.normal(0, 1, (3, genes))
    loading = fixed.normal(0, 0.8, genes)
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % 3
    factor = rng.normal(size=(n, 1)) if dependent else rng.normal(size=(n, genes))
    rate = np.exp(base + spread * contrast[labels] + loading * factor)
    rate *= rng.lognormal(7, 0.3, (n, 1)) / rate.sum(axis=1, keepdims=True)
    return sparse.csr_matrix(rng.poisson(rate)), labels


def test_log_normalise_equals_scanpy_and_keeps_its_input() -> None:
    import anndata
    import scanpy

    counts, _ = cells(0)
    counts = sparse.vstack([counts, sparse.csr_matrix((1, 60))]).tocsr()
    before = counts.copy()
    data = anndata.AnnData(counts.astype(np.float64))
    scanpy.pp.normalize_total(data, target_sum=1e4)
    scanpy.pp.log1p(data)
    got = expression.log_normalise(counts)
    np.testing.assert_allclose(got.toarray(), data.X.toarray(), rtol=1e-6)
    assert (counts != before).nnz == 0
    assert got[-1].sum() == 0


def test_summaries_equal_dense_numpy_and_dense_equals_sparse() -> None:
    counts, _ = cells(1)
    dense = counts.toarray()
    log = np.log1p(dense / dense.sum(axis=1, keepdims=True) * 1e4)
    for form in (counts, dense):
        genes = expression.gene_summaries(form)
        np.testing.assert_allclose(genes.mean, log.mean(axis=0))
        np.testing.assert_allclose(genes.variance, log.var(axis=0, ddof=1), atol=1e-10)
        np.testing.assert_allclose(genes.zero_fraction, (dense == 0).mean(axis=0))
        summary = expression.cell_summaries(form)
        np.testing.assert_allclose(summary.log_library, np.log(dense.sum(axis=1)))
        np.testing.assert_array_equal(summary.detected_genes, (dense > 0).sum(axis=1))


def test_explicit_zeros_are_not_detected() -> None:
    counts = sparse.csr_matrix((np.array([0, 3, 2]), np.array([0, 1, 1]), np.array([0, 2, 3])), shape=(2, 2))
    assert expression.gene_summaries(counts).zero_fraction.tolist() == [1.0, 0.0]
    assert expression.cell_summaries(counts).detected_genes.tolist() == [1.0, 1.0]


def test_ks_distance_equals_scipy() -> None:
    rng = np.random.default_rng(0)
    for x, y in [
        (rng.normal(size=50), rng.normal(1, size=70)),
        (rng.integers(0, 5, 40), rng.integers(0, 6, 30)),
        (np.zeros(5), np.zeros(8)),
    ]:
        assert expression.ks_distance(x, y) == pytest.approx(stats.ks_2samp(x, y).statistic)


def test_gene_correlation_equals_numpy_and_removes_type_means() -> None:
    counts, labels = cells(2)
    log = expression.log_normalise(counts)
    raw = expression.gene_correlation(log)
    np.testing.assert_allclose(raw, np.corrcoef(log.toarray(), rowvar=False), atol=1e-10)
    residual = log.toarray()
    for label in range(3):
        residual[labels == label] -= residual[labels == label].mean(axis=0)
    np.testing.assert_allclose(
        expression.gene_correlation(log, labels + 7), np.corrcoef(residual, rowvar=False), atol=1e-10
    )
    constant = np.column_stack([log.toarray()[:, :3], np.full(log.shape[0], 2.0)])
    assert expression.gene_correlation(constant, labels)[3].tolist() == [0, 0, 0, 1]


def test_correlation_agreement_within_types_tells_dependent_from_independent_genes() -> None:
    (a, la), (b, lb), (c, lc) = cells(3), cells(4), cells(5, dependent=False)
    agree = {}
    for name, x, lx in (("same", b, lb), ("independent", c, lc)):
        matrices = [
            expression.gene_correlation(expression.log_normalise(m), labels) for m, labels in ((a, la), (x, lx))
        ]
        agree[name] = expression.correlation_agreement(*matrices)
    assert agree["same"] > 0.7
    assert agree["independent"] < 0.45  # normalisation alone correlates genes a little
    assert np.isnan(expression.correlation_agreement(np.eye(4), np.eye(4)))


def test_log_fold_changes_equal_slow_loops_and_slope_sees_attenuation() -> None:
    counts, labels = cells(6)
    dense = counts.toarray() / counts.toarray().sum(axis=1, keepdims=True) * 1e4
    got = expression.log_fold_changes(counts, labels, np.array([0, 2]))
    for row, label in enumerate((0, 2)):
        for gene in range(dense.shape[1]):
            inside, rest = dense[labels == label, gene].mean(), dense[labels != label, gene].mean()
            assert got[row, gene] == pytest.approx(np.log2((inside + 0.5) / (rest + 0.5)))
    wanted = np.arange(3)
    real, same, weak = (
        expression.log_fold_changes(*cells(seed, spread=spread), wanted)
        for seed, spread in ((7, 1.0), (8, 1.0), (9, 0.4))
    )
    assert expression.slope(real, same) == pytest.approx(1, abs=0.1)
    assert expression.slope(real, weak) < 0.7
    assert np.isnan(expression.slope(np.zeros(3), np.ones(3)))


def test_classifier_accepts_equal_cells_and_rejects_independent_genes() -> None:
    real, same, wrong = cells(10)[0], cells(11)[0], cells(12, dependent=False)[0]
    equal = expression.classifier_auc(real, same, n_folds=3)
    different = expression.classifier_auc(real, wrong, n_folds=3)
    assert abs(equal.auc - 0.5) < 4 * equal.standard_error
    assert different.auc > 0.75


def test_the_harder_classifier_sees_depth_that_normalised_expression_hides() -> None:
    rng = np.random.default_rng(0)
    real, deep = (
        sparse.csr_matrix(rng.poisson(rng.dirichlet(np.full(30, 5.0), 200) * 1e5 * depth)) for depth in (1.0, 1.3)
    )
    easy = expression.classifier_auc(real, deep, n_folds=3)
    hard = expression.classifier_auc(real, deep, harder=True, n_top=10, n_folds=3)
    assert abs(easy.auc - 0.5) < 0.2
    assert hard.auc > 0.95


def test_near_copies_of_the_real_cells_push_the_classifier_below_one_half() -> None:
    # Why the target is .5 and not "low": each cell's twin carries the other label in the training folds.
    rng = np.random.default_rng(0)
    rate = rng.dirichlet(np.full(30, 5.0), 100) * 1e5
    twins = [sparse.csr_matrix(rng.poisson(rate)) for _ in range(2)]
    assert expression.classifier_auc(*twins, n_folds=3).auc < 0.3


def test_train_on_synthetic_is_useful_only_with_the_right_labels() -> None:
    (train, labels_train), (test, labels_test) = cells(13), cells(14)
    right = expression.train_on_one_test_on_other(train, labels_train, test, labels_test)
    assert expression.balanced_accuracy(right, labels_test) > 0.8
    shuffled = np.random.default_rng(0).permutation(labels_train)
    wrong = expression.train_on_one_test_on_other(train, shuffled, test, labels_test)
    assert expression.balanced_accuracy(wrong, labels_test) < 0.5
    single = expression.train_on_one_test_on_other(train, np.zeros_like(labels_train), test, labels_test)
    assert expression.balanced_accuracy(single, labels_test) == pytest.approx(1 / 3)


def test_balanced_accuracy_weights_types_equally() -> None:
    labels = np.repeat([0, 1], [90, 10])
    assert expression.balanced_accuracy(labels == 0, labels) == 0.5


def test_top_genes_are_ordered_and_ties_go_to_the_lower_index() -> None:
    assert expression.top_genes(np.array([1.0, 3.0, 2.0, 3.0, 2.0]), 3).tolist() == [1, 2, 3]


def test_gene_mean_error_sees_swapped_genes_that_ks_cannot() -> None:
    mean = np.arange(10.0)
    assert expression.ks_distance(mean, mean[::-1]) == 0
    assert expression.gene_mean_error(mean, mean[::-1]) == pytest.approx(np.sqrt(33))


def test_exact_copies_are_found_and_fresh_or_nearly_empty_cells_are_not() -> None:
    train, _ = cells(15, n=30)
    fresh, _ = cells(16, n=30)
    mixed = sparse.vstack([train[[4, 9]], fresh[:3], sparse.csr_matrix((1, 60))]).tocsr()
    assert exact_copies(mixed, train).tolist() == [True, True, False, False, False, False]
    one = train[:1].toarray()
    one[0, 0] += 1
    assert not exact_copies(one, train).any()
    empty = sparse.csr_matrix((2, 60))
    assert not exact_copies(empty, empty).any()
