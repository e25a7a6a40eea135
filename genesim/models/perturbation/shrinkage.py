"""Observed effects of perturbations and their joint shrinkage."""

from __future__ import annotations

import numpy as np

_SCALES = 2.0 ** np.arange(-8, 13)
_NULL_COUNT = 10.0
# Variance of a direction at the least, in units of its noise: one gene that moves does not show in the mean over all.
_FLOOR = 0.01
_N_PASSES = 200
_NEGLIGIBLE = 1e-4


def mean_difference(
    mean: np.ndarray,
    variance: np.ndarray,
    n: int,
    control: np.ndarray,
    control_variance: np.ndarray,
    n_control: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Difference of mean log expression and its standard error, per gene.

    The variance is pooled: a gene that no perturbed cell shows would otherwise look certain.

    Args:
        mean, variance, n: Of the perturbed cells.
        control, control_variance, n_control: Of the control cells of the same context.
    """
    pooled = (max(n - 1, 0) * variance + max(n_control - 1, 0) * control_variance) / max(n + n_control - 2, 1)
    return mean - control, np.sqrt(pooled * (1 / n + 1 / n_control))


def joint_shrinkage(
    effect: np.ndarray, se: np.ndarray, context: np.ndarray, control_se: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Posterior mean and standard deviation of all effects together, each condition borrowing from those like it.

    Multivariate adaptive shrinkage (Urbut et al. 2019, Nat. Genet. 51:187) of z = effect / se, a gene at a time:
    z_g ~ N(theta_g, C), theta ~ sum_k pi_k N(0, w_k U), w_0 = 0, the others on a grid of factor 2, pi by EM with 10
    pseudo-counts on the null. C: correlation of the conditions' errors, for those of a context share their controls.
    U = Z Z' / genes - C, no eigenvalue (in units of C) below a floor. With one condition it is adaptive shrinkage
    (Stephens 2017, Biostatistics 18:275): few large effects stay large while many small ones go to 0.

    Args:
        effect, se: condition x gene; where se is 0 nothing is known and 0 with sd 0 is returned.
        context: Index per condition.
        control_se: Standard error of the control means, context x gene; None takes errors as independent.
    """
    known = se > 0
    some = np.asarray(known.any(0))
    mean, sd = np.zeros_like(effect), np.zeros_like(effect)
    if not some.any():
        return mean, sd
    s = np.where(known, se, 1.0)[:, some]
    left, vectors, rotated, size = _directions(effect, se, context, control_se, known, some)
    total = _SCALES[:, None] * size + 1
    log_likelihood = -0.5 * np.vstack([(rotated**2).sum(0), np.log(total).sum(1)[:, None] + (1 / total) @ rotated**2])
    likelihood = np.exp(log_likelihood - log_likelihood.max(0))
    prior_count = np.r_[_NULL_COUNT, np.zeros(len(_SCALES))]
    weight = np.full(len(likelihood), 1 / len(likelihood))
    for _ in range(_N_PASSES):
        joint = weight[:, None] * likelihood
        responsibility = joint / joint.sum(0)
        new = responsibility.sum(1) + prior_count
        new /= new.sum()
        done = np.abs(new - weight).max() < 1e-6
        weight = new
        if done:
            break
    back = left @ vectors
    centre, second = np.zeros_like(rotated), np.zeros_like(rotated)
    for k, factor in enumerate(_SCALES[:, None] * size / total, start=1):
        if weight[k] > _NEGLIGIBLE:
            part = back @ (factor[:, None] * rotated)
            centre += responsibility[k] * part
            second += responsibility[k] * (part**2 + (back**2 @ factor)[:, None])
    mean[:, some], sd[:, some] = s * centre, s * np.sqrt(np.maximum(second - centre**2, 0))
    return np.where(known, mean, 0.0), np.where(known, sd, 0.0)


def _directions(
    effect: np.ndarray,
    se: np.ndarray,
    context: np.ndarray,
    control_se: np.ndarray | None,
    known: np.ndarray,
    some: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """L and V with C = L L' and theta = L V rotated theta; z in these coordinates, and U's variance of each."""
    s = np.where(known, se, 1.0)
    correlation = np.eye(len(effect))
    if control_se is not None:
        # One share a condition: positive definite whatever genes are known where.
        square = np.where(known, control_se[context] / s, 0.0) ** 2
        share = np.sqrt(np.minimum(square.sum(1) / np.maximum(known.sum(1), 1), 0.99))
        same = (context[:, None] == context[None]) & (correlation == 0)
        correlation = np.where(same, np.outer(share, share), correlation)
    left = np.linalg.cholesky(correlation + 1e-6 * np.eye(len(effect)))
    whitened = np.linalg.solve(left, np.where(known, effect / s, 0.0)[:, some])
    size, vectors = np.linalg.eigh(whitened @ whitened.T / some.sum())
    return left, vectors, vectors.T @ whitened, np.maximum(size - 1, _FLOOR)
