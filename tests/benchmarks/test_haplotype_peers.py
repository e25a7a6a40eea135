"""Peers of the haplotype benchmark: what each claims to do, against slow oracles."""

from __future__ import annotations

from itertools import product

import fastphase
import hapnest
import numpy as np
import out_of_africa
import pandas as pd
import pytest

LABELS = ["A", "B"]


def panel(n: int = 60, n_variants: int = 40) -> tuple[np.ndarray, np.ndarray]:
    """Two populations of three templates each."""
    stream = np.random.default_rng(0)
    templates = stream.random((6, n_variants)) < stream.beta(0.7, 0.7, n_variants)
    codes = np.repeat([0, 1], n // 2)
    return templates[3 * codes + stream.integers(0, 3, n)].astype(np.int8), codes


def test_hapnest_copies_within_the_population_and_shorter_where_the_map_is_longer() -> None:
    stream = np.random.default_rng(1)
    codes = np.repeat([0, 1], 40)
    # Each training haplotype spells its own number, so a copied stretch shows whose it is. All alleles are 0 or 1.
    train = (stream.random((80, 600)) < 0.5).astype(np.int8)
    switches = []
    for length in (0.001, 0.1):
        drawn = hapnest.draw(train, codes, codes, LABELS, np.linspace(0, length, 600), seed=0)
        assert drawn.shape == train.shape
        windows = [(drawn[:, a : a + 20], train[:, a : a + 20]) for a in range(0, 600, 20)]
        copied = np.mean(
            [[(row == real[codes == code]).all(1).any() for row, code in zip(d, codes)] for d, real in windows]
        )
        other = np.mean(
            [[(row == real[codes != code]).all(1).any() for row, code in zip(d, codes)] for d, real in windows]
        )
        assert other < 0.02
        switches.append(1 - copied)
    assert switches[0] < 0.2 < switches[1]


def test_hapnest_drops_alleles_that_are_younger_than_the_segment() -> None:
    train, codes = np.zeros((200, 50), np.int8), np.zeros(200, int)
    train[0] = 1  # singletons: 4 Ne x ln(1/x) / (1 - x) = 1,250 generations; with N = 200, T is about 117
    old = np.tile((np.arange(50) % 2).astype(np.int8), (200, 1))
    asked = np.zeros(2000, int)
    morgans = np.zeros(50)  # no recombination: each haplotype is one segment
    young = hapnest.draw(train, codes, asked, ["EUR"], morgans, 0)
    assert 0 < young.mean() < 0.02
    np.testing.assert_array_equal(hapnest.draw(old, codes, asked[:20], ["EUR"], morgans, 0), old[:20])


def slow_likelihood(parameters: dict[str, np.ndarray], haplotype: np.ndarray, code: int) -> float:
    """Sum over all paths of states."""
    theta, jump, weights = parameters["theta"], parameters["jump"], parameters["weights"][:, code]
    total = 0.0
    for path in product(range(theta.shape[1]), repeat=len(haplotype)):
        chance = 1.0
        for m, state in enumerate(path):
            stay = m > 0 and path[m - 1] == state
            chance *= (1 - jump[m]) * stay + jump[m] * weights[m, state]
            chance *= theta[m, state] if haplotype[m] else 1 - theta[m, state]
        total += chance
    return float(np.log(total))


def test_fastphase_likelihood_equals_every_path_and_em_raises_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fastphase, "MESSAGE_NUMBERS", 17 * 6 * 3)  # minibatches of 17, the last one padded
    train, codes = panel(40, 6)
    parameters, _ = fastphase.fit(train, codes, 2, seed=0, n_states=3, n_passes=2)
    _, history = fastphase.fit(train, codes, 2, seed=0, n_states=3, n_passes=12)
    expected = np.mean([slow_likelihood(parameters, h, c) for h, c in zip(train, codes)])
    assert history[2] == pytest.approx(expected, rel=1e-4)
    assert history[-1] > history[0] + 0.5
    assert (np.diff(history) > -0.02).all()  # the priors may lower the likelihood a little


def test_fastphase_draws_keep_the_populations_and_their_ld() -> None:
    train, codes = panel()
    drawn, _ = fastphase.draw(train, codes, np.repeat([0, 1], 400), LABELS, seed=0, n_states=6)
    for code in (0, 1):
        real, made = train[codes == code], drawn[400 * code : 400 * (code + 1)]
        assert np.abs(real.mean(0) - made.mean(0)).mean() < 0.07
        far = drawn[400 * (1 - code) : 400 * (2 - code)]
        assert np.abs(real.mean(0) - far.mean(0)).mean() > 2 * np.abs(real.mean(0) - made.mean(0)).mean()
    varying = np.flatnonzero(train.std(0) > 0)
    gap = np.abs(np.corrcoef(train[:, varying].T) - np.corrcoef(drawn[:, varying].T)).mean()
    shuffled = np.random.default_rng(0).permuted(drawn, axis=0)
    assert gap < 0.5 * np.abs(np.corrcoef(train[:, varying].T) - np.corrcoef(shuffled[:, varying].T)).mean()


def test_msprime_draws_lie_in_the_region_in_the_asked_order() -> None:
    genetic_map = pd.DataFrame({"pos": [1, 100_001, 200_001], "cM": [0.0, 0.1, 0.3]})
    asked = np.array([2, 2, 0, 0, 1, 1, 0, 0])
    labels = ["CHB", "FIN", "YRI"]
    drawn, positions = out_of_africa.draw(asked, labels, 50_000, 149_999, genetic_map, seed=1)
    assert drawn.shape == (8, len(positions))
    assert (np.diff(positions) >= 0).all()
    assert positions[0] >= 50_000
    assert positions[-1] <= 149_999
    again, _ = out_of_africa.draw(asked[::-1], labels, 50_000, 149_999, genetic_map, seed=1)
    order = np.concatenate([np.flatnonzero(asked[::-1] == a) for a in range(3)])
    mine = np.concatenate([np.flatnonzero(asked == a) for a in range(3)])
    np.testing.assert_array_equal(again[order], drawn[mine])
