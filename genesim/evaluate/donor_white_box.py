"""The membership attack that reads a model's own likelihood of each cell, and the two planted models it stands beside.

The planted models are networks that have learned cells by heart: one the training donors' cells, the other cells of
held-out donors who are not judged. They go through the very attack that the audited model does.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from jaxtyping import Float
from scipy import sparse

from genesim.errors import InputError
from genesim.evaluate.donor_attacks import DonorCells, Judged, at_most, donor_scores
from genesim.metrics.membership import Sides
from genesim.metrics.membership_scores import calibrated_loss

Likelihood = Callable[[DonorCells], Float[np.ndarray, " cell"]]
"""A model's log-likelihood of each cell."""
Learner = Callable[[DonorCells, str], Likelihood]
"""Fits a network to the cells of a name, far longer than a model should be, and gives its likelihood."""


def _features(cells: DonorCells, levels: np.ndarray) -> Float[np.ndarray, "cell feature"]:
    log_library = np.log(np.maximum(cells.library, 1.0))
    detected = np.log(np.maximum(cells.counts.getnnz(axis=1), 1.0))
    size = np.stack([log_library, log_library**2, detected, cells.library], axis=1)
    return np.hstack([np.asarray(cells.labels[:, None] == levels, float), size])


def attack(train: DonorCells, judged: DonorCells, calibration: DonorCells) -> Sides:
    """Donor scores of training and of judged held-out donors from a model's likelihood, which the cells come with.

    Args:
        train: Cells of training donors.
        judged: Cells of held-out donors.
        calibration: Cells of other held-out donors: what likelihood such cells have in nobody's training set.

    Raises:
        InputError: Cells come without the likelihood.
    """
    levels = np.unique(np.concatenate([train.labels, judged.labels, calibration.labels]))
    known = _likelihood(calibration), _features(calibration, levels)
    scores = [calibrated_loss(_likelihood(part), _features(part, levels), *known) for part in (train, judged)]
    return donor_scores(train, scores[0], judged, scores[1])


def _likelihood(cells: DonorCells) -> Float[np.ndarray, " cell"]:
    if cells.log_likelihood is None:
        raise InputError("cells come without the model's likelihood", where="white-box attack", remedy="give the model")
    return cells.log_likelihood


def white_box(judged: Judged) -> list[Sides]:
    """Donor scores from the audited model's likelihood, a pair a fold."""
    held = judged.holdout
    return [attack(judged.train, held.of(names), held.of(reference)) for reference, names in judged.folds]


def planted_white_box(judged: Judged, learn: Learner) -> dict[str, list[Sides]]:
    """The same attack on two networks that memorise: "memoriser" and "honest", a pair of scores a fold.

    The memoriser has learned the training donors' cells. The honest one has learned the cells of half of the fold's
    reference donors, as long, and the other half calibrates it: neither training nor judged donors are in it.

    A network can learn so many cells by heart and no more: donors lend it `config.planted_cells` on a side, shared
    evenly, and are judged by these alone. They have the genes that the other attacks see.
    """
    n = max(len(judged.train.names), len(judged.holdout.names))
    each = max(1, judged.config.planted_cells // n)
    train, holdout = (
        DonorCells(sparse.csr_matrix(part.counts[:, judged.genes]), part.labels, part.donors)
        for part in (
            at_most(side, each, 1, judged.seed, f"planted {name}")
            for side, name in ((judged.train, "train"), (judged.holdout, "holdout"))
        )
    )

    def scored(likelihood: Likelihood, calibration: np.ndarray, names: np.ndarray) -> Sides:
        parts = (train, holdout.of(names), holdout.of(calibration))
        return attack(*(DonorCells(c.counts, c.labels, c.donors, likelihood(c)) for c in parts))

    memoriser = learn(train, "memoriser")
    found: dict[str, list[Sides]] = {"memoriser": [], "honest": []}
    for fold, (reference, names) in enumerate(judged.folds):
        found["memoriser"].append(scored(memoriser, reference, names))
        honest = learn(holdout.of(reference[::2]), f"honest {fold}")
        found["honest"].append(scored(honest, reference[1::2], names))
    return found
