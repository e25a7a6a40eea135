"""Recovery of planted variant effects, beside a ceiling (true expression) and a null (donors shuffled)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from genesim import rng
from genesim.config.evaluate import EvaluateConfig
from genesim.errors import InputError
from genesim.evaluate.score import Score, scored
from genesim.metrics import effects as metrics
from genesim.metrics.interval import Interval

_METRICS = (
    "effect_slope",
    "effect_correlation",
    "effect_power",
    "effect_false_discovery",
    "credible_set_coverage",
)


@dataclass(frozen=True)
class GeneEffects:
    """What was planted at one gene (in one cell type) and what was found.

    Attributes:
        dosage: Alternate alleles of the donors that were analysed; NaN counts as the mean.
        planted: True effect of each variant per alternate allele; 0 for all but the causal ones.
        estimate: Estimated effect of each variant (posterior mean), same unit.
        credible_sets: Variant indices of each credible set.
    """

    dosage: Float[np.ndarray, "donor variant"]
    planted: Float[np.ndarray, " variant"]
    estimate: Float[np.ndarray, " variant"]
    credible_sets: tuple[Int[np.ndarray, " member"], ...] = ()

    def __post_init__(self) -> None:
        n = self.dosage.shape[1] if self.dosage.ndim == 2 else -1
        if self.planted.shape != (n,) or self.estimate.shape != (n,):
            raise InputError(
                f"shapes {self.dosage.shape}, {self.planted.shape} and {self.estimate.shape} do not match",
                where="planted and estimated effects of a gene",
                remedy="give dosage [donor, variant] and one planted and one estimated effect a variant",
            )


@dataclass(frozen=True)
class _Summary:
    """One gene's recovery, ready to be summed over genes."""

    truth: np.ndarray
    estimate: np.ndarray
    found: np.ndarray
    n_calls: int
    n_false: int
    n_sets: int
    n_covering: int


def _centred(dosage: np.ndarray) -> np.ndarray:
    """Columns of mean 0, missing as the mean."""
    known = np.isfinite(dosage)
    mean = np.where(known, dosage, 0.0).sum(axis=0) / np.maximum(known.sum(axis=0), 1)
    return np.where(known, dosage - mean, 0.0)


def marginal_effects(dosage: np.ndarray, effects: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Effect that a regression on each variant in `at` alone would see: cov(x_j, X b) / var(x_j).

    Linked effects add to it. Estimates are compared with the truth on this scale, because an estimate that
    sits on a perfect proxy of the causal variant is right. A variant without variation gives 0.
    """
    centred = _centred(dosage)
    value = centred @ effects
    chosen = centred[:, at]
    variance = (chosen**2).sum(axis=0)
    return np.divide(chosen.T @ value, variance, out=np.zeros(len(at)), where=variance > 1e-9)


def _standardised(dosage: np.ndarray) -> np.ndarray:
    """Columns of mean 0 and norm 1, missing as the mean; a column without variation becomes 0."""
    centred = _centred(dosage)
    norm = np.sqrt((centred**2).sum(axis=0))
    return np.divide(centred, norm, out=np.zeros_like(centred), where=norm > 1e-9)


def planted_and_estimated(genes: Iterable[GeneEffects]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Planted effect, estimate and found flag of every planted effect, for the scatter of the report."""
    parts = [_summarise(gene) for gene in genes]
    if not parts:
        return np.zeros(0), np.zeros(0), np.zeros(0, bool)
    truth, estimate, found = ([getattr(p, name) for p in parts] for name in ("truth", "estimate", "found"))
    return np.concatenate(truth), np.concatenate(estimate), np.concatenate(found)


def _summarise(gene: GeneEffects) -> _Summary:
    causal = np.flatnonzero(gene.planted)
    sets = [np.asarray(s, np.int64) for s in gene.credible_sets if len(s)]
    leads = np.array([s[np.abs(gene.estimate[s]).argmax()] for s in sets], np.int64)
    dosage = gene.dosage.astype(np.float64)
    linked = (_standardised(dosage[:, leads]).T @ _standardised(dosage[:, causal])) ** 2 > 0.5
    linked |= leads[:, None] == causal[None]
    return _Summary(
        truth=marginal_effects(dosage, gene.planted, causal),
        estimate=marginal_effects(dosage, gene.estimate, causal),
        found=np.asarray(linked.any(axis=0)),
        n_calls=len(leads),
        n_false=int((~linked.any(axis=1)).sum()),
        n_sets=len(sets),
        n_covering=sum(bool(np.isin(causal, s).any()) for s in sets),
    )


def _values(genes: Sequence[_Summary]) -> dict[str, float]:
    truth = np.concatenate([g.truth for g in genes])
    slope = metrics.recovery_slope(np.concatenate([g.estimate for g in genes]), truth)
    calls, sets = sum(g.n_calls for g in genes), sum(g.n_sets for g in genes)
    nan = float("nan")
    return {
        "effect_slope": slope.slope,
        # No estimate at all is no agreement, not an unknown one.
        "effect_correlation": slope.correlation if np.isfinite(slope.correlation) else 0.0,
        "effect_power": float(np.mean(np.concatenate([g.found for g in genes]))),
        "effect_false_discovery": sum(g.n_false for g in genes) / calls if calls else nan,
        "credible_set_coverage": sum(g.n_covering for g in genes) / sets if sets else nan,
    }


def evaluate_effects(
    recovered: Iterable[GeneEffects],
    ceiling: Iterable[GeneEffects] | None = None,
    null: Iterable[GeneEffects] | None = None,
    *,
    seed: int = 0,
    config: EvaluateConfig | None = None,
    subject: str = "effects",
) -> list[Score]:
    """Score how well planted effects are recovered from simulated data.

    A call is the strongest variant of a credible set; it is true if it tags a causal variant (r2 > 0.5).
    Intervals by bootstrap over genes, which are independent of each other. Genes are gone through once, one at a time.

    Args:
        recovered: One entry a gene and cell type, estimated from the simulated cells. Genes without a
            planted effect belong in it too: they show false discoveries.
        ceiling: The same estimated from the true expression (no measurement noise): the floor of the table.
        null: The same estimated with the donors shuffled.
        seed: Seeds the bootstrap.
        config: Coverage of the intervals; ten bootstrap draws for every half-sample.
        subject: Name of the rows.

    Raises:
        InputError: No planted effect.
    """
    config = config or EvaluateConfig()
    parts = [_summarise(gene) for gene in recovered]
    n_planted = sum(len(p.truth) for p in parts)
    if not n_planted:
        raise InputError(
            "there is no planted effect",
            where="evaluation of effects",
            remedy="plant effects in the scenario (declared, random or learned), or leave this out",
        )
    values = _values(parts)
    draw = rng.generator(seed, "evaluate", "effects", "bootstrap")
    repeats = []
    for _ in range(10 * config.n_bootstrap):
        chosen = [parts[i] for i in draw.integers(0, len(parts), len(parts))]
        if any(len(p.truth) for p in chosen):
            repeats.append(_values(chosen))
    tail = (1 - config.coverage) / 2
    floor = _values([_summarise(g) for g in ceiling]) if ceiling is not None else {}
    naive = _values([_summarise(g) for g in null]) if null is not None else {}
    nan, scores = float("nan"), []
    n_sets = sum(p.n_sets for p in parts)
    for name in _METRICS:
        if not np.isfinite(values[name]):
            continue
        found = np.array([r[name] for r in repeats])
        low, high = np.nanquantile(found, [tail, 1 - tail]) if np.isfinite(found).any() else (nan, nan)
        n = n_sets if name in ("effect_false_discovery", "credible_set_coverage") else n_planted
        interval = Interval(values[name], float(low), float(high))
        scores.append(scored(subject, name, interval, floor.get(name, nan), naive.get(name, nan), n))
    return scores
