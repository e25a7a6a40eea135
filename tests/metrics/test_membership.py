"""Donor-level membership figures and the attacks' scores, against scipy, scikit-learn and simulated truth."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from genesim.errors import InputError
from genesim.metrics import membership as m
from genesim.metrics import membership_scores as scores


def test_auroc_and_curve_equal_scikit_learn() -> None:
    from sklearn.metrics import roc_auc_score, roc_curve

    random = np.random.default_rng(0)
    member, other = random.integers(0, 6, 17) + 0.0, random.integers(0, 5, 23) + 0.0  # with ties
    truth = np.repeat([1, 0], [17, 23])
    assert m.auroc(member, other) == pytest.approx(roc_auc_score(truth, np.concatenate([member, other])))
    fpr, tpr = m.roc_curve(member, other)
    expected = roc_curve(truth, np.concatenate([member, other]), drop_intermediate=False)
    np.testing.assert_allclose(np.stack([fpr, tpr]), expected[:2])
    assert np.trapezoid(tpr, fpr) == pytest.approx(float(m.auroc(member, other)))


@pytest.mark.parametrize(("n_other", "fpr"), [(20, 0.01), (250, 0.01), (40, 0.1)])
def test_tpr_at_fpr_equals_the_slow_definition(n_other: int, fpr: float) -> None:
    random = np.random.default_rng(n_other)
    member, other = random.normal(1, 1, 60).round(1), random.normal(0, 1, n_other).round(1)
    slow = max(
        float((member > t).mean()) for t in [*other, *member, -np.inf] if (other > t).sum() <= int(fpr * n_other)
    )
    assert m.tpr_at_fpr(member, other, fpr) == pytest.approx(slow)


def test_chance_and_detectable_tpr_are_what_exchangeable_donors_reach() -> None:
    random = np.random.default_rng(1)
    for n_member, n_other, fpr in [(20, 10, 0.01), (30, 150, 0.01)]:
        found = m.tpr_at_fpr(random.random((20_000, n_member)), random.random((20_000, n_other)), fpr)
        assert found.mean() == pytest.approx(m.chance_tpr(n_other, fpr), abs=0.004)
        seen = m.detectable_tpr(n_member, n_other, fpr=fpr)
        assert (found >= seen - 1e-9).mean() <= 0.025 + 0.003
        assert (found >= seen - 1 / n_member - 1e-9).mean() > 0.025 - 0.003


def test_intervals_cover_the_truth_and_a_known_shift_is_found() -> None:
    """Two normals one SD apart have an AUC of Phi(1 / sqrt 2) = .760; two equal ones .5."""
    for shift, truth in [(0.0, 0.5), (1.0, float(stats.norm.cdf(1 / np.sqrt(2))))]:
        covered, values = 0, []
        for seed in range(100):
            random = np.random.default_rng(seed)
            sides = random.normal(shift, 1, 40), random.normal(0, 1, 40)
            auc = m.donor_attack([sides], random, n_repeats=100).auc
            covered += auc.low <= truth <= auc.high
            values.append(auc.value)
        assert np.mean(values) == pytest.approx(truth, abs=0.02)
        assert 0.88 <= covered / 100 <= 0.99


def test_smallest_detectable_auc_is_exceeded_by_chance_once_in_forty() -> None:
    random = np.random.default_rng(2)
    found = m.auroc(random.random((20_000, 25)), random.random((20_000, 30)))
    assert (found > m.smallest_detectable_auc(25, 30)).mean() == pytest.approx(0.025, abs=0.005)
    assert np.isnan(m.smallest_detectable_auc(0, 5))


def test_few_donors_and_broken_scores_are_refused() -> None:
    random = np.random.default_rng(0)
    with pytest.raises(InputError, match="1 members"):
        m.donor_attack([(np.ones(1), np.ones(3))], random)
    with pytest.raises(InputError, match="finite"):
        m.donor_attack([(np.array([0.0, np.nan]), np.ones(3))], random)
    with pytest.raises(InputError, match="1 of 3 donors"):
        m.donor_means(np.ones(2), np.array([0, 2]), 3)


def test_donor_means_are_of_scores_less_their_labels_mean() -> None:
    values, labels = np.array([1.0, 3.0, 10.0, 14.0]), np.array([0, 0, 1, 1])
    centred = m.centred_within(values, labels)
    np.testing.assert_allclose(centred, [-1, 1, -2, 2])
    np.testing.assert_allclose(m.donor_means(centred, np.array([0, 1, 0, 1]), 2), [-1.5, 1.5])


def test_nearest_score_keeps_ranks_where_exponentials_vanish() -> None:
    from sklearn.neighbors import NearestNeighbors

    random = np.random.default_rng(3)
    points = random.normal(size=(300, 40)) * 20
    queries = points[:50] + random.normal(size=(50, 40)) * 5
    expected = NearestNeighbors(n_neighbors=1).fit(points).kneighbors(queries)[0].ravel()
    np.testing.assert_allclose(scores.nearest_score(queries, points), -expected, rtol=1e-6)
    assert (np.exp(-(expected**2).astype(np.float32)) == 0).all()  # the score that would be blind here


def test_log_density_equals_scikit_learn_and_never_underflows() -> None:
    from sklearn.neighbors import KernelDensity

    random = np.random.default_rng(4)
    points, queries = random.normal(size=(200, 6)), random.normal(size=(30, 6))
    expected = KernelDensity(bandwidth=0.7).fit(points).score_samples(queries)
    np.testing.assert_allclose(scores.log_density(queries, points, 0.7), expected, rtol=1e-7)
    far = scores.log_density(queries + 1e3, points, 0.7)
    assert np.isfinite(far).all()
    assert len(np.unique(far)) == 30


def test_margins_equal_scipy_and_recover_what_was_drawn() -> None:
    random = np.random.default_rng(5)
    truth = scores.Margins(random.dirichlet(np.ones(30), 2), random.uniform(1, 8, (2, 30)))
    library, labels = random.uniform(500, 1500, 6000), random.integers(0, 2, 6000)
    counts = truth.sample(library, labels, random).astype(float)
    fitted = scores.Margins.fit(counts, library, labels, 2)
    np.testing.assert_allclose(fitted.frequency, truth.frequency, rtol=0.1, atol=1e-4)
    assert np.median(np.abs(np.log(fitted.theta / truth.theta))) < 0.1
    mean = library[:20, None] * truth.frequency[labels[:20]]
    theta = truth.theta[labels[:20]]
    exact = stats.nbinom.logpmf(counts[:20], theta, theta / (theta + mean)).sum(axis=1)
    without = truth.log_likelihood(counts[:20], library[:20], labels[:20])
    np.testing.assert_allclose(without, exact + _log_factorials(counts[:20]), rtol=1e-7)
    other = scores.Margins(fitted.frequency, fitted.theta * 2)
    ratio = scores.margin_ratio_score(counts[:20], library[:20], labels[:20], fitted, other)
    p = [
        f.theta[labels[:20]] / (f.theta[labels[:20]] + library[:20, None] * f.frequency[labels[:20]])
        for f in (fitted, other)
    ]
    pair = [stats.nbinom.logpmf(counts[:20], f.theta[labels[:20]], q).sum(axis=1) for f, q in zip((fitted, other), p)]
    np.testing.assert_allclose(ratio, pair[0] - pair[1], atol=1e-6)


def _log_factorials(counts: np.ndarray) -> np.ndarray:
    from scipy.special import gammaln

    return gammaln(counts + 1).sum(axis=1)


def test_normal_scores_are_mid_ranks() -> None:
    points = np.array([[0.0], [0.0], [1.0], [5.0]])
    found = scores.normal_scores(np.array([[0.0], [1.0], [9.0], [-1.0]]), points).ravel()
    np.testing.assert_allclose(found, stats.norm.ppf(np.array([1.5, 3.0, 4.5, 0.5]) / 5))


def test_mahalanobis_is_twice_the_negative_log_density_of_the_shrunken_normal() -> None:
    random = np.random.default_rng(6)
    points = random.normal(size=(500, 4)) @ random.normal(size=(4, 4))
    points = (points - points.mean(axis=0)) / points.std(axis=0)
    correlation = 0.9 * np.corrcoef(points.T) + 0.1 * np.eye(4)
    expected = -2 * stats.multivariate_normal(np.zeros(4), correlation).logpdf(points[:9]) - 4 * np.log(2 * np.pi)
    np.testing.assert_allclose(scores.mahalanobis(points[:9], points), expected, rtol=1e-9)


def test_calibrated_loss_takes_out_what_depth_explains() -> None:
    random = np.random.default_rng(7)
    depth = random.normal(size=(400, 1))
    features = np.hstack([np.ones((400, 1)), depth])
    likelihood = 5 * depth[:, 0] + random.normal(size=400) * 0.1
    found = scores.calibrated_loss(likelihood[:200], features[:200], likelihood[200:], features[200:])
    assert abs(np.corrcoef(found, depth[:200, 0])[0, 1]) < 0.2
    assert abs(found.mean()) < 0.05
