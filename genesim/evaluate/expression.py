"""Simulated cells against held-out real cells, beside a floor (training cells) and a null generator."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Int
from scipy import sparse

from genesim import rng
from genesim.config.evaluate import EvaluateConfig
from genesim.errors import InputError
from genesim.evaluate.catalog import EXPRESSION
from genesim.evaluate.copying import copying_scores
from genesim.evaluate.score import Score, scored
from genesim.metrics import distribution, downstream, expression
from genesim.metrics.interval import Interval, half_sample_intervals, normal_interval

Labels = np.ndarray | None


@dataclass(frozen=True)
class _Cells:
    """One data set, at the size of the comparison; without labels all cells are of type 0."""

    counts: sparse.csr_matrix
    log: sparse.csr_matrix
    labels: Int[np.ndarray, " cell"]

    def __len__(self) -> int:
        return self.counts.shape[0]

    def take(self, index: np.ndarray) -> _Cells:
        return _Cells(self.counts[index], self.log[index], self.labels[index])


def _check(sets: dict[str, tuple[Any, Labels]]) -> None:
    n_genes = sets["test"][0].shape[1]
    for name, (counts, labels) in sets.items():
        if counts.shape[0] < 20:
            raise InputError(
                f"has {counts.shape[0]} cells, at least 20 are needed",
                where=f"{name} cells",
                remedy="simulate more cells, or hold out more donors",
            )
        if counts.shape[1] != n_genes:
            raise InputError(
                f"have {counts.shape[1]} genes where the test cells have {n_genes}",
                where=f"{name} cells",
                remedy="align all data sets on the same genes, in the same order",
            )
        if labels is not None and len(labels) != counts.shape[0]:
            raise InputError(
                f"{len(labels)} labels for {counts.shape[0]} cells",
                where=f"{name} cells",
                remedy="give one label a cell",
            )


def _prepare(sets: dict[str, tuple[Any, Labels]], n: int, seed: int) -> dict[str, _Cells]:
    """Equal numbers of cells of each set, labels as codes shared by all sets (or none at all)."""
    labelled = all(labels is not None for _, labels in sets.values())
    levels = np.unique(np.concatenate([np.asarray(v[1], str) for v in sets.values()])) if labelled else None
    prepared = {}
    for name, (counts, labels) in sets.items():
        draw = rng.generator(seed, "evaluate", "expression", name)
        index = np.sort(draw.permutation(counts.shape[0])[:n])
        matrix = sparse.csr_matrix(counts[index])
        codes = np.zeros(len(index), int)
        if levels is not None:
            codes = np.searchsorted(levels, np.asarray(labels, str)[index])
        prepared[name] = _Cells(matrix, expression.log_normalise(matrix), codes)
    return prepared


def _shared_labels(prepared: dict[str, _Cells], least: int) -> Int[np.ndarray, " label"] | None:
    """Labels with at least `least` cells in every set; None where fewer than two are left."""
    size = 1 + max(int(cells.labels.max()) for cells in prepared.values())
    counts = [np.bincount(cells.labels, minlength=size) for cells in prepared.values()]
    wanted = np.flatnonzero(np.min(counts, axis=0) >= least)
    return wanted if len(wanted) >= 2 else None


class _Comparison:
    """Test cells against one other set: every statistic as a function of row indices."""

    def __init__(
        self, test: _Cells, other: _Cells, wanted: np.ndarray | None, seed: int, config: EvaluateConfig
    ) -> None:
        self.test, self.other, self.wanted, self.seed, self.config = test, other, wanted, seed, config
        summary = expression.gene_summaries(test.counts, test.log)
        # Genes are chosen on the test cells alone, so that every comparison sees the same ones.
        self.embedded = expression.top_genes(summary.variance, config.max_genes)
        self.correlated = expression.top_genes(summary.mean, config.n_correlation_genes)
        self.features = distribution.pooled_pca(
            [test.log[:, self.embedded], other.log[:, self.embedded]], config.n_components, seed
        )
        self.bandwidth = distribution.squared_bandwidth(self.features[0])
        self.bandwidths = {}
        if wanted is not None:
            for label in wanted:
                inside = self.features[0][test.labels == label]
                self.bandwidths[int(label)] = distribution.squared_bandwidth(inside)

    def statistics(self, rows_test: np.ndarray, rows_other: np.ndarray) -> dict[str, float]:
        """Every cheap statistic on subsets of the cells."""
        a, b = self.test.take(rows_test), self.other.take(rows_other)
        x, y = self.features[0][rows_test], self.features[1][rows_other]
        genes = [expression.gene_summaries(c.counts, c.log) for c in (a, b)]
        cells = [expression.cell_summaries(c.counts) for c in (a, b)]
        ks = expression.ks_distance
        found = {
            "mmd2": distribution.mmd2_unbiased(x, y, bandwidth=self.bandwidth),
            "gene_mean_rmse": expression.gene_mean_error(genes[0].mean, genes[1].mean),
            "ks_gene_mean": ks(genes[0].mean, genes[1].mean),
            "ks_gene_variance": ks(genes[0].variance, genes[1].variance),
            "ks_zero_fraction": ks(genes[0].zero_fraction, genes[1].zero_fraction),
            "ks_log_library": ks(cells[0].log_library, cells[1].log_library),
            "ks_detected_genes": ks(cells[0].detected_genes, cells[1].detected_genes),
        }
        correlations = [expression.gene_correlation(c.log[:, self.correlated], c.labels) for c in (a, b)]
        found["gene_correlation_within_type"] = expression.correlation_agreement(*correlations)
        if self.wanted is not None:
            inside = [np.isin(c.labels, self.wanted) for c in (a, b)]
            found["mmd2_within_type"] = distribution.stratified_mmd2(
                x[inside[0]],
                y[inside[1]],
                a.labels[inside[0]],
                b.labels[inside[1]],
                min_points=max(2, self.config.min_cells_per_label // 4),
                bandwidths=self.bandwidths,
            )
            changes = [expression.log_fold_changes(c.counts, c.labels, self.wanted) for c in (a, b)]
            found["log_fold_change_slope"] = expression.slope(*changes)
            size = int(self.wanted.max()) + 1
            tested = self.wanted[
                np.min([np.bincount(c.labels, minlength=size)[self.wanted] for c in (a, b)], axis=0) >= 2
            ]
            if len(tested):  # a half of the cells may lack a type
                markers = [downstream.marker_statistics(c.log, c.labels, tested) for c in (a, b)]
                found["marker_overlap"] = downstream.marker_overlap(markers[0], markers[1])
            agreement = [
                downstream.clustering_agreement(features[rows], cells.labels[rows])
                for features, cells, rows in ((x, a, inside[0]), (y, b, inside[1]))
            ]
            found["clustering_gap"] = abs(agreement[0] - agreement[1])
        return found

    def classifier(self, harder: bool) -> distribution.TwoSample:
        """Cross-validated AUC of telling the other set from the test cells."""
        features = self.features
        if harder:
            more = expression.depth_features(self.test.counts, self.other.counts, self.config.n_top_genes)
            features = [np.hstack(pair) for pair in zip(features, more)]
        return distribution.two_sample_auc(*features, n_folds=self.config.n_folds, seed=self.seed)

    def usefulness(self) -> tuple[float, float]:
        """Balanced accuracy on test cells after training on the other set, and its standard error."""
        if self.wanted is None:
            return float("nan"), float("nan")
        a = self.test.take(np.flatnonzero(np.isin(self.test.labels, self.wanted)))
        b = self.other.take(np.flatnonzero(np.isin(self.other.labels, self.wanted)))
        right = expression.train_on_one_test_on_other(
            b.counts, b.labels, a.counts, a.labels, genes=self.embedded, seed=self.seed
        )
        groups = [right[a.labels == label] for label in self.wanted]
        # One right and one wrong cell added, so that the error is above 0 where every cell is right.
        rates = [(group.sum() + 1) / (len(group) + 2) for group in groups]
        variance = sum(p * (1 - p) / len(g) for p, g in zip(rates, groups)) / len(groups) ** 2
        return expression.balanced_accuracy(right, a.labels), float(np.sqrt(variance))

    def values(self) -> dict[str, float]:
        """Every metric, without intervals (for floor and null)."""
        rows = np.arange(len(self.test)), np.arange(len(self.other))
        return self.statistics(*rows) | {
            "classifier_auc": self.classifier(False).auc,
            "classifier_auc_harder": self.classifier(True).auc,
            "train_on_synthetic": self.usefulness()[0],
        }

    def intervals(self) -> dict[str, Interval]:
        """Every metric with its interval."""
        c = self.config
        found = half_sample_intervals(
            self.statistics,
            (len(self.test), len(self.other)),
            n_repeats=c.n_bootstrap,
            generator=rng.generator(self.seed, "evaluate", "expression", "halves"),
            coverage=c.coverage,
        )
        for name, harder in (("classifier_auc", False), ("classifier_auc_harder", True)):
            found[name] = normal_interval(*self.classifier(harder), c.coverage)
        found["train_on_synthetic"] = normal_interval(*self.usefulness(), c.coverage)
        return found


def compare_expression(
    test: Any, other: Any, labels_test: Labels, labels_other: Labels, *, seed: int = 0, config: EvaluateConfig
) -> dict[str, float]:
    """Every metric of `evaluate_expression` of one set of cells against the test cells: values alone, no floor."""
    sets = {"test": (sparse.csr_matrix(test), labels_test), "other": (sparse.csr_matrix(other), labels_other)}
    _check(sets)
    prepared = _prepare(sets, min(config.max_cells, *(counts.shape[0] for counts, _ in sets.values())), seed)
    wanted = _shared_labels(prepared, config.min_cells_per_label)
    return _Comparison(prepared["test"], prepared["other"], wanted, seed, config).values()


def evaluate_expression(
    test: Any,
    simulated: Any,
    train: Any | None = None,
    null: Any | None = None,
    *,
    labels_test: Labels = None,
    labels_simulated: Labels = None,
    labels_train: Labels = None,
    labels_null: Labels = None,
    seed: int = 0,
    config: EvaluateConfig | None = None,
    subject: str = "expression",
) -> list[Score]:
    """Score simulated cells against held-out real cells, all data sets drawn to one size.

    Args:
        test: Held-out real counts, cell x gene (CSR or dense), of donors that no model has seen.
        simulated: Simulated counts of the same genes, at the test cells' mix of cell types.
        train: Real training counts. Against `test` they give the floor. Without them the floor is one half
            of the test cells against the other, and copying is not judged.
        null: Counts of a naive generator (independent genes per cell type); None leaves the null out.
        labels_test: Cell types; comparisons within types need the labels of every set given.
        labels_simulated: Cell types of `simulated`.
        labels_train: Cell types of `train`.
        labels_null: Cell types of `null`.
        seed: Seeds subsampling, folds and half-samples.
        config: Sizes and repeats.
        subject: Name of the rows.

    Raises:
        InputError: Fewer than 20 cells, other genes, or labels of another length.
    """
    config = config or EvaluateConfig()
    sets: dict[str, tuple[Any, Labels]] = {
        "test": (test, labels_test),
        "simulated": (simulated, labels_simulated),
    }
    if train is not None:
        sets["train"] = (train, labels_train)
    if null is not None:
        sets["null"] = (null, labels_null)
    _check(sets)
    sets = {name: (sparse.csr_matrix(counts), labels) for name, (counts, labels) in sets.items()}
    copying = train is not None
    if train is None:
        order = rng.generator(seed, "evaluate", "expression", "split").permutation(test.shape[0])
        for name, half in (("train", order[::2]), ("test", order[1::2])):
            sets[name] = (
                sparse.csr_matrix(test[np.sort(half)]),
                None if labels_test is None else np.asarray(labels_test)[np.sort(half)],
            )
    n = min(config.max_cells, *(counts.shape[0] for counts, _ in sets.values()))
    prepared = _prepare(sets, n, seed)
    wanted = _shared_labels(prepared, config.min_cells_per_label)

    def compare(name: str) -> _Comparison:
        return _Comparison(prepared["test"], prepared[name], wanted, seed, config)

    values = compare("simulated").intervals()
    floor = compare("train").values()
    reference = compare("null").values() if null is not None else {}
    nan = float("nan")
    scores = [
        scored(subject, name, values[name], floor[name], reference.get(name, nan), n)
        for name in EXPRESSION
        if name in values and np.isfinite(values[name].value)
    ]
    if copying:
        counts = {name: pair[0] for name, pair in sets.items()}
        scores += copying_scores(
            counts["test"], counts["simulated"], counts["train"], counts.get("null"), subject, seed, config
        )
    return scores
