"""Membership attacks on donors: cells in, a score a donor out, for each attack and each reference.

Attacks that need a reference population take held-out donors, in two folds: one half of them is the reference, the
other half is judged, and the other way round. So no judged donor is in its own reference, and under a generator that
never saw the training donors both sides of the comparison are exchangeable.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy import sparse

from genesim import rng
from genesim.config.evaluate import DonorAuditConfig
from genesim.errors import InputError
from genesim.metrics import membership_scores as attacks
from genesim.metrics.expression import gene_summaries, log_normalise, top_genes
from genesim.metrics.membership import Sides, centred_within, donor_means

ATTACKS = {
    "nearest": "nearest simulated cell",
    "density": "density ratio",
    "margins": "ratio of gene margins",
    "copula": "copula-Mahalanobis distance",
    "white_box": "the model's own likelihood",
}
"""Attacks by name; all but the last see the simulated cells only."""
BLACK_BOX = tuple(name for name in ATTACKS if name != "white_box")


@dataclass(frozen=True)
class DonorCells:
    """Cells with their donors.

    Attributes:
        counts: Integer counts [cell, gene].
        labels: Cell type of each cell, as strings; one and the same where there are none.
        donors: Donor of each cell, as strings; simulated cells may leave them empty.
        log_likelihood: Of each cell under the model, where that is at hand.
    """

    counts: sparse.csr_matrix
    labels: np.ndarray
    donors: np.ndarray
    log_likelihood: Float[np.ndarray, " cell"] | None = None

    def __len__(self) -> int:
        return self.counts.shape[0]

    def take(self, rows: np.ndarray) -> DonorCells:
        likelihood = None if self.log_likelihood is None else self.log_likelihood[rows]
        return DonorCells(sparse.csr_matrix(self.counts[rows]), self.labels[rows], self.donors[rows], likelihood)

    def of(self, donors: Sequence[str] | np.ndarray) -> DonorCells:
        return self.take(np.flatnonzero(np.isin(self.donors, donors)))

    @property
    def names(self) -> np.ndarray:
        """Donors, sorted."""
        return np.unique(self.donors)

    @property
    def library(self) -> Float[np.ndarray, " cell"]:
        return np.asarray(self.counts.sum(axis=1), np.float64).ravel()


def at_most(cells: DonorCells, each: int, least: int, seed: int, name: str) -> DonorCells:
    """At most `each` cells of each donor; donors with fewer than `least` are left out."""
    random = rng.generator(seed, "privacy", "cells", name)
    rows = []
    for donor in cells.names:
        own = np.flatnonzero(cells.donors == donor)
        if len(own) >= least:
            rows.append(np.sort(random.permutation(own)[:each]))
    return cells.take(np.concatenate(rows) if rows else np.array([], int))


def of_labels(cells: DonorCells, levels: Sequence[str]) -> DonorCells:
    """Cells of these labels."""
    return cells.take(np.flatnonzero(np.isin(cells.labels, levels)))


def donor_scores(train: DonorCells, train_scores: np.ndarray, others: DonorCells, other_scores: np.ndarray) -> Sides:
    """Donor scores, training and other donors in order of their names: means of cells' scores centred within labels."""
    labels = np.unique(np.concatenate([train.labels, others.labels]), return_inverse=True)[1]
    values = centred_within(np.concatenate([train_scores, other_scores]), labels)
    parts = (train, values[: len(train)]), (others, values[len(train) :])
    member, other = (donor_means(v, np.searchsorted(c.names, c.donors), len(c.names)) for c, v in parts)
    return member, other


class Judged:
    """Everything an attack needs of the donors it judges, made once for all simulated sets.

    Attributes:
        train: Cells of training donors (members).
        holdout: Cells of held-out donors.
        folds: For each fold, the names of the reference donors and of the judged held-out donors.
    """

    def __init__(self, train: DonorCells, holdout: DonorCells, seed: int, config: DonorAuditConfig) -> None:
        self.train, self.holdout, self.seed, self.config = train, holdout, seed, config
        shuffled = rng.generator(seed, "privacy", "folds").permutation(holdout.names)
        half = len(shuffled) // 2
        if half < 2 or len(train.names) < 2:
            raise InputError(
                f"{len(train.names)} training and {len(shuffled)} held-out donors have enough cells",
                where="donor privacy audit",
                remedy="hold out at least four donors and train on two",
            )
        parts = np.sort(shuffled[:half]), np.sort(shuffled[half:])
        self.folds = [(parts[0], parts[1]), (parts[1], parts[0])]
        pool = sparse.vstack([train.counts, holdout.counts], "csr")
        order = top_genes(gene_summaries(pool).variance, min(config.max_genes, pool.shape[1]))
        self.genes = np.asarray(order)
        self.copula_genes = np.asarray(top_genes(gene_summaries(pool).variance, min(config.copula_genes, len(order))))
        self.levels = np.unique(np.concatenate([train.labels, holdout.labels]))
        self._fit_components(pool)
        self.spaces = self.space(train), self.space(holdout)

    def _fit_components(self, pool: sparse.csr_matrix) -> None:
        """Principal components of the real cells, of both sides alike: one space for every simulated set."""
        from sklearn.decomposition import PCA

        logs = log_normalise(pool)[:, self.genes].toarray().astype(np.float32)
        k = max(1, min(self.config.n_components, min(logs.shape) - 1))
        self.pca = PCA(k, svd_solver="covariance_eigh").fit(logs)

    def space(self, cells: DonorCells) -> Float[np.ndarray, "cell component"]:
        return self.pca.transform(log_normalise(cells.counts)[:, self.genes].toarray().astype(np.float32))

    def codes(self, cells: DonorCells) -> Int[np.ndarray, " cell"]:
        return np.searchsorted(self.levels, cells.labels)

    def dense(self, cells: DonorCells, genes: np.ndarray) -> Float[np.ndarray, "cell gene"]:
        return np.asarray(cells.counts[:, genes].toarray(), np.float64)

    def _sides(self, train: np.ndarray, holdout: np.ndarray, judged: np.ndarray) -> Sides:
        return donor_scores(self.train, train, self.holdout.of(judged), holdout)

    def black_box(self, simulated: DonorCells, fold: int) -> Iterator[tuple[str, Sides]]:
        """Each attack's donor scores, from the simulated cells and the fold's reference."""
        reference_donors, judged = self.folds[fold]
        reference, others = self.holdout.of(reference_donors), self.holdout.of(judged)
        sets = (self.train, others, simulated, reference)
        rows = [np.flatnonzero(np.isin(self.holdout.donors, part)) for part in (judged, reference_donors)]
        spaces = [self.spaces[0], self.spaces[1][rows[0]], self.space(simulated), self.spaces[1][rows[1]]]
        near = [attacks.nearest_score(x, spaces[2]) for x in spaces[:2]]
        yield "nearest", self._sides(near[0], near[1], judged)

        few = [x[:, : self.config.density_components] for x in spaces]
        ratio = [attacks.density_ratio_score(x, few[2], few[3]) for x in few[:2]]
        yield "density", self._sides(ratio[0], ratio[1], judged)

        n_labels = len(self.levels)
        counts = [self.dense(cells, self.genes) for cells in sets]
        library, labels = [c.library for c in sets], [self.codes(c) for c in sets]
        margins = [attacks.Margins.fit(counts[i], library[i], labels[i], n_labels) for i in (2, 3)]
        ratio = [attacks.margin_ratio_score(counts[i], library[i], labels[i], margins[0], margins[1]) for i in (0, 1)]
        yield "margins", self._sides(ratio[0], ratio[1], judged)

        dense = [np.asarray(log_normalise(c.counts)[:, self.copula_genes].toarray(), np.float64) for c in sets]
        ratio = [np.zeros(len(self.train)), np.zeros(len(others))]
        for label in range(n_labels):
            at = [np.flatnonzero(codes == label) for codes in labels]
            if min(len(at[2]), len(at[3])) < self.config.min_cells_per_label:
                continue  # such cells tell nothing in this attack
            for side in (0, 1):
                if len(at[side]):
                    ratio[side][at[side]] = attacks.copula_score(
                        dense[side][at[side]], dense[2][at[2]], dense[3][at[3]]
                    )
        yield "copula", self._sides(ratio[0], ratio[1], judged)

    def all_folds(self, simulated: DonorCells) -> dict[str, list[Sides]]:
        """Every black-box attack on one simulated set, a pair of scores a fold."""
        found: dict[str, list[Sides]] = {name: [] for name in BLACK_BOX}
        for fold in range(len(self.folds)):
            for name, sides in self.black_box(simulated, fold):
                found[name].append(sides)
        return found
