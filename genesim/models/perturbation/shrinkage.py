"""Observed effects of perturbations and their adaptive shrinkage by standard error."""

from __future__ import annotations

import numpy as np

_MAX_COMPONENTS = 16
_N_PASSES = 200


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


def adaptive_shrinkage(effect: np.ndarray, se: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Posterior mean and standard deviation of effects under a unimodal prior learned from all of them.

    effect_g ~ N(theta_g, se_g^2), theta ~ sum_k pi_k N(0, sigma_k^2), sigma_0 = 0, the other sigma on a grid
    of factor 2; pi by EM with 10 pseudo-counts on the null (Stephens 2017, Biostatistics 18:275). Few large
    effects stay large while many small ones go to 0; one common prior variance would do neither.

    Args:
        effect, se: Per gene; genes with se 0 carry no information and are returned as 0 with sd 0.
    """
    mean, sd = np.zeros_like(effect), np.zeros_like(effect)
    known = se > 0
    if not known.any():
        return mean, sd
    x, s = effect[known], se[known]
    largest = max(2 * np.sqrt(max((x**2 - s**2).max(), 0.0)), s.min() * 0.2)
    n_steps = int(np.clip(np.ceil(np.log2(largest / (s.min() / 10))) + 1, 2, _MAX_COMPONENTS))
    sigma = np.r_[0.0, largest * 2.0 ** -np.arange(n_steps)]
    total = sigma[:, None] ** 2 + s**2
    log_likelihood = -0.5 * (np.log(total) + x**2 / total)
    likelihood = np.exp(log_likelihood - log_likelihood.max(0))
    prior_count = np.r_[10.0, np.zeros(n_steps)]
    weight = np.full(len(sigma), 1 / len(sigma))
    for _ in range(_N_PASSES):
        joint = weight[:, None] * likelihood
        responsibility = joint / joint.sum(0)
        new = responsibility.sum(1) + prior_count
        new /= new.sum()
        done = np.abs(new - weight).max() < 1e-6
        weight = new
        if done:
            break
    factor = sigma[:, None] ** 2 / total
    component_mean = factor * x
    mean[known] = (responsibility * component_mean).sum(0)
    second = (responsibility * (component_mean**2 + factor * s**2)).sum(0)
    sd[known] = np.sqrt(np.maximum(second - mean[known] ** 2, 0))
    return mean, sd
