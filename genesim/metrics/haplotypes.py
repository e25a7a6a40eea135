"""Fidelity of haplotypes: allele frequencies, LD, three-point correlation, principal components.

Haplotypes are int8 [haplotype, variant], 0 or 1, without missing alleles (impute first). Every value is to
be read beside its floor (one part of the real data against another) and its null (independent variants).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int, Int8

from genesim.errors import InputError

Haplotypes = Int8[np.ndarray, "haplotype variant"]
DISTANCE_BINS = (0, 1_000, 10_000, 100_000, 500_000)
SPECTRUM_EDGES = (0, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5)
BLOCK = 512  # variants in one block of LD


def checked(haplotypes: np.ndarray, what: str = "haplotypes", n_variants: int | None = None) -> np.ndarray:
    """`haplotypes` as they are, if a metric can use them.

    Raises:
        InputError: No rows, another number of variants, or alleles that are neither 0 nor 1.
    """
    values = np.asarray(haplotypes)
    if values.ndim != 2 or 0 in values.shape or (n_variants is not None and values.shape[1] != n_variants):
        wanted = "at least one variant" if n_variants is None else f"{n_variants} variants"
        raise InputError(
            f"has shape {values.shape}",
            where=what,
            remedy=f"pass [haplotype, variant] with {wanted} and at least one haplotype",
        )
    if ((values != 0) & (values != 1)).any():
        raise InputError(
            "holds alleles other than 0 and 1",
            where=what,
            remedy="impute missing alleles and leave absent copies out before comparing",
        )
    return values


def _pair(real: np.ndarray, synthetic: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    real = checked(real, "real haplotypes")
    return real, checked(synthetic, "synthetic haplotypes", real.shape[1])


def allele_frequency_rmse(real: Haplotypes, synthetic: Haplotypes) -> float:
    """sqrt(mean_m (p_m - q_m)^2) of alternative-allele frequencies."""
    real, synthetic = _pair(real, synthetic)
    return float(np.sqrt(np.mean((real.mean(0) - synthetic.mean(0)) ** 2)))


def allele_frequency_r(real: Haplotypes, synthetic: Haplotypes) -> float:
    """Pearson r of alternative-allele frequencies over variants; above .99 even for independent variants.

    NaN where either set has one frequency only.
    """
    real, synthetic = _pair(real, synthetic)
    p, q = real.mean(0), synthetic.mean(0)
    return float(np.corrcoef(p, q)[0, 1]) if p.std() > 0 and q.std() > 0 else float("nan")


def _standardised(haplotypes: np.ndarray) -> Float[np.ndarray, "haplotype variant"]:
    """Columns of mean 0 and norm 1; a variant without variation becomes 0, so that its r is 0."""
    centred = haplotypes - haplotypes.mean(0, dtype=np.float32)
    norm = np.linalg.norm(centred, axis=0)
    return np.divide(centred, norm, out=np.zeros_like(centred), where=norm > 1e-6)


def _common(real: np.ndarray, min_maf: float) -> np.ndarray:
    p = real.mean(0)
    return np.flatnonzero(np.minimum(p, 1 - p) >= min_maf)


def _positions(positions: np.ndarray, n_variants: int) -> np.ndarray:
    values = np.asarray(positions)
    if values.shape != (n_variants,) or (np.diff(values) < 0).any():
        raise InputError(
            f"has shape {values.shape} or decreases",
            where="positions",
            remedy=f"pass the {n_variants} base-pair positions of one contig in ascending order",
        )
    return values


def _near_pairs(positions: np.ndarray, max_distance: int) -> Iterator[tuple[slice, slice, np.ndarray, np.ndarray]]:
    """Blocks of pairs i < j within `max_distance`: rows, columns, which pairs, and every pair's distance."""
    n = len(positions)
    for start in range(0, n, BLOCK):
        stop = min(start + BLOCK, n)
        last = int(np.searchsorted(positions, positions[stop - 1] + max_distance, side="right"))
        distance = positions[None, start:last] - positions[start:stop, None]
        upper = np.arange(start, last)[None, :] > np.arange(start, stop)[:, None]
        yield slice(start, stop), slice(start, last), upper & (distance <= max_distance), distance


class LdComparison(NamedTuple):
    """LD of two sets over the same pairs of variants."""

    rmse: float
    """Root mean squared difference of signed r; NaN without pairs."""
    real: Float[np.ndarray, " bin"]
    """Mean r^2 by distance; NaN for a bin without pairs."""
    synthetic: Float[np.ndarray, " bin"]
    n_pairs: int
    """Pairs behind `rmse`."""
    bin_pairs: Float[np.ndarray, " bin"]
    """Pairs of each bin."""


def compare_ld(
    real: Haplotypes,
    synthetic: Haplotypes,
    positions: Int[np.ndarray, " variant"],
    *,
    bins: Sequence[int] = DISTANCE_BINS,
    max_distance: int | None = None,
    min_maf: float = 0.05,
    common: Int[np.ndarray, " common"] | None = None,
) -> LdComparison:
    """RMSE of signed r and mean r^2 by distance of both sets, in one pass over the pairs.

    r_ij = cov(x_i, x_j) / sqrt(p_i q_i p_j q_j) (Hill and Robertson 1968, TAG 38:226). Signed, because the
    decay of r^2 hides errors of phase. r is 0 for a variant without variation.

    Args:
        bins: Edges in base pairs of the bins (lower, upper].
        max_distance: Pairs of the RMSE are at most so many base pairs apart; None takes all pairs of the
            contig, whose far ones show structure rather than linkage.
        min_maf: Smallest minor-allele frequency in `real` of both variants.
        common: Variants to use instead of those of `min_maf`.
    """
    real, synthetic = _pair(real, synthetic)
    chosen = _common(real, min_maf) if common is None else np.asarray(common)
    positions = _positions(positions, real.shape[1])[chosen]
    x, y = _standardised(real[:, chosen]), _standardised(synthetic[:, chosen])
    edges = np.asarray(bins)
    widest = int(positions[-1] - positions[0]) if len(positions) else 0
    limit = widest if max_distance is None else max_distance
    total, n_pairs = 0.0, 0
    sums, sizes = np.zeros((2, len(edges) - 1)), np.zeros(len(edges) - 1)
    for rows, columns, use, distance in _near_pairs(positions, max(limit, int(edges[-1]))):
        apart, r, s = distance[use], (x[:, rows].T @ x[:, columns])[use], (y[:, rows].T @ y[:, columns])[use]
        near = apart <= limit
        total += float(((r - s)[near].astype(float) ** 2).sum())
        n_pairs += int(near.sum())
        which = np.searchsorted(edges, apart, side="left") - 1
        inside = (which >= 0) & (which < len(sizes))
        sizes += np.bincount(which[inside], minlength=len(sizes))
        sums += [np.bincount(which[inside], v[inside] ** 2, len(sizes)) for v in (r, s)]
    decay = np.divide(sums, sizes, out=np.full(sums.shape, np.nan), where=sizes > 0)
    rmse = float(np.sqrt(total / n_pairs)) if n_pairs else float("nan")
    return LdComparison(rmse, decay[0], decay[1], n_pairs, sizes)


def ld_rmse(
    real: Haplotypes,
    synthetic: Haplotypes,
    positions: Int[np.ndarray, " variant"],
    *,
    max_distance: int | None = 500_000,
    min_maf: float = 0.05,
) -> float:
    """Root mean squared difference of signed r over pairs of common variants; see `compare_ld`.

    NaN where there is no pair of variants of minor-allele frequency at least `min_maf` in `real`, at most
    `max_distance` base pairs apart (any distance where None).
    """
    common = _common(checked(real, "real haplotypes"), min_maf)
    return compare_ld(real, synthetic, positions, bins=(0, 1), max_distance=max_distance, common=common).rmse


def ld_decay(
    haplotypes: Haplotypes,
    positions: Int[np.ndarray, " variant"],
    *,
    bins: Sequence[int] = DISTANCE_BINS,
    min_maf: float = 0.05,
    common: Int[np.ndarray, " common"] | None = None,
) -> Float[np.ndarray, " bin"]:
    """Mean r^2 of pairs by distance in base pairs, bins (lower, upper]; NaN for a bin without pairs.

    Args:
        common: Variants to use; those of `min_maf` in `haplotypes` where None. Give the real data's, so
            that real and synthetic are compared over the same pairs.
    """
    haplotypes = checked(haplotypes)
    chosen = _common(haplotypes, min_maf) if common is None else np.asarray(common)
    positions = _positions(positions, haplotypes.shape[1])[chosen]
    x = _standardised(haplotypes[:, chosen])
    edges = np.asarray(bins)
    total, n_pairs = np.zeros(len(edges) - 1), np.zeros(len(edges) - 1)
    for rows, columns, use, distance in _near_pairs(positions, int(edges[-1])):
        which = np.searchsorted(edges, distance[use], side="left") - 1
        inside = which >= 0
        squared = ((x[:, rows].T @ x[:, columns])[use] ** 2)[inside]
        total += np.bincount(which[inside], squared, len(total))
        n_pairs += np.bincount(which[inside], minlength=len(total))
    return np.divide(total, n_pairs, out=np.full(len(total), np.nan), where=n_pairs > 0)


def three_point_correlation(
    real: Haplotypes,
    synthetic: Haplotypes,
    rng: np.random.Generator,
    *,
    n_triples: int = 10_000,
    span: int | None = 100,
    min_maf: float = 0.05,
) -> float:
    """Pearson r, over random triples, of E[(x_i - p_i)(x_j - p_j)(x_k - p_k)] in real against synthetic.

    Yelmen et al. 2023, PLoS Comput Biol 19:e1011584. Triples are distinct common variants (minor-allele
    frequency at least `min_maf` in `real`) among `span` consecutive ones, anywhere where None (then
    `three_point.ThreePoint` has the value over all triples, without the noise of the draw). NaN where there
    are fewer than three, or one side has no variation.
    """
    real, synthetic = _pair(real, synthetic)
    common = _common(real, min_maf)
    span = len(common) if span is None else min(span, len(common))
    if span < 3:
        return float("nan")
    start = rng.integers(0, len(common) - span + 1, n_triples)
    first = rng.integers(0, span, n_triples)
    second = (first + rng.integers(1, span, n_triples)) % span
    third = rng.integers(0, span - 2, n_triples)
    low, high = np.minimum(first, second), np.maximum(first, second)
    third += third >= low
    third += third >= high
    triples = common[start[:, None] + np.stack([first, second, third], axis=1)]

    def moments(haplotypes: np.ndarray) -> np.ndarray:
        centred = (haplotypes - haplotypes.mean(0, dtype=np.float32)).T
        pieces = np.array_split(triples, max(1, n_triples * len(haplotypes) // 4_000_000))
        return np.concatenate([np.prod(centred[piece], axis=1).mean(1) for piece in pieces])

    a, b = moments(real), moments(synthetic)
    return float(np.corrcoef(a, b)[0, 1]) if a.std() > 0 and b.std() > 0 else float("nan")


class PrincipalAxes(NamedTuple):
    """Principal components of haplotypes, to project others on."""

    mean: Float[np.ndarray, " variant"]
    axes: Float[np.ndarray, "variant component"]
    """Columns of norm 1, the largest variance first."""
    scale: Float[np.ndarray, " component"]
    """Standard deviation of the haplotypes that they were fitted on."""

    def project(self, haplotypes: Haplotypes) -> Float[np.ndarray, "haplotype component"]:
        """Coordinates in standard deviations of the fitted haplotypes; NaN where those do not vary."""
        values = (checked(haplotypes, n_variants=len(self.mean)) - self.mean) @ self.axes
        return np.divide(values, self.scale, out=np.full(values.shape, np.nan), where=self.scale > 1e-9)


def principal_axes(haplotypes: Haplotypes, n_components: int = 2) -> PrincipalAxes:
    """Principal components, centred and not scaled; fewer than asked where the rank is smaller."""
    from scipy.linalg import eigh

    mean = checked(haplotypes).mean(0, dtype=np.float32)
    x = haplotypes - mean
    n_components = min(n_components, *x.shape)
    small = x @ x.T if len(x) <= x.shape[1] else x.T @ x
    top = [len(small) - n_components, len(small) - 1]
    _, vectors = eigh(small.astype(np.float64), subset_by_index=top)
    axes = x.T @ vectors if len(x) <= x.shape[1] else vectors
    axes = (axes / np.maximum(np.linalg.norm(axes, axis=0), 1e-12))[:, ::-1]
    return PrincipalAxes(mean, axes, (x @ axes).std(0))


def wasserstein_each(
    real: Float[np.ndarray, "m component"], synthetic: Float[np.ndarray, "n component"]
) -> Float[np.ndarray, " component"]:
    """1-D Wasserstein distance of each column; NaN where one holds NaN.

    For equal sizes W = mean |sorted difference| (Villani 2003, equation 2.47).
    """
    from scipy.stats import wasserstein_distance

    return np.array([wasserstein_distance(a, b) for a, b in zip(real.T, synthetic.T, strict=True)])


def pc_wasserstein(
    real: Haplotypes, synthetic: Haplotypes, *, n_components: int = 2
) -> Float[np.ndarray, " component"]:
    """1-D Wasserstein distance between real and synthetic on each principal component of `real`.

    The components are fitted on the real training haplotypes (centred, not scaled) and the synthetic ones
    are projected; a joint fit would hide a collapse. Unit: standard deviations of the real projection. To
    compare many sets, or sets other than the one of the fit, use `principal_axes` and `wasserstein_each`.
    """
    real, synthetic = _pair(real, synthetic)
    axes = principal_axes(real, n_components)
    on_real, on_synthetic = axes.project(real), axes.project(synthetic)
    usable = np.isfinite(on_real).all(0)
    found = np.full(len(usable), np.nan)
    found[usable] = wasserstein_each(on_real[:, usable], on_synthetic[:, usable])
    return found


def frequency_spectrum(haplotypes: Haplotypes, edges: Sequence[float] = SPECTRUM_EDGES) -> Float[np.ndarray, " bin"]:
    """Share of the varying variants by minor-allele frequency, bins (lower, upper]; 0 where none varies.

    Needs no common variants, so it compares sets of other sites too, at equal numbers of haplotypes.
    """
    frequency = checked(haplotypes).mean(0)
    minor = np.minimum(frequency, 1 - frequency)
    counts = np.histogram(-minor[minor > 0], -np.asarray(edges, float)[::-1])[0][::-1]
    return counts / max(1, counts.sum())


def spectrum_distance(real: Haplotypes, synthetic: Haplotypes, edges: Sequence[float] = SPECTRUM_EDGES) -> float:
    """Total variation distance of the folded frequency spectra: 0 where they are equal, at most 1.

    Raises:
        InputError: Unequal numbers of haplotypes, by which the spectrum changes.
    """
    if len(real) != len(synthetic):
        raise InputError(
            f"there are {len(real)} real and {len(synthetic)} synthetic haplotypes",
            where="frequency spectra",
            remedy="draw equal numbers",
        )
    return float(np.abs(frequency_spectrum(real, edges) - frequency_spectrum(synthetic, edges)).sum() / 2)
