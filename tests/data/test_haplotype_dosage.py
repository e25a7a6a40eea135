"""Dosage over unknown phase, against every arrangement written out."""

from __future__ import annotations

from itertools import product
from math import prod

import numpy as np
import pytest

from genesim.data.haplotype_dosage import Hit, Pair, combine


def hit(block: object, pair: Pair) -> Hit:
    carried = (pair[0] != 1, pair[1] != 1)
    return Hit(block, pair, pair, carried, False, ("nmd",), (f"v{block}",))  # type: ignore[arg-type]


@pytest.mark.parametrize("seed", range(5))
def test_expectation_and_bounds_are_those_of_all_arrangements(seed: int) -> None:
    random = np.random.default_rng(seed)
    pairs = [tuple(map(float, random.choice([0.0, 0.2, 0.6, 1.0, 2.0], 2))) for _ in range(5)]
    dosages = []
    for turned in product((False, True), repeat=len(pairs)):
        sides = [pair[::-1] if turn else pair for pair, turn in zip(pairs, turned, strict=True)]
        dosages.append((prod(side[0] for side in sides) + prod(side[1] for side in sides)) / 2)
    found = combine([hit(i, pair) for i, pair in enumerate(pairs)])  # type: ignore[arg-type]
    assert found.dosage == pytest.approx(np.mean(dosages), abs=1e-9)
    assert (found.low, found.high) == pytest.approx((min(dosages), max(dosages)), abs=1e-9)


def test_many_unphased_alleles_are_quick_and_bounded() -> None:
    found = combine([hit(i, (1.0, 0.2)) for i in range(40)])
    assert found.high == pytest.approx((1 + 0.2**40) / 2)
    assert found.low == pytest.approx(0.2**20, abs=1e-9)
    assert found.dosage == pytest.approx(0.6**40)
    assert found.zygosity == "phase_unknown"


def test_one_phased_block_has_no_bounds() -> None:
    found = combine([hit("a", (1.0, 0.2)), hit("a", (0.2, 1.0)), hit("a", (1.0, 0.5))])
    assert (found.low, found.dosage, found.high) == pytest.approx((0.15, 0.15, 0.15), abs=1e-9)
    assert found.zygosity == "compound_heterozygous"
