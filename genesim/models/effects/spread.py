"""How unsure an effect's size is when the gene's other effects are unsure too.

The fit takes effects for independent (mean field): given where it sits, an effect's variance is that of a regression in
which all others are known. Where two effects are in LD, what one gains the other loses. Linear response puts that
back (Giordano, Broderick & Jordan 2018, JMLR 19:51, sec. 3): the estimate of effect l at variant j is moved by what
effect k explains there, r_jc b_c with b_c ~ N(m_c, V_c) at variant c with probability alpha_kc, and c's in turn by j's:

    V_j = s_j^2 + sum over k != l of Var_k(r_jc b_c),   V_c = s_c^2 + r_jc^2 V_j
        = (s_j^2 + sum_k Var_k(r_jc b_c | V_c = s_c^2)) / (1 - sum_kc alpha_kc r_jc^4).

For two effects that sit surely at variants of correlation r that is s^2 / (1 - r^2), the regression's own.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int

_LEAST = 0.25
"""Of the denominator: two variants that are the same would leave nothing, where the prior still bounds sizes."""
_ROWS = 64
"""Likeliest variants of an effect that are counted: correlations of a diffuse effect's hundreds would cost more than
the fit, and say little."""


def spread_of_sizes(
    genotype: Float[np.ndarray, "donor variant"],
    dof: float,
    variant: Int[np.ndarray, " row"],
    effect: Int[np.ndarray, " row"],
    alpha: Float[np.ndarray, " row"],
    mean: Float[np.ndarray, " row"],
    sd: Float[np.ndarray, " row"],
) -> Float[np.ndarray, " row"]:
    """sqrt(V) of one gene's rows in one type; `sd` where an effect has no other beside it.

    Args:
        genotype: Columns of squared length `dof` (0 where a variant does not vary).
        dof: Donors less covariates.
        variant: Column of each row.
        effect: Single effect of each row.
        alpha: Probability that the effect exists and sits there.
        mean, sd: Of its size given that, a scaled column.
    """
    spread = np.asarray(sd, np.float64).copy()
    numbers = np.unique(effect)
    if len(numbers) < 2:
        return spread
    each = [np.flatnonzero(effect == k) for k in numbers]
    rows = np.concatenate([at[np.argsort(-alpha[at], kind="stable")[:_ROWS]] for at in each])
    x = genotype[:, variant[rows]].astype(np.float64)
    r = x.T @ x / dof
    a, m, s2 = alpha[rows].astype(np.float64), mean[rows].astype(np.float64), spread[rows] ** 2
    same = effect[rows][:, None] == effect[rows]
    r[same] = 0.0
    of_effect = (effect[rows][:, None] == numbers).astype(np.float64)
    explained = ((r * (a * m)) @ of_effect) ** 2
    moved = s2 + r**2 @ (a * (m**2 + s2)) - explained.sum(1)
    variance = moved / np.maximum(1 - r**4 @ a, _LEAST)
    spread[rows] = np.sqrt(np.maximum(variance, s2))
    return spread
