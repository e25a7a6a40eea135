"""Random causal variants: which, of what size, in which cell types, and scaled to a declared heritability."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Float

from genesim import rng
from genesim.config.effects import RandomEffects
from genesim.errors import ConfigError
from genesim.models.effects.units import slope_from_afc

ALL_TYPES = "*"
"""`cell_type` of an effect that acts in every cell type."""

DRAWN = ["gene", "variant", "cell_type", "log2_afc", "log2_afc_slope", "shape", "source"]
_EXACT = 6
"""Causal variants up to which a gene's genetic variance is summed over all pairs of haplotypes."""


@dataclass(frozen=True)
class _Window:
    """Variants that may be causal for one gene, and the logs of their weights (None: even)."""

    variants: np.ndarray
    log_weight: np.ndarray | None

    def choose(self, n: int, stream: np.random.Generator) -> np.ndarray:
        """`n` variants one after another, each with probability proportional to its weight among those left."""
        if self.log_weight is None:
            return stream.choice(self.variants, n, replace=False)
        # The largest of log weight + Gumbel noise are such a sample, and no weight is too small for it.
        order = np.argsort(-(self.log_weight + stream.gumbel(size=len(self.variants))), kind="stable")
        return self.variants[order[:n]]


def genetic_variance(log2_afc: Float[np.ndarray, " variant"], frequency: Float[np.ndarray, " variant"]) -> float:
    """Variance over people of a gene's log2 expression that its causal variants make.

    Under Hardy-Weinberg and linkage equilibrium: of log2(1/2 sum_h 2^(sum_j delta_j x_jh)), exactly up to 6
    variants; above, of its additive part, sum_j 2 p_j (1 - p_j) slope_j^2 (`models.effects.units`).
    """
    delta, p = np.asarray(log2_afc, np.float64), np.asarray(frequency, np.float64)
    if len(delta) > _EXACT:
        return float((2 * p * (1 - p) * slope_from_afc(delta, p) ** 2).sum())
    carried = (np.arange(2 ** len(delta))[:, None] >> np.arange(len(delta))) & 1
    probability = np.where(carried, p, 1 - p).prod(axis=1)
    haplotype = carried @ delta
    value = np.logaddexp2(haplotype[:, None], haplotype[None, :]) - 1
    weight = np.outer(probability, probability)
    mean = (weight * value).sum()
    return float((weight * (value - mean) ** 2).sum())


def scale_to(variance: float, sizes: Sequence[tuple[np.ndarray, np.ndarray]]) -> float:
    """Factor on all sizes of a gene at which its genetic variance, averaged over cell types, is `variance`.

    Args:
        sizes: Of each cell type that has effects: log2 allelic fold changes and frequencies.
    """
    from scipy.optimize import brentq

    def excess(factor: float) -> float:
        return float(np.mean([genetic_variance(factor * delta, p) for delta, p in sizes])) - variance

    high = 1.0
    while excess(high) < 0:
        high *= 2
    return float(brentq(excess, 0.0, high, xtol=1e-10))


def _windows(law: RandomEffects, genes: pd.DataFrame, variants: pd.DataFrame) -> dict[str, _Window]:
    frequency = variants["frequency"].to_numpy()
    common = variants[np.minimum(frequency, 1 - frequency) >= law.min_maf]
    by_contig = {contig: part.sort_values("start", kind="stable") for contig, part in common.groupby("contig")}
    found: dict[str, _Window] = {}
    for gene, contig, tss in zip(genes.index, genes["contig"], genes["tss"], strict=True):
        part = by_contig.get(contig)
        if part is None or tss < 0:
            continue
        start = part["start"].to_numpy()
        low, high = np.searchsorted(start, [tss - law.window, tss + law.window + 1])
        if high - low < law.n_causal:
            continue
        log_weight = None if law.tss_decay is None else -np.abs(start[low:high] - tss) / law.tss_decay
        found[gene] = _Window(part.index.to_numpy()[low:high], log_weight)
    return found


def _unit_size(law: RandomEffects, stream: np.random.Generator) -> float:
    """A size of variance 1."""
    if law.law == "normal":
        return stream.normal()
    if law.law == "laplace":
        return stream.laplace(scale=0.5**0.5)
    if law.law == "t":
        df = law.degrees_of_freedom
        return stream.standard_t(df) * np.sqrt((df - 2) / df)
    return stream.choice([-1.0, 1.0])


def _correlated_sizes(
    law: RandomEffects, correlation: float, n_types: int, stream: np.random.Generator
) -> Float[np.ndarray, " type"]:
    """Sizes of variance 1 in every cell type: normals of equal correlation; heavier tails are their common scale."""
    scale = 1.0
    if law.law == "laplace":
        scale = np.sqrt(stream.exponential())
    elif law.law == "t":
        df = law.degrees_of_freedom
        scale = np.sqrt((df - 2) / stream.chisquare(df))
    common, own = stream.normal(), stream.normal(size=n_types)
    return scale * (np.sqrt(correlation) * common + np.sqrt(1 - correlation) * own)


def _scaled(
    rows: list[list], h2: float, donor_sd: float, frequency: Mapping[str, float], cell_types: Sequence[str]
) -> None:
    """Scale the sizes of one gene's rows (in place) to the declared share of variance."""
    sizes = []
    for name in cell_types:
        mine = [(row[3], frequency[row[1]]) for row in rows if row[2] in (ALL_TYPES, name)]
        if mine:
            delta, p = np.array(mine).T
            sizes.append((delta, p))
    factor = scale_to(h2 / (1 - h2) * donor_sd**2, sizes)
    for row in rows:
        row[3] *= factor


def random_effects(
    law: RandomEffects,
    genes: pd.DataFrame,
    variants: pd.DataFrame,
    cell_types: list[str],
    seed: int,
    donor_sd: float = 0.0,
) -> pd.DataFrame:
    """Effects drawn by the declared law; each gene has its own stream, so adding a gene changes no other.

    Args:
        genes: Index gene; `contig`, `tss` (0-based, -1 unknown).
        variants: Index variant id; `contig`, `start`, `frequency` of ALT in training.
        donor_sd: SD over donors of what is not genetic in log2 expression, which `h2` refers to.

    Returns:
        Columns `DRAWN`.

    Raises:
        ConfigError: No gene has enough common variants in its window.
    """
    candidates = _windows(law, genes, variants)
    if not candidates:
        raise ConfigError(
            "no gene has a common variant in its window"
            if law.n_causal == 1
            else f"no gene has {law.n_causal} common variants in its window",
            where="scenario.effects.random",
            remedy="widen 'window', lower 'min_maf', or check that genes and variants share contigs",
        )
    eligible = sorted(candidates)
    n_chosen = max(1, round(law.share_of_genes * len(eligible)))
    chosen = rng.generator(seed, "effects", "genes").choice(eligible, n_chosen, replace=False)
    found: list[list] = []
    for gene in sorted(chosen):
        window = candidates[gene]
        # Later additions draw from streams of their own, so that scenarios without them keep their effects.
        stream, own, dynamics = (
            rng.generator(seed, "effects", str(gene), *more) for more in ((), ("types",), ("dynamic",))
        )
        rows: list[list] = []
        for variant in window.choose(law.n_causal, stream):
            size = _unit_size(law, stream)
            acts_in = ALL_TYPES if stream.random() < law.shared else stream.choice(np.array(cell_types, object))
            slope, shape = 0.0, ""
            if law.dynamic is not None and dynamics.random() < law.dynamic.share:
                slope, shape = law.dynamic.sd_log2_afc * dynamics.normal(), law.dynamic.shape
            sizes = {acts_in: size}
            if acts_in == ALL_TYPES and law.effect_correlation is not None:
                drawn = _correlated_sizes(law, law.effect_correlation, len(cell_types), own)
                sizes = dict(zip(cell_types, drawn.tolist(), strict=True))
            rows += [
                [gene, variant, name, law.sd_log2_afc * value, slope, shape, "random"] for name, value in sizes.items()
            ]
        if law.h2 is not None:
            frequency = variants.loc[[row[1] for row in rows], "frequency"]
            _scaled(rows, law.h2, donor_sd, frequency.to_dict(), cell_types)
        found += rows
    return pd.DataFrame(found, columns=DRAWN)
