"""The metrics of cells that need cells at hand: classifiers, MMD, correlations, clusters, cell typing.

They see a random draw of the cells, of equal size in every set and with each set's shares of cell types.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Int
from scipy import sparse

from genesim import rng
from genesim.config.evaluate import EvaluateConfig
from genesim.metrics import distribution, downstream, expression
from genesim.metrics.integration import batch_mixing, centred_by_batch, label_separation
from genesim.metrics.interval import Interval, half_sample_intervals, normal_interval


@dataclass(frozen=True)
class HandCells:
    """One data set, at the size of the comparison; without labels all cells are of type 0, batches may be absent."""

    counts: sparse.csr_matrix
    log: sparse.csr_matrix
    labels: Int[np.ndarray, " cell"]
    batches: Int[np.ndarray, " cell"] | None = None

    @classmethod
    def of(
        cls,
        counts: sparse.csr_matrix,
        labels: Int[np.ndarray, " cell"],
        batches: Int[np.ndarray, " cell"] | None = None,
    ) -> HandCells:
        return cls(counts, expression.log_normalise(counts), labels, batches)

    def __len__(self) -> int:
        return self.counts.shape[0]

    def take(self, index: np.ndarray) -> HandCells:
        batches = None if self.batches is None else self.batches[index]
        return HandCells(self.counts[index], self.log[index], self.labels[index], batches)


class Comparison:
    """Test cells against one other set: every statistic as a function of row indices."""

    def __init__(
        self, test: HandCells, other: HandCells, wanted: np.ndarray | None, seed: int, config: EvaluateConfig
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
        found = {"mmd2": distribution.mmd2_unbiased(x, y, bandwidth=self.bandwidth)}
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
            agreement = [
                downstream.clustering_agreement(features[rows], cells.labels[rows])
                for features, cells, rows in ((x, a, inside[0]), (y, b, inside[1]))
            ]
            found["clustering_gap"] = abs(agreement[0] - agreement[1])
        return found | self._integration((a, b), (x, y))

    def _integration(
        self, cells: tuple[HandCells, HandCells], features: tuple[np.ndarray, np.ndarray]
    ) -> dict[str, float]:
        """Gaps of what batch integration does to each set; none where a set has no two batches of enough cells."""
        gained, separated = [], []
        for part, points in zip(cells, features, strict=True):
            if part.batches is None:
                return {}
            large = np.bincount(part.batches) >= max(2, self.config.min_cells_per_label // 4)
            rows = np.flatnonzero(large[part.batches])
            batches, labels = part.batches[rows], part.labels[rows]
            if large.sum() < 2:
                return {}
            integrated = centred_by_batch(points[rows], batches)
            gained.append(batch_mixing(integrated, batches) - batch_mixing(points[rows], batches))
            inside = np.flatnonzero(np.isin(labels, [] if self.wanted is None else self.wanted))
            if len(np.unique(labels[inside])) > 1:
                separated.append(label_separation(integrated[inside], labels[inside]))
        found = {"integration_mixing_gap": abs(gained[0] - gained[1])}
        return found | ({"integration_label_gap": abs(separated[0] - separated[1])} if len(separated) == 2 else {})

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
