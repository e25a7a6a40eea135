"""Does the haplotype generator hand out its training haplotypes, whole or in long tracts?

Floor: what cannot copy (the null generator, or held-out haplotypes). Null: the training haplotypes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from genesim import rng
from genesim.config.evaluate import EvaluateConfig
from genesim.evaluate.nearest import Nearest
from genesim.evaluate.score import Score, scored
from genesim.metrics import haplotype_privacy as metrics
from genesim.metrics.distribution import roc_auc
from genesim.metrics.interval import (
    Interval,
    half_sample_intervals,
    normal_interval,
    proportion_interval,
)


def quantile_interval(values: np.ndarray, quantile: float, coverage: float = 0.95) -> Interval:
    """A quantile with the binomial interval of its order statistics (Conover 1999, chapter 3.2)."""
    from scipy.stats import binom

    ordered = np.sort(values)
    tail = (1 - coverage) / 2
    low, high = binom.ppf([tail, 1 - tail], len(ordered), quantile).astype(int)
    last = len(ordered) - 1
    return Interval(
        float(np.quantile(ordered, quantile)),
        float(ordered[max(0, low - 1)]),
        float(ordered[min(last, high)]),
    )


def privacy_scores(
    sets: Mapping[str, np.ndarray],
    labels: Mapping[str, np.ndarray],
    position: np.ndarray,
    *,
    subject: str,
    seed: int,
    config: EvaluateConfig,
) -> list[Score]:
    """Privacy loss, membership attack, exact copies and shared tracts.

    Args:
        sets: "test", "simulated", "train" and, where there is one, "null": alleles 0 or 1, same variants.
        labels: Ancestry of each haplotype.
        position: Base pairs.
        subject: Name of the rows.
        seed: Seeds the draws.
        config: Sizes and repeats.
    """
    most = config.max_haplotypes
    # As many training haplotypes as there are held-out ones to compare them with, of the same ancestries.
    levels = sorted(set(labels["test"].tolist()) & set(labels["train"].tolist()))
    picked: dict[str, list[np.ndarray]] = {"test": [], "train": []}
    for level in levels:
        n = min(int((labels[name] == level).sum()) for name in picked)
        for name, parts in picked.items():
            draw = rng.generator(seed, "evaluate", "privacy", name, level)
            parts.append(draw.permutation(np.flatnonzero(labels[name] == level))[:n])
    members, others = (
        sets[name][rng.generator(seed, "evaluate", "privacy", name).permutation(np.concatenate(parts))[:most]]
        for name, parts in (("train", picked["train"]), ("test", picked["test"]))
    )
    n = min(len(members), len(others))
    members, others = members[:n], others[:n]

    def probe(name: str, source: str) -> np.ndarray:
        draw = rng.generator(seed, "evaluate", "privacy", "probe", name)
        return sets[source][draw.permutation(len(sets[source]))[:n]]

    simulated = probe("simulated", "simulated")
    # The worst generator hands out haplotypes of the whole training set, not only the ones compared.
    copies = probe("copies", "train")
    naive = probe("null", "null") if "null" in sets else None
    m = min(n, len(simulated), len(copies), *([] if naive is None else [len(naive)]))

    def loss(values: np.ndarray) -> Callable[[np.ndarray, np.ndarray], float]:
        """Privacy loss as a function of the rows used (Yale et al. 2020), mean of both sides."""
        held, known = Nearest(others[:m], values[:m]), Nearest(members[:m], values[:m])
        return lambda a, b: (sum(held.accuracy(a, b)) - sum(known.accuracy(a, b))) / 2

    def attack(values: np.ndarray) -> tuple[float, float]:
        near = [metrics.nearest_distance(side, values) for side in (others, members)]
        return roc_auc(-near[0], -near[1])

    nan = float("nan")
    every = np.arange(m)
    simulated_loss = loss(simulated)
    spread = half_sample_intervals(
        lambda a, b: {"loss": simulated_loss(a, b)},
        (m, m),
        n_repeats=config.n_bootstrap,
        generator=rng.generator(seed, "evaluate", "privacy", "halves"),
        coverage=config.coverage,
    )["loss"]
    train, position = sets["train"], np.asarray(position)
    same = metrics.exact_copies(train, simulated)
    tracts = metrics.longest_shared_tract_each(simulated, members, position)
    held_out = metrics.longest_shared_tract_each(others, members, position)
    copied = metrics.longest_shared_tract_each(copies, members, position)
    return [
        scored(
            subject,
            "privacy_loss",
            spread,
            nan if naive is None else loss(naive)(every, every),
            loss(copies)(every, every),
            m,
        ),
        scored(
            subject,
            "membership_auc",
            normal_interval(*attack(simulated), config.coverage),
            0.5 if naive is None else attack(naive)[0],
            attack(copies)[0],
            len(simulated),
        ),
        scored(
            subject,
            "exact_copies_haplotypes",
            proportion_interval(same, len(simulated), config.coverage),
            metrics.exact_copies(train, others) / len(others),
            1.0,
            len(simulated),
        ),
        scored(
            subject,
            "longest_shared_tract",
            quantile_interval(tracts, 0.95, config.coverage),
            float(np.quantile(held_out, 0.95)),
            float(np.quantile(copied, 0.95)),
            len(simulated),
        ),
    ]
