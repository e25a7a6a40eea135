"""The donor audit: planted generators decide whether it is valid, few donors are never a pass, groups worst first."""

from __future__ import annotations

import dataclasses
from functools import cache

import numpy as np
import pytest
from scipy import sparse

from genesim.config.evaluate import DonorAuditConfig
from genesim.errors import InputError
from genesim.evaluate.donor_attacks import BLACK_BOX, DonorCells, Judged
from genesim.evaluate.donor_controls import resampled
from genesim.evaluate.donor_privacy import audit_donors
from genesim.evaluate.donor_records import AttackRow, DonorAudit
from genesim.evaluate.donor_white_box import Likelihood, planted_white_box, white_box
from genesim.pipeline.planted_network import memorising_learner

SMALL = DonorAuditConfig(max_genes=60, copula_genes=30, n_components=20, density_components=8, n_bootstrap=100)


def population(n_donors: int, n_cells: int, seed: int, shift: float = 0.0) -> DonorCells:
    """Cells of donors who differ: profiles by type, donor effects on them, gamma-Poisson counts."""
    random = np.random.default_rng([7, seed])
    profile = np.random.default_rng(0).normal(0, 1, (2, 60))  # of the population, the same in every call
    donor = random.normal(shift, 0.25, (n_donors, 60))
    owner = np.repeat(np.arange(n_donors), n_cells)
    label = random.integers(0, 2, len(owner))
    rate = np.exp(profile[label] + donor[owner] * np.linspace(-1, 1, 60))
    mean = rate / rate.sum(axis=1, keepdims=True) * random.lognormal(6, 0.3, len(owner))[:, None]
    counts = random.poisson(mean * random.gamma(4, 1 / 4, mean.shape))
    names = np.array([f"p{seed}_{i:03d}" for i in range(n_donors)])
    return DonorCells(sparse.csr_matrix(counts), np.array(["B", "T"])[label], names[owner])


@cache
def sides(n: int = 70) -> tuple[DonorCells, DonorCells]:
    return population(n, 9, 1), population(n, 9, 2)


@cache
def honest_audit() -> DonorAudit:
    """Simulated cells of the population that no donor of either side is in."""
    made = population(70, 9, 3)
    sex = {d: "FM"[i % 2] for part in sides() for i, d in enumerate(part.names)}
    rare = {d: "rare" if i < 3 else "common" for part in sides() for i, d in enumerate(part.names)}
    config = SMALL.model_copy(update={"min_donors": 25})
    return audit_donors(*sides(), made, groups={"sex": sex, "ancestry": rare}, config=config)


def test_an_honest_generator_passes_where_there_are_donors_enough() -> None:
    audit = honest_audit()
    assert audit.valid
    assert audit.conclusion == "no sign"
    assert {row.attack for row in audit.rows} == set(BLACK_BOX)
    for row in audit.rows:
        if row.figure == "auc":
            assert abs(row.value - 0.5) < 0.13
            assert "would be seen" in row.verdict
    assert audit.copies.n_exact == 0
    assert audit.copies.to_train == pytest.approx(audit.copies.to_holdout, rel=0.05)


def test_the_planted_memoriser_is_exposed_and_the_honest_one_is_not() -> None:
    controls = {(c.kind, c.attack): c for c in honest_audit().controls}
    assert max(c.value for (kind, _), c in controls.items() if kind == "memoriser") > 0.95
    assert all(c.passed and abs(c.value - 0.5) < 0.15 for (kind, _), c in controls.items() if kind == "honest")


def test_a_memorising_generator_is_recognised() -> None:
    train, holdout = sides()
    noisy = resampled(train, 600, np.random.default_rng(0), 0.1)
    made = DonorCells(
        sparse.vstack([noisy.counts, train.counts[:100]], "csr"),
        np.concatenate([noisy.labels, train.labels[:100]]),
        np.concatenate([noisy.donors, train.donors[:100]]),
    )
    audit = audit_donors(train, holdout, made, config=SMALL)
    assert audit.valid
    assert audit.conclusion == "training donors are recognised"
    nearest = next(row for row in audit.rows if (row.attack, row.figure) == ("nearest", "auc"))
    assert nearest.value > 0.95
    assert nearest.level == "bad"
    copies = audit_donors(train, holdout, train, config=SMALL).copies
    assert copies.n_exact == len(train)
    assert copies.to_train < copies.to_holdout / 2


def test_few_donors_are_inconclusive_never_a_pass() -> None:
    train, holdout = (part.of(part.names[:24]) for part in sides())
    audit = audit_donors(train, holdout, population(24, 40, 3), config=SMALL)
    assert audit.valid
    assert audit.conclusion == "inconclusive"
    assert all(row.level == "unknown" for row in audit.rows)


def test_a_holdout_from_elsewhere_makes_the_audit_invalid() -> None:
    """Its honest control tells training from held-out donors, so a real attack's success would mean nothing."""
    train, _ = sides()
    audit = audit_donors(train, population(70, 9, 4, shift=0.8), population(70, 9, 3), config=SMALL)
    assert not audit.valid
    assert audit.conclusion == "not valid"
    assert "differ from training donors" in audit.invalid[0]
    assert {row.level for row in audit.rows} == {"unknown"}


def test_blind_attacks_make_the_audit_invalid() -> None:
    """With one cell's worth of counts a donor, not even a copy can be recognised."""
    train, holdout = (
        dataclasses.replace(p, counts=sparse.csr_matrix(np.minimum(p.counts.toarray(), 1))) for p in sides()
    )
    noise = DonorAuditConfig(**SMALL.model_dump() | {"max_genes": 10, "n_components": 2, "copula_genes": 5})
    audit = audit_donors(train, holdout, population(20, 4, 3), config=noise)
    assert not audit.valid
    assert "it has to exceed 0.95" in audit.invalid[0]


def test_groups_are_scored_worst_first_and_small_ones_are_listed() -> None:
    groups = honest_audit().groups
    small = [g for g in groups if np.isnan(g.value)]
    assert [(g.attribute, g.group, g.n_train) for g in small] == [("ancestry", "rare", 3)]
    assert small[0].verdict.startswith("inconclusive")
    scored = [g for g in groups if np.isfinite(g.value)]
    assert {(g.attribute, g.group) for g in scored} == {("sex", "F"), ("sex", "M"), ("ancestry", "common")}
    for attack in BLACK_BOX:
        values = [g.value for g in scored if g.attack == attack]
        assert values == sorted(values, reverse=True)


def with_likelihood(parts: tuple[DonorCells, DonorCells], gain: float) -> list[DonorCells]:
    """Cells with a likelihood that goes with their depth, and is higher by `gain` on the first side."""
    random = np.random.default_rng(0)
    return [
        dataclasses.replace(part, log_likelihood=np.log(part.library) + more + random.normal(0, 0.5, len(part)))
        for part, more in zip(parts, (gain, 0.0), strict=True)
    ]


_LEARNED: dict[tuple[str, str, int], Likelihood] = {}


def learn(cells: DonorCells, name: str) -> Likelihood:
    """Networks that memorise, each trained once in this file; 630 cells of 60 genes need few steps."""
    key = name, str(cells.names[0]), len(cells)
    if key not in _LEARNED:
        _LEARNED[key] = memorising_learner(0, SMALL)(cells, name)
    return _LEARNED[key]


def scored_by(likelihood: Likelihood) -> list[DonorCells]:
    return [dataclasses.replace(part, log_likelihood=likelihood(part)) for part in sides()]


def row_of(audit: DonorAudit, attack: str) -> AttackRow:
    return next(row for row in audit.rows if (row.attack, row.figure) == (attack, "auc"))


def test_white_box_finds_a_model_that_fits_its_donors_better_beside_controls_of_its_own() -> None:
    made = population(70, 9, 3)
    audit = audit_donors(*with_likelihood(sides(), 0.5), made, learn=learn, config=SMALL)
    controls = {c.kind: c for c in audit.controls if c.attack == "white_box"}
    assert controls["memoriser"].value > 0.95
    assert abs(controls["honest"].value - 0.5) < 0.13
    assert all(c.passed for c in controls.values())
    assert audit.invalid_white_box == ()
    row = row_of(audit, "white_box")
    assert row.value > 0.95
    assert (row.floor, row.null) == (controls["honest"].value, controls["memoriser"].value)
    assert (row.verdict, row.level) == ("training donors are recognised", "bad")
    assert audit.conclusion == "training donors are recognised"
    # What the other attacks see is not touched by it.
    assert row_of(audit, "nearest").value == row_of(honest_audit(), "nearest").value
    ignorant = row_of(audit_donors(*with_likelihood(sides(), 0.0), made, learn=learn, config=SMALL), "white_box")
    assert abs(ignorant.value - 0.5) < 0.13
    assert ignorant.level != "bad"
    with pytest.raises(InputError, match="likelihood"):
        white_box(Judged(*sides(), 0, SMALL))
    with pytest.raises(InputError, match="nothing to plant"):
        audit_donors(*with_likelihood(sides(), 0.0), made, config=SMALL)


def test_white_box_exposes_a_network_that_memorises_and_not_one_that_saw_other_donors() -> None:
    made = population(70, 9, 3)
    stranger = audit_donors(*scored_by(learn(population(70, 9, 5), "other")), made, learn=learn, config=SMALL)
    row = row_of(stranger, "white_box")
    assert stranger.invalid_white_box == ()
    assert row.low < 0.5 < row.high
    assert row.level == "good"
    # The planted memoriser itself, handed in as the model: the very same attack and figure.
    memoriser = audit_donors(*scored_by(learn(sides()[0], "own")), made, learn=learn, config=SMALL)
    row = row_of(memoriser, "white_box")
    assert row.value > 0.95
    assert row.level == "bad"


def test_planted_networks_learn_and_are_judged_by_few_cells_of_every_donor() -> None:
    seen: dict[str, DonorCells] = {}

    def spy(cells: DonorCells, name: str) -> Likelihood:
        seen[name] = cells
        return lambda part: np.zeros(len(part))

    judged = Judged(*sides(), 0, SMALL.model_copy(update={"planted_cells": 140, "max_genes": 20}))
    found = planted_white_box(judged, spy)
    assert set(seen) == {"memoriser", "honest 0", "honest 1"}
    assert np.unique(seen["memoriser"].donors, return_counts=True)[1].tolist() == [2] * 70
    assert seen["memoriser"].counts.shape[1] == 20
    for fold, (reference, names) in enumerate(judged.folds):
        learned = seen[f"honest {fold}"].names
        assert set(learned) <= set(reference)
        assert not set(learned) & {*names, *judged.train.names}
        assert [len(side) for side in found["honest"][fold]] == [70, len(names)]


@pytest.mark.slow
def test_white_box_and_black_box_stand_or_fall_with_their_own_controls() -> None:
    train, _ = sides()
    made = population(70, 9, 3)
    # Held-out donors from elsewhere: a network that saw neither side tells them apart, so the white box is void.
    apart = with_likelihood((train, population(70, 9, 4, shift=0.8)), 0.5)
    moved = audit_donors(*apart, made, learn=learn, config=SMALL)
    assert "a planted network that never saw a training donor" in moved.invalid_white_box[0]
    assert row_of(moved, "white_box").level == "unknown"
    assert moved.conclusion == "not valid"
    scores = {s.metric: s for s in moved.scores()}
    assert scores["donor_attack_white_box"].verdict == "says nothing: a planted control failed"
    # Networks that were hardly trained know nobody: a high AUC of the white box then says nothing.
    untrained = memorising_learner(0, SMALL.model_copy(update={"planted_steps": 1}))
    blind = audit_donors(*with_likelihood(sides(), 0.5), made, learn=untrained, config=SMALL)
    assert "a planted network that memorises reaches an AUC of only" in blind.invalid_white_box[0]
    assert blind.valid
    assert row_of(blind, "white_box").value > 0.95
    assert row_of(blind, "white_box").level == "unknown"
    # Where only its own controls are as they have to be, it alone speaks.
    alone = dataclasses.replace(moved, invalid_white_box=())
    assert {s.metric for s in alone.scores() if np.isfinite(s.floor)} == {"donor_attack_white_box"}


def test_donors_on_both_sides_other_genes_and_too_few_are_refused() -> None:
    train, holdout = sides()
    with pytest.raises(InputError, match="70 donors are on both sides"):
        audit_donors(train, train, holdout)
    with pytest.raises(InputError, match="different genes"):
        audit_donors(train, holdout, dataclasses.replace(train, counts=train.counts[:, :5]))
    with pytest.raises(InputError, match="hold out at least four"):
        audit_donors(train, holdout.of(holdout.names[:3]), train, config=SMALL)


def test_the_record_names_no_donor_and_is_the_same_again() -> None:
    audit = honest_audit()
    text = str(audit.to_dict()) + audit.text() + audit.to_frame().to_string()
    assert not any(name in text for part in sides() for name in part.names)
    few = [part.of(part.names[:8]) for part in sides()]
    first, again = (audit_donors(*few, population(8, 12, 3), config=SMALL) for _ in range(2))
    assert again.to_frame().equals(first.to_frame())


def test_a_planted_copy_keeps_labels_totals_and_most_molecules() -> None:
    train, _ = sides()
    copy = resampled(train, 2000, np.random.default_rng(1))
    assert copy.library.mean() == pytest.approx(train.library.mean(), rel=0.03)
    assert set(copy.labels) == {"B", "T"}
    assert copy.counts.data.min() > 0


def test_scores_of_the_table_say_the_same() -> None:
    """Enough donors are at the floor, few are inconclusive, found ones are recognised; a void audit says nothing."""
    audit = honest_audit()
    scores = {s.metric: s for s in audit.scores()}
    assert set(scores) == {f"donor_attack_{name}" for name in BLACK_BOX}
    assert {s.verdict for s in scores.values()} == {"no sign of training donors"}
    assert scores["donor_attack_nearest"].n == 140
    few = dataclasses.replace(audit, rows=tuple(dataclasses.replace(r, n_train=30) for r in audit.rows))
    assert {(s.verdict, s.level) for s in few.scores()} == {("inconclusive: too few donors", "unknown")}
    broken = dataclasses.replace(audit, invalid=("planted",))
    assert {(s.verdict, s.level) for s in broken.scores()} == {("says nothing: a planted control failed", "unknown")}
    found = [dataclasses.replace(r, value=0.99, low=0.98, high=1.0) for r in audit.rows if r.attack == "nearest"]
    (score,) = dataclasses.replace(audit, rows=tuple(found)).scores()
    assert (score.verdict, score.level) == ("training donors are recognised", "bad")


def test_small_groups_of_donors_are_not_counted_in_the_record() -> None:
    groups = honest_audit().to_dict()["groups"]
    assert next(g["n_train"] for g in groups if g["group"] == "rare") == "<5"
    assert next(g["n_train"] for g in groups if g["group"] == "F") == 35
