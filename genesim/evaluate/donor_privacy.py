"""The privacy audit of simulated cells: attacks on donors, judged beside planted generators.

A planted memoriser and a planted honest generator go through the same attacks on the same donors. If the memoriser is
not exposed, or the honest one is, the audit is not valid and says nothing. The white box, which reads the model's own
likelihood, has two planted models of its own, and stands or falls with them alone. And a failed attack is evidence
only where it could have succeeded: with few donors the verdict is "inconclusive", never a pass.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from genesim import rng
from genesim.config.evaluate import DonorAuditConfig
from genesim.errors import InputError
from genesim.evaluate.donor_attacks import ATTACKS, BLACK_BOX, DonorCells, Judged, at_most, of_labels
from genesim.evaluate.donor_controls import resampled
from genesim.evaluate.donor_groups import group_attacks
from genesim.evaluate.donor_records import AttackRow, Control, CopyCheck, DonorAudit, verdict_of
from genesim.evaluate.donor_white_box import Learner, planted_white_box, white_box
from genesim.metrics.copies import exact_copies
from genesim.metrics.interval import Interval
from genesim.metrics.membership import (
    FPR,
    DonorAttack,
    Sides,
    chance_tpr,
    detectable_tpr,
    donor_attack,
    roc_curve,
    smallest_detectable_auc,
)
from genesim.metrics.membership_scores import nearest_score

EXPOSED = 0.95
"""AUC that the planted memoriser has to exceed."""
TOLERANCE = 0.05
"""How far the planted honest generator may be from .5 whatever its interval says."""


def _control(kind: str, name: str, found: DonorAttack, n: tuple[int, int], coverage: float) -> Control:
    auc = found.auc
    # Two conditions, because the bootstrap's interval is too short with few donors; at 1 % for all attacks together,
    # because a division of donors that is odd by chance is no fault of the audit.
    chance = smallest_detectable_auc(*n, coverage) - 0.5
    off = abs(auc.value - 0.5) > max(TOLERANCE, chance) and not auc.low <= 0.5 <= auc.high
    return Control(kind, name, *auc, not off if kind == "honest" else auc.value > EXPOSED)


def _validity(controls: Sequence[Control], seen: str) -> tuple[str, ...]:
    """Why attacks with these controls are not valid; empty where they are. `seen` is what the memoriser is called."""
    reasons = []
    best = max((c for c in controls if c.kind == "memoriser"), key=lambda c: c.value)
    if best.value <= EXPOSED:
        reasons.append(
            f"a planted {seen} reaches an AUC of only {best.value:.2f} "
            f"({ATTACKS[best.attack]}); it has to exceed {EXPOSED:g}"
        )
    noun = seen.split(" ", 1)[0]
    reasons += [
        f"a planted {noun} that never saw a training donor reaches an AUC of {c.value:.2f} "
        f"({c.low:.2f} to {c.high:.2f}; {ATTACKS[c.attack]}): held-out donors differ from training donors"
        for c in controls
        if c.kind == "honest" and not c.passed
    ]
    return tuple(reasons)


def mean_roc(folds: Sequence[Sides], n_points: int = 101) -> tuple[np.ndarray, np.ndarray]:
    """True-positive rate on a grid of false-positive rates, averaged over folds (Fawcett 2006)."""
    grid = np.linspace(0, 1, n_points)
    found = []
    for member, other in folds:
        fpr, tpr = roc_curve(member, other)
        at = np.searchsorted(fpr, grid, side="right") - 1  # a staircase, not a line between its steps
        found.append(tpr[at])
    return grid, np.mean(found, axis=0)


def _copies(train: DonorCells, simulated: DonorCells, judged: Judged) -> CopyCheck:
    """Distances to the closest record; they tell copying from none, and nothing of membership."""
    # As many cells of each side: distances are smaller to a larger set.
    n = min(len(judged.train), len(judged.holdout))
    random = rng.generator(judged.seed, "privacy", "copies")
    known, held = (space[random.permutation(len(space))[:n]] for space in judged.spaces)
    made = judged.space(simulated)
    near = -nearest_score(made, known), -nearest_score(made, held)
    same = exact_copies(simulated.counts, train.counts)
    return CopyCheck(int(same.sum()), len(same), float(np.median(near[0])), float(np.median(near[1])))


def audit_donors(
    train: DonorCells,
    holdout: DonorCells,
    simulated: DonorCells,
    *,
    groups: Mapping[str, Mapping[str, str]] | None = None,
    learn: Learner | None = None,
    seed: int = 0,
    config: DonorAuditConfig | None = None,
) -> DonorAudit:
    """Attack simulated cells and say what was found, or that nothing can be said.

    Args:
        train: Cells of the donors that the generator was trained on.
        holdout: Cells of other donors, of the same genes, from the same population and processing.
        simulated: Simulated cells of the same genes.
        groups: For each attribute ("ancestry x sex"), every donor's group: the attacks' success within groups.
        learn: Fits networks that memorise, the white box's planted models: needed where the cells come with the model's
            likelihood, and that is what makes the attack.
        seed: Of draws, folds, planted generators and bootstrap.
        config: Sizes.

    Raises:
        InputError: A donor is on both sides, genes differ, a likelihood comes without `learn`, or fewer than two
            training or four held-out donors have enough cells of shared cell types.
    """
    config = config or DonorAuditConfig()
    both = np.intersect1d(train.names, holdout.names)
    if len(both):
        raise InputError(
            f"{len(both)} donors are on both sides",
            where="donor privacy audit",
            remedy="hold out whole donors: cells of a training donor are no control",
        )
    if len({part.counts.shape[1] for part in (train, holdout, simulated)}) > 1:
        raise InputError(
            "training, held-out and simulated cells have different genes",
            where="donor privacy audit",
            remedy="give cells of the same genes, in the same order",
        )
    sides = train, holdout, simulated
    counts = [dict(zip(*np.unique(part.labels, return_counts=True), strict=True)) for part in sides]
    levels = [level for level in counts[0] if all(c.get(level, 0) >= config.min_cells_per_label for c in counts)]
    train_all, holdout_all, made = (of_labels(part, levels) for part in sides)
    if not levels:
        raise InputError(
            f"no cell type has {config.min_cells_per_label} training, held-out and simulated cells",
            where="donor privacy audit",
            remedy="check the column of cell types, or simulate more cells",
        )
    each, least = config.max_cells_per_donor, config.min_cells_per_donor
    judged = Judged(
        at_most(train_all, each, least, seed, "train"), at_most(holdout_all, each, least, seed, "holdout"), seed, config
    )
    if len(made) > config.max_simulated_cells:
        drawn = rng.generator(seed, "privacy", "simulated").permutation(len(made))[: config.max_simulated_cells]
        made = made.take(np.sort(drawn))

    def planted(source: DonorCells, *name: str | int) -> DonorCells:
        return resampled(source, len(made), rng.generator(seed, "privacy", *name))

    found = judged.all_folds(made)
    attacked = judged.train.log_likelihood is not None
    if attacked:
        found["white_box"] = white_box(judged)
    memoriser = judged.all_folds(planted(train_all, "memoriser"))
    honest: dict[str, list[Sides]] = {name: [] for name in BLACK_BOX}
    for fold, (reference, _) in enumerate(judged.folds):
        for name, pair in judged.black_box(planted(holdout_all.of(reference), "honest", fold), fold):
            honest[name].append(pair)

    n = len(judged.train.names), len(judged.holdout.names)
    # The attacker takes the best of the attacks, so each interval has its share of the error (Bonferroni).
    coverage = 1 - 0.05 / len(found)

    strict = 1 - 0.01 / len(BLACK_BOX)

    def success(folds: list[Sides], kind: str, name: str) -> DonorAttack:
        stream = rng.generator(seed, "privacy", "bootstrap", kind, name)
        wanted = coverage if kind == "simulated" else strict
        return donor_attack(folds, stream, n_repeats=config.n_bootstrap, coverage=wanted)

    sets = {"memoriser": memoriser, "honest": honest}
    if attacked:
        if learn is None:
            raise InputError(
                "cells come with a model's likelihood, and nothing to plant beside it",
                where="white-box attack",
                remedy="give `learn`: without planted models the attack says nothing",
            )
        for kind, folds in planted_white_box(judged, learn).items():
            sets[kind]["white_box"] = folds
    planted_success = {
        (kind, name): success(folds, kind, name) for kind, attacks in sets.items() for name, folds in attacks.items()
    }
    controls = tuple(_control(kind, name, a, n, strict) for (kind, name), a in planted_success.items())
    reasons = _validity([c for c in controls if c.attack != "white_box"], "generator that copies training cells")
    own = _validity([c for c in controls if c.attack == "white_box"], "network that memorises") if attacked else ()
    valid = {name: not (own if name == "white_box" else reasons) for name in found}
    rows = []
    for name, folds in found.items():
        attack = success(folds, "simulated", name)
        sizes = [len(other) for _, other in folds]
        chance = {"auc": 0.5, "tpr": float(np.mean([chance_tpr(k) for k in sizes]))}
        seen = {
            "auc": smallest_detectable_auc(*n, coverage),
            "tpr": max(detectable_tpr(n[0], k, coverage) for k in sizes),
        }
        for figure, at in chance.items():
            floor, null = (getattr(planted_success[kind, name], figure).value for kind in ("honest", "memoriser"))
            interval: Interval = getattr(attack, figure)
            words = verdict_of(interval, at, seen[figure], n, valid[name], config.min_donors)
            rows.append(AttackRow(name, figure, *interval, floor, null, at, *n, *words))
    return DonorAudit(
        rows=tuple(rows),
        controls=controls,
        invalid=reasons,
        copies=_copies(train, simulated, judged),
        groups=tuple(group_attacks(judged, found, groups or {}, seed, config, valid)),
        curves={name: mean_roc(folds) for name, folds in found.items()}
        | {f"memoriser, {name}": mean_roc(memoriser[name]) for name in BLACK_BOX},
        n_train=n[0],
        n_holdout=n[1],
        fpr=FPR,
        coverage=coverage,
        min_donors=config.min_donors,
        invalid_white_box=own,
    )
