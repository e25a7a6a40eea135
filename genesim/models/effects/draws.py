"""Draws of effects from their posterior: whether each exists, where it sits, its size in every cell type."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
from jaxtyping import Float, Int

from genesim.models.effects.posterior import EffectPosterior, effect_groups


@dataclass(frozen=True)
class SharedPrior:
    """What posteriors of types that were fitted together have in common.

    Attributes:
        root, scale, weight, null, correlation, correlation_count: The learned prior (`EffectMixture`).
        unit: Size that counts as 1 of each gene, log2 units a scaled column.
        precision: `unit` over the standard error of a scaled column, gene x type; 0 where a type has no data.
        inverse: Inverse noise correlation of each gene, gene x type x type.
    """

    root: np.ndarray
    scale: np.ndarray
    weight: np.ndarray
    null: np.ndarray
    correlation: np.ndarray
    correlation_count: np.ndarray
    unit: np.ndarray
    precision: np.ndarray
    inverse: np.ndarray

    def to_dict(self) -> dict[str, np.ndarray]:
        return {f.name: getattr(self, f.name) for f in fields(self)}


DRAWN_NULL = 0.6
"""Probability, in draws, that a single effect does not exist. The fit's own (`mixture.NULL`) is made for prediction;
under it draws of GEUVADIS chr22 have effects in too many genes (pi1 .63 against .51, one division; .47 with .6)."""


def under_null(posterior: EffectPosterior, fitted: float, null: float) -> EffectPosterior:
    """`posterior` had the prior probability that a single effect does not exist been `null` instead of `fitted`.

    The odds that an effect exists are its Bayes factor times (1 - null) / null; where it sits and its size stay.
    """
    start, group = effect_groups(posterior)
    if not len(start):
        return posterior
    present = np.minimum(np.add.reduceat(posterior.alpha.astype(np.float64), start), 1 - 1e-7)
    odds = present / (1 - present) * (fitted / (1 - fitted)) * ((1 - null) / null)
    factor = odds / (1 + odds) / present
    return replace(posterior, alpha=(posterior.alpha * factor[group]).astype(np.float32))


def draw_places(
    posterior: EffectPosterior, position: Float[np.ndarray, "gene effect"], credible_only: bool = False
) -> Int[np.ndarray, " effect"]:
    """Rows of the posterior where the effects of one draw sit; an effect that does not exist has none.

    Args:
        posterior: Fitted effects.
        position: Uniform numbers. The variant is the inverse of the cumulated alpha in genomic order, so the same
            numbers in two cell types give the same variant where the posteriors agree; beyond its sum (the
            probability that the effect exists) there is no effect.
        credible_only: Leave out single effects without a credible set.
    """
    start, _ = effect_groups(posterior)
    if not len(start):
        return np.zeros(0, np.int64)
    total = np.cumsum(posterior.alpha.astype(np.float64))
    before = np.r_[0.0, total[start[1:] - 1]]
    end = np.r_[start[1:], len(total)] - 1
    chosen = position[posterior.gene[start], posterior.effect[start].astype(np.int64)]
    mass = total[end] - before
    # Sums of single-precision numbers that should be 1.
    mass = np.where(mass > 1 - 1e-5, 1.0, mass)
    row = np.clip(np.searchsorted(total, before + chosen * (total[end] - before) / mass, side="right"), start, end)
    kept = chosen < mass
    if credible_only:
        kept &= has_set(posterior)[start]
    return row[kept]


def has_set(posterior: EffectPosterior) -> np.ndarray:
    """Of each row: has its single effect a credible set in this type?"""
    start, group = effect_groups(posterior)
    if not len(start):
        return np.zeros(0, bool)
    return (np.maximum.reduceat(posterior.credible_set, start) > 0)[group]


def draw_effects(
    posterior: EffectPosterior,
    position: Float[np.ndarray, "gene effect"],
    normal: Float[np.ndarray, "gene effect"],
    credible_only: bool = False,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """One draw of the effects of one type, sizes ~ N(mean_j, sd_j^2): gene, variant, size; one row each effect.

    Args:
        posterior: Fitted effects.
        position: See `draw_places`.
        normal: Standard normal numbers.
        credible_only: Leave out single effects without a credible set.
    """
    row = draw_places(posterior, position, credible_only)
    gene = posterior.gene[row]
    size = posterior.mean[row] + posterior.sd[row] * normal[gene, posterior.effect[row].astype(np.int64)]
    return gene, posterior.variant[row], size.astype(np.float64)


def draw_shared(
    posteriors: Sequence[EffectPosterior],
    shared: SharedPrior,
    position: Float[np.ndarray, "gene effect"],
    component: Float[np.ndarray, "gene effect"],
    normal: Float[np.ndarray, "type gene effect"],
    credible_only: bool = False,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """One draw of effects that types share: gene and variant of each effect, and its sizes [type, effect].

    Each effect gets a place, then a component of the mixture, then its sizes in all types from that component's
    Gaussian posterior; so an effect of one type alone is exactly 0 in the others, and sizes vary together.

    Args:
        posteriors: Of the types, in the order of `shared`; their rows are common.
        shared: Prior and noise of the fit.
        position: See `draw_places`.
        component: Uniform numbers.
        normal: Standard normal numbers.
        credible_only: Leave out single effects without a credible set in the type.
    """
    first = posteriors[0]
    row = draw_places(first, position)
    counts = np.stack([has_set(p)[row] if credible_only else np.ones(len(row), bool) for p in posteriors])
    row, counts = row[counts.any(0)], counts[:, counts.any(0)]
    gene, effect = first.gene[row], first.effect[row].astype(np.int64)
    z = np.stack([p.z[row] for p in posteriors], 1).astype(np.float64)
    inverse, precision = shared.inverse[gene].astype(np.float64), shared.precision[gene].astype(np.float64)
    whole = precision[:, :, None] * inverse * precision[:, None]
    inner = np.einsum("kca,ncd,kdb->nkab", shared.root, whole, shared.root)
    values, vectors = np.linalg.eigh(0.5 * (inner + inner.swapaxes(2, 3)))
    axes = np.einsum("kca,nkab->nkcb", shared.root.astype(np.float64), vectors)
    variance = shared.scale.astype(np.float64) ** 2
    inflated = 1 + np.maximum(values, 0)[..., None] * variance
    shrink = variance / inflated
    t = np.einsum("nc,nkca->nka", np.einsum("nc,ncd->nd", z, inverse) * precision, axes)
    log_weight = np.log(shared.weight) + 0.5 * (np.einsum("nka,nkag->nkg", t**2, shrink) - np.log(inflated).sum(2))
    flat = log_weight.reshape(len(row), shared.weight.size)
    cumulated = np.cumsum(np.exp(flat - flat.max(1, keepdims=True)), 1)
    chosen = (cumulated < component[gene, effect, None] * cumulated[:, -1:]).sum(1)
    k, scale = np.divmod(np.minimum(chosen, flat.shape[1] - 1), len(variance))
    number = np.arange(len(row))
    e = shrink[number, k, :, scale]
    noise = normal[:, gene, effect].T
    size = np.einsum("nca,na->nc", axes[number, k], e * t[number, k] + np.sqrt(e) * noise)
    # From scaled columns to allele copies, as the posterior mean was.
    size = size * shared.unit[gene][:, None]
    per_copy = np.stack([p.per_copy[row] for p in posteriors], 1)
    return gene, first.variant[row], np.where(counts, (size * per_copy).T, 0.0)
