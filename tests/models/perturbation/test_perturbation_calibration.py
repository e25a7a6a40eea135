"""What judges intervals accepts a truth that follows their law and rejects one that does not."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from scipy.stats import norm

from genesim.models.perturbation.calibration import interval_score, mobility_bins, moved_if_calibrated
from genesim.models.perturbation.intervals import fit_law, inside

N_CONDITIONS, N_GENES, NOISE = 40, 1500, 0.05


@dataclass(frozen=True)
class World:
    """Effects about a prediction of 0, by genes that move more or less; the first half is learned from."""

    active: np.ndarray
    truth: np.ndarray
    se: np.ndarray
    used: np.ndarray

    @classmethod
    def made(cls, surprise: float = 1.0) -> World:
        """Gene SDs over two orders of size; errors of the second half are `surprise` times those of the first."""
        draw = np.random.default_rng(3)
        shape = (N_CONDITIONS, N_GENES)
        sd = np.exp(draw.normal(-3, 1.2, N_GENES))
        effect = sd * draw.standard_t(4, shape) / np.sqrt(2)
        effect[N_CONDITIONS // 2 :] *= surprise
        se = np.full(shape, NOISE)
        active = np.broadcast_to(sd**2, shape)
        return cls(active, effect + se * draw.normal(size=shape), se, np.ones(shape, bool))

    def judged(self, sees_mobility: bool = True) -> tuple[np.ndarray, float, float]:
        """Coverage of nominal 90 % in five bins of mobility, of what moved, and what the latter should be."""
        half = N_CONDITIONS // 2
        feature = self.active if sees_mobility else np.zeros_like(self.active)
        nothing = np.zeros_like(self.truth)
        features = (nothing, nothing, feature)
        law = fit_law(*(a[:half] for a in (*features, self.truth, self.se, self.used)))
        found = inside(law, 0.9, *(a[half:] for a in (*features, self.truth, self.se)))
        bins = mobility_bins(self.active[half:], self.used[half:])
        moved = np.abs(self.truth[half:]) > 3 * self.se[half:]
        variance = law.variance(*(a[half:] for a in features))
        chance, held = moved_if_calibrated(law, 0.9, nothing[half:], variance, self.se[half:])
        by_bin = np.array([found[bins == k].mean() for k in range(5)])
        return by_bin, float(found[moved].mean()), float(held.sum() / chance.sum())


def test_a_truth_that_follows_the_law_is_accepted_in_every_bin_of_mobility() -> None:
    by_bin, moved, expected = World.made().judged()
    assert ((by_bin > 0.85) & (by_bin < 0.95)).all()
    assert moved == pytest.approx(expected, abs=0.03)
    # Correct intervals miss more of what the outcome picks.
    assert moved < 0.75


def test_intervals_that_do_not_know_mobility_are_rejected() -> None:
    by_bin, _, _ = World.made().judged(sees_mobility=False)
    assert by_bin[0] > 0.95
    assert by_bin[-1] < 0.85


def test_larger_errors_than_the_law_knows_are_rejected() -> None:
    by_bin, moved, expected = World.made(surprise=3.0).judged()
    assert (by_bin[2:] < 0.85).all()
    assert moved < expected - 0.1


def test_candidates_that_differ_by_rounding_do_not_widen_intervals() -> None:
    """What they differ by is taken for 0, and a feature of zeros once got coefficients of 1e139 in one fit of ten."""
    shape = (10, 60)
    rounding, se, used = np.full(shape, 1e-34), np.full(shape, NOISE), np.ones(shape, bool)
    for seed in range(40):
        draw = np.random.default_rng(seed)
        sd = np.exp(draw.normal(-3, 1, shape[1]))
        truth = sd * draw.normal(size=shape) + NOISE * draw.normal(size=shape)
        law = fit_law(0.2 * sd * draw.normal(size=shape), rounding, np.broadcast_to(sd**2, shape), truth, se, used)
        assert law.disagreement == 0


def test_interval_score_is_least_for_the_true_quantiles() -> None:
    error = np.random.default_rng(0).normal(size=20000)
    right = norm.ppf(0.95)
    scores = [interval_score(error, np.full(error.shape, k * right), 0.9).mean() for k in (0.7, 1.0, 1.4)]
    assert scores[1] == min(scores)
    assert interval_score(np.array([3.0, -0.5]), np.array([1.0, 1.0]), 0.9) == pytest.approx([42.0, 2.0])


def test_mobility_bins_are_of_one_size_and_leave_out_what_does_not_count() -> None:
    active = np.array([[5.0, 1.0, 4.0, 2.0, 3.0, 9.0]])
    used = np.array([[True, True, True, True, True, False]])
    assert mobility_bins(active, used).tolist() == [[4, 0, 3, 1, 2, -1]]
    assert (mobility_bins(active, np.zeros_like(used)) == -1).all()
