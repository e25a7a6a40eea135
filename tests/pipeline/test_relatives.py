"""Held-out donors with relatives in training are found, strangers are not, and too few variants say so."""

from __future__ import annotations

import numpy as np
import pandas as pd
from linked_donors import cohort_of

from genesim.data.cohort import Cohort
from genesim.data.genotypes import Genotypes
from genesim.evaluate.haplotypes import evaluate_haplotypes
from genesim.pipeline.relatives import held_out_relatives


def with_children(cohort: Cohort, n_variants: int, n_children: int, seed: int = 0) -> Cohort:
    """Unlinked genotypes; each of the first held-out donors has one haplotype of a training donor."""
    draw = np.random.default_rng(seed)
    donors = cohort.genotypes.donors
    alleles = (draw.random((n_variants, len(donors), 2)) < draw.uniform(0.1, 0.9, (n_variants, 1, 1))).astype(np.int8)
    test, train = np.arange(1, 2 * n_children, 2), np.arange(0, 2 * n_children, 2)
    alleles[:, test, 0] = np.where(draw.random((n_variants, n_children)) < 0.5, *alleles[:, train].transpose(2, 0, 1))
    table = {"contig": "22", "start": np.arange(n_variants) * 600_000, "ref": "A", "alt": "G"}
    index = pd.Index([f"v{i}" for i in range(n_variants)], dtype=object)
    variants = pd.DataFrame(table, index=index).astype({"contig": object, "ref": object, "alt": object})
    genotypes = Genotypes(alleles, np.ones(alleles.shape[:2], bool), variants, donors)
    return Cohort(cohort.cells, genotypes, cohort.donors, cohort.genes)


def test_children_of_training_donors_are_found_and_strangers_are_not() -> None:
    cohort = with_children(cohort_of(40), 2000, 6)
    found, record = held_out_relatives(cohort)
    assert list(found) == list(cohort.genotypes.donors[1:12:2])
    assert record["told"]
    assert record["left_out"] == 6
    none, record = held_out_relatives(with_children(cohort_of(40), 2000, 0))
    assert len(none) == 0
    assert record["left_out"] == 0


def test_too_few_variants_tell_nothing() -> None:
    found, record = held_out_relatives(with_children(cohort_of(40), 20, 6))
    assert len(found) == 0
    assert record["told"] is False


def test_relatives_take_no_part_in_privacy_and_in_nothing_else() -> None:
    draw = np.random.default_rng(1)
    train, test, made = (draw.integers(0, 2, (60, 80)).astype(np.int8) for _ in range(3))
    related = np.arange(60) < 30
    test[related] = train[related]  # whatever is released, they look like members
    position = np.arange(80) * 1000
    every, without = (
        {s.metric: s for s in evaluate_haplotypes(test, made, train, position=position, related_test=mask)}
        for mask in (None, related)
    )
    assert without["membership_auc"].n == 30
    assert every["membership_auc"].n == 60
    assert (without["ld_rmse"].value, without["ld_rmse"].low) == (every["ld_rmse"].value, every["ld_rmse"].low)
    assert without["exact_copies_haplotypes"].floor < every["exact_copies_haplotypes"].floor
