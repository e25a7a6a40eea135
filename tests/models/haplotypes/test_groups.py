"""Groups within an ancestry: found where there are some, and never across ancestries."""

from __future__ import annotations

import numpy as np

from genesim.models.haplotypes.groups import group_haplotypes


def two_clades(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Haplotypes of two clades that differ at half of their variants, 2 % flipped; and their clades."""
    stream = np.random.default_rng(seed)
    templates = stream.integers(0, 2, (2, 60))
    clade = np.arange(n) % 2
    return (templates[clade] ^ (stream.random((n, 60)) < 0.02)).astype(np.int8), clade


def test_clades_of_one_ancestry_become_groups_and_a_small_ancestry_stays_whole() -> None:
    alleles, clade = two_clades(100)
    alleles[3, :10] = -1
    ancestry = (np.arange(100) >= 80).astype(int)
    code, shares = group_haplotypes(alleles, ancestry, 3, 40, seed=0)
    assert shares.shape == (3, 4)
    np.testing.assert_allclose(shares, [[0.5, 0.5, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    assert (code[80:] == 2).all()
    first = code[:80] == code[0]
    assert (first == (clade[:80] == clade[0])).all()


def test_the_seed_decides_and_missing_everything_is_no_crash() -> None:
    alleles, _ = two_clades(90)
    ancestry = np.zeros(90, int)
    first, again = (group_haplotypes(alleles, ancestry, 1, 30, seed=3) for _ in range(2))
    np.testing.assert_array_equal(first[0], again[0])
    code, shares = group_haplotypes(np.full_like(alleles, -1), ancestry, 1, 30, seed=0)
    assert shares.shape == (1, 1)
    assert not code.any()
