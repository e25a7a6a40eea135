"""Which shifted cell became which real one: pairs by optimal transport within minibatches of a condition.

Nothing is measured twice, so pairs are a choice; those of least squared distance give the straightest paths
(Tong 2024, TMLR; Pooladian 2023, ICML). Every condition gives as many pairs, whatever its cells.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from genesim import rng

_MINIBATCH, N_PAIRS = 128, 8192


@dataclass(frozen=True)
class Paired:
    """One or more conditions.

    Attributes:
        source: Control cells moved by the effect, cell x component.
        target: Real cells, cell x component; in pairs after `minibatch_pairs`.
        effect: Mean effect of the condition (component), of each pair after `minibatch_pairs`.
    """

    source: Float[np.ndarray, "cell component"]
    target: Float[np.ndarray, "other component"]
    effect: Float[np.ndarray, "... component"]


def assigned(source: Float[np.ndarray, "cell component"], target: Float[np.ndarray, "cell component"]) -> np.ndarray:
    """Row of `target` for each row of `source`, one to one, at least total squared distance."""
    from scipy.optimize import linear_sum_assignment  # slow to import

    cost = (source**2).sum(1)[:, None] + (target**2).sum(1) - 2 * source @ target.T
    return linear_sum_assignment(cost)[1]


def minibatch_pairs(conditions: list[Paired], seed: int) -> Paired:
    """`N_PAIRS` pairs, as many of each condition: one number of pairs for all screens compiles one program.

    A condition's sources are first moved to the mean of its real cells, for the mean is not what is to be learned.
    """
    share = -(-N_PAIRS // len(conditions))
    sources, targets, effects = [], [], []
    for number, one in enumerate(conditions):
        draw = rng.generator(seed, "perturbation", "flow", "pairs", number)
        n = min(len(one.source), len(one.target), _MINIBATCH)
        source = one.source + (one.target.mean(0) - one.source.mean(0))
        for _ in range(-(-share // n)):
            left = source[draw.choice(len(source), n, replace=False)]
            right = one.target[draw.choice(len(one.target), n, replace=False)]
            sources.append(left)
            targets.append(right[assigned(left, right)])
            effects.append(np.broadcast_to(one.effect, left.shape))
    # Cut evenly, not at the end: the last conditions would lose most.
    order = rng.generator(seed, "perturbation", "flow", "pairs").permutation(sum(map(len, sources)))[:N_PAIRS]
    return Paired(*(np.vstack(parts)[order] for parts in (sources, targets, effects)))
