"""Is one group of donors easier to attack than another? The attacks' success within each group, the worst first."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from genesim import rng
from genesim.config.evaluate import DonorAuditConfig
from genesim.evaluate.donor_attacks import Judged
from genesim.evaluate.donor_records import GroupAttack, verdict_of
from genesim.metrics.membership import Sides, donor_attack, smallest_detectable_auc


def group_attacks(
    judged: Judged,
    found: Mapping[str, list[Sides]],
    groups: Mapping[str, Mapping[str, str]],
    seed: int,
    config: DonorAuditConfig,
    valid: Mapping[str, bool],
) -> list[GroupAttack]:
    """AUC of every attack among a group's own donors; by attack, the largest AUC first.

    Members and others are of one group, so the figure is no measure of how groups differ. A group with fewer than
    `config.min_donors` training or held-out donors is listed without a figure: noise that looks like a finding.
    `valid` says of each attack whether its planted controls were as they have to be.
    Intervals have the coverage that remains after sharing 5 % among all rows (Bonferroni).
    """
    wanted = []
    for attribute, of in groups.items():
        levels = sorted({str(of[d]) for d in (*judged.train.names, *judged.holdout.names) if d in of})
        wanted += [(attribute, level) for level in levels]
    coverage = 1 - 0.05 / max(1, len(wanted) * len(found))
    rows = []
    for attribute, level in wanted:
        of = groups[attribute]

        def inside(donors: np.ndarray, of: Mapping[str, str] = of, level: str = level) -> np.ndarray:
            return np.array([of.get(d) == level for d in donors], bool)

        n = int(inside(judged.train.names).sum()), int(inside(judged.holdout.names).sum())
        if min(n) < config.min_donors:
            rows.append(GroupAttack.too_small(attribute, level, n))
            continue
        members = inside(judged.train.names)
        for name, folds in found.items():
            own = [(m[members], o[inside(of_fold)]) for (m, o), (_, of_fold) in zip(folds, judged.folds, strict=True)]
            own = [(m, o) for m, o in own if len(o) >= 2]
            stream = rng.generator(seed, "privacy", "groups", attribute, level, name)
            success = donor_attack(own, stream, n_repeats=config.n_bootstrap, coverage=coverage)
            seen = smallest_detectable_auc(*n, coverage)
            words, _ = verdict_of(success.auc, 0.5, seen, n, valid[name], config.min_donors)
            rows.append(GroupAttack(attribute, level, name, *success.auc, *n, words))
    return sorted(rows, key=lambda r: (r.attack, -r.value if np.isfinite(r.value) else np.inf))
