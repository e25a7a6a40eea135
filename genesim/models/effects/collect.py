"""Fitted genes gathered into sparse posteriors: plausible variants of each effect, credible sets, single tests."""

from __future__ import annotations

from typing import Any

import numpy as np

from genesim.config.model import EffectConfig
from genesim.models.effects.credible import credible_sets
from genesim.models.effects.draws import SharedPrior
from genesim.models.effects.mixture import EffectMixture
from genesim.models.effects.posterior import EffectPosterior
from genesim.models.effects.problem import EffectProblem
from genesim.models.effects.spread import spread_of_sizes
from genesim.models.effects.susie import SusiePosterior

# Plausible variants of an effect: the fewest that hold this mass.
_MASS_KEPT = 0.99
# Effects that hardly exist are not kept: each would need a row a variant of its window.
_MIN_PRESENT = 0.05


class Collector:
    """Gathers rows of `EffectPosterior` gene by gene, for all types at once."""

    def __init__(self, n_types: int, n_genes: int) -> None:
        self.rows: dict[int, list[tuple[Any, ...]]] = {}
        self.sets: list[list[tuple[int, int, float, float, float]]] = [[] for _ in range(n_types)]
        shape = (n_types, n_genes)
        self.p_value = np.full(shape, np.nan)
        self.top_variant = np.full(shape, -1, np.int64)
        self.top_slope = np.zeros(shape)
        self.residual_sd = np.full(shape, np.nan)
        self.n_donors = np.zeros(shape, np.int64)
        self.n_variants = np.zeros(shape, np.int64)
        self.n_sets = np.zeros(shape, np.int64)
        self.unit = np.ones(n_genes)
        self.precision = np.zeros((n_genes, n_types))
        self.inverse = np.tile(np.eye(n_types), (n_genes, 1, 1))

    def test(
        self,
        kind: int,
        gene: int,
        window: np.ndarray,
        problem: EffectProblem,
        residual_variance: float,
        r: np.ndarray,
        p_value: float,
        n_donors: int,
    ) -> None:
        """Record the single-variant tests of one gene in one type; `problem` is its slice, as NumPy."""
        n = len(window)
        used = np.asarray(problem.prior[:n]) > 0
        if not used.any():
            return
        r = r[:n].astype(np.float64)
        top = int(np.argmax(np.where(used, np.abs(r), -1.0)))
        scale = np.asarray(problem.scale[:n])
        spread = np.sqrt((np.asarray(problem.response) ** 2).sum() / float(problem.dof))
        at = kind, gene
        self.p_value[at] = p_value
        self.top_variant[at] = window[top]
        self.top_slope[at] = r[top] * spread / scale[top]
        self.residual_sd[at] = np.sqrt(residual_variance)
        self.n_donors[at], self.n_variants[at] = n_donors, used.sum()

    def add(
        self, gene: int, window: np.ndarray, problem: EffectProblem, fit: SusiePosterior, config: EffectConfig
    ) -> None:
        """Record the single effects of one gene; `problem` [type, ...] and `fit` are its slices, as NumPy."""
        n = len(window)
        seen = np.asarray(problem.prior)[:, :n] > 0
        if not seen.any():
            return
        self.unit[gene], self.precision[gene], self.inverse[gene] = (
            fit.geometry.unit,
            fit.geometry.precision,
            fit.geometry.inverse,
        )
        alpha, present = np.asarray(fit.alpha)[:, :n], np.asarray(fit.present)
        sizes = [np.asarray(a)[:, :n] for a in (fit.mean, fit.sd, fit.positive, fit.negative, fit.z)]
        scale = _scales(np.asarray(problem.scale)[:, :n], seen)
        widest = int(np.argmax(seen.sum(1) + np.asarray(problem.dof) / 1e6))
        found = credible_sets(
            alpha,
            present,
            np.asarray(problem.genotype)[widest, :, :n],
            config.coverage,
            config.min_purity,
            config.min_present,
        )
        # A type has the set if it has the effect, with a sign that is as sure as the effect's presence must be.
        sure = [
            present[c.effect] * np.maximum(*(alpha[c.effect] @ side[c.effect] for side in sizes[2:4]))
            >= config.min_present
            for c in found
        ]
        for i, (one, types) in enumerate(zip(found, sure, strict=True), 1):
            self.n_sets[types, gene] += 1
            for kind in np.flatnonzero(types):
                self.sets[kind].append((gene, i, one.coverage, one.purity, float(fit.log_bayes_factor[one.effect])))
        members = {c.effect: (i, c.variants, t) for i, (c, t) in enumerate(zip(found, sure, strict=True), 1)}
        nobody = np.zeros(len(seen), bool)
        rows: list[tuple[Any, ...]] = []
        for effect in np.flatnonzero(present >= min(_MIN_PRESENT, config.min_present)):
            order = np.argsort(-alpha[effect], kind="stable")
            mass = np.cumsum(alpha[effect][order])
            number, inside, types = members.get(int(effect), (0, np.zeros(0, np.int64), nobody))
            kept = order[: min(int(np.searchsorted(mass, _MASS_KEPT)) + 1, n)]
            kept = np.union1d(kept, inside).astype(np.int64)
            a = alpha[effect][kept]
            mean, sd, positive, negative, z = (a[effect][kept].T for a in sizes)
            rows.append(
                (
                    int(effect),
                    window[kept],
                    present[effect] * a / a.sum(),
                    mean / scale[:, kept],
                    sd / scale[:, kept],
                    positive,
                    negative,
                    z,
                    1 / scale[:, kept],
                    np.where(np.isin(kept, inside) & types[:, None], number, 0),
                )
            )
        self.rows[gene] = [(*row, spread) for row, spread in zip(rows, _spreads(problem, window, rows), strict=True)]

    def posteriors(self) -> list[EffectPosterior]:
        """One a type; their rows are common: the same effects at the same variants."""
        flat = [(gene, *row) for gene in sorted(self.rows) for row in self.rows[gene]]

        def column(i: int, dtype: type) -> np.ndarray:
            return np.concatenate([row[i] for row in flat]).astype(dtype) if flat else np.zeros(0, dtype)

        lengths = [len(row[2]) for row in flat]
        common: dict[str, Any] = {
            "gene": np.repeat(np.array([row[0] for row in flat], np.int32), lengths),
            "effect": np.repeat(np.array([row[1] for row in flat], np.int8), lengths),
            "variant": column(2, np.int32),
            "alpha": column(3, np.float32),
        }
        tests = ("p_value", "top_variant", "top_slope", "residual_sd", "n_donors", "n_variants", "n_sets")
        sizes = ("mean", "sd", "positive", "negative", "z", "per_copy", "credible_set", "spread")
        facts = ("gene", "number", "coverage", "purity", "log_bayes_factor")
        types = []
        for c, found in enumerate(self.sets):
            rows = {
                name: np.concatenate([row[i][c] for row in flat]) if flat else np.zeros(0)
                for i, name in enumerate(sizes, 4)
            }
            rows = {k: v.astype(np.int32 if k == "credible_set" else np.float32) for k, v in rows.items()}
            order = sorted(found)
            sets = {
                f"set_{name}": np.array([s[i] for s in order], np.int64 if i < 2 else np.float64)
                for i, name in enumerate(facts)
            }
            types.append(EffectPosterior(**common, **rows, **sets, **{name: getattr(self, name)[c] for name in tests}))
        return types

    def shared(self, mixture: EffectMixture) -> SharedPrior:
        return SharedPrior(**mixture.to_dict(), unit=self.unit, precision=self.precision, inverse=self.inverse)


def _spreads(problem: EffectProblem, window: np.ndarray, rows: list[tuple[Any, ...]]) -> list[np.ndarray]:
    """`spread` of each effect's rows [type, row], log2 units a copy; `rows` are those of `Collector.add`."""
    if not rows:
        return []
    variant = np.searchsorted(window, np.concatenate([row[1] for row in rows]))
    effect = np.repeat([row[0] for row in rows], [len(row[1]) for row in rows])
    alpha = np.concatenate([row[2] for row in rows])
    mean, sd, per_copy = (np.concatenate([row[i] for row in rows], axis=1) for i in (3, 4, 8))
    types = zip(problem.genotype, problem.dof, mean / per_copy, sd / per_copy, strict=True)
    found = np.stack([spread_of_sizes(x, float(dof), variant, effect, alpha, m, s) for x, dof, m, s in types])
    return np.split(found * per_copy, np.cumsum([len(row[1]) for row in rows])[:-1], axis=1)


def _scales(scale: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """Spread of each variant's dosages by type; where a variant does not vary, its mean over the other types."""
    others = (scale * seen).sum(0) / np.maximum(seen.sum(0), 1)
    return np.where(seen, scale, np.where(seen.any(0), others, 1.0))
