"""splatPop's recipe for the means of a population (Azodi et al. 2021, Genome Biol. 22:341), after its description.

Gene means are gamma over genes; their coefficient of variation over donors is gamma within ten bins of the mean
(scattered by a normal law); an eQTL of a random gene is a random common variant near it, whose size is gamma with a
random sign, and Y = M + ES G M for G copies. Cells (Splat) are not simulated here: the cohort compared is bulk.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class SplatPop:
    """Shapes and rates of splatPop's gamma laws, and the share of genes with an eQTL."""

    mean: tuple[float, float]
    cv_edges: np.ndarray
    cv: list[tuple[float, float]]
    effect: tuple[float, float]
    share: float

    @classmethod
    def estimate(cls, values: np.ndarray, relative_slopes: np.ndarray, share: float, n_bins: int = 10) -> SplatPop:
        """From gene x donor expression, and eGenes' top slopes over their gene's mean."""
        kept = values[(values >= 0.1).mean(1) > 0.5]
        middle = np.median(kept, axis=1)
        edges = np.quantile(middle, np.linspace(0, 1, n_bins + 1))
        where = np.clip(np.searchsorted(edges, middle, side="left") - 1, 0, n_bins - 1)
        cv = kept.std(1, ddof=1) / kept.mean(1)
        laws = []
        for b in range(n_bins):
            here = cv[where == b]
            low, high = np.quantile(here, [0.25, 0.75])
            fence = 1.5 * (high - low)  # splatPop leaves out a boxplot's outliers
            laws.append(_closest_gamma(here[(here >= low - fence) & (here <= high + fence)]))
        return cls(_likeliest_gamma(middle), edges, laws, _closest_gamma(np.abs(relative_slopes)), share)

    def means(
        self, dosage: np.ndarray, windows: list[np.ndarray], draw: np.random.Generator
    ) -> tuple[np.ndarray, dict[int, tuple[int, float]]]:
        """gene x donor means, and the truth: gene -> variant and relative effect."""
        n_genes, n_donors = len(windows), dosage.shape[1]
        level = draw.gamma(self.mean[0], 1 / self.mean[1], n_genes)
        where = np.clip(np.searchsorted(self.cv_edges, level, side="left") - 1, 0, len(self.cv) - 1)
        cv = np.array([draw.gamma(self.cv[b][0], 1 / self.cv[b][1]) for b in where])
        y = level[:, None] * (1 + cv[:, None] * draw.normal(size=(n_genes, n_donors)))
        truth = {}
        for g in draw.choice(n_genes, round(self.share * n_genes), replace=False):
            v = int(draw.choice(windows[g]))
            size = float(draw.gamma(self.effect[0], 1 / self.effect[1]) * draw.choice([-1, 1]))
            y[g] += size * dosage[v] * y[g]
            truth[int(g)] = (v, size)
        return np.maximum(y, 1e-5), truth


def _likeliest_gamma(x: np.ndarray) -> tuple[float, float]:
    from scipy.stats import gamma

    shape, _, scale = gamma.fit(x, floc=0)
    return float(shape), float(1 / scale)


def _closest_gamma(x: np.ndarray) -> tuple[float, float]:
    """Shape and rate of least Cramer-von Mises distance, from the moments' (as fitdistrplus' mge)."""
    from scipy.optimize import minimize
    from scipy.stats import gamma

    x = np.sort(x)
    level = (2 * np.arange(1, len(x) + 1) - 1) / (2 * len(x))
    start = np.log([x.mean() ** 2 / x.var(), x.mean() / x.var()])

    def distance(at: np.ndarray) -> float:
        return float(((gamma.cdf(x, np.exp(at[0]), scale=np.exp(-at[1])) - level) ** 2).sum())

    shape, rate = np.exp(minimize(distance, start, method="Nelder-Mead").x)
    return float(shape), float(rate)
