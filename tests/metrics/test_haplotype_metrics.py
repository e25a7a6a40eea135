"""Fidelity metrics of haplotypes: slow oracles, and equal passes while a planted difference is rejected."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import wasserstein_distance

from genesim.errors import InputError
from genesim.metrics import haplotypes as metrics

N, M = 400, 60
POSITIONS = np.cumsum(np.random.default_rng(9).integers(50, 30_000, M))


def population(seed: int, n: int = N, switch: float = 0.15) -> np.ndarray:
    """Mosaics of six fixed templates: LD and structure that are the same for every seed."""
    templates = np.random.default_rng(0).integers(0, 2, (6, M))
    stream = np.random.default_rng(seed)
    out = np.empty((n, M), np.int8)
    state = stream.integers(0, 6, n)
    for m in range(M):
        state = np.where(stream.random(n) < switch, stream.integers(0, 6, n), state)
        out[:, m] = templates[state, m] ^ (stream.random(n) < 0.05)
    return out


def shuffled(haplotypes: np.ndarray) -> np.ndarray:
    """The null: each variant permuted by itself keeps its frequency and loses all LD."""
    return np.random.default_rng(5).permuted(haplotypes, axis=0)


def slow_r(haplotypes: np.ndarray, i: int, j: int) -> float:
    x, y = haplotypes[:, i].astype(float), haplotypes[:, j].astype(float)
    p, q = x.mean(), y.mean()
    return ((x * y).mean() - p * q) / np.sqrt(p * (1 - p) * q * (1 - q))


def test_allele_frequencies() -> None:
    a, b = population(1), population(2)
    p, q = a.sum(0) / N, b.sum(0) / N
    assert metrics.allele_frequency_rmse(a, b) == pytest.approx(np.sqrt(((p - q) ** 2).mean()))
    assert metrics.allele_frequency_r(a, b) == pytest.approx(np.corrcoef(p, q)[0, 1])
    assert metrics.allele_frequency_rmse(a, b) < 0.05 < metrics.allele_frequency_rmse(a, 1 - b)
    assert metrics.allele_frequency_r(a, 1 - b) < 0
    assert np.isnan(metrics.allele_frequency_r(a, np.zeros_like(a)))


@pytest.mark.parametrize("block", [7, 512])
def test_ld_rmse_equals_every_pair_by_hand(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "BLOCK", block)
    a, b = population(1), population(2)
    b[:, 3] = 0  # no variation: r is 0
    maf = np.minimum(a.mean(0), 1 - a.mean(0))
    squares = [
        (slow_r(a, i, j) - (0 if 3 in (i, j) else slow_r(b, i, j))) ** 2
        for i in range(M)
        for j in range(i + 1, M)
        if min(maf[i], maf[j]) >= 0.2 and POSITIONS[j] - POSITIONS[i] <= 200_000
    ]
    found = metrics.ld_rmse(a, b, POSITIONS, max_distance=200_000, min_maf=0.2)
    assert found == pytest.approx(np.sqrt(np.mean(squares)), rel=1e-4)


def test_ld_separates_real_from_independent_and_sees_the_sign() -> None:
    a, b = population(1), population(2)
    floor = metrics.ld_rmse(a, b, POSITIONS)
    assert floor < 0.1
    assert metrics.ld_rmse(a, shuffled(b), POSITIONS) > 1.6 * floor
    turned = b.copy()
    turned[:, ::2] ^= 1
    np.testing.assert_allclose(
        metrics.ld_decay(turned, POSITIONS), metrics.ld_decay(b, POSITIONS), rtol=1e-3, equal_nan=True
    )
    assert metrics.ld_rmse(a, turned, POSITIONS) > 1.6 * floor


def test_ld_decay_equals_every_pair_by_hand() -> None:
    a, bins = population(1), (0, 20_000, 100_000, 400_000)
    sums: list[list[float]] = [[], [], []]
    for i in range(M):
        for j in range(i + 1, M):
            distance = POSITIONS[j] - POSITIONS[i]
            for b in range(3):
                if bins[b] < distance <= bins[b + 1]:
                    sums[b].append(slow_r(a, i, j) ** 2)
    found = metrics.ld_decay(a, POSITIONS, bins=bins, common=np.arange(M))
    np.testing.assert_allclose(found, [np.mean(s) for s in sums], rtol=1e-4)
    assert found[0] > 2 * found[2]


def test_all_pairs_of_the_contig_and_both_decays_in_one_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "BLOCK", 7)
    a, b, bins = population(1), population(2), (0, 20_000, 100_000)
    common = np.arange(5, 50)
    pairs = [(i, j) for i in common for j in common if i < j]
    squares = [(slow_r(a, i, j) - slow_r(b, i, j)) ** 2 for i, j in pairs]
    found = metrics.compare_ld(a, b, POSITIONS, bins=bins, common=common)
    assert found.n_pairs == len(pairs)
    apart = np.array([POSITIONS[j] - POSITIONS[i] for i, j in pairs])
    assert found.bin_pairs.tolist() == [(apart <= 20_000).sum(), ((apart > 20_000) & (apart <= 100_000)).sum()]
    assert found.rmse == pytest.approx(np.sqrt(np.mean(squares)), rel=1e-4)
    for values, haplotypes in ((found.real, a), (found.synthetic, b)):
        expected = metrics.ld_decay(haplotypes, POSITIONS, bins=bins, common=common)
        np.testing.assert_allclose(values, expected, rtol=1e-5)
    near = metrics.compare_ld(a, b, POSITIONS, bins=bins, max_distance=20_000, common=common)
    close = [s for s, (i, j) in zip(squares, pairs) if POSITIONS[j] - POSITIONS[i] <= 20_000]
    assert near.n_pairs == len(close)
    assert near.rmse == pytest.approx(np.sqrt(np.mean(close)), rel=1e-4)
    np.testing.assert_allclose(near.real, found.real)
    everywhere = metrics.ld_rmse(a, b, POSITIONS, max_distance=None, min_maf=0)
    assert everywhere == pytest.approx(metrics.compare_ld(a, b, POSITIONS, common=np.arange(M)).rmse)
    assert everywhere != pytest.approx(metrics.ld_rmse(a, b, POSITIONS, min_maf=0), rel=1e-3)


def test_no_common_pair_gives_nan() -> None:
    rare = np.zeros((50, 4), np.int8)
    assert np.isnan(metrics.ld_rmse(rare, rare, np.arange(4)))
    assert np.isnan(metrics.ld_decay(rare, np.arange(4))).all()
    assert np.isnan(metrics.three_point_correlation(rare, rare, np.random.default_rng(0)))


def test_three_point_moments_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = population(1, n=30), population(2, n=30)
    drawn: list[np.ndarray] = []
    real_split = np.array_split

    def spy(triples: np.ndarray, n: int) -> list[np.ndarray]:
        drawn.append(triples)
        return real_split(triples, n)

    monkeypatch.setattr(np, "array_split", spy)
    found = metrics.three_point_correlation(a, b, np.random.default_rng(0), n_triples=200, span=5)
    triples = drawn[0]
    assert (np.sort(triples, 1)[:, 1:] > np.sort(triples, 1)[:, :-1]).all()  # distinct variants
    assert (triples.max(1) - triples.min(1)).max() < 10

    def moment(h: np.ndarray, t: np.ndarray) -> float:
        return float(np.mean([np.prod([row[m] - h[:, m].mean() for m in t]) for row in h]))

    expected = np.corrcoef([moment(a, t) for t in triples], [moment(b, t) for t in triples])[0, 1]
    assert found == pytest.approx(expected, abs=1e-4)


def test_triples_of_the_whole_region_reach_further() -> None:
    a, b = population(1), population(2)
    values = [
        metrics.three_point_correlation(a, b, np.random.default_rng(0), n_triples=3000, span=span)
        for span in (5, None, M)
    ]
    assert values[0] > values[1] + 0.05
    assert values[1] == values[2]


def test_three_point_accepts_the_same_population_and_rejects_independence() -> None:
    a, b = population(1), population(2)

    def value(other: np.ndarray) -> float:
        return metrics.three_point_correlation(a, other, np.random.default_rng(0), n_triples=2000, span=12)

    assert value(b) > 0.7
    assert abs(value(shuffled(b))) < 0.3


@pytest.mark.parametrize("n", [30, 200])  # fewer and more haplotypes than variants: both routes
def test_pc_wasserstein_equals_full_svd(n: int) -> None:
    a, b = population(1, n), population(2, 90)
    centred = a - a.mean(0)
    axes = np.linalg.svd(centred, full_matrices=False)[2][:3]
    expected = [wasserstein_distance(centred @ axis, (b - a.mean(0)) @ axis) / (centred @ axis).std() for axis in axes]
    np.testing.assert_allclose(metrics.pc_wasserstein(a, b, n_components=3), expected, rtol=1e-3)


def test_pc_wasserstein_separates_structure_from_its_loss() -> None:
    a, b = population(1), population(2)
    assert metrics.pc_wasserstein(a, a).max() < 1e-5
    assert metrics.pc_wasserstein(a, b).max() < 0.2
    assert metrics.pc_wasserstein(a, shuffled(b)).max() > 0.3
    assert metrics.pc_wasserstein(a, np.repeat(b[:1], N, axis=0)).min() > 0.5


def test_axes_fitted_once_serve_other_sets() -> None:
    a, b, c = population(1), population(2), population(3)
    axes = metrics.principal_axes(a, 3)
    np.testing.assert_allclose(axes.project(a).std(0), 1, rtol=1e-4)
    on_b, on_c = axes.project(b), axes.project(c)
    expected = [np.abs(np.sort(x) - np.sort(y)).mean() for x, y in zip(on_b.T, on_c.T)]
    np.testing.assert_allclose(metrics.wasserstein_each(on_b, on_c), expected, rtol=1e-5)
    np.testing.assert_allclose(
        metrics.wasserstein_each(axes.project(a), on_b), metrics.pc_wasserstein(a, b, n_components=3), rtol=1e-5
    )
    constant = metrics.principal_axes(np.zeros((5, 4), np.int8))
    assert np.isnan(constant.project(np.ones((2, 4), np.int8))).all()


def test_frequency_spectrum_by_hand() -> None:
    haplotypes = np.zeros((10, 5), np.int8)
    for variant, carriers in enumerate((0, 1, 9, 3, 5)):  # 1 and 9 of 10 are the same minor frequency
        haplotypes[:carriers, variant] = 1
    spectrum = metrics.frequency_spectrum(haplotypes, (0, 0.1, 0.3, 0.5))
    np.testing.assert_allclose(spectrum, [2 / 4, 1 / 4, 1 / 4])
    assert metrics.frequency_spectrum(np.zeros((3, 2), np.int8)).sum() == 0
    a, other_sites = population(1), population(2)[:, :40]
    assert metrics.spectrum_distance(a, other_sites) < 0.3
    rare = (np.random.default_rng(0).random(a.shape) < 0.01).astype(np.int8)
    assert metrics.spectrum_distance(a, rare) > 0.9
    with pytest.raises(InputError, match="equal numbers"):
        metrics.spectrum_distance(a, rare[1:])


def test_what_cannot_be_compared_is_refused() -> None:
    a = population(1)
    with pytest.raises(InputError, match="impute missing"):
        metrics.allele_frequency_rmse(a, np.where(a, -1, a))
    with pytest.raises(InputError, match="synthetic haplotypes"):
        metrics.allele_frequency_rmse(a, a[:, 1:])
    with pytest.raises(InputError, match="ascending"):
        metrics.ld_rmse(a, a, POSITIONS[::-1])
