"""Where a gene's effect lies before and after a look at the data: distances to the TSS and approximate Bayes factors.

One causal variant a gene is assumed throughout (Maller et al. 2012, Nat. Genet. 44:1294); SuSiE takes what comes
out as its prior over variants, which it may overrule.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy.special import logsumexp

# Shares of the response's variance that a variant may explain: a grid as of eQTL-BMA (Flutre et al. 2013, PLoS Genet.
# 9:e1003486), equally likely.
EXPLAINED = (0.01, 0.03, 0.1, 0.3)

# Ratios of an effect's prior variance to its squared standard error; each gene takes the likeliest.
_RATIOS = np.geomspace(1.0, 1e4, 25)


def log_bayes_factor(
    z_square: Float[np.ndarray, "*shape"], ratio: Float[np.ndarray, "*shape"] | float
) -> Float[np.ndarray, "*shape"]:
    """Wakefield's log approximate Bayes factor of an effect against none (2009, Genet. Epidemiol. 33:79, eq. 2).

    Args:
        z_square: Squared ratio of estimate and standard error.
        ratio: Prior variance of the effect over its squared standard error.
    """
    return 0.5 * (z_square * ratio / (1 + ratio) - np.log1p(ratio))


def correlation_log_bf(r: Float[np.ndarray, " variant"], dof: float) -> Float[np.ndarray, " variant"]:
    """log Bayes factor of partial correlations, averaged over `EXPLAINED`.

    Args:
        r: Partial correlation of each variant with the response.
        dof: Donors minus covariates.
    """
    r2 = np.minimum(np.asarray(r, np.float64) ** 2, 1 - 1e-9)
    z2 = r2 / (1 - r2) * max(dof - 1, 1)
    each = [log_bayes_factor(z2, dof * share) for share in EXPLAINED]
    return logsumexp(np.stack(each), axis=0) - np.log(len(EXPLAINED))


def table_probabilities(
    beta: Float[np.ndarray, " row"], se: Float[np.ndarray, " row"], kappa: float = 1.0
) -> Float[np.ndarray, " row"]:
    """Probability that each row's variant is the causal one of its gene, from estimates and standard errors alone.

    The prior variance is the one, as a multiple of the median squared standard error, of largest mean Bayes factor;
    it needs no unit. `kappa` multiplies squared standard errors.
    """
    s2 = kappa * np.asarray(se, np.float64) ** 2
    z2 = np.asarray(beta, np.float64) ** 2 / s2
    base = np.median(s2)
    log_bf = np.stack([log_bayes_factor(z2, c * base / s2) for c in _RATIOS])
    best = log_bf[np.argmax(logsumexp(log_bf, axis=1))]
    return np.exp(best - logsumexp(best))


@dataclass(frozen=True)
class TssCurve:
    """Prior weight of a variant by its distance to the TSS: constant between `edges`, non-increasing.

    Attributes:
        edges: Right ends of the distance bins in bp, ascending; what lies beyond takes the last weight.
        weights: Of each bin; only their ratios count.
    """

    edges: tuple[float, ...]
    weights: tuple[float, ...]

    def bin_of(self, distance: np.ndarray) -> Int[np.ndarray, " variant"]:
        """Bin of each absolute distance in bp."""
        found = np.searchsorted(self.edges, np.abs(distance), side="left")
        return np.minimum(found, len(self.edges) - 1)

    def __call__(self, distance: np.ndarray) -> Float[np.ndarray, " variant"]:
        """Weight of variants at these distances (either side counts the same)."""
        return np.asarray(self.weights)[self.bin_of(distance)]

    def prior_of(self, distance: Sequence[np.ndarray]) -> Callable[[int, np.ndarray], np.ndarray]:
        """From a gene and its window to weights of mean 1, as `fit_genes` asks for them; `distance` of each gene's."""

        def weights(gene: int, window: np.ndarray) -> Float[np.ndarray, " variant"]:
            found = self(distance[gene])
            return found / found.mean() if len(window) else found

        return weights


TSS_EDGES = (1e3, 3e3, 1e4, 2e4, 5e4, 1e5, 2e5, 5e5, 1e6)


DEFAULT_TSS_CURVE = TssCurve(TSS_EDGES, (97.0, 57.0, 38.0, 15.0, 6.7, 1.6, 0.24, 0.04, 0.03))
"""Learned once by `learn_tss_curve` from GEUVADIS (chr22, +-1 Mb, 343 donors, bulk, 28 covariates, 5 pseudo-effects)
and rounded: about two thirds of its effects lie within 20 kb of the TSS. Those donors are those of
`benchmarks/effect_priors.py`: its row `default` there is no figure of a new study."""


def learn_tss_curve(
    log_bf: Sequence[np.ndarray],
    distance: Sequence[np.ndarray],
    edges: Sequence[float] = TSS_EDGES,
    n_iterations: int = 200,
    pseudo_effects: float = 2.0,
) -> tuple[TssCurve, float]:
    """Distance curve of largest likelihood under one or no causal variant a gene, by EM.

    As TORUS (Wen 2016, Ann. Appl. Stat. 10:1619) with distance bins as annotation: gene g has an effect with
    probability p1, then variant j with pi_gj = w_b(j) / sum_k w_b(k). E step: posterior of (g, j) from Bayes factors.
    M step: w_b = (mass in b + c w_b) / (sum_g P(g) n_gb / sum_k w_b(k) + c), the fixed point of the multinomial
    likelihood with `pseudo_effects` c prior effects at the flat curve, then made non-increasing (pooling adjacent
    violators, weighted by exposure). Without any effect in the data it stays flat.

    Args:
        log_bf: Of each gene's variants.
        distance: Of the same variants to the TSS, bp.
        edges: Right ends of the bins.
        n_iterations: Of EM.
        pseudo_effects: Prior effects at the flat curve. With 2, ten genes whose effects have no decay lose .06 nats a
            new effect on average, and ten with a decay of 60 kb gain .53.

    Returns:
        The curve (average weight of a variant 1), and p1.
    """
    from scipy.optimize import isotonic_regression

    used = [g for g, bf in enumerate(log_bf) if len(bf)]
    flat = TssCurve(tuple(edges), (1.0,) * len(edges))
    if not used:
        return flat, 0.0
    gene = np.repeat(np.arange(len(used)), [len(log_bf[g]) for g in used])
    where = flat.bin_of(np.concatenate([distance[g] for g in used]))
    bf = np.concatenate([log_bf[g] for g in used])
    top = np.full(len(used), -np.inf)
    np.maximum.at(top, gene, bf)
    relative = np.exp(bf - top[gene])
    n_bins, n_genes = len(edges), len(used)
    # Number of a gene's variants, and sum of their Bayes factors, in each bin: all that EM needs.
    count = np.bincount(gene * n_bins + where, minlength=n_genes * n_bins).reshape(n_genes, n_bins).astype(float)
    support = np.bincount(gene * n_bins + where, relative, n_genes * n_bins).reshape(n_genes, n_bins)
    weights, p1 = np.ones(n_bins), 0.5
    for _ in range(n_iterations):
        total = count @ weights
        inside = (support * weights).sum(1) / total
        odds = np.log(p1 / (1 - p1)) + top + np.log(np.maximum(inside, 1e-300))
        has = 1 / (1 + np.exp(-np.clip(odds, -500, 500)))
        mass = (has[:, None] * support * weights / total[:, None] / np.maximum(inside, 1e-300)[:, None]).sum(0)
        exposure = (has[:, None] * count / total[:, None]).sum(0)
        prior = pseudo_effects * count.sum(0) / count.sum()
        rate = (mass + prior) / np.maximum(exposure + prior, 1e-12)
        seen = exposure + prior > 0
        rate[seen] = isotonic_regression(rate[seen], weights=(exposure + prior)[seen], increasing=False).x
        rate[~seen] = np.minimum.accumulate(np.where(seen, rate, np.inf))[~seen]
        rate = np.where(np.isfinite(rate), rate, rate[seen].max())
        weights = rate / ((rate * count.sum(0)).sum() / count.sum())
        p1 = float(np.clip(has.mean(), 1e-3, 1 - 1e-3))
    return TssCurve(tuple(edges), tuple(float(w) for w in weights)), p1
