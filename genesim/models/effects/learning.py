"""The prior of effect sizes and the noise correlation of types, learned from many genes (empirical Bayes)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np

from genesim.models.effects.mixture import EffectMixture, learned_correlation, learned_weights, starting_mixture
from genesim.models.effects.problem import EffectProblem
from genesim.models.effects.susie import fit_susie, with_types

N_ROUNDS = 2


def learn_mixture(
    problems: Callable[[], Iterable[EffectProblem]],
    n_types: int = 1,
    n_rounds: int = N_ROUNDS,
    genes_at_once: int = 1,
    correlated_noise: bool = True,
) -> EffectMixture:
    """Alternate between fitting genes and estimating their prior.

    All genes given take part, with or without an effect: genes chosen for their signal would make the prior blind to
    the null. Each is fitted with one effect, which costs little and has a null of its own: that the gene has none.

    Args:
        problems: Gives the batches of genes, afresh at each call; without any, the flat mixture is the answer.
        n_types: Cell types of the problems.
        n_rounds: Times that all genes are fitted.
        genes_at_once: See `fit_susie`.
        correlated_noise: Learn the correlation of the types' noise; otherwise it is taken to be 0.
    """
    mixture: EffectMixture | None = None
    ignored = {} if correlated_noise else {"correlation_count": jnp.float32(1e9)}
    for _ in range(n_rounds):
        evidence, correlations, freedoms = [], [], []
        for given in problems():
            problem = with_types(given)
            if mixture is None:
                mixture = replace(_starting(problem), **ignored)
            fit = fit_susie(problem, mixture, n_effects=1, genes_at_once=min(genes_at_once, len(problem.dof)))
            usable = np.asarray((problem.prior > 0).any(2))
            tested = usable.any(1)
            evidence.append(np.asarray(fit.log_evidence)[tested, 0])
            both = usable[:, :, None] & usable[:, None]
            correlations.append(np.where(both, np.asarray(fit.residual_correlation), np.nan)[tested])
            freedoms.append(np.where(usable, np.asarray(problem.dof), 0.0)[tested])
        if mixture is None or not sum(map(len, evidence)):
            break
        mixture = learned_weights(mixture, np.concatenate(evidence))
        if correlated_noise:
            mixture = learned_correlation(mixture, np.concatenate(correlations), np.concatenate(freedoms))
    return mixture or starting_mixture(n_types)


def _starting(problem: EffectProblem) -> EffectMixture:
    """Scales begin at the standard error that most donors of a type allow."""
    dof = np.asarray(jax.device_get(problem.dof))
    return starting_mixture(problem.response.shape[1], float(1 / np.sqrt(max(dof.max(), 2.0))))
