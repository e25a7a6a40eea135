"""The linkage attack that joins expression to genotypes through eQTLs.

Schadt, Woo and Hao 2012 (Nature Genetics 44:603) predict expression from genotypes and match it to measured
expression; Walker et al. 2024 (Cell 187) do so with single cells. The attacker holds genotypes of candidates and a map
of eQTLs, and asks which candidate a (simulated) expression profile belongs to.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from genesim.errors import InputError
from genesim.metrics.interval import Interval


class LinkageSuccess(NamedTuple):
    """How well profiles are linked to their own donors."""

    rank: Interval
    """Mean rank of the true donor, as the share of the other candidates that match better; 0 = always found, .5 is
    chance."""
    found: Interval
    """Share of profiles whose best match is the true donor; 1 / candidates is chance."""
    chance_found: float
    n_profiles: int
    n_candidates: int


def linkage_scores(
    observed: Float[np.ndarray, "profile gene"], predicted: Float[np.ndarray, "candidate gene"]
) -> Float[np.ndarray, "profile candidate"]:
    """Log-likelihood ratio of "this candidate's genotype made the profile" against "anybody's".

    With x_g the profile and p_g the prediction, both centred over their rows and x scaled to unit variance,
    sum_g log N(x_g; b_g p_g, 1 - r_g^2) - log N(x_g; 0, 1), b_g = r_g / sd(p_g). No pair is known to the attacker, so
    r_g^2 is not estimated gene by gene from pairs but taken from the prediction: the share of the observed variance
    that predictions of that size explain, var(p_g) / var(x_g), at most .9. Genes whose prediction or profile does not
    vary tell nothing.

    Args:
        observed: Expression of each profile on the scale of the predictions (log2, say).
        predicted: Genetic values of each candidate.

    Raises:
        InputError: Other numbers of genes, fewer than two profiles or candidates, or no gene that varies.
    """
    if observed.shape[1] != predicted.shape[1] or min(len(observed), len(predicted)) < 2:
        raise InputError(
            f"profiles {observed.shape} and predictions {predicted.shape} do not fit",
            where="linkage attack",
            remedy="give at least two profiles and two candidates, of the same genes",
        )
    spread, signal = observed.std(axis=0), predicted.std(axis=0)
    usable = (spread > 1e-9) & (signal > 1e-9)
    if not usable.any():
        raise InputError(
            "no gene has both a prediction and an expression that vary",
            where="linkage attack",
            remedy="give an effect model with effects on these genes",
        )
    x = ((observed - observed.mean(axis=0)) / np.where(usable, spread, 1))[:, usable]
    p = ((predicted - predicted.mean(axis=0)) / np.where(usable, spread, 1))[:, usable]
    r2 = np.minimum((signal[usable] / spread[usable]) ** 2, 0.9)
    p *= np.sqrt(r2) / p.std(axis=0)
    # -(x - p)^2 / 2(1 - r2) + x^2 / 2, its constant left out: the same for every pair.
    weight = 1 / (1 - r2)
    return (x * weight) @ p.T - (p**2 * weight).sum(axis=1) / 2 - ((x**2) * (weight - 1)).sum(axis=1)[:, None] / 2


def rank_of_truth(
    scores: Float[np.ndarray, "profile candidate"], truth: Int[np.ndarray, " profile"]
) -> Float[np.ndarray, " profile"]:
    """Share of the other candidates that score higher than the true one; a tie counts 1/2."""
    own = scores[np.arange(len(scores)), truth][:, None]
    others = scores.shape[1] - 1
    return ((scores > own).sum(axis=1) + ((scores == own).sum(axis=1) - 1) / 2) / others


def linkage_success(
    scores: Float[np.ndarray, "profile candidate"],
    truth: Int[np.ndarray, " profile"],
    generator: np.random.Generator,
    *,
    n_repeats: int = 1000,
    coverage: float = 0.95,
) -> LinkageSuccess:
    """Mean rank of the true donor and how often it comes first, with intervals by resampling profiles."""
    from genesim.metrics.interval import proportion_interval

    ranks = rank_of_truth(scores, truth)
    drawn = ranks[generator.integers(0, len(ranks), (n_repeats, len(ranks)))].mean(axis=1)
    low, high = np.quantile(drawn, [(1 - coverage) / 2, (1 + coverage) / 2])
    first = int((ranks == 0).sum())
    return LinkageSuccess(
        Interval(float(ranks.mean()), float(low), float(high)),
        proportion_interval(first, len(ranks), coverage),
        1 / scores.shape[1],
        *scores.shape,
    )


def best_match(scores: Float[np.ndarray, "profile candidate"]) -> Float[np.ndarray, " candidate"]:
    """Each candidate's best match among the profiles, less the mean match of the candidate's genotype.

    For profiles that have no true donor: are training donors better matched by *some* simulated donor than others are?
    """
    return scores.max(axis=0) - scores.mean(axis=0)
