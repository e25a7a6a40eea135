"""Third moments over all triples: every triple by hand, equal passes while a planted difference is rejected."""

from __future__ import annotations

from itertools import combinations, permutations

import numpy as np
import pytest

from genesim.errors import InputError
from genesim.metrics.haplotypes import three_point_correlation
from genesim.metrics.three_point import ThreePoint, three_point_correlation_exact


def population(seed: int, n: int, n_variants: int = 14, rate: float = 0.2) -> np.ndarray:
    """Mosaics of three fixed templates."""
    templates = np.random.default_rng(0).random((3, n_variants)) < 0.4
    stream = np.random.default_rng(seed)
    switch = stream.random((n, n_variants)) < rate
    state = stream.integers(0, 3, (n, n_variants))
    last = np.maximum.accumulate(np.where(switch, np.arange(n_variants), 0), axis=1)
    drawn = templates[np.take_along_axis(state, last, 1), np.arange(n_variants)]
    return (drawn ^ (stream.random(drawn.shape) < 0.05)).astype(np.int8)


def slow(a: np.ndarray, b: np.ndarray, common: np.ndarray) -> float:
    """Pearson r over every unordered triple."""
    moments: list[list[float]] = [[], []]
    for triple in combinations(common.tolist(), 3):
        for found, haplotypes in zip(moments, (a, b)):
            centred = haplotypes[:, triple] - haplotypes[:, triple].mean(0)
            found.append(float(np.prod(centred, axis=1).mean()))
    return float(np.corrcoef(*moments)[0, 1])


@pytest.mark.parametrize("sizes", [(40, 40), (25, 60)])
def test_equals_every_triple_by_hand(sizes: tuple[int, int]) -> None:
    a, b = population(1, sizes[0]), population(2, sizes[1])
    maf = np.minimum(a.mean(0), 1 - a.mean(0))
    common = np.flatnonzero(maf >= 0.2)
    assert 3 < len(common) < 14
    reference = ThreePoint(a, min_maf=0.2)
    assert reference.n_triples == len(list(permutations(common, 3)))
    assert reference.correlation(b) == pytest.approx(slow(a, b, common), abs=1e-4)
    assert reference.correlation(a) == pytest.approx(1, abs=1e-5)
    chosen = np.array([0, 3, 4, 9, 12])
    assert ThreePoint(a, common=chosen).correlation(b) == pytest.approx(slow(a, b, chosen), abs=1e-4)


def test_agrees_with_a_sample_of_triples() -> None:
    a, b = population(1, 300, 60), population(2, 300, 60)
    sampled = three_point_correlation(a, b, np.random.default_rng(0), n_triples=20_000, span=None)
    assert three_point_correlation_exact(a, b) == pytest.approx(sampled, abs=0.03)


def test_accepts_the_same_population_and_rejects_independence() -> None:
    a, b = population(1, 1000, 60, rate=0.02), population(2, 1000, 60, rate=0.02)
    shuffled = np.random.default_rng(5).permuted(b, axis=0)
    assert three_point_correlation_exact(a, b) > 0.8
    assert abs(three_point_correlation_exact(a, shuffled)) < 0.3


def test_what_has_no_moments_gives_nan_or_an_error() -> None:
    a = population(1, 30)
    constant = np.zeros_like(a)
    assert np.isnan(three_point_correlation_exact(constant, a))
    assert np.isnan(three_point_correlation_exact(a, constant))
    with pytest.raises(InputError, match="equal numbers"):
        three_point_correlation_exact(a, a[1:])
    with pytest.raises(InputError, match="synthetic haplotypes"):
        ThreePoint(a).correlation(a[:, 1:])
